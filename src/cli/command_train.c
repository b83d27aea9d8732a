/* SPDX-License-Identifier: MIT */
/*
 * mep train: start a training run or continue one. The library runs it and checks the settings (mep/train.h). This file
 * has the options, the lines before and after the run, and the progress line.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/assertion.h"
#include "base/clock.h"
#include "base/device_memory.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/event_log.h"
#include "cli/interrupt.h"
#include "cli/processes.h"
#include "cli/progress.h"
#include "cli/train_options.h"
#include "mep/train.h"

enum { OPTIONS_MAX = 56, NOTES_SIZE = 16384, VALIDATIONS = 10 };

typedef struct train_job {
    mep_train_options o;
    const char *data, *split, *valid, *out, *init, *position, *resume;
    int64_t seed;
    int quiet, fall_back, new_on_nan, new_device, tensorboard;

    mep_event_log events;
    mep_progress progress;
    mep_train_progress last; /* step 0 before the first one */
    double valid_loss;       /* the last one; NaN before it */
    double valid_seconds;    /* of the last validation */
    double all_valid;        /* seconds of all validations */
    char *moved;             /* the new name of the run's folder if it was moved; otherwise NULL */
    double pace;             /* seconds per token, a moving average */
} train_job;

/* ---- Options ---- */

static void list_options(train_job *job, mep_option options[OPTIONS_MAX])
{
    mep_train_settings *s = &job->o.settings;
    const mep_option rows[] = {
        MEP_OPT_GROUP("Files"),
        MEP_OPT_TEXT(
            "--data", 'd', "PREFIX", &job->data,
            "dataset to train on, written by mep prepare, Megatron-LM or GPT-NeoX; or a data mix, A=0.7,B=0.3"),
        MEP_OPT_TEXT(
            "--split", 0, "A,B,C", &job->split,
            "divide the documents in these proportions; train on the first part, validate on the second, or on "
            "--valid; the paper has 949,50,1"),
        MEP_OPT_TEXT("--valid", 0, "PREFIX", &job->valid, "dataset or data mix for the validation loss"),
        MEP_OPT_TEXT("--out", 'o', "RUN", &job->out, "folder of the run: settings, losses, checkpoints"),
        MEP_OPT_FLAG("--tensorboard", 0, &job->tensorboard,
                     "also write losses, learning rate and speed as event files of TensorBoard into the run's folder"),
        MEP_OPT_TEXT("--resume", 0, "RUN", &job->resume, "continue the run in this folder with its own settings"),
        MEP_OPT_FLAG("--fall-back", 0, &job->fall_back,
                     "with --resume: if the newest checkpoint is damaged, set it aside and continue from the newest "
                     "complete one"),
        MEP_OPT_TEXT("--init", 0, "FOLDER", &job->init,
                     "start with the weights of this model: a run, a checkpoint or a Hugging Face folder"),
        MEP_OPT_GROUP("Model"),
        MEP_OPT_TEXT("--preset", 0, "NAME", &job->o.preset, "sizes and recipe, see below; other options change it"),
        MEP_OPT_TEXT("--position", 'p', "SPEC", &job->position, "position encoding, see below"),
        MEP_TRAIN_SIZE_ROWS(&job->o),
        MEP_OPT_GROUP("Training"),
        MEP_TRAIN_RECIPE_ROWS(&job->o),
        MEP_OPT_INT("--gradient-parts", 0, "N", &s->gradient_parts, 0, 1 << 30,
                    "sum the gradient of a step in N parts: the bits are then the same in N processes, in N/2, N/4, .. "
                    "and in one; 0: one part per process"),
        MEP_OPT_INT("--seed", 's', "N", &job->seed, 0, INT64_MAX,
                    "seed of the initial weights and of the order of the data"),
        MEP_OPT_GROUP(MEP_TRAIN_OPTIMIZER_GROUP),
        MEP_TRAIN_OPTIMIZER_ROWS(&job->o),
        MEP_OPT_GROUP("Checkpoints and validation"),
        MEP_TRAIN_SAVE_ROWS(&job->o),
        MEP_OPT_INT("--valid-every", 0, "N", &s->valid_every, 1, INT64_MAX,
                    "steps between validations; there is always one after the last step"),
        MEP_OPT_LENGTH("--valid-tokens", 0, "L", &s->valid_tokens, 0, INT64_MAX,
                       "tokens of a validation, from the start of the data; 0: all"),
        MEP_OPT_GROUP("Running"),
        MEP_OPT_INT("--threads", 'j', "N", &job->o.threads, 0, 4096,
                    "threads; 0: one for each core that the process may use"),
        MEP_OPT_FLAG("--quiet", 'q', &job->quiet, "print only the last line"),
        MEP_OPT_END,
    };
    static_assert(sizeof rows <= OPTIONS_MAX * sizeof *rows, "OPTIONS_MAX is too small");
    memcpy(options, rows, sizeof rows);
    mep_args_default(options, "--position", s->model.position_encoding);
    mep_args_default(options, "--valid-every", "a tenth of the steps");
}

/* The end of the help page: presets, the paper's recipe, position encodings. */
static void write_notes(char notes[NOTES_SIZE])
{
    static const char *const presets[] = {"nano", "micro", "mini", "small", "medium"};
    size_t used =
        (size_t)snprintf(notes, NOTES_SIZE,
                         "Presets    layers  hidden  heads  length  batch   steps  learning rate  initializer range\n");
    for (int i = 0; i < 5; i++) {
        mep_train_settings s;
        if (mep_train_preset(presets[i], &s) != MEP_OK) continue;
        used += (size_t)snprintf(notes + used, NOTES_SIZE - used,
                                 "  %-8s %6lld  %6lld  %5lld  %6lld  %5lld  %6lld  %-13g  %g\n", presets[i],
                                 (long long)s.model.num_hidden_layers, (long long)s.model.hidden_size,
                                 (long long)s.model.num_attention_heads, (long long)s.length, (long long)s.batch_size,
                                 (long long)s.steps, s.learning_rate, s.model.initializer_range);
    }
    snprintf(
        notes + used, NOTES_SIZE - used,
        "small and medium are the recipe of the MEP paper (arXiv:2403.17698): Adam, 1 %% warm-up, cosine to 0,\n"
        "gradients clipped to 1, bfloat16, no weight decay, seeds 1235 to 1239. nano, micro and mini are shorter\n"
        "recipes for a CPU. nano-llama to medium-llama are the same sizes and recipes with Llama blocks.\n"
        "Other options change the preset, in any order. `mep train --preset nano --help` shows the defaults of a\n"
        "preset.\n\n"
        "  mep train --data text.train --valid text.valid --out runs/mep --preset nano\n"
        "  mep train --data text.train --out runs/t5 --preset micro --position t5 --steps 2K\n"
        "  mep train --data text.train --out runs/llama --preset nano-llama --num-key-value-heads 2\n"
        "  mep train --data books=0.7,code=0.3 --split 949,50,1 --out runs/both\n"
        "  mep train --resume runs/mep\n"
        "  mpirun -np 4 mep train --data text.train --out runs/mep4    4 processes divide the sequences of each step\n"
        "  mep train --resume runs/mep --fall-back --on-nan dump\n"
        "  mep train --resume runs/mep --device cpu    continue a run of a GPU on a CPU\n\n"
        "Ctrl-C saves a checkpoint and ends the run. --resume continues it with the bits of a run without a stop.\n\n"
        "Position encodings:\n%s",
        mep_position_help());
}

static mep_status copy_path(char *path, size_t size, const char *text, const char *option)
{
    if (strlen(text) >= size)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s: longer than %d characters", option, (int)size - 1);
    snprintf(path, size, "%s", text);
    return MEP_OK;
}

/* Complete the settings that depend on several options. */
static mep_status complete_settings(train_job *job, const mep_option *options)
{
    mep_train_settings *s = &job->o.settings;
    s->seed = (uint64_t)job->seed;
    if (job->valid != NULL) MEP_TRY(copy_path(s->valid, sizeof s->valid, job->valid, "--valid"));
    if (!mep_args_given(options, "--valid-every")) s->valid_every = (s->steps + VALIDATIONS - 1) / VALIDATIONS;
    MEP_TRY(mep_train_options_finish(&job->o, options, job->data, job->split));
    if (!mep_train_has_valid(s)) s->valid_every = 0;
    return mep_train_check(s);
}

/* With --init, take the sizes from the folder. Returns MEP_ARGS_GO, or the exit code after one line on stderr. */
static int read_init(train_job *job, const mep_option *options)
{
    mep_train_settings *s = &job->o.settings;
    if (job->init == NULL) return MEP_ARGS_GO;
    const mep_option sizes[] = {MEP_TRAIN_SIZE_ROWS(&job->o)};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (mep_args_given(options, sizes[i].name))
            return mep_cli_usage("train", "--init takes the sizes from the model in the folder; leave out %s",
                                 sizes[i].name);
    mep_status status = copy_path(s->init, sizeof s->init, job->init, "--init");
    if (status == MEP_OK) status = mep_model_read_config(job->init, &s->model);
    return status == MEP_OK ? MEP_ARGS_GO : mep_cli_fail("train");
}

/* Returns MEP_ARGS_GO, or the exit code after one line on stderr. */
static int check_new_run(train_job *job, const mep_option *options)
{
    mep_position *parsed = NULL;
    char *position = job->o.settings.model.position_encoding;
    int code = read_init(job, options);
    if (code != MEP_ARGS_GO) return code;
    if (job->data == NULL) return mep_cli_usage("train", "--data PREFIX is missing");
    if (job->fall_back) return mep_cli_usage("train", "--fall-back is for --resume RUN");
    if (job->out == NULL || job->out[0] == '\0') return mep_cli_usage("train", "--out RUN is missing");
    if (job->valid == NULL && job->split == NULL &&
        (mep_args_given(options, "--valid-every") || mep_args_given(options, "--valid-tokens")))
        return mep_cli_usage("train", "--valid PREFIX is missing");
    if (job->position != NULL) {
        if (mep_position_create(&parsed, job->position) != MEP_OK)
            return mep_cli_usage("train", "%s", mep_error_message());
        mep_position_destroy(&parsed);
        if (strlen(job->position) >= MEP_POSITION_SIZE)
            return mep_cli_usage("train", "--position: longer than %d characters", MEP_POSITION_SIZE - 1);
        snprintf(position, MEP_POSITION_SIZE, "%s", job->position);
    }
    mep_status status = complete_settings(job, options);
    if (status == MEP_ERROR_ARGUMENT) return mep_cli_usage("train", "%s", mep_error_message());
    if (status == MEP_OK && !mep_train_has_valid(&job->o.settings) &&
        (mep_args_given(options, "--valid-every") || mep_args_given(options, "--valid-tokens")))
        return mep_cli_usage("train", "--split %s leaves nothing to validate on", job->split);
    return status == MEP_OK ? MEP_ARGS_GO : mep_cli_fail("train");
}

static int check_resume(const mep_option *options)
{
    static const char *const allowed[] = {"--resume",  "--fall-back", "--on-nan",      "--device",
                                          "--threads", "--quiet",     "--tensorboard", NULL};
    for (; options->kind != MEP_OPTION_END; options++) {
        int fits = !options->given;
        for (int i = 0; allowed[i] != NULL; i++) fits |= strcmp(options->name, allowed[i]) == 0;
        if (!fits)
            return mep_cli_usage("train", "--resume continues a run with its own settings; leave out %s",
                                 options->name);
    }
    return MEP_ARGS_GO;
}

/* ---- The lines before the run ---- */

/* The encoding as the bias spells it, and the number of parameters that it learns. */
static mep_status print_position(const mep_model_config *m)
{
    mep_position *position = NULL;
    mep_bias *bias = NULL;
    MEP_TRY(mep_position_create(&position, m->position_encoding));
    mep_status status = MEP_OK;
    if (mep_position_get_kind(position) == MEP_POSITION_BIAS)
        status = mep_bias_create_from(&bias, position, m->num_attention_heads, 1);
    if (status == MEP_OK) mep_cli_print(stdout, "position  %s", mep_position_spec(position));
    if (mep_bias_param_values(bias) > 0) printf(", %lld learned parameters", (long long)mep_bias_param_values(bias));
    if (status == MEP_OK) printf("\n");
    mep_bias_destroy(&bias);
    mep_position_destroy(&position);
    return status;
}

static mep_status print_model(const mep_train_settings *s, int is_auto)
{
    const mep_model_config *m = &s->model;
    int64_t values = 0, bytes = 0;
    char parameters[32], memory[32], reason[MEP_CLI_DTYPE_REASON];
    mep_cli_dtype_reason(is_auto, s->device, s->dtype, reason);
    MEP_TRY(mep_model_config_values(m, &values));
    MEP_TRY(mep_train_memory(s, mep_cli_processes(), &bytes));
    mep_short_number((double)values, parameters);
    mep_short_number((double)bytes, memory);
    char groups[64] = "";
    if (m->num_key_value_heads != 0 && m->num_key_value_heads != m->num_attention_heads)
        snprintf(groups, sizeof groups, " (%lld of keys and values)", (long long)m->num_key_value_heads);
    printf("model     %lld %slayers, hidden %lld, %lld heads%s, vocabulary %lld: %s parameters\n",
           (long long)m->num_hidden_layers, m->block == MEP_BLOCK_LLAMA ? "Llama " : "", (long long)m->hidden_size,
           (long long)m->num_attention_heads, groups, (long long)m->vocab_size, parameters);
    MEP_TRY(print_position(m));
    int threads = mep_set_threads(0);
    printf("memory    about %sB, computing in %s on ", memory, mep_dtype_name(s->dtype));
    if (mep_device_is_host(s->device))
        printf("%d thread%s%s\n", threads, threads == 1 ? "" : "s", reason);
    else
        printf("%s\n", mep_device_name(s->device));
    return MEP_OK;
}

/* One line per corpus, with its weight in a mixture. */
static void print_corpora(const mep_train_settings *s, const mep_data_mix *data)
{
    char tokens[32], weight[48] = "", split[MEP_SPLIT_SIZE + 32] = "";
    if (s->split[0] != '\0') snprintf(split, sizeof split, ", the training part of %s", s->split);
    for (int64_t i = 0; i < mep_data_mix_count(data); i++) {
        const mep_dataset *corpus = mep_data_mix_dataset(data, i);
        mep_short_number((double)mep_dataset_tokens(corpus), tokens);
        if (mep_data_mix_count(data) > 1)
            snprintf(weight, sizeof weight, "%.3g%% ", 100 * mep_data_mix_weight(data, i));
        mep_cli_print(stdout, "data      %s%s: %s tokens, documents: %lld%s\n", weight, mep_data_mix_name(data, i),
                      tokens, (long long)mep_dataset_documents(corpus), split);
    }
}

/* The numbers of processes that can sum gradients in this many parts, "4, 2, 1" (mep_train_gradient_parts). */
enum { PROCESSES_TEXT = 400 };
static void write_processes(int64_t parts, char text[PROCESSES_TEXT])
{
    int length = snprintf(text, PROCESSES_TEXT, "%lld", (long long)parts);
    int64_t processes = parts;
    for (; processes % 2 == 0; processes /= 2)
        length += snprintf(text + length, PROCESSES_TEXT - (size_t)length, ", %lld", (long long)processes / 2);
    if (processes > 1) snprintf(text + length, PROCESSES_TEXT - (size_t)length, ", 1");
}

/* How the processes divide a step. */
static void print_division(const mep_train_settings *s)
{
    int64_t processes = mep_cli_processes(), parts = mep_train_gradient_parts(s, processes);
    char possible[PROCESSES_TEXT];
    if (processes > 1)
        printf("processes %lld on %lld machine%s, each for %lld of %lld sequences per step\n", (long long)processes,
               (long long)mep_cli_machines(), mep_cli_machines() == 1 ? "" : "s",
               (long long)(s->batch_size / processes), (long long)s->batch_size);
    if (parts == processes) return;
    write_processes(parts, possible);
    printf("gradients in %lld parts: the same bits in %s processes\n", (long long)parts, possible);
}

static mep_status print_data(const mep_train_settings *s)
{
    mep_data_mix *data = NULL;
    char total[32];
    MEP_TRY(mep_train_open_data(&data, s));
    double in_data = (double)mep_data_mix_tokens(data),
           in_run = (double)s->steps * (double)s->batch_size * (double)s->length;
    mep_short_number(in_run, total);
    print_corpora(s, data);
    print_division(s);
    printf("training  %lld step%s of %lld x %lld tokens: %s tokens, %.3g times the data\n", (long long)s->steps,
           s->steps == 1 ? "" : "s", (long long)s->batch_size, (long long)s->length, total, in_run / in_data);
    mep_data_mix_close(&data);
    return MEP_OK;
}

/* ---- The run ---- */

static const char *folder_of(const train_job *job)
{
    return job->moved != NULL ? job->moved : job->resume != NULL ? job->resume : job->out;
}

/* A run whose folder is moved continues in the new location. */
static void follow(train_job *job, const char *folder)
{
    if (strcmp(folder, folder_of(job)) == 0) return;
    mep_free(&job->moved);
    if (mep_copy_string(&job->moved, folder) != MEP_OK) return;
    fprintf(stderr, "%smep train: the run's folder is now %s\n", job->progress.terminal ? "\r\033[K" : "", folder);
}

/* The last validation: its loss, and its time, which the tokens per second do not include. */
static void write_valid(train_job *job, const mep_train_progress *p, char *text, size_t size)
{
    char clock[32];
    if (!isnan(p->valid_loss)) {
        job->valid_loss = p->valid_loss;
        job->valid_seconds = p->valid_seconds;
        job->all_valid += p->valid_seconds;
    }
    if (isnan(job->valid_loss)) return;
    mep_duration_text(job->valid_seconds, clock);
    snprintf(text, size, "  valid %.4f (took %s)", job->valid_loss, clock);
}

static int show_progress(void *context, const mep_train_progress *p)
{
    train_job *job = context;
    char speed[32], valid[64] = "", skipped[32] = "";
    job->last = *p;
    follow(job, p->run);
    write_valid(job, p, valid, sizeof valid);
    if (job->tensorboard && mep_cli_is_first()) mep_event_log_step(&job->events, "train", p);
    double pace = 1 / p->tokens_per_second;
    job->pace += (job->pace == 0 ? 1 : 0.1) * (pace - job->pace);
    mep_short_number(1 / job->pace, speed);
    if (p->skipped > 0) snprintf(skipped, sizeof skipped, "  %lld skipped", (long long)p->skipped);
    mep_progress_update(&job->progress, p->step, "loss %.4f%s%s  %s tok/s", p->loss, valid, skipped, speed);
    return mep_interrupt_flag;
}

/* If the processes cannot sum gradients in the parts of the run, the bits differ from here. */
static void warn_of_parts(const char *run, const mep_train_settings *s)
{
    int64_t processes = mep_cli_processes();
    char possible[PROCESSES_TEXT];
    if (s->gradient_parts == 0 || s->batch_size % processes != 0 ||
        mep_train_gradient_parts(s, processes) == s->gradient_parts)
        return;
    write_processes(s->gradient_parts, possible);
    mep_cli_print(stderr,
                  "mep train: %lld processes cannot sum the gradients of %s in their original order (possible: %s): it "
                  "continues in another order, and differs by rounding from a run without a stop\n",
                  (long long)processes, run, possible);
}

/* After all checks: print what the run does. */
static mep_status begin(void *context, const mep_train_settings *settings, int64_t done)
{
    train_job *job = context;
    if (job->resume != NULL && mep_cli_is_first()) warn_of_parts(job->resume, settings);
    if (job->quiet) return MEP_OK;
    MEP_TRY(print_model(settings, job->resume == NULL && job->o.dtype == MEP_CLI_AUTO));
    MEP_TRY(print_data(settings));
    if (job->resume != NULL) printf("resumed   after step %lld\n", (long long)done);
    fflush(stdout);
    mep_progress_start(&job->progress, "train", done, settings->steps);
    return MEP_OK;
}

static mep_status start(train_job *job)
{
    return mep_train_start_in(mep_cli_group(), job->out, &job->o.settings, begin, show_progress, job);
}

/* Apply --fall-back, --on-nan and --device to a run that is resumed. */
static mep_status prepare_resume(const train_job *job)
{
    int64_t step = 0, set_aside = 0;
    if (job->new_device) MEP_TRY(mep_train_set_device(job->resume, (mep_device)job->o.device)); /* may be refused */
    if (job->new_on_nan) MEP_TRY(mep_train_set_on_nan(job->resume, (mep_on_nan)job->o.on_nan));
    if (!job->fall_back) return MEP_OK;
    MEP_TRY(mep_train_fall_back(job->resume, &step, &set_aside));
    if (set_aside > 0)
        mep_cli_print(stderr,
                      "mep train: set aside %lld damaged checkpoint%s after step %lld, as %s/checkpoint-*.damaged\n",
                      (long long)set_aside, set_aside > 1 ? "s" : "", (long long)step, job->resume);
    return MEP_OK;
}

/* Only the first process reads the folder of the run. */
static mep_status begin_resume(train_job *job)
{
    MEP_TRY(prepare_resume(job));
    return mep_train_read_settings(job->resume, &job->o.settings);
}

static mep_status resume(train_job *job)
{
    mep_set_threads((int)job->o.threads);
    MEP_TRY(mep_dist_agree(mep_cli_group(), mep_cli_is_first() ? begin_resume(job) : MEP_OK));
    return mep_train_resume_in(mep_cli_group(), job->resume, begin, show_progress, job);
}

/* The last line: the result, the folder and the next command. */
static void report(const train_job *job, const char *run, double seconds)
{
    const mep_train_settings *s = &job->o.settings;
    char clock[32], valid_clock[32], valid[96] = "", skipped[48] = "";
    if (job->last.step == 0) {
        mep_cli_print(stdout, "%s: all of its %lld steps are already done", run, (long long)s->steps);
    } else {
        mep_duration_text(seconds, clock);
        mep_duration_text(job->all_valid, valid_clock);
        if (!isnan(job->valid_loss)) snprintf(valid, sizeof valid, ", validation %.4f", job->valid_loss);
        if (job->last.skipped > 0)
            snprintf(skipped, sizeof skipped, ", %lld of them skipped", (long long)job->last.skipped);
        mep_cli_print(stdout, "%s: loss %.4f%s after step %lld%s, took %s", run, job->last.loss, valid,
                      (long long)job->last.step, skipped, clock);
        if (!isnan(job->valid_loss)) printf(", %s of it for validation", valid_clock);
    }
    mep_cli_print(stdout, "; evaluate it: mep eval --model %s --data %s", run,
                  s->valid[0] != '\0' ? s->valid : s->data);
    if (s->valid[0] == '\0' && s->split[0] != '\0')
        printf(" --split %s%s", s->split, mep_train_has_valid(s) ? "" : " --part train");
    printf("\n");
}

static int run(train_job *job)
{
    double started = mep_now();
    mep_interrupt_install();
    mep_interrupt_keep_running();
    mep_status status = job->resume != NULL ? resume(job) : start(job);
    mep_progress_finish(&job->progress);
    mep_event_log_end(&job->events);
    if (status == MEP_OK) report(job, folder_of(job), mep_now() - started);
    if (status == MEP_INTERRUPTED)
        mep_cli_complain("mep train: %s; continue: mep train --resume %s", mep_error_message(), folder_of(job));
    else if (status != MEP_OK)
        mep_cli_fail("train");
    mep_free(&job->moved);
    return status == MEP_OK ? MEP_EXIT_OK : status == MEP_INTERRUPTED ? MEP_EXIT_INTERRUPTED : MEP_EXIT_FAILED;
}

int mep_cli_train(int argc, char **argv)
{
    train_job job = {.valid_loss = NAN};
    mep_option options[OPTIONS_MAX];
    char notes[NOTES_SIZE];
    int count, code = mep_train_options_begin(&job.o, "train", argc, argv);
    if (code != MEP_ARGS_GO) return code;
    job.seed = (int64_t)job.o.settings.seed;
    list_options(&job, options);
    write_notes(notes);
    mep_usage usage = {.command = "train",
                       .arguments = "--data PREFIX --out RUN | --resume RUN",
                       .summary = "Train a language model on a token dataset, or continue a run that was stopped.",
                       .notes = notes,
                       .options = options};
    code = mep_args_parse(&usage, argc, argv, &count);
    if (code != MEP_ARGS_GO) return code;
    if (!mep_cli_is_first()) job.quiet = 1;
    job.new_on_nan = mep_args_given(options, "--on-nan");
    job.new_device = mep_args_given(options, "--device");
    mep_device device = (mep_device)job.o.device;
    code = job.resume != NULL
               ? check_resume(options)
               : mep_cli_choose_dtype("train", options, "--dtype", device, job.o.dtype, &job.o.settings.dtype);
    if (code == MEP_ARGS_GO) code = mep_cli_check_device("train", device);
    if (code == MEP_ARGS_GO && job.resume == NULL) code = check_new_run(&job, options);
    return code == MEP_ARGS_GO ? run(&job) : code;
}
