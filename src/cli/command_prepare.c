/* SPDX-License-Identifier: MIT */
/*
 * mep prepare: text files to a token dataset. With --valid or --split the complete dataset is written first and then
 * divided, because the boundaries are known only at the end. A stopped command can be resumed; one that fails at its
 * start leaves no files.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/lock.h"
#include "base/memory.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/prepare_synthetic.h"
#include "cli/progress.h"
#include "io/files.h"
#include "mep/data.h"

enum { MB = 1000000, MOST_INPUTS = 1 << 20, COPIED = 1 << 14 /* tokens copied at a time */ };

/* The largest distance of a document boundary from the requested split point, as a fraction of the second part. */
static const double BOUNDARY_FRACTION = 0.1;

static const char *const SUFFIXES[] = {".bin", ".idx", ".json", ".tokenizer.json", ".mask", NULL};
static const char *const PARTS[] = {"train", "valid", "test"};

typedef struct prepare_job {
    const char *out, *tokenizer_name, *split;
    char *parts[3], *whole; /* prefixes of the parts and of the complete dataset with --valid or --split; else NULL */
    double valid_fraction;
    int64_t threads;
    int no_end_of_document, skip_bad_lines, force, resume, quiet;
    int continues; /* the existing files belong to the work that is resumed */
    char **inputs;
    int input_count;

    mep_lock lock; /* with parts: of PREFIX; mep_prepare and the writer lock the prefixes that they write */
    mep_tokenizer *tokenizer;
    mep_dataset *dataset;
    mep_progress progress;
    double started;
    int64_t read_before; /* bytes of text that an earlier command has read */
    mep_prepare_progress result;
} prepare_job;

static mep_status check_interrupt(void)
{
    return mep_interrupt_flag ? mep_fail(MEP_INTERRUPTED, "interrupted") : MEP_OK;
}

/* ---- Existing files ---- */

static mep_status check_inputs(const prepare_job *job, const char *path, const struct stat *output)
{
    for (int i = 0; i < job->input_count; ++i) {
        struct stat input;
        if (stat(job->inputs[i], &input) == 0 && input.st_dev == output->st_dev && input.st_ino == output->st_ino)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s is an input, and would be written too; choose another --out", path);
    }
    return MEP_OK;
}

/* Check that the files of a dataset do not exist or may be replaced, and that none is an input. */
static mep_status check_output(const prepare_job *job, const char *prefix)
{
    mep_status status = MEP_OK;
    for (int i = 0; status == MEP_OK && prefix != NULL && SUFFIXES[i] != NULL; ++i) {
        char *path = NULL;
        struct stat info;
        MEP_TRY(mep_format(&path, "%s%s", prefix, SUFFIXES[i]));
        if (stat(path, &info) == 0) {
            status = check_inputs(job, path, &info);
            if (status == MEP_OK && !job->force && !job->continues)
                status = mep_fail(MEP_ERROR_ARGUMENT,
                                  job->resume ? "%s exists and is complete: there is no stopped work to resume; --force "
                                                "replaces it"
                                              : "%s exists; choose another --out, or --force to replace it",
                                  path);
        }
        mep_free(&path);
    }
    return status;
}

static mep_status remove_file(const char *prefix, const char *suffix)
{
    char *path = NULL;
    MEP_TRY(mep_format(&path, "%s%s", prefix, suffix));
    unlink(path);
    mep_free(&path);
    return MEP_OK;
}

static mep_status remove_dataset(const char *prefix)
{
    for (int i = 0; SUFFIXES[i] != NULL; ++i) MEP_TRY(remove_file(prefix, SUFFIXES[i]));
    return MEP_OK;
}

/* Remove the journal first: a journal without its dataset would be resumed. */
static mep_status remove_whole(const prepare_job *job)
{
    MEP_TRY(remove_file(job->whole, ".journal"));
    return remove_dataset(job->whole);
}

/* ---- Text to tokens ---- */

static int show_progress(void *context, const mep_prepare_progress *p)
{
    prepare_job *job = context;
    int64_t total_mb = (p->total + MB / 2) / MB;
    if (job->read_before < 0) {
        job->read_before = p->text_bytes;
        job->started = mep_now();
        if (!job->quiet) mep_progress_start(&job->progress, "prepare, MB", p->position / MB, total_mb);
    }
    double seconds = mep_now() - job->started;
    mep_progress_update(&job->progress, p->position < p->total ? p->position / MB : total_mb, "%.1f MB/s of text",
                        seconds > 0 ? (double)(p->text_bytes - job->read_before) / MB / seconds : 0.0);
    return mep_interrupt_flag;
}

static mep_status write_whole(prepare_job *job, const char *prefix)
{
    mep_prepare_settings settings;
    mep_prepare_defaults(&settings);
    settings.inputs = (const char *const *)job->inputs;
    settings.input_count = job->input_count;
    settings.prefix = prefix;
    settings.tokenizer = job->tokenizer;
    settings.end_of_document = !job->no_end_of_document;
    settings.threads = job->threads;
    settings.skip_bad_lines = job->skip_bad_lines;
    settings.resume = job->resume;
    settings.keep_journal = job->whole != NULL;
    job->read_before = -1;
    MEP_TRY(mep_prepare(&settings, show_progress, job, &job->result));
    mep_progress_finish(&job->progress);
    return MEP_OK;
}

/* ---- Dividing the dataset ---- */

/* The token where the second part begins: at a document boundary if one is near, otherwise within a document. Each part
 * has a token if the dataset has two. */
static int64_t choose_split_point(const mep_dataset *dataset, double valid_fraction)
{
    int64_t tokens = mep_dataset_tokens(dataset), low = 0, high = mep_dataset_documents(dataset);
    int64_t point = tokens - (int64_t)((double)tokens * valid_fraction + 0.5);
    if (point > tokens - 1) point = tokens - 1;
    if (point < 1) point = 1;
    while (low < high) { /* find the first document that begins at the point or after it */
        int64_t middle = low + (high - low) / 2;
        if (mep_dataset_document_start(dataset, middle) < point)
            low = middle + 1;
        else
            high = middle;
    }
    int64_t after = mep_dataset_document_start(dataset, low), before = mep_dataset_document_start(dataset, low - 1);
    int64_t nearest = after - point <= point - before ? after : before;
    int64_t distance = nearest > point ? nearest - point : point - nearest;
    int is_near = nearest > 0 && nearest < tokens && (double)distance <= BOUNDARY_FRACTION * (double)(tokens - point);
    return is_near ? nearest : point;
}

/* Append tokens first .. last - 1, which belong to one document. */
static mep_status copy_document(const prepare_job *job, mep_dataset_writer *writer, int64_t first, int64_t last)
{
    int32_t tokens[COPIED];
    for (int64_t at = first; at < last; at += COPIED) {
        int64_t count = last - at < COPIED ? last - at : COPIED;
        MEP_TRY(check_interrupt());
        MEP_TRY(mep_dataset_read(job->dataset, at, count, tokens));
        MEP_TRY(mep_dataset_writer_append(writer, tokens, count));
    }
    return mep_dataset_writer_add(writer, NULL, 0, 0); /* ends the document */
}

/* Append tokens first .. last - 1 of all documents. */
static mep_status copy_tokens(const prepare_job *job, mep_dataset_writer *writer, int64_t first, int64_t last)
{
    for (int64_t i = 0; i < mep_dataset_documents(job->dataset); ++i) {
        int64_t begin = mep_dataset_document_start(job->dataset, i);
        int64_t end = mep_dataset_document_start(job->dataset, i + 1);
        if (begin < first) begin = first;
        if (end > last) end = last;
        if (begin >= end) continue;
        MEP_TRY(copy_document(job, writer, begin, end));
    }
    return MEP_OK;
}

static mep_status write_part(const prepare_job *job, const char *prefix, int64_t first, int64_t last)
{
    mep_dataset_writer *writer = NULL;
    MEP_TRY(mep_dataset_writer_create(&writer, prefix, job->tokenizer));
    mep_status status = copy_tokens(job, writer, first, last);
    if (status == MEP_OK) return mep_dataset_writer_finish(&writer);
    mep_dataset_writer_abandon(&writer);
    return status;
}

/* The boundaries of the parts, in tokens. */
static mep_status choose_bounds(const prepare_job *job, int64_t bounds[4])
{
    int64_t tokens = mep_dataset_tokens(job->dataset);
    if (job->split != NULL) {
        MEP_TRY(mep_split_documents(job->split, mep_dataset_documents(job->dataset), bounds));
        for (int i = 0; i < 4; ++i) bounds[i] = mep_dataset_document_start(job->dataset, bounds[i]);
        return MEP_OK;
    }
    if (tokens < 2) return mep_fail(MEP_ERROR_ARGUMENT, "one token cannot be divided; leave out --valid");
    bounds[0] = 0;
    bounds[1] = choose_split_point(job->dataset, job->valid_fraction);
    bounds[2] = bounds[3] = tokens;
    return MEP_OK;
}

/* A part without a token is not written; an older one of that name (--force) is removed. */
static mep_status write_parts(prepare_job *job)
{
    int64_t bounds[4] = {0};
    MEP_TRY(choose_bounds(job, bounds));
    for (int i = 0; i < 3; ++i) {
        if (bounds[i] < bounds[i + 1]) {
            MEP_TRY(write_part(job, job->parts[i], bounds[i], bounds[i + 1]));
        } else {
            MEP_TRY(remove_dataset(job->parts[i]));
            mep_free(&job->parts[i]);
        }
    }
    return MEP_OK;
}

/* ---- The command ---- */

/* Print one line of summary; bytes per token are those of the complete dataset. */
static mep_status report(const prepare_job *job, const char *prefix)
{
    mep_dataset *dataset = NULL;
    MEP_TRY(mep_dataset_open(&dataset, prefix));
    int64_t documents = mep_dataset_documents(dataset);
    mep_cli_print(stdout, "%s.bin: %lld document%s, %lld tokens, %.3f bytes of text per token\n", prefix,
                  (long long)documents, documents == 1 ? "" : "s", (long long)mep_dataset_tokens(dataset),
                  (double)job->result.text_bytes / (double)job->result.tokens);
    mep_dataset_close(&dataset);
    return MEP_OK;
}

/* The complete dataset and its journal are kept until all parts are written, unless it cannot be divided this way. */
static mep_status write_split(prepare_job *job)
{
    char message[1024];
    MEP_TRY(write_whole(job, job->whole));
    mep_status status = mep_dataset_open(&job->dataset, job->whole);
    if (status == MEP_OK) status = write_parts(job);
    mep_dataset_close(&job->dataset);
    if (status == MEP_OK) return remove_whole(job);
    if (status == MEP_ERROR_ARGUMENT) {
        MEP_TRY(remove_whole(job));
        return status;
    }
    snprintf(message, sizeof message, "%s", mep_error_message());
    return mep_fail(status, "%s; finished work is kept, and --resume continues it", message);
}

/* Two commands with one PREFIX would write the same parts. Without parts mep_prepare takes this lock. */
static mep_status take_lock(prepare_job *job)
{
    char *path = NULL;
    if (job->whole == NULL) return MEP_OK;
    MEP_TRY(mep_format(&path, "%s.lock", job->out));
    mep_status status = mep_lock_take(&job->lock, path, job->out);
    mep_free(&path);
    return status;
}

/* Make the folder of the files if it does not exist. */
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

static mep_status name_parts(prepare_job *job)
{
    if (job->valid_fraction <= 0 && job->split == NULL) return MEP_OK;
    int64_t unused[4];
    if (job->split != NULL)
        MEP_TRY(mep_split_documents(job->split, 1, unused)); /* report an error now and not after hours */
    for (int i = 0; i < 3; ++i) MEP_TRY(mep_format(&job->parts[i], "%s.%s", job->out, PARTS[i]));
    return mep_format(&job->whole, "%s.whole", job->out);
}

/* Stopped work is neither removed nor resumed without an option. */
static mep_status check_journal(prepare_job *job)
{
    char *path = NULL;
    MEP_TRY(mep_format(&path, "%s.journal", job->whole != NULL ? job->whole : job->out));
    mep_status status = MEP_OK;
    int exists = mep_file_exists(path);
    job->continues = exists && job->resume;
    if (exists && !job->resume && !job->force)
        status = mep_fail(MEP_ERROR_ARGUMENT, "%s belongs to stopped work; --resume continues it, --force begins again",
                          path);
    mep_free(&path);
    return status;
}

static mep_status check_outputs(prepare_job *job)
{
    MEP_TRY(check_journal(job));
    if (job->whole == NULL) return check_output(job, job->out);
    for (int i = 0; i < 3; ++i) MEP_TRY(check_output(job, job->parts[i]));
    return check_output(job, job->whole);
}

/* If lines were skipped, report it at the end. */
static void report_skipped(const prepare_job *job)
{
    const mep_prepare_progress *result = &job->result;
    if (result->skipped_lines > 0)
        mep_cli_print(stderr, "mep prepare: skipped %lld line%s that cannot be parsed; the first: %s\n",
                      (long long)result->skipped_lines, result->skipped_lines == 1 ? "" : "s", result->first_skipped);
}

static mep_status prepare(prepare_job *job)
{
    MEP_TRY(mep_tokenizer_open(&job->tokenizer, job->tokenizer_name));
    MEP_TRY(name_parts(job));
    MEP_TRY(make_output_folder(job->out));
    MEP_TRY(take_lock(job));
    MEP_TRY(check_outputs(job));
    if (job->whole == NULL) {
        MEP_TRY(write_whole(job, job->out));
        report_skipped(job);
        return report(job, job->out);
    }
    MEP_TRY(write_split(job));
    report_skipped(job);
    for (int i = 0; i < 3; ++i)
        if (job->parts[i] != NULL) MEP_TRY(report(job, job->parts[i]));
    return MEP_OK;
}

static int run(prepare_job *job)
{
    mep_interrupt_install();
    mep_status status = prepare(job);
    mep_progress_finish(&job->progress);
    mep_dataset_close(&job->dataset);
    mep_tokenizer_destroy(&job->tokenizer);
    mep_lock_release(&job->lock);
    for (int i = 0; i < 3; ++i) mep_free(&job->parts[i]);
    mep_free(&job->whole);
    if (status == MEP_OK) return MEP_EXIT_OK;
    mep_cli_fail("prepare");
    return status == MEP_INTERRUPTED ? MEP_EXIT_INTERRUPTED : MEP_EXIT_FAILED;
}

static int names_a_folder(const char *prefix)
{
    const char *slash = strrchr(prefix, '/'), *name = slash != NULL ? slash + 1 : prefix;
    return *name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int ends_like_a_file(const char *prefix)
{
    size_t length = strlen(prefix);
    return length >= 4 && (strcmp(prefix + length - 4, ".bin") == 0 || strcmp(prefix + length - 4, ".idx") == 0);
}

/* Data of a synthetic task: no input, and none of the options of text. */
static int run_synthetic(prepare_job *job, mep_prepare_synthetic *synthetic, const mep_option *options)
{
    static const char *const text[] = {"--tokenizer", "--valid",          "--split",  "--resume",
                                       "--no-eod",    "--skip-bad-lines", "--threads"};
    if (job->input_count > 0)
        return mep_cli_usage("prepare", "--synthetic makes its data itself; leave out %s", job->inputs[0]);
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (mep_args_given(options, text[i]))
            return mep_cli_usage("prepare", "%s is for text, not for --synthetic", text[i]);
    synthetic->prefix = job->out;
    synthetic->quiet = job->quiet;
    mep_interrupt_install();
    mep_status status = make_output_folder(job->out);
    if (status == MEP_OK) status = check_journal(job);
    if (status == MEP_OK) status = check_output(job, job->out);
    if (status == MEP_OK) status = remove_file(job->out, ".journal");
    if (status == MEP_OK) status = mep_cli_prepare_synthetic(synthetic);
    if (status == MEP_OK) return MEP_EXIT_OK;
    mep_cli_fail("prepare");
    return status == MEP_INTERRUPTED ? MEP_EXIT_INTERRUPTED : MEP_EXIT_FAILED;
}

int mep_cli_prepare(int argc, char **argv)
{
    prepare_job job = {.tokenizer_name = "bytes"};
    mep_prepare_synthetic synthetic = {.task = NULL};
    mep_synthetic_defaults(&synthetic.settings);
    mep_option options[] = {
        MEP_OPT_TEXT("--out", 'o', "PREFIX", &job.out, "write PREFIX.bin, PREFIX.idx and PREFIX.json"),
        MEP_OPT_TEXT(
            "--tokenizer", 't', "FILE", &job.tokenizer_name,
            "tokenizer: a tokenizer.json, a folder with one or with vocab.json and merges.txt, or bytes, in which "
            "each byte is a token"),
        MEP_OPT_REAL("--valid", 0, "FRACTION", &job.valid_fraction, 0, 0.9,
                     "write PREFIX.train, and the last FRACTION of the tokens as PREFIX.valid"),
        MEP_OPT_TEXT("--split", 0, "A,B,C", &job.split,
                     "write PREFIX.train, PREFIX.valid and PREFIX.test: the documents in their order, divided in these "
                     "proportions; the paper has 949,50,1"),
        MEP_OPT_INT("--threads", 'j', "N", &job.threads, 0, 256,
                    "threads that tokenize; 0: one for each core that the process may use"),
        MEP_OPT_FLAG("--resume", 0, &job.resume, "resume stopped work; start it if there is none"),
        MEP_OPT_FLAG("--no-eod", 0, &job.no_end_of_document, "write no end-of-document token after each document"),
        MEP_OPT_FLAG("--skip-bad-lines", 0, &job.skip_bad_lines,
                     "skip lines that are not a JSON object with a string \"text\", and print how many"),
        MEP_OPT_TEXT("--synthetic", 0, "TASK", &synthetic.task,
                     "write training data of a retrieval task of mep eval instead of text, in which only the answers "
                     "are trained: "
                     "mqar, induction, or with options, mqar:pairs=8,queries=4"),
        MEP_OPT_LENGTH("--length", 0, "L", &synthetic.settings.length, 1, 1 << 26,
                       "of --synthetic: tokens per sequence"),
        MEP_OPT_INT("--sequences", 0, "N", &synthetic.settings.sequences, 1, INT64_MAX, "of --synthetic: sequences"),
        MEP_OPT_INT("--seed", 0, "N", (int64_t *)&synthetic.settings.seed, 0, INT64_MAX,
                    "of --synthetic: seed of the sequences"),
        MEP_OPT_FLAG("--force", 'f', &job.force, "replace existing files"),
        MEP_OPT_FLAG("--quiet", 'q', &job.quiet, "no progress line"),
        MEP_OPT_END,
    };
    mep_usage usage = {
        .command = "prepare",
        .arguments = "INPUT ...",
        .summary =
            "Make a token dataset for training and evaluation from text, in the format of Megatron-LM and GPT-NeoX.",
        .notes =
            "An INPUT is a text file (one document), a .jsonl or .json file (one document per line: its string\n"
            "\"text\"), one of these as .gz, .zst or .xz, a .tar of such files, or a folder of them. Folders are read "
            "in\n"
            "byte order of the names, without hidden files and without text files that have a zero byte near their\n"
            "beginning. A file that is named on the command line is read even if it is binary.\n"
            "--valid divides between two documents if that changes the fraction by less than a tenth, otherwise "
            "within\n"
            "one. During the work, --valid and --split need twice the disk space of the dataset. mep train, eval and\n"
            "compare can also divide a complete dataset by their option --split.\n\n"
            "  mep prepare --out books --valid 0.05 books.jsonl.zst\n"
            "  mep prepare --out pile pile/train/          The Pile: a folder of .jsonl.zst\n"
            "  mep prepare --out pile pile/train/ --resume\n"
            "  mep prepare --out recall --synthetic mqar --length 64 --sequences 20K\n\n"
            "The memory does not depend on the size of the corpus or of a text file. After Ctrl-C, a full disk or a\n"
            "killed process, at most some seconds of work are lost: the same command with --resume continues, and the\n"
            "dataset is bit-identical.\n",
        .options = options,
        .max_arguments = MOST_INPUTS};
    int code = mep_args_parse(&usage, argc, argv, &job.input_count);
    if (code != MEP_ARGS_GO) return code;
    if (job.out == NULL || job.out[0] == '\0') return mep_cli_usage("prepare", "--out PREFIX is missing");
    if (names_a_folder(job.out))
        return mep_cli_usage("prepare", "--out is a folder and a name in it, as in data/books; \"%s\" has no name",
                             job.out);
    if (ends_like_a_file(job.out)) return mep_cli_usage("prepare", "--out is the name without .bin or .idx");
    if (job.split != NULL && job.valid_fraction > 0)
        return mep_cli_usage("prepare", "--split and --valid exclude each other");
    job.inputs = argv + 1;
    static const char *const of_synthetic[] = {"--length", "--sequences", "--seed"};
    for (size_t i = 0; synthetic.task == NULL && i < sizeof of_synthetic / sizeof *of_synthetic; i++)
        if (mep_args_given(options, of_synthetic[i]))
            return mep_cli_usage("prepare", "%s is for --synthetic", of_synthetic[i]);
    if (synthetic.task != NULL) return run_synthetic(&job, &synthetic, options);
    if (job.input_count == 0) return mep_cli_usage("prepare", "needs INPUT ...");
    return run(&job);
}
