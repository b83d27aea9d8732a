/* SPDX-License-Identifier: MIT */
/*
 * A measure at every length, gap or depth that the options name. What was computed is printed even if a later part
 * fails or is stopped.
 */
#include "cli/eval_measures.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/measure_picture.h"
#include "cli/measure_report.h"
#include "cli/model_tokenizer.h"
#include "cli/processes.h"
#include "cli/progress.h"
#include "cli/size_text.h"
#include "cli/untrained.h"

typedef struct measures_job {
    mep_eval_measures *options;
    mep_model *model;
    mep_data_mix *data; /* NULL: of a synthetic task without data */
    double depths[MEP_ARGS_LIST];
    int64_t depth_count;
    mep_progress progress;
    char label[96];
    mep_measure measure;
} measures_job;

void mep_eval_measures_defaults(mep_eval_measures *m)
{
    *m = (mep_eval_measures){.within = 0.02, .depths = "0,0.25,0.5,0.75,1"};
    mep_measure_defaults(&m->settings);
}

int mep_eval_measures_asked(const mep_eval_measures *m)
{
    return m->by_position + m->context_gain + m->blindness + (m->gaps.count > 0) + (m->task != NULL);
}

static int is_png(const char *name)
{
    size_t length = strlen(name);
    return length > 4 && strcmp(name + length - 4, ".png") == 0;
}

static int is_passkey(const mep_eval_measures *m)
{
    return m->task != NULL && strcmp(m->task, "passkey") == 0;
}

static int needs_data(const mep_eval_measures *m)
{
    return m->task == NULL || is_passkey(m);
}

int mep_cli_is_task(const char *name)
{
    static const char *const tasks[] = {"mqar", "induction"};
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
        size_t length = strlen(tasks[i]);
        if (strncmp(name, tasks[i], length) == 0 && (name[length] == '\0' || name[length] == ':')) return 1;
    }
    return 0;
}

int mep_eval_measures_check(const mep_eval_measures *m, const mep_option *options)
{
    int asked = mep_eval_measures_asked(m);
    const struct {
        const char *option, *use;
        int applies;
    } rows[] = {
        {"--lengths", "a measure without gaps; a segment of --copy-gain holds the two copies and the gap",
         m->gaps.count == 0},
        {"--bins", "--by-position", m->by_position},
        {"--copy-tokens", "--copy-gain", m->gaps.count > 0},
        {"--depths", "--task passkey", is_passkey(m)},
        {"--samples", "a measure other than --by-position, which uses all tokens", asked > 0 && !m->by_position},
        {"--seed", "a measure with random choices: --copy-gain and --task", m->gaps.count > 0 || m->task != NULL},
        {"--data", "measures of text; mqar and induction make their own", needs_data(m)},
        {"--split", "measures of text; mqar and induction make their own", needs_data(m)},
        {"--part", "measures of text; mqar and induction make their own", needs_data(m)},
        {"--tokens", "measures of text; mqar and induction make their own", needs_data(m)},
        {"--within", "a measure whose values have a direction, not --blindness", asked > 0 && !m->blindness},
        {"--tolerance", "measures of losses, not --blindness, which is exact", !m->blindness},
        {"--batch-tokens", "measures of losses, not --blindness, which reads segment by segment", !m->blindness},
        {"--format", "the table of a measure", asked > 0},
        {"--picture", "a measure; mep plot draws perplexities", asked > 0},
    };
    if (asked > 1) return mep_cli_usage("eval", "one measure at a time; leave out all but one of them");
    if (m->task != NULL && !is_passkey(m) && !mep_cli_is_task(m->task))
        return mep_cli_usage("eval", "--task %s: unknown task; it is one of passkey, mqar, induction", m->task);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!rows[i].applies && mep_args_given(options, rows[i].option))
            return mep_cli_usage("eval", "%s is for %s", rows[i].option, rows[i].use);
    for (int64_t i = 0; i < m->gaps.count; i++)
        for (int64_t j = 0; j < i; j++)
            if (m->gaps.values[i] == m->gaps.values[j])
                return mep_cli_usage("eval", "--copy-gain: %lld is given twice", (long long)m->gaps.values[i]);
    if (m->picture != NULL && !is_png(m->picture))
        return mep_cli_usage("eval", "--picture %s: the name of a picture must end in .png", m->picture);
    return MEP_ARGS_GO;
}

/* ---- Opening ---- */

static mep_status read_depths(measures_job *job)
{
    const char *at = job->options->depths;
    for (;; at++) {
        char *end = NULL;
        double depth = mep_number_parse(at, &end);
        if (end == at || (*end != ',' && *end != '\0') || !(depth >= 0 && depth <= 1))
            return mep_fail(MEP_ERROR_ARGUMENT, "--depths %s: a depth must be a number from 0 to 1",
                            job->options->depths);
        if (job->depth_count == MEP_ARGS_LIST)
            return mep_fail(MEP_ERROR_ARGUMENT, "--depths: more than %d depths", MEP_ARGS_LIST);
        job->depths[job->depth_count++] = depth;
        at = end;
        if (*at == '\0') return MEP_OK;
    }
}

static mep_status open_data(measures_job *job)
{
    const mep_eval_measures *m = job->options;
    MEP_TRY(mep_data_mix_open(&job->data, m->data_path, m->split, (mep_split)m->part));
    if (mep_data_mix_count(job->data) > 1)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s: is a data mix; a measure reads one corpus, so name one of them",
                        m->data_path);
    MEP_TRY(mep_data_mix_verify(job->data));
    return mep_cli_check_tokenizers(m->model_path, m->data_path, mep_data_mix_dataset(job->data, 0));
}

/* 1, 2, 4, 8 and 16 times the training length, as far as the data and the encoding reach. */
static mep_status choose_lengths(measures_job *job)
{
    mep_lengths *lengths = &job->options->lengths;
    const mep_model_config *config = mep_model_get_config(job->model);
    int64_t tokens = job->data != NULL ? mep_data_mix_tokens(job->data) - 1 : INT64_MAX;
    mep_position_kind kind = mep_position_get_kind(mep_model_get_position(job->model));
    int64_t most = kind == MEP_POSITION_LEARNED ? 1 : 16;
    for (int64_t i = 0; i < lengths->count; i++)
        for (int64_t j = 0; j < i; j++)
            if (lengths->values[i] == lengths->values[j])
                return mep_fail(MEP_ERROR_ARGUMENT, "--lengths: %lld is given twice", (long long)lengths->values[i]);
    if (lengths->count > 0) return MEP_OK;
    for (int64_t factor = 1; factor <= most; factor *= 2) {
        int64_t length = factor * config->max_position_embeddings;
        if (lengths->count == 0 || length <= tokens) lengths->values[lengths->count++] = length;
    }
    return MEP_OK;
}

static mep_status open_files(measures_job *job)
{
    mep_eval_measures *m = job->options;
    if (is_passkey(m)) MEP_TRY(read_depths(job));
    MEP_TRY(mep_model_load_as(&job->model, m->model_path, m->position, 0));
    if (!m->quiet) mep_cli_note_untrained("eval", m->model_path, job->model);
    if (needs_data(m)) MEP_TRY(open_data(job));
    return choose_lengths(job);
}

/* ---- Computing ---- */

static int show_progress(void *context, int64_t done, int64_t total, double loss)
{
    measures_job *job = context;
    (void)loss;
    mep_interrupt_exit_at_once(0);
    job->progress.total = total;
    mep_progress_update(&job->progress, done, "%s", "");
    return mep_interrupt_flag;
}

/* Number `index` of the parts at a length: a depth of the passkey. */
static mep_status compute(measures_job *job, int64_t length, int64_t index)
{
    mep_eval_measures *m = job->options;
    const mep_measure_call call = {.group = mep_cli_group(),
                                   .model = job->model,
                                   .data = mep_data_mix_dataset(job->data, 0),
                                   .settings = &m->settings,
                                   .progress = show_progress,
                                   .context = job};
    m->settings.length = length;
    if (m->by_position) return mep_measure_by_position(&call, &job->measure);
    if (m->blindness) return mep_measure_blindness(&call, &job->measure);
    if (m->context_gain) return mep_measure_context_gain(&call, &job->measure);
    if (m->gaps.count > 0) return mep_measure_copy_gain(&call, m->gaps.values[index], &job->measure);
    if (is_passkey(m)) return mep_measure_passkey(&call, job->depths[index], &job->measure);
    return mep_measure_synthetic(&call, m->task, &job->measure);
}

static void write_label(measures_job *job, int64_t length, int64_t index)
{
    char text[24];
    if (job->options->gaps.count > 0) {
        mep_length_text(job->options->gaps.values[index], text);
        snprintf(job->label, sizeof job->label, "gap %s", text);
        return;
    }
    mep_length_text(length, text);
    if (is_passkey(job->options))
        snprintf(job->label, sizeof job->label, "length %s, depth %g", text, job->depths[index]);
    else
        snprintf(job->label, sizeof job->label, "length %s", text);
}

/* Model and data are the same in all processes: another machine may have old copies. */
static mep_status check_same_files(const measures_job *job)
{
    mep_checksum weights;
    mep_checksum_begin(&weights);
    for (int64_t i = 0; i < mep_model_parameter_count(job->model); i++) {
        mep_parameter p;
        MEP_TRY(mep_model_get_parameter(job->model, i, &p));
        mep_checksum_add(&weights, p.values, p.size * (int64_t)sizeof *p.values);
    }
    uint64_t model = mep_checksum_end(&weights);
    MEP_TRY(mep_dist_check_same(mep_cli_group(), &model, sizeof model, job->options->model_path));
    if (job->data == NULL) return MEP_OK;
    uint64_t data = mep_dataset_checksum(mep_data_mix_dataset(job->data, 0));
    return mep_dist_check_same(mep_cli_group(), &data, sizeof data, job->options->data_path);
}

static mep_status measure(measures_job *job)
{
    mep_eval_measures *m = job->options;
    MEP_TRY(mep_dist_agree(mep_cli_group(), open_files(job)));
    if (mep_cli_processes() > 1) MEP_TRY(check_same_files(job));
    int64_t lengths = m->gaps.count > 0 ? 1 : m->lengths.count;
    int64_t parts = m->gaps.count > 0 ? m->gaps.count : is_passkey(m) ? job->depth_count : 1;
    for (int64_t i = 0; i < lengths * parts; i++) {
        int64_t length = m->gaps.count > 0 ? 1 : m->lengths.values[i / parts];
        write_label(job, length, i % parts);
        if (!m->quiet) mep_progress_start(&job->progress, job->label, 0, 0);
        mep_status status = compute(job, length, i % parts);
        mep_progress_finish(&job->progress);
        if (status != MEP_OK) return status;
    }
    return MEP_OK;
}

static mep_status print(const measures_job *job)
{
    const mep_eval_measures *m = job->options;
    const mep_measure_report report = {
        .measure = &job->measure,
        .model = m->model_path,
        .data = m->data_path,
        .training_length = mep_model_get_config(job->model)->max_position_embeddings,
        .within = m->within,
    };
    if (m->json)
        MEP_TRY(mep_measure_report_json(&report, stdout));
    else
        MEP_TRY(mep_measure_report_table(&report, (mep_table_format)m->format, stdout));
    return m->picture != NULL && mep_cli_is_first() ? mep_measure_draw(&report, m->picture) : MEP_OK;
}

int mep_eval_measures_run(mep_eval_measures *m)
{
    measures_job job = {.options = m};
    if (needs_data(m) && m->data_path == NULL) return mep_cli_usage("eval", "--data PREFIX is missing");
    if (!mep_cli_is_first()) m->quiet = 1;
    mep_interrupt_install();
    mep_interrupt_exit_at_once(mep_cli_processes() == 1); /* until the first report */
    mep_set_threads((int)m->threads);
    mep_status status = measure(&job);
    int code = status == MEP_OK ? MEP_EXIT_OK : status == MEP_INTERRUPTED ? MEP_EXIT_INTERRUPTED : MEP_EXIT_FAILED;
    if (code != MEP_EXIT_OK) mep_cli_fail("eval");
    if (job.measure.count > 0 && print(&job) != MEP_OK) code = mep_cli_fail("eval");
    mep_measure_free(&job.measure);
    mep_model_destroy(&job.model);
    mep_data_mix_close(&job.data);
    return code;
}
