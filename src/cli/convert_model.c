/* SPDX-License-Identifier: MIT */
/*
 * Conversion of the folder of a model.
 */
#include "cli/convert_model.h"

#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/export_tokenizer.h"
#include "cli/progress.h"
#include "cli/train_options.h"
#include "io/files.h"
#include "io/file_transaction.h"

/* OUT must not contain a model, nor a run or a study, whose checkpoints would be loaded instead of it. */
static mep_status check_folder(const char *out)
{
    static const struct {
        const char *file, *what;
    } signs[] = {{"config.json", "model"},
                 {"model.safetensors", "model"},
                 {"model.safetensors.index.json", "model"},
                 {"train.json", "run"},
                 {"study.json", "study"}};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        char *path = NULL;
        MEP_TRY(mep_path_join(&path, out, signs[i].file));
        int taken = mep_file_exists(path);
        mep_free(&path);
        if (taken)
            return mep_fail(MEP_ERROR_ARGUMENT, "%s: already contains a %s; choose another folder", out, signs[i].what);
    }
    return MEP_OK;
}

static void report(const mep_model *model, const char *out, const char *form)
{
    const mep_model_config *c = mep_model_get_config(model);
    char parameters[32];
    mep_short_number((double)mep_model_parameter_values(model), parameters);
    mep_cli_print(stdout, "%s: %s, %lld layers, hidden %lld, %lld heads, vocabulary %lld, position %s: %s parameters\n",
                  out, form, (long long)c->num_hidden_layers, (long long)c->hidden_size,
                  (long long)c->num_attention_heads, (long long)c->vocab_size,
                  mep_position_spec(mep_model_get_position(model)), parameters);
}

/* Write all files of the model in the other form. */
static mep_status write_files(const mep_convert_job *job, const mep_model *model, const char *from, const char *folder,
                              const char **form)
{
    MEP_TRY(job->save(model, folder, &job->settings, form));
    MEP_TRY(mep_model_copy_tokenizer(from, folder));
    return job->for_transformers ? mep_cli_export_tokenizer(model, from, folder) : MEP_OK;
}

/* OUT gets all files or, after a failure, stays unchanged. */
static mep_status convert(const mep_convert_job *job, const char *from, const char *out, mep_model **model)
{
    const char *form = NULL;
    mep_file_transaction staging;
    MEP_TRY(mep_model_load_as(model, from, job->position, (uint64_t)job->seed));
    MEP_TRY(mep_file_transaction_begin(&staging, out));
    mep_status status = check_folder(out);
    if (status == MEP_OK) status = write_files(job, *model, from, staging.partial, &form);
    if (status != MEP_OK) {
        mep_file_transaction_abandon(&staging);
        return status;
    }
    MEP_TRY(mep_file_transaction_commit(&staging, "config.json"));
    if (!job->quiet) report(*model, out, form);
    return MEP_OK;
}

int mep_cli_convert(mep_convert_job *job, mep_usage usage, int argc, char **argv)
{
    static const char *const dtypes[] = {"float32", "bfloat16", NULL};
    mep_save_defaults(&job->settings);
    mep_option options[] = {
        MEP_OPT_TEXT("--position", 'p', "SPEC", &job->position,
                     "use this position encoding instead of that of the model; see mep train"),
        MEP_OPT_INT("--seed", 's', "N", &job->seed, 0, INT64_MAX, "seed of the parameters of another encoding"),
        MEP_OPT_CHOICE("--dtype", 0, "TYPE", &job->dtype, dtypes,
                       "type of the weights in the files; bfloat16 rounds them and halves the size"),
        MEP_OPT_BYTES(
            "--shard-size", 0, "SIZE", &job->settings.shard_size,
            "size of the largest file, such as 500MB or 5GB; larger models are written as shards with an index"),
        MEP_OPT_FLAG("--quiet", 'q', &job->quiet, "print nothing"),
        MEP_OPT_END,
    };
    usage.options = options;
    usage.min_arguments = usage.max_arguments = 2;
    mep_model *model = NULL;
    int count, code = mep_args_parse(&usage, argc, argv, &count);
    if (code != MEP_ARGS_GO) return code;
    if (job->position == NULL && mep_args_given(options, "--seed"))
        return mep_cli_usage(usage.command, "--seed is for the parameters of --position");
    job->settings.dtype = job->dtype == 1 ? MEP_BFLOAT16 : MEP_FLOAT32;
    mep_status status = convert(job, argv[1], argv[2], &model);
    mep_model_destroy(&model);
    return status == MEP_OK ? MEP_EXIT_OK : mep_cli_fail(job->command);
}
