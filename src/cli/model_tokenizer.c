/* SPDX-License-Identifier: MIT */
/*
 * Search for the tokenizer of a model.
 */
#include "cli/model_tokenizer.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"
#include "mep/train.h"

enum { BYTES_VOCAB_MIN = 257, BYTES_VOCAB_MAX = 320 };

/* From the files of a folder. */
static mep_status open_in(const char *folder, mep_tokenizer **tokenizer)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", NULL};
    for (int i = 0; names[i] != NULL && *tokenizer == NULL; i++) {
        char *path = NULL;
        MEP_TRY(mep_path_join(&path, folder, names[i]));
        mep_status status = mep_file_exists(path) ? mep_tokenizer_open(tokenizer, path) : MEP_OK;
        mep_free(&path);
        MEP_TRY(status);
    }
    return MEP_OK;
}

/* From the data of a run. It is not an error if the data no longer exists. */
static mep_status open_of_data(const char *run, mep_tokenizer **tokenizer)
{
    mep_train_settings settings;
    mep_data_mix *data = NULL;
    if (mep_train_read_settings(run, &settings) != MEP_OK || mep_train_open_data(&data, &settings) != MEP_OK)
        return MEP_OK;
    const char *name = mep_dataset_tokenizer(mep_data_mix_dataset(data, 0));
    mep_status status = name[0] != '\0' ? mep_tokenizer_open(tokenizer, name) : MEP_OK;
    mep_data_mix_close(&data);
    return status;
}

mep_status mep_cli_model_tokenizer(const char *model, int64_t vocab_size, mep_tokenizer **tokenizer)
{
    char *above = NULL;
    *tokenizer = NULL;
    MEP_TRY(mep_path_join(&above, model, ".."));
    mep_status status = open_in(model, tokenizer);
    if (status == MEP_OK && *tokenizer == NULL) status = open_of_data(model, tokenizer);
    if (status == MEP_OK && *tokenizer == NULL) status = open_in(above, tokenizer);
    if (status == MEP_OK && *tokenizer == NULL) status = open_of_data(above, tokenizer);
    mep_free(&above);
    MEP_TRY(status);
    if (*tokenizer != NULL || vocab_size < BYTES_VOCAB_MIN || vocab_size > BYTES_VOCAB_MAX) return MEP_OK;
    return mep_tokenizer_bytes(tokenizer);
}

mep_status mep_cli_check_tokenizers(const char *model, const char *data, const mep_dataset *dataset)
{
    mep_tokenizer *known = NULL, *other = NULL;
    const char *name = mep_dataset_tokenizer(dataset);
    mep_status status = mep_cli_model_tokenizer(model, 0, &known); /* vocabulary 0: never bytes by its size */
    if (status == MEP_OK && known != NULL && name[0] != '\0') {
        status = mep_tokenizer_open(&other, name);
        if (status == MEP_OK && !mep_tokenizer_equal(known, other))
            status = mep_fail(MEP_ERROR_ARGUMENT,
                              "%s was prepared with the tokenizer %s, but %s reads the tokens of %s; prepare the text "
                              "with that one",
                              data, name, model, mep_tokenizer_name(known));
    }
    mep_tokenizer_destroy(&known);
    mep_tokenizer_destroy(&other);
    return status;
}
