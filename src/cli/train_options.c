/* SPDX-License-Identifier: MIT */
/*
 * From the shared training options to the settings of a training.
 */
#include "cli/train_options.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "cli/cli.h"

enum { VOCAB_STEP = 64 }; /* the 50257 of the paper become 50304 */

const char *const mep_train_on_nan[] = {"stop", "skip", "dump", NULL};
const char *const mep_train_blocks[] = {"gpt_neox", "llama", NULL};
const char *const mep_train_qk_norms[] = {"none", "head", "all", NULL};

/* The value of --preset; the last one counts. NULL if there is none. */
static const char *find_preset(int argc, char **argv)
{
    static const char name[] = "--preset";
    const char *value = NULL;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], name, sizeof name - 1) != 0) continue;
        const char *rest = argv[i] + sizeof name - 1;
        if (*rest == '=') value = rest + 1;
        if (*rest == '\0' && i + 1 < argc) value = argv[i + 1];
    }
    return value;
}

int mep_train_options_begin(mep_train_options *options, const char *command, int argc, char **argv)
{
    const char *preset = find_preset(argc, argv);
    *options = (mep_train_options){.preset = preset != NULL ? preset : "nano"};
    if (mep_train_preset(options->preset, &options->settings) != MEP_OK)
        return mep_cli_usage(command, "--preset: %s", mep_error_message());
    options->settings.model.vocab_size = 0;
    options->settings.model.intermediate_size = 0;
    options->dtype = MEP_CLI_AUTO;
    options->block = (int)options->settings.model.block;
    return MEP_ARGS_GO;
}

/* The number of tokens that a model of this data needs. */
static mep_status data_vocabulary(const mep_train_settings *settings, int64_t *size)
{
    mep_data_mix *data = NULL;
    mep_tokenizer *tokenizer = NULL;
    MEP_TRY(mep_train_open_data(&data, settings));
    mep_status status = MEP_OK;
    const char *name = mep_dataset_tokenizer(mep_data_mix_dataset(data, 0));
    if (name[0] == '\0')
        *size = mep_data_mix_vocab_size(data);
    else
        status = mep_tokenizer_open(&tokenizer, name);
    if (tokenizer != NULL) *size = mep_tokenizer_vocab_size(tokenizer);
    mep_tokenizer_destroy(&tokenizer);
    mep_data_mix_close(&data);
    return status;
}

/* The largest micro-batch up to that of the preset (which limits the memory) that divides the batch. */
static void fit_micro_batch(mep_train_settings *settings)
{
    int64_t *micro = &settings->micro_batch_size;
    if (*micro > settings->batch_size) *micro = settings->batch_size;
    while (*micro > 1 && settings->batch_size % *micro != 0) --*micro;
}

/* Copy the text of an option; NULL is copied as "". */
static mep_status copy_text(const char *text, const char *what, char *to, size_t size)
{
    int written = snprintf(to, size, "%s", text != NULL ? text : "");
    if (written >= 0 && (size_t)written < size) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "%s is longer than %d characters", what, (int)size - 1);
}

/* The members of a new model that the options leave to its block or to the recipe. */
static mep_status set_sizes(mep_train_options *options)
{
    mep_model_config *model = &options->settings.model;
    int64_t intermediate = model->intermediate_size;
    MEP_TRY(mep_model_config_set_block(model, (mep_block)options->block));
    if (intermediate > 0) model->intermediate_size = intermediate;
    model->qk_norm = (mep_qk_norm)options->qk_norm;
    model->max_position_embeddings = options->settings.length;
    return MEP_OK;
}

mep_status mep_train_options_finish(mep_train_options *options, const mep_option *rows, const char *data,
                                    const char *split)
{
    mep_train_settings *settings = &options->settings;
    mep_model_config *model = &settings->model;
    MEP_TRY(copy_text(data, "the name of the data", settings->data, sizeof settings->data));
    MEP_TRY(copy_text(split, "the split", settings->split, sizeof settings->split));
    if (settings->init[0] == '\0' && model->vocab_size == 0) {
        int64_t size = 0;
        MEP_TRY(data_vocabulary(settings, &size));
        model->vocab_size = (size + VOCAB_STEP - 1) / VOCAB_STEP * VOCAB_STEP;
    }
    if (settings->init[0] == '\0') MEP_TRY(set_sizes(options));
    if (!mep_args_given(rows, "--micro-batch-size")) fit_micro_batch(settings);
    settings->device = (mep_device)options->device;
    settings->on_nan = (mep_on_nan)options->on_nan;
    mep_set_threads((int)options->threads);
    return MEP_OK;
}
