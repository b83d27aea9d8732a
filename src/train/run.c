/* SPDX-License-Identifier: MIT */
/*
 * Checkpoints, metrics.jsonl and the tokenizer of a run folder. run_settings.c has train.json.
 */
#include "train/run.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/error.h"
#include "base/json_keys.h"
#include "base/memory.h"
#include "bias/position.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/json.h"
#include "io/model_files.h"
#include "io/safetensors.h"
#include "io/weights.h"
#include "train/json_fields.h"
#include "train/run_folder.h"

enum { TOKENIZER_LIMIT = 1 << 28 };
static const char TOKENIZER[] = "tokenizer.json", OPTIMIZER[] = "optimizer.safetensors", LOG[] = "metrics.jsonl";

mep_status mep_train_checkpoint(const char *run, char path[MEP_PATH_SIZE], int64_t *step)
{
    MEP_REQUIRE(run, path, step);
    char *newest = NULL;
    path[0] = '\0';
    MEP_TRY(mep_checkpoint_latest(run, &newest, step));
    mep_status status = MEP_OK;
    if (newest != NULL && snprintf(path, MEP_PATH_SIZE, "%s", newest) >= MEP_PATH_SIZE)
        status =
            mep_fail(MEP_ERROR_UNSUPPORTED, "%s: the path is longer than %d characters", newest, MEP_PATH_SIZE - 1);
    mep_free(&newest);
    return status;
}

mep_status mep_train_steps_done(const char *run, int64_t *steps)
{
    MEP_REQUIRE(run, steps);
    char *path = NULL;
    MEP_TRY(mep_checkpoint_latest(run, &path, steps));
    if (path == NULL) *steps = 0;
    mep_free(&path);
    return MEP_OK;
}

/* ---- The tokenizer ---- */

static mep_status copy_file(const char *from, const char *folder, const char *name)
{
    char *path = NULL, *data = NULL;
    int64_t size = 0;
    mep_status status;
    MEP_TRY_OR(status, mep_file_read(from, TOKENIZER_LIMIT, &data, &size), end);
    MEP_TRY_OR(status, mep_path_join(&path, folder, name), end);
    status = mep_file_write_atomic(path, data, size);
end:
    mep_free(&data);
    mep_free(&path);
    return status;
}

mep_status mep_run_write_tokenizer(const char *run, const mep_dataset *data)
{
    mep_tokenizer *tokenizer = NULL;
    char *path = NULL;
    int64_t size = 0;
    if (mep_dataset_tokenizer(data)[0] == '\0') return MEP_OK;
    MEP_TRY(mep_tokenizer_open(&tokenizer, mep_dataset_tokenizer(data)));
    const char *json = mep_tokenizer_json(tokenizer, &size);
    mep_status status = json == NULL ? MEP_OK : mep_path_join(&path, run, TOKENIZER);
    if (json != NULL && status == MEP_OK) status = mep_file_write_atomic(path, json, size);
    mep_tokenizer_destroy(&tokenizer);
    mep_free(&path);
    return status;
}

/* Copy the run's tokenizer, if it has one, into a checkpoint. */
static mep_status save_tokenizer(const char *run, const char *folder)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, run, TOKENIZER));
    mep_status status = mep_file_exists(path) ? copy_file(path, folder, TOKENIZER) : MEP_OK;
    mep_free(&path);
    return status;
}

/* ---- Checkpoints ---- */

/* The moments as two tensors, "m" and "v", of `size` values. */
static void moment_tensors(int64_t size, mep_tensor tensors[2])
{
    for (int i = 0; i < 2; i++) {
        tensors[i] = (mep_tensor){.dtype = MEP_FLOAT32, .ndim = 1, .shape = {size}, .size = size};
        tensors[i].name[0] = i == 0 ? 'm' : 'v';
    }
}

/* state.json without the checksums; NULL if memory is short. */
static json_t *state_json(const mep_train_settings *settings, const mep_run_state *state)
{
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, settings->seed);
    json_t *training = mep_run_training_json(settings);
    json_t *root =
        json_pack("{s:I, s:I, s:I, s:o}", "step", (json_int_t)state->step, "skipped", (json_int_t)state->skipped,
                  "skipped_in_a_row", (json_int_t)state->skipped_in_a_row, "settings", training);
    if (root != NULL && json_object_set_new(training, "seed", json_string(seed)) == 0 &&
        json_object_set_new(training, "position_encoding", json_string(settings->model.position_encoding)) == 0)
        return root;
    json_decref(root);
    return NULL;
}

/* The log lines of earlier steps must reach the disk before the checkpoint does. */
static mep_status sync_log(const char *run)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, run, LOG));
    mep_status status = mep_file_exists(path) ? mep_sync_path(path) : MEP_OK;
    mep_free(&path);
    return status;
}

static mep_status write_checkpoint(const char *run, const char *folder, const mep_model *model, mep_moments *moments)
{
    char *path = NULL;
    mep_tensor tensors[2];
    moment_tensors(model->size, tensors);
    mep_status status;
    MEP_TRY_OR(status, mep_model_save(model, folder, NULL), end);
    MEP_TRY_OR(status, save_tokenizer(run, folder), end);
    MEP_TRY_OR(status, mep_path_join(&path, folder, OPTIMIZER), end);
    MEP_TRY_OR(status, mep_safetensors_write_from(path, tensors, 2, NULL, 0, mep_moments_get, moments), end);
    status = sync_log(run);
end:
    mep_free(&path);
    return status;
}

mep_status mep_run_save(const char *run, const mep_train_settings *settings, const mep_model *model,
                        mep_moments *moments, const mep_run_state *state)
{
    char *folder = NULL;
    json_t *root = state_json(settings, state);
    mep_status status;
    MEP_TRY_OR(status, root != NULL ? mep_checkpoint_begin(run, state->step, &folder) : mep_json_out_of_memory(), end);
    MEP_TRY_OR(status, write_checkpoint(run, folder, model, moments), end);
    status = mep_checkpoint_commit(run, state->step, root, settings->keep);
end:
    if (status != MEP_OK) {
        mep_fail_in(status, "checkpoint %lld cannot be saved, earlier ones are kept: ", (long long)state->step);
        if (folder != NULL) (void)mep_checkpoint_abandon(run, state->step);
    }
    json_decref(root);
    mep_free(&folder);
    return status;
}

/* The checkpoint was saved with the settings of the run. Keys that an older version did not write are ignored. */
static mep_status check_settings(const char *folder, const json_t *state, const mep_train_settings *settings)
{
    const mep_run_state unused = {0};
    json_t *saved = json_object_get(state, "settings");
    if (saved == NULL) return MEP_OK; /* of a version that did not store settings */
    json_t *now = state_json(settings, &unused), *then = json_deep_copy(json_object_get(now, "settings"));
    mep_status status = then == NULL || json_object_update(then, saved) != 0
                            ? mep_json_out_of_memory()
                            : mep_run_compare_json(folder, then, json_object_get(now, "settings"));
    json_decref(now);
    json_decref(then);
    return status;
}

static mep_status read_state(const char *folder, int64_t step, const mep_train_settings *settings, mep_run_state *state)
{
    static const char *const keys[] = {"step", "skipped", "skipped_in_a_row", "settings", "files", NULL};
    json_t *root = NULL;
    int64_t saved = 0;
    MEP_TRY(mep_checkpoint_state(folder, &root));
    int64_t *in_a_row = &state->skipped_in_a_row;
    mep_status status;
    *state = (mep_run_state){.step = step};
    MEP_TRY_OR(status, mep_json_get_int(root, folder, "step", step, step, &saved), end);
    MEP_TRY_OR(status, mep_json_check_keys(root, folder, keys), end);
    MEP_TRY_OR(status, mep_json_get_int_or(root, folder, "skipped", 0, step, 0, &state->skipped), end);
    MEP_TRY_OR(status, mep_json_get_int_or(root, folder, "skipped_in_a_row", 0, state->skipped, 0, in_a_row), end);
    status = check_settings(folder, root, settings);
end:
    json_decref(root);
    return status;
}

/* The checkpoint has the same position encoding. mep_model_read_weights compares the rest. */
static mep_status check_position(const char *folder, const mep_train_settings *settings)
{
    mep_model_config saved;
    int same = 0;
    MEP_TRY(mep_model_read_config(folder, &saved));
    MEP_TRY(mep_position_specs_same(saved.position_encoding, settings->model.position_encoding, &same));
    if (same) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s: has the position encoding \"%s\", but train.json has \"%s\"", folder,
                    saved.position_encoding, settings->model.position_encoding);
}

/* Add what the user can do about a checkpoint that cannot be read. */
static mep_status explain_damage(mep_status status)
{
    if (status == MEP_ERROR_FORMAT || status == MEP_ERROR_IO)
        mep_fail_in(status, "cannot resume (--fall-back uses the last complete checkpoint): ");
    return status;
}

mep_status mep_run_check(const char *run, const mep_train_settings *settings)
{
    char *folder = NULL;
    int64_t step = 0;
    mep_run_state unused;
    MEP_TRY(mep_checkpoint_latest(run, &folder, &step));
    if (folder == NULL) return MEP_OK;
    mep_status status;
    MEP_TRY_OR(status, read_state(folder, step, settings, &unused), end);
    status = check_position(folder, settings);
end:
    mep_free(&folder);
    return explain_damage(status);
}

static mep_status load_moments(const char *folder, int64_t size, const mep_moments *moments)
{
    char *path = NULL;
    mep_safetensors *file = NULL;
    mep_tensor tensors[2];
    moment_tensors(size, tensors);
    MEP_TRY(mep_path_join(&path, folder, OPTIMIZER));
    mep_status status = mep_safetensors_open(&file, path);
    for (int i = 0; i < 2 && status == MEP_OK; i++) {
        status = mep_safetensors_read(file, tensors[i].name, MEP_FLOAT32, 1, tensors[i].shape,
                                      mep_moments_buffer(moments, i));
        if (status == MEP_OK) status = mep_moments_set(moments, i);
    }
    mep_safetensors_close(&file);
    mep_free(&path);
    return status;
}

mep_status mep_run_load(const char *run, const mep_train_settings *settings, mep_model *model,
                        const mep_moments *moments, mep_run_state *state)
{
    char *folder = NULL;
    int64_t step = 0;
    *state = (mep_run_state){0};
    MEP_TRY(mep_checkpoint_latest(run, &folder, &step));
    if (folder == NULL) return MEP_OK;
    mep_status status;
    MEP_TRY_OR(status, read_state(folder, step, settings, state), end);
    MEP_TRY_OR(status, check_position(folder, settings), end);
    MEP_TRY_OR(status, mep_model_read_weights(model, folder), end);
    status = load_moments(folder, model->size, moments);
end:
    mep_free(&folder);
    return explain_damage(status);
}

/* Compare all checksums of a checkpoint, and its step with the folder's name. */
static mep_status check_complete(const char *folder, int64_t step)
{
    char *path = NULL;
    json_t *state = NULL;
    mep_weights weights = {.path = NULL};
    mep_safetensors *moments = NULL;
    int64_t saved = 0;
    mep_status status;
    MEP_TRY_OR(status, mep_checkpoint_state(folder, &state), end);
    MEP_TRY_OR(status, mep_json_get_int(state, folder, "step", step, step, &saved), end);
    MEP_TRY_OR(status, mep_weights_open(&weights, folder), end);
    for (int64_t i = 0; i < weights.count; i++) MEP_TRY_OR(status, mep_safetensors_verify(weights.files[i]), end);
    MEP_TRY_OR(status, mep_path_join(&path, folder, OPTIMIZER), end);
    MEP_TRY_OR(status, mep_safetensors_open(&moments, path), end);
    status = mep_safetensors_verify(moments);
end:
    mep_safetensors_close(&moments);
    mep_weights_close(&weights);
    json_decref(state);
    mep_free(&path);
    return status;
}

/* Whether a failed check shows damage: a wrong content or a missing file. A file that cannot be read at present, a
 * shortage of memory or another format version does not. */
static int is_damaged(const char *folder, mep_status status)
{
    static const char *const files[] = {"state.json", "config.json", "model.safetensors", OPTIMIZER};
    int missing = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = NULL;
        if (mep_path_join(&path, folder, files[i]) == MEP_OK) missing |= access(path, F_OK) != 0 && errno == ENOENT;
        mep_free(&path);
    }
    return status == MEP_ERROR_FORMAT || (status == MEP_ERROR_IO && missing);
}

/* Find the newest complete checkpoint, and set newer ones aside. *set_aside is increased by their number. */
static mep_status fall_back(const char *run, int64_t *step, int64_t *set_aside)
{
    MEP_REQUIRE(run, step, set_aside);
    int64_t *steps = NULL, count = 0, complete = -1;
    MEP_TRY(mep_checkpoint_list(run, &steps, &count));
    mep_status status = MEP_OK;
    int damaged = 1;
    for (int64_t i = count - 1; i >= 0 && complete < 0 && damaged; i--) {
        char *folder = NULL;
        status = mep_checkpoint_path(&folder, run, steps[i]);
        if (status == MEP_OK) status = check_complete(folder, steps[i]);
        if (status == MEP_OK) complete = i;
        damaged = folder != NULL && is_damaged(folder, status);
        mep_free(&folder);
    }
    if (status != MEP_OK)
        mep_fail_in(status,
                    damaged ? "%s has no complete checkpoint, and nothing was changed: "
                            : "%s: a checkpoint cannot be checked, and nothing was changed: ",
                    run);
    for (int64_t i = count - 1; i > complete && status == MEP_OK; i--, ++*set_aside)
        status = mep_checkpoint_set_aside(run, steps[i]);
    if (status == MEP_OK && complete >= 0) *step = steps[complete];
    mep_free(&steps);
    return status;
}

mep_status mep_train_fall_back(const char *run, int64_t *step, int64_t *set_aside)
{
    mep_train_settings unused;
    mep_run_folder folder;
    MEP_REQUIRE(run, step, set_aside);
    *step = *set_aside = 0;
    MEP_TRY(mep_train_read_settings(run, &unused)); /* fails if it is not a run */
    MEP_TRY(mep_run_folder_open(&folder, run, 1));
    mep_status status = fall_back(run, step, set_aside);
    mep_run_folder_close(&folder);
    return status;
}

/* ---- metrics.jsonl ---- */

/* The loss of each corpus by name; NULL if memory is short. */
static json_t *losses_of(const mep_data_mix *mix, const mep_eval_result *results)
{
    mep_json_fields f = mep_json_fields_begin();
    for (int64_t i = 0; i < mix->count; i++) mep_json_add_finite(&f, mix->names[i], results[i].loss);
    return mep_json_fields_end(&f);
}

mep_status mep_run_open_log(const char *run, mep_lines *log)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, run, LOG));
    mep_status status = mep_lines_open(log, path);
    mep_free(&path);
    return status;
}

mep_status mep_run_log(mep_lines *log, const mep_train_progress *p, const mep_data_mix *valid,
                       const mep_eval_result *valid_results)
{
    char *line = NULL;
    int64_t size = 0;
    mep_json_fields f = mep_json_fields_begin();
    mep_json_add_integer(&f, "step", p->step);
    mep_json_add_finite(&f, "loss", p->loss);
    mep_json_add_number(&f, "learning_rate", p->learning_rate);
    mep_json_add_finite(&f, "grad_norm", p->grad_norm);
    mep_json_add_number(&f, "tokens_per_second", p->tokens_per_second);
    if (isfinite(p->valid_loss)) {
        mep_json_add_number(&f, "valid_loss", p->valid_loss);
        mep_json_add_number(&f, "valid_seconds", p->valid_seconds);
        if (valid->count > 1) mep_json_add(&f, "valid_losses", losses_of(valid, valid_results));
    }
    if (p->skipped_for != NULL) mep_json_add_text(&f, "skipped_for", p->skipped_for);
    json_t *root = mep_json_fields_end(&f);
    mep_status status;
    MEP_TRY_OR(status,
               root == NULL ? mep_fail(MEP_ERROR_MEMORY, "cannot allocate a line of metrics.jsonl")
                            : mep_json_dump(root, JSON_REAL_PRECISION(9), &line, &size),
               end);
    status = mep_lines_append(log, line);
end:
    mep_free(&line);
    json_decref(root);
    return status;
}

/* The step of a line of metrics.jsonl; INT64_MAX for a line that a crash has cut off. sscanf is not used because it
 * measures the length of the complete rest of the text. */
static int64_t step_of(const char *line)
{
    static const char key[] = "{\"step\": ";
    char *end = NULL;
    if (strncmp(line, key, sizeof key - 1) != 0) return INT64_MAX;
    int64_t step = strtoll(line + sizeof key - 1, &end, 10);
    return *end == ',' ? step : INT64_MAX;
}

mep_status mep_run_trim_log(const char *run, int64_t steps)
{
    const int64_t most = (int64_t)1 << 34;
    char *path = NULL, *text = NULL;
    int64_t size = 0, kept = 0;
    MEP_TRY(mep_path_join(&path, run, LOG));
    mep_status status = MEP_OK;
    if (mep_file_exists(path)) {
        status = mep_file_read(path, most, &text, &size);
        const char *end = NULL;
        while (status == MEP_OK && kept < size && (end = memchr(text + kept, '\n', (size_t)(size - kept))) != NULL) {
            if (step_of(text + kept) > steps) break;
            kept = end - text + 1;
        }
        if (status == MEP_OK && kept < size) status = mep_file_truncate(path, kept);
    }
    mep_free(&text);
    mep_free(&path);
    return status;
}
