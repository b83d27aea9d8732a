/* SPDX-License-Identifier: MIT */
/*
 * mep generate: continue a text and print it token by token. The library computes and samples (mep/model.h); this file
 * reads the prompt and writes the bytes of the tokens.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/device_option.h"
#include "cli/interrupt.h"
#include "cli/terminal_text.h"
#include "cli/model_tokenizer.h"
#include "cli/progress.h"
#include "cli/train_options.h"
#include "cli/untrained.h"
#include "io/files.h"
#include "mep/data.h"
#include "mep/train.h"

enum { PROMPT_LIMIT = 1 << 26 };

typedef struct generate_job {
    const char *model_path, *position, *tokenizer_name, *prompt, *prompt_file;
    mep_generate_settings settings;
    int64_t seed, threads;
    int dtype, device, quiet, endless;

    mep_model *model;
    mep_tokenizer *tokenizer;
    char *text; /* of the prompt, once it is read */
    int64_t text_size;
    mep_progress progress; /* of reading the prompt */
    int64_t made;          /* new tokens */
    double started;        /* clock at the first new token */
    mep_terminal_text out;
    mep_status failed;
} generate_job;

/* ---- The tokenizer ---- */

/* The tokenizer of --tokenizer, or that of the model. */
static mep_status open_tokenizer(generate_job *job)
{
    int64_t vocab = mep_model_get_config(job->model)->vocab_size;
    if (job->tokenizer_name != NULL) return mep_tokenizer_open(&job->tokenizer, job->tokenizer_name);
    MEP_TRY(mep_cli_model_tokenizer(job->model_path, vocab, &job->tokenizer));
    if (job->tokenizer != NULL) return MEP_OK;
    return mep_fail(MEP_ERROR_UNSUPPORTED,
                    "%s: the tokenizer of its %lld tokens is not known: there is no tokenizer.json; name one with "
                    "--tokenizer",
                    job->model_path, (long long)vocab);
}

/* ---- The prompt ---- */

static mep_status read_stream(generate_job *job, FILE *file)
{
    int64_t capacity = 0;
    for (;;) {
        if (job->text_size == capacity) {
            MEP_TRY(MEP_GROW(&job->text, capacity, 2 * capacity + 65536));
            capacity = 2 * capacity + 65536;
        }
        size_t got = fread(job->text + job->text_size, 1, (size_t)(capacity - job->text_size), file);
        job->text_size += (int64_t)got;
        if (job->text_size > PROMPT_LIMIT)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s: the prompt is longer than %d bytes", job->prompt_file,
                            PROMPT_LIMIT);
        if (got == 0) return ferror(file) ? mep_fail_errno("read", job->prompt_file) : MEP_OK;
    }
}

static mep_status read_prompt(generate_job *job)
{
    if (job->prompt_file == NULL) {
        job->text_size = job->prompt != NULL ? (int64_t)strlen(job->prompt) : 0;
        return job->prompt != NULL ? mep_copy_string(&job->text, job->prompt) : MEP_OK;
    }
    if (strcmp(job->prompt_file, "-") == 0) return read_stream(job, stdin);
    FILE *file = fopen(job->prompt_file, "rb");
    if (file == NULL) return mep_fail_errno("open", job->prompt_file);
    mep_status status = read_stream(job, file);
    fclose(file);
    return status;
}

/* ---- The text ---- */

static void print_prompt(generate_job *job)
{
    mep_terminal_text_write(&job->out, job->text, job->text_size);
}

/* End a visible progress line before the text begins. */
static void end_progress(generate_job *job)
{
    if (job->progress.shown > job->progress.started) mep_progress_finish(&job->progress);
    job->progress.running = 0;
}

static int show_prompt(void *context, int64_t done, int64_t total)
{
    generate_job *job = context;
    mep_interrupt_exit_at_once(0);
    job->progress.total = total;
    mep_progress_update(&job->progress, done, "%s", "");
    return mep_interrupt_flag;
}

/* Print the first token of a new text, without the blank that some tokenizers put there. */
static int print_first(generate_job *job, int32_t token)
{
    char *text = NULL;
    int64_t size = 0;
    job->failed = mep_tokenizer_decode_text(job->tokenizer, &token, 1, &text, &size);
    mep_terminal_text_write(&job->out, text, size);
    mep_text_free(&text);
    fflush(stdout);
    return job->failed != MEP_OK || ferror(stdout) || mep_interrupt_flag;
}

/* Print a token (a mep_token_fn; not 0 stops). The first one ends the progress line, and the prompt is printed before
 * it. */
static int print_token(void *context, int32_t token)
{
    generate_job *job = context;
    const char *text = NULL;
    int64_t size = 0;
    if (job->made == 0) {
        mep_interrupt_exit_at_once(0);
        job->started = mep_now();
        end_progress(job);
        print_prompt(job);
    }
    if (job->made++ == 0 && job->text_size == 0) return print_first(job, token);
    job->failed = mep_tokenizer_decode(job->tokenizer, token, &text, &size);
    mep_terminal_text_write(&job->out, text, size);
    fflush(stdout);
    return job->failed != MEP_OK || ferror(stdout) || mep_interrupt_flag;
}

/* The tokens that the tokenizer puts before a text, and those of the prompt. If there are none, the text starts as a
 * document does, after an end-of-document token. The caller frees *all with mep_free. */
static mep_status begin_text(const generate_job *job, int32_t **all, int64_t *all_count)
{
    mep_special_tokens special;
    int32_t end = mep_tokenizer_end_of_document(job->tokenizer), *tokens = NULL;
    int64_t count = 0;
    MEP_TRY(mep_tokenizer_special_tokens(job->tokenizer, &special));
    if (job->text_size > 0) MEP_TRY(mep_tokenizer_encode(job->tokenizer, job->text, job->text_size, &tokens, &count));
    const int32_t *before = special.before;
    int64_t before_count = special.before_count;
    if (before_count + count == 0) {
        before = &end;
        before_count = 1;
    }
    *all_count = before_count + count;
    mep_status status = MEP_ALLOC(all, *all_count);
    if (status == MEP_OK && before_count > 0) memcpy(*all, before, (size_t)before_count * sizeof **all);
    if (status == MEP_OK && count > 0) memcpy(*all + before_count, tokens, (size_t)count * sizeof **all);
    mep_tokens_free(&tokens);
    return status;
}

static mep_status continue_prompt(generate_job *job)
{
    int32_t *tokens = NULL;
    int64_t count = 0;
    MEP_TRY(begin_text(job, &tokens, &count));
    if (!job->quiet) mep_progress_start(&job->progress, "prompt", 0, job->text_size > 0 ? count : 0);
    mep_status status =
        mep_generate_reporting(job->model, tokens, count, &job->settings, show_prompt, print_token, job);
    end_progress(job);
    mep_free(&tokens);
    return status == MEP_OK ? job->failed : status;
}

static void print_summary(const generate_job *job, double loaded)
{
    double prompt_seconds = job->started - loaded, seconds = mep_now() - job->started;
    fprintf(stderr, "%lld tokens, the first after %.2f s", (long long)job->made, prompt_seconds);
    if (job->made > 1 && seconds > 0) fprintf(stderr, ", then %.1f tokens/s", (double)(job->made - 1) / seconds);
    fputc('\n', stderr);
}

static mep_status generate(generate_job *job)
{
    MEP_TRY(mep_model_load_as(&job->model, job->model_path, job->position, 0));
    if (!job->quiet) mep_cli_note_untrained("generate", job->model_path, job->model);
    MEP_TRY(open_tokenizer(job));
    MEP_TRY(read_prompt(job));
    int64_t vocab = mep_model_get_config(job->model)->vocab_size, known = mep_tokenizer_vocab_size(job->tokenizer);
    double loaded = mep_now();
    mep_terminal_text_begin(&job->out, stdout);
    job->settings.vocab_limit = known < vocab ? known : vocab;
    job->settings.stop_token = job->endless ? -1 : mep_tokenizer_end_of_document(job->tokenizer);
    MEP_TRY(continue_prompt(job));
    if (job->made == 0) print_prompt(job);
    mep_terminal_text_end(&job->out);
    putchar('\n');
    fflush(stdout);
    if (!job->quiet && job->made > 0) print_summary(job, loaded);
    return MEP_OK;
}

static int run(generate_job *job)
{
    mep_interrupt_install();
    mep_interrupt_exit_at_once(1); /* until the first report */
    mep_set_threads((int)job->threads);
    mep_status status = generate(job);
    int code = status == MEP_OK ? MEP_EXIT_OK : mep_cli_fail("generate");
    if (status == MEP_INTERRUPTED || (status == MEP_OK && mep_interrupt_flag)) code = MEP_EXIT_INTERRUPTED;
    mep_model_destroy(&job->model);
    mep_tokenizer_destroy(&job->tokenizer);
    mep_free(&job->text);
    return code;
}

/* Returns MEP_ARGS_GO, or the exit code after one line on stderr. The positional argument may be "-". */
static int check(generate_job *job, const mep_option *options, int count, char **argv)
{
    if (job->model_path == NULL) return mep_cli_usage("generate", "--model FOLDER is missing");
    if (count == 1 && strcmp(argv[1], "-") != 0)
        return mep_cli_usage("generate", "\"%s\" is not an argument; write the prompt after --prompt, in quotes",
                             argv[1]);
    if ((job->prompt != NULL) + (job->prompt_file != NULL) + count > 1)
        return mep_cli_usage("generate", "give one prompt: --prompt, --prompt-file or -");
    if (count == 1) job->prompt_file = "-";
    static const char *const random[] = {"--top-k", "--top-p"};
    for (int i = 0; i < 2; i++)
        if (job->settings.temperature == 0 && mep_args_given(options, random[i]))
            return mep_cli_usage("generate", "%s has no effect with --temperature 0, which takes the likeliest token",
                                 random[i]);
    return MEP_ARGS_GO;
}

int mep_cli_generate(int argc, char **argv)
{
    generate_job job = {0};
    int count;
    mep_generate_defaults(&job.settings);
    job.seed = (int64_t)job.settings.seed;
    mep_option options[] = {
        MEP_OPT_TEXT("--model", 'm', "FOLDER", &job.model_path, "folder of a run, a checkpoint or another model"),
        MEP_OPT_TEXT(
            "--position", 0, "SPEC", &job.position,
            "use this position encoding instead of that of the model, such as rotary:scaling=yarn,factor=8 for one "
            "trained with rotary; see mep train"),
        MEP_OPT_TEXT("--tokenizer", 0, "FILE", &job.tokenizer_name,
                     "use this tokenizer instead of that of the model; see mep prepare"),
        MEP_OPT_WORDS("--prompt", 'p', "TEXT", &job.prompt, "text to continue; without one, a new document"),
        MEP_OPT_TEXT("--prompt-file", 'f', "FILE", &job.prompt_file,
                     "file with the text to continue; - is the standard input"),
        MEP_OPT_LENGTH("--max-tokens", 'n', "L", &job.settings.max_tokens, 0, MEP_GENERATE_ENDLESS,
                       "largest number of new tokens"),
        MEP_OPT_FLAG("--endless", 'e', &job.endless,
                     "continue after the end of a document, until Ctrl-C or --max-tokens, which then has no default"),
        MEP_OPT_REAL("--temperature", 't', "T", &job.settings.temperature, 0, 1000,
                     "below 1: more likely tokens; above 1: more variety; 0: always the likeliest token"),
        MEP_OPT_INT("--top-k", 'k', "K", &job.settings.top_k, 0, 1 << 24,
                    "choose among the K likeliest tokens; 0: all"),
        MEP_OPT_REAL("--top-p", 0, "P", &job.settings.top_p, 1e-9, 1,
                     "choose among the likeliest tokens whose probabilities reach P; 1: all"),
        MEP_OPT_INT("--seed", 's', "N", &job.seed, 0, INT64_MAX, "seed of the random choices"),
        MEP_OPT_REAL("--tolerance", 0, "T", &job.settings.tolerance, 0, 0.999999,
                     "omit distant keys whose attention weights have a sum of at most T per query; 0: exact"),
        MEP_OPT_CHOICE("--dtype", 0, "TYPE", &job.dtype, mep_cli_dtypes, "type to compute in " MEP_CLI_DTYPE_AUTO),
        MEP_CLI_DEVICE_ROW(&job.device),
        MEP_OPT_INT("--threads", 'j', "N", &job.threads, 0, 4096,
                    "threads; 0: one for each core that the process may use"),
        MEP_OPT_FLAG("--quiet", 'q', &job.quiet, "no summary on stderr, and no note about untrained parameters"),
        MEP_OPT_END,
    };
    mep_usage usage = {
        .command = "generate",
        .arguments = "--model FOLDER [-]",
        .summary =
            "Continue a text. The prompt and the new text are printed token by token, until the end of the document "
            "or the largest number of tokens.",
        .notes =
            "The tokenizer is the tokenizer.json of the folder or the run, otherwise that of the run's data. A model\n"
            "without either reads bytes if its vocabulary has 257 to 320 tokens. Bytes that are not UTF-8 are printed\n"
            "without changes.\n\n"
            "If the bias falls without limit in every head (mep, alibi, exp, gauss; with /weights=query every\n"
            "kernel), keys that can no longer have a weight are dropped: memory and time per token are then\n"
            "constant, and the text is the same. /window=W keeps W keys of any encoding. All others keep\n"
            "every token: t5, whose last bucket is constant; kerple_log, which falls too slowly; sums with these;\n"
            "rotary, nope, and positions that are added to the embedding. --endless without --max-tokens needs a "
            "distance\n"
            "bias that drops keys in each layer.\n\n"
            "  mep generate --model runs/mep --prompt \"Once upon a time\" --temperature 0.8\n"
            "  mep generate --model runs/mep - < chapter.txt\n"
            "  mep generate --model runs/mep --endless\n",
        .options = options,
        .max_arguments = 1};
    mep_args_default(options, "--dtype", MEP_CLI_DTYPE_DEFAULT);
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code != MEP_ARGS_GO) return code;
    code = check(&job, options, count, argv);
    job.settings.device = (mep_device)job.device;
    if (code == MEP_ARGS_GO)
        code =
            mep_cli_choose_dtype("generate", options, "--dtype", job.settings.device, job.dtype, &job.settings.dtype);
    if (code == MEP_ARGS_GO) code = mep_cli_check_device("generate", job.settings.device);
    if (code != MEP_ARGS_GO) return code;
    if (job.endless && !mep_args_given(options, "--max-tokens")) job.settings.max_tokens = MEP_GENERATE_ENDLESS;
    job.settings.seed = (uint64_t)job.seed;
    return run(&job);
}
