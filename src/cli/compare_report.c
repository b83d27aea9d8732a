/* SPDX-License-Identifier: MIT */
/*
 * Tables and pictures of a study.
 */
#define _POSIX_C_SOURCE 200809L
#include "cli/compare_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/device_memory.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/compare_measures.h"
#include "cli/picture.h"
#include "cli/progress.h"
#include "cli/size_text.h"
#include "cli/text_table.h"
#include "io/files.h"
#include "mep/device.h"

enum { CURVE_POINTS = 513, CURVE_LENGTHS = 4, CURVE_FLOOR = -20, LARGEST_SHOWN = 10000 };

static const char *const FILES[] = {"results.csv",     "measures.csv", "differences.csv",
                                    "results.md",      "results.html", "perplexity.png",
                                    "differences.png", "kernels.png",  NULL};

/* The results of all corpora, and the means of one. */
typedef struct report_data {
    mep_eval_result *results;
    mep_study_cell *cells;
} report_data;

static void data_free(report_data *data)
{
    mep_free(&data->results);
    mep_free(&data->cells);
}

static mep_status data_read(const mep_report *report, report_data *data)
{
    const mep_study_settings *s = report->settings;
    int64_t cells = 0, results = 0;
    MEP_TRY(mep_multiply(s->encoding_count, s->length_count, 1, &cells));
    MEP_TRY(mep_multiply(cells, s->corpus_count, s->seed_count, &results));
    MEP_TRY(MEP_ALLOC(&data->cells, cells));
    MEP_TRY(MEP_ALLOC(&data->results, results));
    return mep_study_results(report->folder, s, data->results);
}

/* Call `action` for each corpus, with its means in data->cells. */
static mep_status for_each_corpus(const mep_report *report,
                                  mep_status (*action)(const mep_report *, const report_data *, int64_t corpus))
{
    report_data data = {0};
    mep_status status = data_read(report, &data);
    for (int64_t corpus = 0; corpus < report->settings->corpus_count && status == MEP_OK; corpus++) {
        mep_study_summarize(report->settings, data.results, corpus, data.cells);
        status = action(report, &data, corpus);
    }
    data_free(&data);
    return status;
}

static const mep_study_cell *cell_at(const mep_report *report, const report_data *data, int64_t encoding,
                                     int64_t length)
{
    return &data->cells[encoding * report->settings->length_count + length];
}

static int has_results(const mep_report *report, const report_data *data)
{
    int64_t seeds = 0;
    for (int64_t i = 0; i < report->settings->encoding_count * report->settings->length_count; i++)
        seeds += data->cells[i].seeds;
    return seeds > 0;
}

static int has_all_results(const mep_report *report, const report_data *data)
{
    const mep_study_settings *s = report->settings;
    for (int64_t i = 0; i < s->encoding_count * s->length_count; i++)
        if (data->cells[i].seeds < s->seed_count) return 0;
    return 1;
}

/* The number of results of an encoding. */
static int64_t count_results(const mep_report *report, const report_data *data, int64_t encoding)
{
    int64_t count = 0;
    for (int64_t l = 0; l < report->settings->length_count; l++) count += cell_at(report, data, encoding, l)->seeds;
    return count;
}

static int is_shown(const mep_report *report, const report_data *data, int64_t encoding)
{
    if (count_results(report, data, encoding) > 0) return 1;
    for (int64_t i = 0; i < report->asked->encoding_count && !report->so_far; i++)
        if (strcmp(report->asked->encodings[i], report->settings->encodings[encoding]) == 0) return 1;
    return 0;
}

/* The line type of an encoding, the same in all pictures of the study. */
static int style_of(int64_t encoding)
{
    return (int)(encoding % MEP_PICTURE_STYLES) + 1;
}

/* The name of a corpus, or of the data of a run, without folders. */
static const char *title_of(const char *spec, char title[MEP_DATA_SIZE])
{
    return mep_data_mix_title(spec, title) == MEP_OK ? title : spec;
}

/* FOLDER/NAME of a corpus. The caller frees it. */
static mep_status file_name(const mep_report *report, int64_t corpus, const char *name, char **path)
{
    char folder[MEP_PATH_SIZE];
    MEP_TRY(mep_study_corpus_folder(report->folder, report->settings, corpus, folder));
    return mep_path_join(path, folder, name);
}

/* ---- Tables ---- */

static mep_status add_mean(mep_table *table, const mep_study_cell *cell)
{
    if (cell->seeds == 0) return mep_table_cell(table, "%s", "");
    const char *number = cell->mean < LARGEST_SHOWN ? "%.2f" : "%.3g";
    char mean[32], deviation[32];
    snprintf(mean, sizeof mean, number, cell->mean);
    snprintf(deviation, sizeof deviation, cell->deviation < LARGEST_SHOWN ? "%.2f" : "%.3g", cell->deviation);
    if (cell->seeds > 1)
        MEP_TRY(mep_table_cell(table, "%s ± %s", mean, deviation));
    else
        MEP_TRY(mep_table_cell(table, "%s", mean));
    if (cell->best) mep_table_bold(table);
    return MEP_OK;
}

/* One row per encoding, one column per length. */
static mep_status fill_means(const mep_report *report, const report_data *data, mep_table *table)
{
    const mep_study_settings *s = report->settings;
    MEP_TRY(mep_table_cell(table, "trained at %lld, tested at", (long long)s->train.length));
    for (int64_t l = 0; l < s->length_count; l++) MEP_TRY(mep_table_cell(table, "%lld", (long long)s->lengths[l]));
    for (int64_t e = 0; e < s->encoding_count; e++) {
        if (!is_shown(report, data, e)) continue;
        MEP_TRY(mep_table_cell(table, "%s", s->encodings[e]));
        for (int64_t l = 0; l < s->length_count; l++) MEP_TRY(add_mean(table, cell_at(report, data, e, l)));
    }
    return MEP_OK;
}

static mep_status print_means(const mep_report *report, const report_data *data, FILE *file)
{
    mep_table *table = NULL;
    MEP_TRY(mep_table_create(&table, report->settings->length_count + 1));
    mep_status status = fill_means(report, data, table);
    if (status == MEP_OK) mep_table_print(table, MEP_TABLE_TEXT, file);
    mep_table_destroy(&table);
    return status;
}

/* One row per run and length. */
static mep_status fill_results(const mep_report *report, const report_data *data, int64_t corpus, mep_table *table)
{
    const mep_study_settings *s = report->settings;
    static const char *const heading[] = {"encoding", "seed", "length", "perplexity", "stderr", "tokens"};
    for (int i = 0; i < 6; i++) MEP_TRY(mep_table_cell(table, "%s", heading[i]));
    for (int64_t e = 0; e < s->encoding_count; e++)
        for (int64_t n = 0; n < s->seed_count; n++)
            for (int64_t l = 0; l < s->length_count; l++) {
                const mep_eval_result *r = &data->results[mep_study_index(s, corpus, e, n, l)];
                if (r->segments == 0) continue;
                MEP_TRY(mep_table_cell(table, "%s", s->encodings[e]));
                MEP_TRY(mep_table_cell(table, "%llu", (unsigned long long)s->seeds[n]));
                MEP_TRY(mep_table_cell(table, "%lld", (long long)r->length));
                MEP_TRY(mep_table_cell(table, "%.8g", r->perplexity));
                MEP_TRY(mep_table_cell(table, "%.4g", fabs(r->standard_error))); /* no sign on a NaN */
                MEP_TRY(mep_table_cell(table, "%lld", (long long)r->tokens));
            }
    return MEP_OK;
}

static mep_status print_results(const mep_report *report, const report_data *data, int64_t corpus, FILE *file)
{
    mep_table *table = NULL;
    MEP_TRY(mep_table_create(&table, 6));
    mep_status status = fill_results(report, data, corpus, table);
    if (status == MEP_OK) mep_table_print(table, MEP_TABLE_CSV, file);
    mep_table_destroy(&table);
    return status;
}

/* ---- The page ---- */

/* Facts about the data for a page. */
typedef struct data_facts {
    int64_t train_tokens, valid_tokens;
    int is_bytes;
    char train[MEP_DATA_SIZE], valid[MEP_DATA_SIZE]; /* names */
} data_facts;

static mep_status describe_data(const mep_report *report, int64_t corpus, data_facts *facts)
{
    mep_train_settings run;
    mep_data_mix *data = NULL;
    MEP_TRY(mep_study_run_settings(report->settings, corpus, 0, 0, &run));
    MEP_TRY(mep_data_mix_title(run.data, facts->train));
    MEP_TRY(mep_data_mix_title(run.valid[0] != '\0' ? run.valid : run.data, facts->valid));
    MEP_TRY(mep_train_open_data(&data, &run));
    facts->train_tokens = mep_data_mix_tokens(data);
    facts->is_bytes = strcmp(mep_dataset_tokenizer(mep_data_mix_dataset(data, 0)), "bytes") == 0;
    mep_data_mix_close(&data);
    MEP_TRY(mep_train_open_valid(&data, &run));
    facts->valid_tokens = mep_data_mix_tokens(data);
    mep_data_mix_close(&data);
    return MEP_OK;
}

/* " (the training part of the split 949,50,1)" */
static void write_part(const mep_study_settings *s, const char *part, mep_page *page)
{
    if (s->train.split[0] != '\0') mep_page_text(page, " (the %s part of the split %s)", part, s->train.split);
}

static void write_seeds(const mep_study_settings *s, mep_page *page)
{
    mep_page_text(page, "%s", s->seed_count > 1 ? "seeds" : "seed");
    for (int64_t i = 0; i < s->seed_count; i++)
        mep_page_text(page, "%s %llu", i == 0 ? "" : ",", (unsigned long long)s->seeds[i]);
}

/* The number of parameters of the model without its position encoding, in a few digits. */
static mep_status count_parameters(const mep_study_settings *s, char text[32])
{
    mep_model_config config = s->train.model;
    int64_t values = 0;
    snprintf(config.position_encoding, sizeof config.position_encoding, "nope");
    MEP_TRY(mep_model_config_values(&config, &values));
    mep_short_number((double)values, text);
    return MEP_OK;
}

static mep_status write_training(const mep_report *report, const data_facts *facts, mep_page *page)
{
    const mep_study_settings *s = report->settings;
    const mep_train_settings *t = &s->train;
    char parameters[32], trained[32];
    MEP_TRY(count_parameters(s, parameters));
    mep_short_number((double)t->steps * (double)t->batch_size * (double)t->length, trained);
    mep_page_text(page,
                  "The models differ only in their position encoding: %lld %slayers, hidden size %lld, %lld heads, %s "
                  "parameters and those of the encoding. ",
                  (long long)t->model.num_hidden_layers, t->model.block == MEP_BLOCK_LLAMA ? "Llama " : "",
                  (long long)t->model.hidden_size, (long long)t->model.num_attention_heads, parameters);
    mep_page_text(page, "Each was trained for %lld steps of %lld x %lld tokens%s, %s in all, of the %lld in ",
                  (long long)t->steps, (long long)t->batch_size, (long long)t->length,
                  facts->is_bytes ? " (bytes)" : "", trained, (long long)facts->train_tokens);
    mep_page_name(page, facts->train);
    write_part(s, "training", page);
    mep_page_text(page, ", from the same initial weights, on the same data in the same order: ");
    write_seeds(s, page);
    mep_page_text(page, ", AdamW, learning rate %g, computed in %s. ", t->learning_rate, mep_dtype_name(t->dtype));
    return MEP_OK;
}

static void write_evaluation(const mep_report *report, const report_data *data, int64_t corpus, const data_facts *facts,
                             mep_page *page)
{
    const mep_study_settings *s = report->settings;
    int64_t most = 0;
    for (int64_t i = 0; i < s->encoding_count * s->seed_count * s->length_count; i++) {
        const mep_eval_result *r = &data->results[mep_study_index(s, corpus, 0, 0, 0) + i];
        if (r->tokens > most) most = r->tokens;
    }
    mep_page_text(page, "Perplexity is exp(mean loss per token) over %lld of the %lld tokens in ", (long long)most,
                  (long long)facts->valid_tokens);
    mep_page_name(page, facts->valid);
    write_part(s, "validation", page);
    mep_page_text(page, ", in segments of each length that do not overlap, all positions count, computed in %s. ",
                  mep_dtype_name(s->eval.dtype));
    if (s->measure_count > 0)
        mep_page_text(page, "The measures use the same tokens, %lld samples and the seed %llu. ",
                      (long long)s->measure.samples, (unsigned long long)s->measure.seed);
}

static mep_status write_method(const mep_report *report, const report_data *data, int64_t corpus, mep_page *page)
{
    const mep_train_settings *t = &report->settings->train;
    data_facts facts = {0};
    MEP_TRY(describe_data(report, corpus, &facts));
    mep_page_heading(page, 2, "Method");
    mep_page_paragraph(page);
    MEP_TRY(write_training(report, &facts, page));
    write_evaluation(report, data, corpus, &facts, page);
    mep_page_text(page, "mep %s, ", mep_version());
    if (!mep_device_is_host(t->device)) mep_page_text(page, "device %s, ", mep_device_name(t->device));
    mep_page_text(page, "CPU level %s, %d threads:", mep_cpu_level_name(), mep_set_threads(0));
    mep_page_close_paragraph(page);
    mep_page_code(page, report->command);
    return MEP_OK;
}

static mep_status write_means(const mep_report *report, const report_data *data, mep_page *page)
{
    mep_table *table = NULL;
    MEP_TRY(mep_table_create(&table, report->settings->length_count + 1));
    mep_status status = fill_means(report, data, table);
    if (status == MEP_OK) mep_page_table(page, table);
    mep_table_destroy(&table);
    return status;
}

static mep_status write_sections(const mep_report *report, const report_data *data, int64_t corpus, mep_page *page)
{
    const mep_study_settings *s = report->settings;
    if (s->measure_count > 0) mep_page_heading(page, 2, "Perplexity");
    MEP_TRY(write_means(report, data, page));
    mep_page_paragraph(page);
    if (s->seed_count > 1)
        mep_page_text(page, "Mean and standard deviation over %s%lld seeds; the best of each length is bold.%s",
                      has_all_results(report, data) ? "" : "up to ", (long long)s->seed_count,
                      s->measure_count > 0 ? " So are the tables of the measures below." : "");
    else
        mep_page_text(page, "One seed; the best of each length is bold.");
    mep_page_close_paragraph(page);
    MEP_TRY(mep_page_picture(page, "perplexity", "Perplexity against the length of the test text"));
    MEP_TRY(mep_compare_write_sections(report, corpus, page));
    if (page->is_html) MEP_TRY(mep_page_picture(page, "kernels", "Distance biases after training, of the middle head"));
    return write_method(report, data, corpus, page);
}

static mep_status write_page(const mep_report *report, const report_data *data, int64_t corpus, int is_html, FILE *file)
{
    char folder[MEP_PATH_SIZE], name[MEP_DATA_SIZE], *title = NULL;
    const mep_study_settings *s = report->settings;
    mep_page page = {.file = file, .is_html = is_html, .folder = folder};
    MEP_TRY(mep_study_corpus_folder(report->folder, s, corpus, folder));
    MEP_TRY(mep_format(&title, "%s on %s", s->measure_count > 0 ? "Position encodings" : "Perplexity",
                       title_of(s->corpora[corpus], name)));
    mep_page_begin(&page, title);
    mep_page_heading(&page, 1, "%s", title);
    mep_status status = write_sections(report, data, corpus, &page);
    mep_page_end(&page);
    mep_free(&title);
    return status;
}

/* ---- Files ---- */

static mep_status write_text(const mep_report *report, const report_data *data, int64_t corpus, const char *name,
                             FILE *file)
{
    if (strcmp(name, "results.csv") == 0) return print_results(report, data, corpus, file);
    if (strcmp(name, "measures.csv") == 0) return mep_compare_write_measures(report, corpus, file);
    if (strcmp(name, "differences.csv") == 0) return mep_compare_write_differences(report, corpus, file);
    return write_page(report, data, corpus, strcmp(name, "results.html") == 0, file);
}

/* Write one of the files of text, atomically. */
static mep_status write_file(const mep_report *report, const report_data *data, int64_t corpus, const char *name)
{
    char *path = NULL, *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    if (file == NULL) return mep_fail_errno("make", name);
    mep_status status = write_text(report, data, corpus, name, file);
    if (fclose(file) != 0 && status == MEP_OK) status = mep_fail_errno("make", name);
    if (status == MEP_OK) status = file_name(report, corpus, name, &path);
    if (status == MEP_OK) status = mep_file_write_atomic(path, text, (int64_t)size);
    mep_free(&path);
    free(text);
    return status;
}

static mep_status write_tables(const mep_report *report, const report_data *data, int64_t corpus)
{
    if (!has_results(report, data)) return MEP_OK;
    MEP_TRY(write_file(report, data, corpus, "results.csv"));
    if (report->settings->measure_count > 0) MEP_TRY(write_file(report, data, corpus, "measures.csv"));
    if (report->baseline >= 0) MEP_TRY(write_file(report, data, corpus, "differences.csv"));
    return write_file(report, data, corpus, "results.md");
}

static mep_status write_html(const mep_report *report, const report_data *data, int64_t corpus)
{
    return has_results(report, data) ? write_file(report, data, corpus, "results.html") : MEP_OK;
}

mep_status mep_report_write_html(const mep_report *report)
{
    return for_each_corpus(report, write_html);
}

mep_status mep_report_write(const mep_report *report)
{
    return for_each_corpus(report, write_tables);
}

static mep_status print_table(const mep_report *report, const report_data *data, int64_t corpus)
{
    char title[MEP_DATA_SIZE];
    if (report->settings->corpus_count > 1)
        mep_cli_print(stdout, "%s%s\n\n", corpus == 0 ? "" : "\n", title_of(report->settings->corpora[corpus], title));
    MEP_TRY(print_means(report, data, stdout));
    int is_complete = !report->so_far && has_results(report, data);
    return is_complete ? mep_compare_print_measures(report, corpus) : MEP_OK;
}

mep_status mep_report_print(const mep_report *report)
{
    return for_each_corpus(report, print_table);
}

static mep_status print_file(const mep_report *report, int64_t corpus, const char *name)
{
    char *path = NULL;
    MEP_TRY(file_name(report, corpus, name, &path));
    if (mep_file_exists(path)) mep_cli_print(stdout, "%s\n", path);
    mep_free(&path);
    return MEP_OK;
}

mep_status mep_report_print_files(const mep_report *report)
{
    for (int64_t corpus = 0; corpus < report->settings->corpus_count; corpus++) {
        for (int i = 0; FILES[i] != NULL; i++) {
            int is_old = report->baseline < 0 && strncmp(FILES[i], "differences", 11) == 0; /* of an earlier call */
            if (!is_old) MEP_TRY(print_file(report, corpus, FILES[i]));
        }
        for (int64_t i = 0; i < report->settings->measure_count; i++) {
            char name[160], file[168];
            mep_compare_picture_name(report->settings->measures[i], name);
            snprintf(file, sizeof file, "%s.png", name);
            MEP_TRY(print_file(report, corpus, file));
        }
    }
    return MEP_OK;
}

/* ---- Pictures ---- */

/* The curve of an encoding: its mean at each length. */
static mep_status add_encoding(const mep_report *report, const report_data *data, int64_t encoding,
                               mep_picture *picture)
{
    const mep_study_settings *s = report->settings;
    mep_picture_curve curve = {.label = s->encodings[encoding], .style = style_of(encoding)};
    if (!is_shown(report, data, encoding)) return MEP_OK;
    MEP_TRY(mep_picture_add_curve(picture, &curve));
    for (int64_t l = 0; l < s->length_count; l++) {
        const mep_study_cell *cell = cell_at(report, data, encoding, l);
        double row[] = {(double)s->lengths[l], cell->mean, isfinite(cell->deviation) ? cell->deviation : 0};
        if (cell->seeds > 0) mep_picture_add_row(picture, row, 3);
    }
    return MEP_OK;
}

/* The unit of lengths and distances. */
static mep_status find_unit(const mep_report *report, int64_t corpus, const char **unit)
{
    data_facts facts = {0};
    MEP_TRY(describe_data(report, corpus, &facts));
    *unit = facts.is_bytes ? "bytes" : "tokens";
    return MEP_OK;
}

/* Begin a picture of a corpus, with what both kinds show. The caller owns *picture. */
static mep_status begin_picture(const mep_report *report, int64_t corpus, const char *name, mep_picture_kind kind,
                                mep_picture **picture)
{
    char *path = NULL;
    const char *unit = NULL;
    MEP_TRY(find_unit(report, corpus, &unit));
    MEP_TRY(file_name(report, corpus, name, &path));
    mep_status status = mep_picture_begin(picture, path, kind);
    mep_free(&path);
    MEP_TRY(status);
    mep_picture_set_text(*picture, "unit", unit);
    mep_picture_set_number(*picture, "train_length", (double)report->settings->train.length);
    return MEP_OK;
}

/* The lowest mean of a corpus; INFINITY where there is none. */
static double lowest_mean(const mep_report *report, const report_data *data)
{
    double lowest = INFINITY;
    for (int64_t i = 0; i < report->settings->encoding_count * report->settings->length_count; i++)
        if (data->cells[i].seeds > 0) lowest = fmin(lowest, data->cells[i].mean);
    return lowest;
}

static mep_status set_perplexity_heading(const mep_report *report, int64_t corpus, mep_picture *picture)
{
    const mep_study_settings *s = report->settings;
    char *heading = NULL, length[24], title[MEP_DATA_SIZE];
    const char *unit = NULL;
    mep_length_text(s->train.length, length);
    MEP_TRY(find_unit(report, corpus, &unit));
    MEP_TRY(mep_format(&heading, "Trained at %s %s, tested on longer text: %s", length, unit,
                       title_of(s->corpora[corpus], title)));
    mep_picture_set_text(picture, "heading", heading);
    mep_free(&heading);
    return MEP_OK;
}

/* Very large perplexities are not drawn, unless all are very large. */
static mep_status draw_perplexity(const mep_report *report, const report_data *data, int64_t corpus)
{
    double lowest = lowest_mean(report, data);
    if (!isfinite(lowest)) return MEP_OK;
    mep_picture *picture = NULL;
    MEP_TRY(begin_picture(report, corpus, "perplexity.png", MEP_PICTURE_PERPLEXITY, &picture));
    mep_picture_set_limit(picture, lowest <= LARGEST_SHOWN ? LARGEST_SHOWN : 0);
    mep_status status = set_perplexity_heading(report, corpus, picture);
    for (int64_t e = 0; e < report->settings->encoding_count && status == MEP_OK; e++)
        status = add_encoding(report, data, e, picture);
    if (status == MEP_OK) status = mep_picture_draw_both(picture);
    mep_picture_destroy(&picture);
    return status;
}

/* The first seed with a result of an encoding; -1 if there is none. */
static int64_t find_seed(const mep_report *report, const report_data *data, int64_t corpus, int64_t encoding)
{
    const mep_study_settings *s = report->settings;
    for (int64_t seed = 0; seed < s->seed_count; seed++)
        for (int64_t l = 0; l < s->length_count; l++)
            if (data->results[mep_study_index(s, corpus, encoding, seed, l)].segments > 0) return seed;
    return -1;
}

/* The curve of one head's bias, numbered from 0. */
static mep_status add_bias(const mep_bias *bias, int64_t head, int64_t last, const mep_picture_curve *curve,
                           mep_picture *picture)
{
    int64_t distances[CURVE_POINTS];
    double *values = NULL;
    for (int64_t i = 0; i < CURVE_POINTS; i++) distances[i] = i * last / (CURVE_POINTS - 1);
    MEP_TRY(MEP_ALLOC(&values, mep_bias_heads(bias) * CURVE_POINTS));
    mep_status status = mep_bias_at(bias, distances, CURVE_POINTS, values);
    if (status == MEP_OK) status = mep_picture_add_curve(picture, curve);
    for (int64_t i = 0; i < CURVE_POINTS && status == MEP_OK; i++) {
        double row[] = {(double)distances[i], values[head * CURVE_POINTS + i]};
        mep_picture_add_row(picture, row, 2);
    }
    mep_free(&values);
    return status;
}

/* The bias of the middle head of a trained model; no curve where the model has no bias, or only its results are here.
 */
static mep_status add_curve(const mep_report *report, const report_data *data, int64_t corpus, int64_t encoding,
                            mep_picture *picture, int *count)
{
    const mep_study_settings *s = report->settings;
    char run[MEP_PATH_SIZE];
    mep_model *model = NULL;
    int64_t seed = find_seed(report, data, corpus, encoding), steps = 0;
    if (seed < 0) return MEP_OK;
    MEP_TRY(mep_study_run_folder(report->folder, s, corpus, encoding, seed, run));
    MEP_TRY(mep_train_steps_done(run, &steps));
    if (steps == 0) return MEP_OK;
    MEP_TRY(mep_model_load(&model, run));
    const mep_bias *bias = mep_model_get_bias(model);
    mep_picture_curve curve = {.label = s->encodings[encoding], .style = style_of(encoding)};
    mep_status status = MEP_OK;
    if (bias != NULL) {
        status = add_bias(bias, (mep_bias_heads(bias) - 1) / 2, CURVE_LENGTHS * s->train.length, &curve, picture);
        ++*count;
    }
    mep_model_destroy(&model);
    return status;
}

static mep_status draw_kernels(const mep_report *report, const report_data *data, int64_t corpus)
{
    const mep_study_settings *s = report->settings;
    mep_picture *picture = NULL;
    char *heading = NULL;
    int count = 0;
    long long heads = s->train.model.num_attention_heads;
    MEP_TRY(begin_picture(report, corpus, "kernels.png", MEP_PICTURE_KERNELS, &picture));
    mep_picture_set_number(picture, "lowest", CURVE_FLOOR);
    mep_status status =
        mep_format(&heading, "Distance biases after training, head %lld of %lld", (heads + 1) / 2, heads);
    if (status == MEP_OK) mep_picture_set_text(picture, "heading", heading);
    for (int64_t e = 0; e < s->encoding_count && status == MEP_OK; e++)
        status = add_curve(report, data, corpus, e, picture, &count);
    if (status == MEP_OK && count > 0) status = mep_picture_draw_both(picture);
    mep_free(&heading);
    mep_picture_destroy(&picture);
    return status;
}

static mep_status draw_measure(const mep_report *report, int64_t corpus, const char *measure)
{
    char name[160], *file = NULL;
    mep_picture *picture = NULL;
    int drawn = 0;
    mep_compare_picture_name(measure, name);
    MEP_TRY(mep_format(&file, "%s.png", name));
    mep_status status = begin_picture(report, corpus, file, MEP_PICTURE_MEASURE, &picture);
    mep_free(&file);
    MEP_TRY(status);
    status = mep_compare_fill_picture(report, corpus, measure, picture, &drawn);
    if (status == MEP_OK && drawn) status = mep_picture_draw_both(picture);
    mep_picture_destroy(&picture);
    return status;
}

static mep_status draw_differences(const mep_report *report, int64_t corpus)
{
    mep_picture *picture = NULL;
    int drawn = 0;
    MEP_TRY(begin_picture(report, corpus, "differences.png", MEP_PICTURE_MEASURE, &picture));
    mep_status status = mep_compare_fill_differences(report, corpus, picture, &drawn);
    if (status == MEP_OK && drawn) status = mep_picture_draw_both(picture);
    mep_picture_destroy(&picture);
    return status;
}

static mep_status draw_corpus(const mep_report *report, const report_data *data, int64_t corpus)
{
    MEP_TRY(draw_perplexity(report, data, corpus));
    if (report->baseline >= 0) MEP_TRY(draw_differences(report, corpus));
    MEP_TRY(draw_kernels(report, data, corpus));
    for (int64_t i = 0; i < report->settings->measure_count; i++)
        MEP_TRY(draw_measure(report, corpus, report->settings->measures[i]));
    return MEP_OK;
}

mep_status mep_report_draw(const mep_report *report)
{
    return for_each_corpus(report, draw_corpus);
}
