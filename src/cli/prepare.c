/* SPDX-License-Identifier: MIT */
/*
 * mep prepare: text files to a token dataset. With --valid the whole is written first and then cut in two, because
 * where the cut falls is known only at the end. Whatever goes wrong, no half dataset is left behind.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "io/files.h"
#include "mep/data.h"

enum { MB = 1000000, MOST_INPUTS = 1 << 20 };

/* How far a boundary of documents may be from the place of the cut, as a share of the part behind it. */
static const double BOUNDARY_SHARE = 0.1;

static const char *const SUFFIXES[] = {".bin", ".idx", ".json", NULL};

typedef struct prepare_job {
    const char *out, *tokenizer_name;
    char *train, *valid, *whole; /* prefixes with --valid; NULL without */
    double valid_share;
    int end_of_document, no_end_of_document, force, quiet;
    char **inputs;
    int input_count;

    mep_tokenizer *tokenizer;
    mep_dataset_writer *writer, *other; /* other: of the second part */
    mep_dataset *dataset;
    mep_progress progress;
    double started;
    int64_t text_bytes, tokens; /* of the whole corpus */
} prepare_job;

static mep_status look_at_interrupt(void)
{
    return mep_interrupt_flag ? mep_fail(MEP_INTERRUPTED, "interrupted; nothing was written") : MEP_OK;
}

/* ---- What must not be overwritten ---- */

static mep_status check_inputs(const prepare_job *job, const char *path, const struct stat *output)
{
    for (int i = 0; i < job->input_count; ++i) {
        struct stat input;
        if (stat(job->inputs[i], &input) == 0 && input.st_dev == output->st_dev && input.st_ino == output->st_ino)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s is an input, and would be written too; choose another --out", path);
    }
    return MEP_OK;
}

/* The three files of a dataset do not exist, or may be replaced; never an input. */
static mep_status check_output(const prepare_job *job, const char *prefix)
{
    mep_status status = MEP_OK;
    for (int i = 0; status == MEP_OK && prefix != NULL && SUFFIXES[i] != NULL; ++i) {
        char *path = NULL;
        struct stat info;
        MEP_TRY(mep_format(&path, "%s%s", prefix, SUFFIXES[i]));
        if (stat(path, &info) == 0) {
            status = check_inputs(job, path, &info);
            if (status == MEP_OK && !job->force)
                status =
                    mep_fail(MEP_ERROR_ARGUMENT, "%s exists; choose another --out, or --force to replace it", path);
        }
        mep_free(&path);
    }
    return status;
}

static mep_status remove_dataset(const char *prefix)
{
    for (int i = 0; SUFFIXES[i] != NULL; ++i) {
        char *path = NULL;
        MEP_TRY(mep_format(&path, "%s%s", prefix, SUFFIXES[i]));
        unlink(path);
        mep_free(&path);
    }
    return MEP_OK;
}

/* ---- Text to tokens ---- */

static mep_status add_document(void *context, const char *text, int64_t size, int64_t position, int64_t total)
{
    prepare_job *job = context;
    MEP_TRY(look_at_interrupt());
    int64_t total_mb = (total + MB - 1) / MB, count = 0;
    int32_t *tokens = NULL;
    if (!job->quiet && job->text_bytes == 0) mep_progress_start(&job->progress, "prepare, MB", 0, total_mb);
    MEP_TRY(mep_tokenizer_encode(job->tokenizer, text, size, &tokens, &count));
    mep_status status = mep_dataset_writer_add(job->writer, tokens, count, job->end_of_document);
    mep_tokens_free(&tokens);
    job->text_bytes += size;
    job->tokens += count + job->end_of_document;
    double seconds = mep_now() - job->started;
    mep_progress_update(&job->progress, position < total ? position / MB : total_mb, "%.1f MB/s of text",
                        seconds > 0 ? (double)job->text_bytes / MB / seconds : 0.0);
    return status;
}

static mep_status write_whole(prepare_job *job, const char *prefix)
{
    MEP_TRY(mep_dataset_writer_create(&job->writer, prefix, job->tokenizer));
    MEP_TRY(mep_corpus_read((const char *const *)job->inputs, job->input_count, add_document, job));
    MEP_TRY(look_at_interrupt());
    mep_progress_finish(&job->progress);
    return mep_dataset_writer_finish(&job->writer);
}

/* ---- The cut ---- */

/* The token where the second part begins: a boundary of documents where one is near, else a place inside a document.
 * Both parts hold a token where the dataset has two. */
static int64_t choose_cut(const mep_dataset *dataset, double valid_share)
{
    int64_t tokens = mep_dataset_tokens(dataset), low = 0, high = mep_dataset_documents(dataset);
    int64_t cut = tokens - (int64_t)((double)tokens * valid_share + 0.5);
    if (cut > tokens - 1) cut = tokens - 1;
    if (cut < 1) cut = 1;
    while (low < high) { /* the first document that begins at the cut or behind it */
        int64_t middle = low + (high - low) / 2;
        if (mep_dataset_document_start(dataset, middle) < cut)
            low = middle + 1;
        else
            high = middle;
    }
    int64_t after = mep_dataset_document_start(dataset, low), before = mep_dataset_document_start(dataset, low - 1);
    int64_t nearest = after - cut <= cut - before ? after : before;
    int64_t distance = nearest > cut ? nearest - cut : cut - nearest;
    int is_near = nearest > 0 && nearest < tokens && (double)distance <= BOUNDARY_SHARE * (double)(tokens - cut);
    return is_near ? nearest : cut;
}

/* Append tokens first .. last - 1 of one document. */
static mep_status copy_document(prepare_job *job, mep_dataset_writer *writer, int64_t first, int64_t last)
{
    int32_t *tokens = NULL;
    MEP_TRY(mep_alloc(&tokens, last - first, sizeof *tokens));
    mep_status status = mep_dataset_read(job->dataset, first, last - first, tokens);
    if (status == MEP_OK) status = mep_dataset_writer_add(writer, tokens, last - first, 0);
    mep_free(&tokens);
    return status;
}

/* The parts before and behind the cut; a document across it is divided. */
static mep_status write_parts(prepare_job *job)
{
    int64_t cut = choose_cut(job->dataset, job->valid_share), documents = mep_dataset_documents(job->dataset);
    if (job->tokens < 2) return mep_fail(MEP_ERROR_ARGUMENT, "one token cannot be divided; leave out --valid");
    MEP_TRY(mep_dataset_writer_create(&job->writer, job->train, job->tokenizer));
    MEP_TRY(mep_dataset_writer_create(&job->other, job->valid, job->tokenizer));
    for (int64_t i = 0; i < documents; ++i) {
        MEP_TRY(look_at_interrupt());
        int64_t first = mep_dataset_document_start(job->dataset, i);
        int64_t last = mep_dataset_document_start(job->dataset, i + 1), middle = last < cut ? last : cut;
        if (first < cut) MEP_TRY(copy_document(job, job->writer, first, middle));
        if (last > cut) MEP_TRY(copy_document(job, job->other, first > cut ? first : cut, last));
    }
    MEP_TRY(mep_dataset_writer_finish(&job->writer));
    return mep_dataset_writer_finish(&job->other);
}

/* ---- The command ---- */

/* One line of summary; bytes a token are those of the whole. */
static mep_status report(const prepare_job *job, const char *prefix)
{
    mep_dataset *dataset = NULL;
    MEP_TRY(mep_dataset_open(&dataset, prefix));
    printf("%s.bin: %lld documents, %lld tokens, %.3f bytes of text a token\n", prefix,
           (long long)mep_dataset_documents(dataset), (long long)mep_dataset_tokens(dataset),
           (double)job->text_bytes / (double)job->tokens);
    mep_dataset_close(&dataset);
    return MEP_OK;
}

static mep_status write_split(prepare_job *job)
{
    mep_status status = write_whole(job, job->whole);
    if (status == MEP_OK) status = mep_dataset_open(&job->dataset, job->whole);
    if (status == MEP_OK) status = write_parts(job);
    mep_dataset_close(&job->dataset);
    mep_status removed = remove_dataset(job->whole);
    return status != MEP_OK ? status : removed;
}

/* The folder that the files go to, made where it does not exist. */
static mep_status make_output_folder(const char *prefix)
{
    const char *slash = strrchr(prefix, '/');
    char *folder = NULL;
    if (slash == NULL || slash == prefix) return MEP_OK;
    MEP_TRY(mep_format(&folder, "%.*s", (int)(slash - prefix), prefix));
    mep_status status = mep_make_folder(folder, 1);
    mep_free(&folder);
    return status;
}

static mep_status prepare(prepare_job *job)
{
    job->started = mep_now();
    job->end_of_document = !job->no_end_of_document;
    MEP_TRY(mep_tokenizer_open(&job->tokenizer, job->tokenizer_name));
    if (job->valid_share > 0) {
        MEP_TRY(mep_format(&job->train, "%s.train", job->out));
        MEP_TRY(mep_format(&job->valid, "%s.valid", job->out));
        MEP_TRY(mep_format(&job->whole, "%s.whole", job->out));
    }
    MEP_TRY(check_output(job, job->train != NULL ? job->train : job->out));
    MEP_TRY(check_output(job, job->valid));
    MEP_TRY(check_output(job, job->whole));
    MEP_TRY(make_output_folder(job->out));
    MEP_TRY(job->whole != NULL ? write_split(job) : write_whole(job, job->out));
    MEP_TRY(report(job, job->train != NULL ? job->train : job->out));
    return job->valid != NULL ? report(job, job->valid) : MEP_OK;
}

static int run(prepare_job *job)
{
    mep_interrupt_install();
    mep_status status = prepare(job);
    mep_progress_finish(&job->progress);
    mep_dataset_writer_abandon(&job->writer);
    mep_dataset_writer_abandon(&job->other);
    mep_dataset_close(&job->dataset);
    mep_tokenizer_destroy(&job->tokenizer);
    mep_free(&job->train);
    mep_free(&job->valid);
    mep_free(&job->whole);
    if (status == MEP_OK) return MEP_EXIT_OK;
    mep_cli_fail("prepare");
    return status == MEP_INTERRUPTED ? MEP_EXIT_INTERRUPTED : MEP_EXIT_FAILED;
}

static int ends_like_a_file(const char *prefix)
{
    size_t length = strlen(prefix);
    return length >= 4 && (strcmp(prefix + length - 4, ".bin") == 0 || strcmp(prefix + length - 4, ".idx") == 0);
}

int mep_cli_prepare(int argc, char **argv)
{
    prepare_job job = {.tokenizer_name = "bytes"};
    mep_option options[] = {
        MEP_OPT_TEXT("--out", 'o', "PREFIX", &job.out, "write PREFIX.bin, PREFIX.idx and PREFIX.json"),
        MEP_OPT_TEXT("--tokenizer", 't', "NAME", &job.tokenizer_name,
                     "how text becomes tokens; bytes: each byte is one"),
        MEP_OPT_REAL("--valid", 0, "SHARE", &job.valid_share, 0, 0.9,
                     "write PREFIX.train and, with this share of the tokens from the end, PREFIX.valid"),
        MEP_OPT_FLAG("--no-eod", 0, &job.no_end_of_document, "no end-of-document token behind each document"),
        MEP_OPT_FLAG("--force", 'f', &job.force, "replace files that exist"),
        MEP_OPT_FLAG("--quiet", 'q', &job.quiet, "no progress line"),
        MEP_OPT_END,
    };
    mep_usage usage = {
        .command = "prepare",
        .arguments = "INPUT ...",
        .summary =
            "Turn text into a token dataset for training and evaluation, in the format of Megatron-LM and GPT-NeoX.",
        .notes =
            "An INPUT is a text file (one document), a .jsonl or .json file (a document a line, its string \"text\"), "
            "each\n"
            "also as .gz, .zst or .xz or in a .tar of them, or a folder of such. Folders are read in byte order of "
            "the\n"
            "names; hidden files, and text files with a zero byte near their beginning, are left out.\n"
            "--valid cuts between two documents where that changes the share by less than a tenth, else inside one;\n"
            "it needs the space of the dataset twice for a while.\n\n"
            "  mep prepare --out books --valid 0.05 books.jsonl.zst\n",
        .options = options,
        .min_arguments = 1,
        .max_arguments = MOST_INPUTS};
    int code = mep_args_parse(&usage, argc, argv, &job.input_count);
    if (code != MEP_ARGS_GO) return code;
    if (job.out == NULL || job.out[0] == '\0') return mep_cli_usage("prepare", "--out PREFIX is missing");
    if (ends_like_a_file(job.out)) return mep_cli_usage("prepare", "--out takes the name without .bin or .idx");
    job.inputs = argv + 1;
    return run(&job);
}
