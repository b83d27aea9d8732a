/* SPDX-License-Identifier: MIT */
/*
 * mep tokenizer: train a tokenizer on text, convert text to ids and back, and describe a tokenizer. The library does
 * the work; this file reads and prints.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/actions.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "cli/terminal_text.h"
#include "io/files.h"
#include "io/json.h"
#include "mep/data.h"

enum { MB = 1000000, MOST_INPUTS = 1 << 20 };

static int finish(mep_status status)
{
    if (status == MEP_OK) return MEP_EXIT_OK;
    mep_cli_fail("tokenizer");
    return status == MEP_INTERRUPTED ? MEP_EXIT_INTERRUPTED : MEP_EXIT_FAILED;
}

/* ---- train ---- */

typedef struct train_job {
    const char *out;
    mep_tokenizer_train_settings settings;
    mep_texts special;
    char **inputs;
    int input_count;
    int force, quiet;
    mep_tokenizer_trainer *trainer;
    mep_progress progress;
    int64_t text_bytes;
} train_job;

static mep_status count_document(void *context, const char *text, int64_t size, int64_t position, int64_t total)
{
    train_job *job = context;
    int64_t total_mb = (total + MB / 2) / MB;
    if (mep_interrupt_flag) return mep_fail(MEP_INTERRUPTED, "interrupted; no tokenizer was made");
    if (!job->quiet && job->text_bytes == 0) mep_progress_start(&job->progress, "count words, MB", 0, total_mb);
    job->text_bytes += size;
    mep_progress_update(&job->progress, position < total ? position / MB : total_mb, "%s", "");
    return mep_tokenizer_trainer_add(job->trainer, text, size);
}

static int show_merges(void *context, int64_t tokens, int64_t vocab_size)
{
    train_job *job = context;
    if (!job->quiet && !job->progress.running) mep_progress_start(&job->progress, "tokens", tokens, vocab_size);
    mep_progress_update(&job->progress, tokens, "%s", "");
    return mep_interrupt_flag;
}

/* Check before the work that the file can be written. */
static mep_status check_out(const train_job *job)
{
    mep_atomic_file file;
    if (mep_file_exists(job->out) && !job->force)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s exists; choose another --out, or --force to replace it", job->out);
    MEP_TRY(mep_atomic_begin(&file, job->out));
    mep_atomic_abandon(&file);
    return MEP_OK;
}

static mep_status train(train_job *job)
{
    mep_tokenizer *tokenizer = NULL;
    double started = mep_now();
    MEP_TRY(check_out(job));
    MEP_TRY(mep_tokenizer_trainer_create(&job->trainer, &job->settings));
    MEP_TRY(mep_corpus_read((const char *const *)job->inputs, job->input_count, count_document, job));
    mep_progress_finish(&job->progress);
    MEP_TRY(mep_tokenizer_trainer_finish(&job->trainer, show_merges, job, &tokenizer));
    mep_progress_finish(&job->progress);
    int64_t size = 0;
    const char *json = mep_tokenizer_json(tokenizer, &size);
    mep_status status = mep_file_write_atomic(job->out, json, size);
    if (status == MEP_OK)
        mep_cli_print(stdout, "%s: %lld tokens from %.1f MB of text in %.1f s\n", job->out,
                      (long long)mep_tokenizer_vocab_size(tokenizer), (double)job->text_bytes / MB,
                      mep_now() - started);
    mep_tokenizer_destroy(&tokenizer);
    return status;
}

static int run_train(int argc, char **argv)
{
    train_job job = {.out = "tokenizer.json"};
    mep_tokenizer_train_defaults(&job.settings);
    mep_option options[] = {
        MEP_OPT_TEXT("--out", 'o', "FILE", &job.out, "file to write"),
        MEP_OPT_INT("--vocab-size", 'n', "N", &job.settings.vocab_size, 257, 1 << 24,
                    "largest number of tokens, including the 256 bytes and the special tokens"),
        MEP_OPT_INT("--min-frequency", 0, "N", &job.settings.min_frequency, 0, INT64_MAX,
                    "do not merge pairs that occur less often"),
        MEP_OPT_WHOLE_TEXTS("--special", 0, "TOKEN", &job.special,
                            "a special token; may be repeated: they are numbered from 0, and only those that are given "
                            "exist"),
        MEP_OPT_FLAG("--force", 'f', &job.force, "replace an existing file"),
        MEP_OPT_FLAG("--quiet", 'q', &job.quiet, "no progress line"),
        MEP_OPT_END,
    };
    mep_args_default(options, "--special", "<|endoftext|>");
    mep_usage usage = {
        .command = "tokenizer train",
        .arguments = "INPUT ...",
        .summary = "Train a byte-level BPE tokenizer with the pattern of GPT-2 on text, and write it as a "
                   "tokenizer.json, which Hugging Face's library also reads.",
        .notes = "Inputs are those of mep prepare. The result depends only on the text and equals that of\n"
                 "Hugging Face's BpeTrainer.\n\n"
                 "  mep tokenizer train --vocab-size 16384 --out tokenizer.json books.jsonl.zst\n"
                 "  mep prepare --tokenizer tokenizer.json --out books books.jsonl.zst\n",
        .options = options,
        .min_arguments = 1,
        .max_arguments = MOST_INPUTS};
    int code = mep_args_parse(&usage, argc, argv, &job.input_count);
    if (code != MEP_ARGS_GO) return code;
    job.inputs = argv + 1;
    if (job.special.count > 0) {
        job.settings.special = job.special.values;
        job.settings.special_count = job.special.count;
    }
    mep_interrupt_install();
    mep_status status = train(&job);
    mep_progress_finish(&job.progress);
    mep_tokenizer_trainer_destroy(&job.trainer);
    return finish(status);
}

/* ---- encode and decode ---- */

/* Read all bytes of a file, or of the standard input for "-". */
static mep_status read_all(const char *path, char **text, int64_t *size)
{
    int is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    int64_t capacity = 0;
    *text = NULL;
    *size = 0;
    if (file == NULL) return mep_fail_errno("open", path);
    mep_status status = MEP_OK;
    for (size_t got = 1; status == MEP_OK && got > 0; *size += (int64_t)got) {
        if (*size + 1 >= capacity) {
            status = MEP_GROW(text, *size, 2 * capacity + 65536);
            capacity = 2 * capacity + 65536;
        }
        got = status == MEP_OK ? fread(*text + *size, 1, (size_t)(capacity - *size - 1), file) : 0;
    }
    if (status == MEP_OK && ferror(file)) status = mep_fail_errno("read", path);
    if (!is_stdin) fclose(file);
    return status; /* MEP_GROW fills with zeros, which terminate the text */
}

static void print_ids(const int32_t *ids, int64_t count, int64_t *printed)
{
    for (int64_t i = 0; i < count; i++) printf("%s%ld", (*printed)++ == 0 ? "" : " ", (long)ids[i]);
}

static mep_status encode_text(const mep_tokenizer *tokenizer, const char *text, int64_t size, int adds_special)
{
    mep_special_tokens special = {0};
    int32_t *ids = NULL;
    int64_t count = 0, printed = 0;
    if (adds_special) MEP_TRY(mep_tokenizer_special_tokens(tokenizer, &special));
    MEP_TRY(mep_tokenizer_encode(tokenizer, text, size, &ids, &count));
    print_ids(special.before, special.before_count, &printed);
    print_ids(ids, count, &printed);
    print_ids(special.after, special.after_count, &printed);
    putchar('\n');
    mep_tokens_free(&ids);
    return MEP_OK;
}

static mep_status encode(const mep_tokenizer *tokenizer, const char *path, const char *text, int64_t size)
{
    (void)path;
    return encode_text(tokenizer, text, size, 0);
}

static mep_status encode_special(const mep_tokenizer *tokenizer, const char *path, const char *text, int64_t size)
{
    (void)path;
    return encode_text(tokenizer, text, size, 1);
}

/* Read the numbers of a text. `ids` has space for its bytes. */
static mep_status read_numbers(const char *path, const char *text, int32_t *ids, int64_t *count)
{
    static const char between[] = " \t\r\n,[]";
    for (const char *at = text + strspn(text, between); *at != '\0'; at += strspn(at, between)) {
        int word = (int)strcspn(at, between);
        char *end = NULL;
        errno = 0;
        long id = strtol(at, &end, 10);
        if (end != at + word || errno != 0 || id < 0 || id > INT32_MAX)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s: \"%.*s\" is not a token", path, word < 20 ? word : 20, at);
        ids[(*count)++] = (int32_t)id;
        at = end;
    }
    return MEP_OK;
}

static mep_status decode(const mep_tokenizer *tokenizer, const char *path, const char *text, int64_t size)
{
    if ((int64_t)strlen(text) != size)
        return mep_fail(MEP_ERROR_ARGUMENT, "%s: contains a zero byte, not numbers", path);
    mep_terminal_text out;
    char *bytes = NULL;
    int32_t *ids = NULL;
    int64_t count = 0, length = 0;
    MEP_TRY(MEP_ALLOC(&ids, size / 2 + 1)); /* a number and what separates it have two bytes */
    mep_status status = read_numbers(path, text, ids, &count);
    if (status == MEP_OK) status = mep_tokenizer_decode_text(tokenizer, ids, count, &bytes, &length);
    if (status == MEP_OK) {
        mep_terminal_text_begin(&out, stdout);
        mep_terminal_text_write(&out, bytes, length);
        mep_terminal_text_end(&out);
    }
    mep_free(&ids);
    mep_text_free(&bytes);
    return status;
}

typedef mep_status (*text_fn)(const mep_tokenizer *tokenizer, const char *path, const char *text, int64_t size);

static mep_status run_on_text(const char *name, const char *path, text_fn function)
{
    mep_tokenizer *tokenizer = NULL;
    char *text = NULL;
    int64_t size = 0;
    mep_status status = mep_tokenizer_open(&tokenizer, name);
    if (status == MEP_OK) status = read_all(path, &text, &size);
    if (status == MEP_OK) status = function(tokenizer, path, text, size);
    mep_tokenizer_destroy(&tokenizer);
    mep_free(&text);
    return status;
}

/* Run on the text file that is the only argument, or on the standard input. */
static int run_parsed(const mep_usage *usage, const char *tokenizer, int count, char **argv, text_fn function)
{
    if (tokenizer == NULL) return mep_cli_usage(usage->command, "--tokenizer FILE is missing");
    return finish(run_on_text(tokenizer, count == 1 ? argv[1] : "-", function));
}

#define TOKENIZER_OPTION(TARGET)                                                                                       \
    MEP_OPT_TEXT("--tokenizer", 't', "FILE", TARGET,                                                                   \
                 "a tokenizer.json, a folder with one or with vocab.json and merges.txt, or bytes")

static int run_encode(int argc, char **argv)
{
    const char *tokenizer = NULL;
    int adds_special = 0, count;
    mep_option options[] = {TOKENIZER_OPTION(&tokenizer),
                            MEP_OPT_FLAG("--special-tokens", 's', &adds_special,
                                         "print the tokens that the tokenizer puts around a text, such as <s>, too"),
                            MEP_OPT_END};
    mep_usage usage = {.command = "tokenizer encode",
                       .arguments = "--tokenizer FILE [TEXT_FILE | -]",
                       .summary = "Print the tokens of a text, which is read without changes, on one line.",
                       .options = options,
                       .max_arguments = 1};
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code != MEP_ARGS_GO) return code;
    return run_parsed(&usage, tokenizer, count, argv, adds_special ? encode_special : encode);
}

static int run_decode(int argc, char **argv)
{
    const char *tokenizer = NULL;
    int count;
    mep_option options[] = {TOKENIZER_OPTION(&tokenizer), MEP_OPT_END};
    mep_usage usage = {.command = "tokenizer decode",
                       .arguments = "--tokenizer FILE [TOKEN_FILE | -]",
                       .summary = "Print the bytes of tokens, numbers separated by white space, commas or brackets.",
                       .options = options,
                       .max_arguments = 1};
    int code = mep_args_parse(&usage, argc, argv, &count);
    return code != MEP_ARGS_GO ? code : run_parsed(&usage, tokenizer, count, argv, decode);
}

/* ---- info ---- */

/* 1 if the pre_tokenizer is ByteLevel, or a sequence with it. */
static int is_byte_level(const json_t *pre_tokenizer)
{
    const char *type = json_string_value(json_object_get(pre_tokenizer, "type"));
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(pre_tokenizer, "pretokenizers"), i, item)
    {
        if (is_byte_level(item)) return 1;
    }
    return type != NULL && strcmp(type, "ByteLevel") == 0;
}

/* Print tokens that are put around a text. */
static void print_special(const mep_tokenizer *tokenizer, const char *title, const int32_t *tokens, int64_t count)
{
    const char *text = NULL;
    int64_t size = 0;
    for (int64_t i = 0; i < count; i++) {
        if (mep_tokenizer_decode(tokenizer, tokens[i], &text, &size) != MEP_OK) size = 0;
        mep_cli_print(stdout, "%s%ld%s%.*s\n", title, (long)tokens[i], size > 0 ? " " : "", (int)size, text);
    }
}

/* Print the parts of the tokenizer.json. */
static mep_status print_parts(const mep_tokenizer *tokenizer, const json_t *root)
{
    mep_special_tokens special;
    const char *normalizer = json_string_value(json_object_get(json_object_get(root, "normalizer"), "type"));
    printf("merges            %zu\n", json_array_size(json_object_get(json_object_get(root, "model"), "merges")));
    mep_cli_print(stdout, "normalizer        %s\n", normalizer != NULL ? normalizer : "none");
    printf("added tokens      %zu\n", json_array_size(json_object_get(root, "added_tokens")));
    MEP_TRY(mep_tokenizer_special_tokens(tokenizer, &special));
    print_special(tokenizer, "before a text     ", special.before, special.before_count);
    print_special(tokenizer, "after a text      ", special.after, special.after_count);
    return MEP_OK;
}

static mep_status print_info(const char *name)
{
    mep_tokenizer *tokenizer = NULL;
    const char *bytes = NULL, *kind = "bytes";
    json_t *root = NULL;
    int64_t size = 0, json_size = 0;
    MEP_TRY(mep_tokenizer_open(&tokenizer, name));
    int32_t end = mep_tokenizer_end_of_document(tokenizer);
    mep_status status = mep_tokenizer_decode(tokenizer, end, &bytes, &size);
    const char *json = mep_tokenizer_json(tokenizer, &json_size);
    if (status == MEP_OK && json != NULL) status = mep_json_parse(name, json, json_size, &root);
    if (root != NULL)
        kind = is_byte_level(json_object_get(root, "pre_tokenizer")) ? "byte-level BPE" : "BPE of characters";
    if (status == MEP_OK) {
        mep_cli_print(stdout, "tokenizer         %s\n", name);
        printf("kind              %s\n", kind);
        printf("vocabulary        %lld\n", (long long)mep_tokenizer_vocab_size(tokenizer));
        mep_cli_print(stdout, "end of document   %ld%s%.*s\n", (long)end, size > 0 ? " " : "", (int)size, bytes);
        if (root != NULL) status = print_parts(tokenizer, root);
    }
    json_decref(root);
    mep_tokenizer_destroy(&tokenizer);
    return status;
}

static int run_info(int argc, char **argv)
{
    mep_option options[] = {MEP_OPT_END};
    int count;
    mep_usage usage = {.command = "tokenizer info",
                       .arguments = "FILE",
                       .summary = "Describe a tokenizer: a tokenizer.json, a folder with one or with vocab.json and "
                                  "merges.txt, or bytes.",
                       .options = options,
                       .min_arguments = 1,
                       .max_arguments = 1};
    int code = mep_args_parse(&usage, argc, argv, &count);
    return code != MEP_ARGS_GO ? code : finish(print_info(argv[1]));
}

/* ---- The command ---- */

static const mep_action ACTIONS[] = {
    {"train", "train a byte-level BPE on text", run_train},
    {"encode", "convert text to tokens", run_encode},
    {"decode", "convert tokens to text", run_decode},
    {"info", "describe a tokenizer", run_info},
    {.name = NULL},
};

int mep_cli_tokenizer(int argc, char **argv)
{
    const mep_action_list list = {
        .command = "tokenizer",
        .summary = "Train a tokenizer, or try one on text. `mep tokenizer train --help` and so on print the options.",
        .kind = "action",
        .actions = ACTIONS};
    return mep_actions_run(&list, argc, argv);
}
