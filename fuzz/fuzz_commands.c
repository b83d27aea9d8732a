/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a file that a subcommand reads and shows. The first byte selects it: a run's
 * train.json or metrics.jsonl (also `mep plot`, without gnuplot), the config.json of a model with weights or its
 * model.safetensors, a dataset's description (`mep info`), parameters of a bias (`mep bias`), a table of results (`mep
 * plot`), tokens (`mep tokenizer decode`). The exit code is 0 or 1, an error is one printable line, and no output acts
 * on a terminal.
 */
#define _XOPEN_SOURCE 700
#include <stdio.h>

#include "cli/cli.h"
#include "folder.h"
#include "mep/data.h"
#include "mep/model.h"
#include "mep/train.h"
#include "train/run.h"

enum { RUN, METRICS, CONFIG, WEIGHTS, DESCRIPTION, PARAMS, RESULTS, TOKENS, KINDS, WORDS = 12 };

static const char *const FILES[KINDS] = {
    "run/train.json", "logged/metrics.jsonl", "model/config.json", "tiny/model.safetensors",
    "d.json",         "params.json",          "results.csv",       "tokens.txt"};

static void make_folder(const char *name)
{
    char path[64];
    file_path(name, path);
    if (mep_make_folder(path, 0) != MEP_OK) abort();
}

/* A model of about a hundred numbers, in two folders. */
static void save_models(void)
{
    mep_model_config config;
    mep_model *model = NULL;
    char path[64];
    if (mep_model_preset("nano", &config) != MEP_OK) abort();
    config.vocab_size = 3;
    config.hidden_size = config.intermediate_size = 4;
    config.num_hidden_layers = 1;
    config.num_attention_heads = 2;
    if (mep_model_create(&model, &config, 1) != MEP_OK) abort();
    file_path("model", path);
    if (mep_model_save(model, path, NULL) != MEP_OK) abort();
    file_path("tiny", path);
    if (mep_model_save(model, path, NULL) != MEP_OK) abort();
    mep_model_destroy(&model);
}

/* A run without checkpoints, models, a dataset of three tokens, and no gnuplot. */
static void begin(void)
{
    static mep_train_settings settings;
    const mep_run_checksums checksums = {"0123456789abcdef", "0123456789abcdef"};
    const int32_t tokens[] = {1, 2, 3};
    char path[64];
    mep_tokenizer *tokenizer = NULL;
    mep_dataset_writer *writer = NULL;
    make_folder("run");
    make_folder("logged");
    make_folder("model");
    make_folder("tiny");
    save_models();
    file_path("logged", path);
    if (mep_train_preset("nano", &settings) != MEP_OK) abort();
    strcpy(settings.data, "d");
    if (mep_run_write_settings(path, &settings, &checksums) != MEP_OK) abort();
    file_path("d", path);
    if (mep_tokenizer_bytes(&tokenizer) != MEP_OK) abort();
    if (mep_dataset_writer_create(&writer, path, tokenizer) != MEP_OK) abort();
    if (mep_dataset_writer_add(writer, tokens, 3, 0) != MEP_OK || mep_dataset_writer_finish(&writer) != MEP_OK) abort();
    mep_tokenizer_destroy(&tokenizer);
    if (setenv("PATH", fuzz_folder, 1) != 0) abort();
}

/* The text contains nothing that acts on a terminal. */
static void check_page(const char *page, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (((unsigned char)page[i] < 0x20 && page[i] != '\n') || page[i] == 0x7F) abort();
}

/* Run a command with stdout and stderr in memory; glibc allows to assign both. */
static void run(int (*command)(int argc, char **argv), const char *const *words, int is_page)
{
    char copies[WORDS][64], *argv[WORDS + 1] = {NULL}, *said = NULL, *printed = NULL;
    size_t said_size, printed_size;
    int argc = 0;
    for (; words[argc] != NULL; argc++) argv[argc] = strcpy(copies[argc], words[argc]);
    FILE *out = stdout, *err = stderr;
    stdout = open_memstream(&printed, &printed_size);
    stderr = open_memstream(&said, &said_size);
    int code = command(argc, argv);
    fclose(stdout);
    fclose(stderr);
    stdout = out;
    stderr = err;
    if (code == MEP_EXIT_FAILED) {
        if (said_size < 2 || said[said_size - 1] != '\n') abort();
        said[said_size - 1] = '\0';
        check_line(said);
    } else if (code != MEP_EXIT_OK || said_size > 0) {
        abort();
    }
    if (is_page) check_page(printed, printed_size);
    free(said);
    free(printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64], folder[64], png[64];
    if (size < 1) return 0;
    int kind = data[0] % KINDS;
    if (fuzz_folder[0] == '\0') begin();
    file_path(FILES[kind], path);
    put_file(FILES[kind], data + 1, size - 1);
    file_path(kind == DESCRIPTION ? "d" : FILES[kind], folder);
    if (kind < DESCRIPTION) *strrchr(folder, '/') = '\0';
    file_path("picture.png", png);
    const char *const info[] = {"info", folder, NULL}, *const json[] = {"info", "--json", folder, NULL},
                      *const decode[] = {"tokenizer", "decode", "--tokenizer", "bytes", path, NULL},
                      *const plot[] = {"plot", path, "--out", png, "--train-length", "512", NULL},
                      *const of_run[] = {"plot", path, "--out", png, "--x-axis", "tokens", NULL},
                      *const of_runs[] = {"plot", path, folder, "--show", "loss,grad_norm", "--out", png, NULL},
                      *const bias[] = {"bias",    "--params",   path,
                                       "--heads", "2",          "--distances",
                                       "0,1,4K",  "--position", "exp + t5:buckets=4/learn=weights,slopes",
                                       "--json",  NULL};
    if (kind <= DESCRIPTION) {
        run(mep_cli_info, info, 1);
        run(mep_cli_info, json, 0);
        if (kind == METRICS) {
            run(mep_cli_plot, of_run, 1);
            run(mep_cli_plot, of_runs, 1);
        }
    } else if (kind == PARAMS) {
        run(mep_cli_bias, bias, 1);
    } else if (kind == TOKENS) {
        run(mep_cli_tokenizer, decode, 0);
    } else {
        run(mep_cli_plot, plot, 1);
    }
    return 0;
}
