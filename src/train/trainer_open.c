/* SPDX-License-Identifier: MIT */
/*
 * The data and the memory of a training.
 */
#include "base/device_memory.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "io/files.h"
#include "io/model_files.h"
#include "train/run_data.h"
#include "train/trainer_state.h"

void mep_trainer_close(mep_trainer *t)
{
    mep_gradient_tree_destroy(&t->tree);
    mep_sums_destroy(&t->sums);
    (void)mep_lines_close(&t->log); /* of a step that failed */
    mep_reduction_destroy(&t->reduction);
    mep_adamw_destroy(&t->optimizer);
    mep_session_destroy(&t->session);
    mep_shards_destroy(&t->shards);
    mep_model_destroy(&t->model);
    mep_data_order_close(&t->order);
    mep_data_mix_close(&t->data);
    mep_data_mix_close(&t->valid);
    mep_run_folder_close(&t->folder);
    if (t->space != t->gradients) mep_free(&t->space);
    mep_device_release(t->settings.device, &t->gradients);
    mep_free(&t->losses);
    mep_free(&t->inputs);
    mep_free(&t->targets);
}

/* ---- Data ---- */

static mep_status open_data(mep_trainer *t)
{
    const mep_train_settings *s = &t->settings;
    mep_data_order unused;
    MEP_TRY(mep_train_open_data(&t->data, s));
    MEP_TRY(mep_train_verify_data(t->data, s));
    MEP_TRY(mep_train_open_valid(&t->valid, s));
    MEP_TRY(mep_train_verify_data(t->valid, s));
    MEP_TRY(mep_data_mix_check_tokenizers(t->data, t->valid));
    MEP_TRY(mep_data_order_open(&unused, t->valid, s->length, 0)); /* validation data that is too short fails now */
    mep_data_order_close(&unused);
    return mep_data_order_open(&t->order, t->data, s->length, s->seed);
}

mep_run_checksums mep_trainer_checksums(const mep_trainer *t)
{
    mep_run_checksums checksums = {0};
    mep_data_mix_checksums(t->data, checksums.data);
    mep_data_mix_checksums(t->valid, checksums.valid);
    return checksums;
}

/* ---- Initial weights ---- */

/* Check that the tokenizer.json of settings.init is the tokenizer of the data, if both are known. */
static mep_status check_init_tokenizer(const mep_trainer *t)
{
    mep_tokenizer *model = NULL, *data = NULL;
    char *folder = NULL, *path = NULL;
    const char *name = mep_dataset_tokenizer(t->data->data[0]);
    mep_status status;
    MEP_TRY_OR(status, mep_model_folder(t->settings.init, &folder), end);
    MEP_TRY_OR(status, mep_path_join(&path, folder, "tokenizer.json"), end);
    if (name[0] == '\0' || !mep_file_exists(path)) goto end;
    MEP_TRY_OR(status, mep_tokenizer_open(&model, path), end);
    MEP_TRY_OR(status, mep_tokenizer_open(&data, name), end);
    if (!mep_tokenizer_equal(model, data))
        status = mep_fail(MEP_ERROR_ARGUMENT,
                          "%s was prepared with the tokenizer %s, but %s uses the tokens of %s; prepare the text with "
                          "that tokenizer",
                          t->settings.data, name, t->settings.init, path);
end:
    mep_tokenizer_destroy(&model);
    mep_tokenizer_destroy(&data);
    mep_free(&folder);
    mep_free(&path);
    return status;
}

mep_status mep_trainer_initialize(mep_trainer *t)
{
    if (t->settings.init[0] == '\0') return MEP_OK;
    MEP_TRY(check_init_tokenizer(t));
    return mep_model_read_weights(t->model, t->settings.init);
}

mep_status mep_trainer_broadcast(mep_trainer *t)
{
    MEP_TRY(mep_dist_broadcast(t->group, t->model->values, t->model->size * (int64_t)sizeof *t->model->values));
    return mep_session_load(t->session);
}

/* ---- Memory ---- */

/* Set the numbers of sequences. The micro-batch is the largest one that is not above micro_batch_size and divides the
 * part. */
static mep_status divide_batch(mep_trainer *t)
{
    const mep_train_settings *s = &t->settings;
    int64_t parts = mep_train_gradient_parts(s, t->group->size);
    if (s->batch_size % t->group->size != 0)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "%lld processes cannot divide %lld sequences per step evenly; start a number of processes that "
                        "divides batch_size",
                        (long long)t->group->size, (long long)s->batch_size);
    t->own_sequences = s->batch_size / t->group->size;
    t->part_sequences = s->batch_size / parts;
    t->micro_sequences = s->micro_batch_size > 0 ? min_i64(s->micro_batch_size, t->part_sequences) : t->part_sequences;
    while (t->part_sequences % t->micro_sequences != 0) t->micro_sequences--;
    return MEP_OK;
}

static mep_status open_session(mep_trainer *t)
{
    const mep_train_settings *s = &t->settings;
    mep_session_settings session;
    mep_session_defaults(&session);
    session.batch = t->micro_sequences;
    session.length = s->length;
    session.dtype = s->dtype;
    session.training = 1;
    session.recompute = s->recompute;
    session.device = s->device;
    return mep_session_create(&t->session, t->model, &session);
}

/* Allocate the tokens and losses of a step, and the gradients. */
static mep_status open_arrays(mep_trainer *t)
{
    const mep_train_settings *s = &t->settings;
    int64_t rows = 0;
    MEP_TRY(mep_multiply(s->batch_size, s->length, 1, &rows));
    MEP_TRY(mep_device_array(s->device, &t->gradients, t->model->size, sizeof *t->gradients));
    if (mep_device_is_host(s->device))
        t->space = t->gradients;
    else
        MEP_TRY(MEP_ALLOC(&t->space, t->model->size));
    MEP_TRY(MEP_ALLOC(&t->losses, rows));
    MEP_TRY(MEP_ALLOC(&t->inputs, rows));
    return MEP_ALLOC(&t->targets, rows);
}

static mep_status open_optimizer(mep_trainer *t)
{
    const mep_train_settings *s = &t->settings;
    const mep_adamw_settings adamw = {.beta1 = s->beta1,
                                      .beta2 = s->beta2,
                                      .eps = s->eps,
                                      .weight_decay = s->weight_decay,
                                      .max_grad_norm = s->max_grad_norm};
    mep_context context = mep_session_context(t->session);
    MEP_TRY(mep_shards_create(&t->shards, t->model, t->group));
    MEP_TRY(mep_adamw_create_ranges(&t->optimizer, t->shards->own, t->shards->count, &adamw, context));
    MEP_TRY(mep_reduction_create(&t->reduction, t->model, t->shards, t->gradients));
    MEP_TRY(mep_gradient_tree_create(&t->tree, t->model, t->own_sequences / t->part_sequences, t->gradients,
                                     t->reduction, context));
    t->session->final_context = t->tree;
    return mep_sums_create(&t->sums, t->shards, t->own_sequences);
}

static mep_status open_all(mep_trainer *t)
{
    MEP_TRY(mep_model_create(&t->model, &t->settings.model, t->settings.seed));
    MEP_TRY(open_session(t));
    MEP_TRY(open_arrays(t));
    return open_optimizer(t);
}

mep_status mep_trainer_open(mep_trainer *t)
{
    MEP_TRY(divide_batch(t));
    MEP_TRY(open_data(t));
    mep_status status = open_all(t);
    if (status == MEP_ERROR_MEMORY)
        mep_fail_in(status,
                    "the run needs more memory than is available; a smaller --micro-batch-size, or --recompute, "
                    "needs less: ");
    return status;
}
