/* SPDX-License-Identifier: MIT */
/*
 * Checkpoint folders. The name of a folder tells its state: checkpoint-STEP.tmp is being written or removed, and
 * checkpoint-STEP is complete.
 */
#define _POSIX_C_SOURCE 200809L
#include "io/checkpoint.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/memory.h"
#include "io/files.h"
#include "io/json.h"

enum { CHECKSUM_TEXT = 17, SMALL_FILE = 1 << 28 };
static const char PREFIX[] = "checkpoint-", TEMPORARY[] = ".tmp", STATE[] = "state.json",
                  SAFETENSORS[] = ".safetensors";

/* ---- Names ---- */

static mep_status folder_of(char **path, const char *run, int64_t step, const char *suffix)
{
    char *name = NULL;
    MEP_TRY(mep_format(&name, "%s%lld%s", PREFIX, (long long)step, suffix));
    mep_status status = mep_path_join(path, run, name);
    mep_free(&name);
    return status;
}

mep_status mep_checkpoint_path(char **path, const char *run, int64_t step)
{
    return folder_of(path, run, step, "");
}

/* *complete is 1 if a folder contains state.json. */
static mep_status check_complete(const char *folder, int *complete)
{
    char *state = NULL;
    MEP_TRY(mep_path_join(&state, folder, STATE));
    *complete = mep_file_exists(state);
    mep_free(&state);
    return MEP_OK;
}

/* The step of "checkpoint-STEP" + suffix, as folder_of writes it; -1 for any other name. */
static int64_t step_of(const char *name, const char *suffix)
{
    enum { MAX_DIGITS = 18 };
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0) return -1;
    const char *digits = name + strlen(PREFIX);
    size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > MAX_DIGITS || (digits[0] == '0' && count > 1) || strcmp(digits + count, suffix) != 0)
        return -1;
    return strtoll(digits, NULL, 10);
}

static int compare_steps(const void *a, const void *b)
{
    int64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* The steps of all folders RUN/checkpoint-STEP + suffix, ascending. *steps is allocated. */
static mep_status list_steps(const char *run, const char *suffix, int64_t **steps, int64_t *count)
{
    struct dirent **entries = NULL;
    *count = 0;
    int found = scandir(run, &entries, NULL, NULL);
    if (found < 0) return mep_fail_errno("list", run);
    mep_status status = MEP_ALLOC(steps, found);
    for (int i = 0; i < found; i++) {
        int64_t step = step_of(entries[i]->d_name, suffix);
        if (status == MEP_OK && step >= 0) (*steps)[(*count)++] = step;
        free(entries[i]);
    }
    free(entries);
    if (status == MEP_OK) qsort(*steps, (size_t)*count, sizeof **steps, compare_steps);
    return status;
}

mep_status mep_checkpoint_list(const char *run, int64_t **steps, int64_t *count)
{
    int64_t all = 0;
    *count = 0;
    MEP_TRY(list_steps(run, "", steps, &all));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < all && status == MEP_OK; i++) {
        char *folder = NULL;
        int complete = 0;
        status = folder_of(&folder, run, (*steps)[i], "");
        if (status == MEP_OK) status = check_complete(folder, &complete);
        if (complete) (*steps)[(*count)++] = (*steps)[i];
        mep_free(&folder);
    }
    if (status != MEP_OK) mep_free(steps);
    return status;
}

mep_status mep_checkpoint_latest(const char *run, char **path, int64_t *step)
{
    int64_t *steps = NULL, count = 0;
    *path = NULL;
    *step = -1;
    MEP_TRY(mep_checkpoint_list(run, &steps, &count));
    if (count > 0) *step = steps[count - 1];
    mep_free(&steps);
    return *step >= 0 ? folder_of(path, run, *step, "") : MEP_OK;
}

/* ---- state.json ---- */

static void checksum_of(const char *data, int64_t size, char text[CHECKSUM_TEXT])
{
    mep_checksum checksum;
    mep_checksum_begin(&checksum);
    mep_checksum_add(&checksum, data, size);
    snprintf(text, CHECKSUM_TEXT, "%016" PRIx64, mep_checksum_end(&checksum));
}

/* The checksum of a state without its member "checksum". It does not depend on the formatting of the file. */
static mep_status checksum_state(json_t *state, char text[CHECKSUM_TEXT])
{
    json_object_del(state, "checksum");
    char *dump = NULL;
    int64_t size = 0;
    MEP_TRY(mep_json_dump(state, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17), &dump, &size));
    checksum_of(dump, size, text);
    mep_free(&dump);
    return MEP_OK;
}

/* Read the header of a safetensors file with its length, at most the whole file. The header has the checksums of the
 * tensors, so its own tells files of the same form apart. */
static mep_status read_header(const char *path, char **data, int64_t *size)
{
    int fd = -1;
    int64_t whole = 0;
    unsigned char prefix[8] = {0};
    uint64_t length = 0;
    MEP_TRY(mep_file_open(path, &fd, &whole));
    int failed = mep_fd_read_all(fd, prefix, sizeof prefix, 0) < 0;
    for (int i = 7; i >= 0; i--) length = length << 8 | prefix[i];
    *size = whole > 8 && length < (uint64_t)(whole - 8) ? (int64_t)length + 8 : whole;
    mep_status status = failed               ? mep_fail_errno("read", path)
                        : *size > SMALL_FILE ? mep_fail(MEP_ERROR_FORMAT, "%s: the header is too long", path)
                                             : MEP_ALLOC(data, *size + 1);
    if (status == MEP_OK && mep_fd_read_all(fd, *data, *size, 0) != *size) status = mep_fail_errno("read", path);
    (void)mep_fd_close(fd);
    return status;
}

static int is_safetensors(const char *name)
{
    size_t length = strlen(name), end = strlen(SAFETENSORS);
    return length >= end && strcmp(name + length - end, SAFETENSORS) == 0;
}

static mep_status checksum_file(const char *folder, const char *name, char text[CHECKSUM_TEXT])
{
    char *path = NULL, *data = NULL;
    int64_t size = 0;
    MEP_TRY(mep_path_join(&path, folder, name));
    mep_status status =
        is_safetensors(name) ? read_header(path, &data, &size) : mep_file_read(path, SMALL_FILE, &data, &size);
    if (status == MEP_OK) checksum_of(data, size, text);
    mep_free(&data);
    mep_free(&path);
    return status;
}

/* 1 if state.json has a checksum of this file. */
static int is_recorded(const char *name)
{
    return name[0] != '.' && strchr(name, '/') == NULL && strcmp(name, STATE) != 0;
}

static mep_status fail_memory(const char *folder)
{
    return mep_fail(MEP_ERROR_MEMORY, "cannot make %s/%s: out of memory", folder, STATE);
}

/* Add the checksums of the files of a folder to `files`. */
static mep_status add_files(const char *folder, json_t *files)
{
    struct dirent **entries = NULL;
    char text[CHECKSUM_TEXT];
    int found = scandir(folder, &entries, NULL, alphasort);
    if (found < 0) return mep_fail_errno("list", folder);
    mep_status status = MEP_OK;
    for (int i = 0; i < found; i++) {
        const char *name = entries[i]->d_name;
        if (status == MEP_OK && is_recorded(name)) {
            status = checksum_file(folder, name, text);
            if (status == MEP_OK && json_object_set_new(files, name, json_string(text)) != 0)
                status = fail_memory(folder);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* Add "files" and "checksum" to a state. */
static mep_status add_checksums(const char *folder, json_t *state)
{
    char text[CHECKSUM_TEXT];
    json_t *files = json_object();
    if (json_object_set_new(state, "files", files) != 0) return fail_memory(folder);
    MEP_TRY(add_files(folder, files));
    MEP_TRY(checksum_state(state, text));
    return json_object_set_new(state, "checksum", json_string(text)) == 0 ? MEP_OK : fail_memory(folder);
}

mep_status mep_checkpoint_write_state(const char *folder, const json_t *given)
{
    char *path = NULL;
    json_t *state = json_copy((json_t *)given);
    mep_status status = MEP_OK;
    if (json_object_size(state) != json_object_size(given)) /* json_copy does not report missing memory */
        status = fail_memory(folder);
    if (status != MEP_OK) goto done;
    MEP_TRY_OR(status, add_checksums(folder, state), done);
    MEP_TRY_OR(status, mep_path_join(&path, folder, STATE), done);
    status = mep_json_save(path, state);
done:
    mep_free(&path);
    json_decref(state);
    return status;
}

static mep_status fail_damaged(const char *folder, const char *name)
{
    return mep_fail(MEP_ERROR_FORMAT,
                    "%s/%s is damaged: its checksum differs from the recorded one; use a copy of the checkpoint, or an "
                    "older one (if it was changed deliberately, remove state.json in the same folder)",
                    folder, name);
}

static mep_status is_absent(const char *folder, const char *name, int *absent)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, folder, name));
    *absent = !mep_file_exists(path);
    mep_free(&path);
    return MEP_OK;
}

/* Verify the checksums. The member "checksum" is removed from `state`. */
static mep_status check_state(const char *folder, json_t *state)
{
    char text[CHECKSUM_TEXT];
    const char *name = NULL;
    json_t *value = NULL, *recorded = json_incref(json_object_get(state, "checksum"));
    if (recorded == NULL && json_object_get(state, "files") == NULL) return MEP_OK;
    mep_status status = checksum_state(state, text);
    if (status == MEP_OK &&
        (recorded == NULL || !json_is_string(recorded) || strcmp(json_string_value(recorded), text) != 0))
        status = fail_damaged(folder, STATE);
    json_decref(recorded);
    if (status != MEP_OK) return status;
    json_object_foreach(json_object_get(state, "files"), name, value)
    {
        if (!is_recorded(name) || !json_is_string(value)) return fail_damaged(folder, STATE);
        int absent = 0;
        if (is_safetensors(name)) MEP_TRY(is_absent(folder, name, &absent));
        if (absent) continue; /* a model is read without the moments; who needs the file finds out */
        MEP_TRY(checksum_file(folder, name, text));
        if (strcmp(json_string_value(value), text) != 0) return fail_damaged(folder, name);
    }
    return MEP_OK;
}

mep_status mep_checkpoint_state(const char *folder, json_t **state)
{
    char *path = NULL;
    *state = NULL;
    MEP_TRY(mep_path_join(&path, folder, STATE));
    mep_status status = mep_file_exists(path) ? mep_json_load(path, state) : MEP_OK;
    if (*state != NULL && !json_is_object(*state))
        status = mep_fail(MEP_ERROR_FORMAT, "%s: must contain a JSON object", path);
    if (*state != NULL && status == MEP_OK) status = check_state(folder, *state);
    if (status != MEP_OK) {
        json_decref(*state);
        *state = NULL;
    }
    mep_free(&path);
    return status;
}

/* ---- Writing and removing ---- */

static mep_status remove_leftovers(const char *run)
{
    int64_t *steps = NULL, count = 0;
    MEP_TRY(list_steps(run, TEMPORARY, &steps, &count));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < count && status == MEP_OK; i++) {
        char *folder = NULL;
        status = folder_of(&folder, run, steps[i], TEMPORARY);
        if (status == MEP_OK) status = mep_remove_tree(folder);
        mep_free(&folder);
    }
    mep_free(&steps);
    return status;
}

mep_status mep_checkpoint_begin(const char *run, int64_t step, char **folder)
{
    *folder = NULL;
    if (step < 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "a checkpoint's step is %lld; it must not be negative", (long long)step);
    MEP_TRY(remove_leftovers(run));
    MEP_TRY(folder_of(folder, run, step, TEMPORARY));
    mep_status status = mep_make_folder(*folder, 0);
    if (status != MEP_OK) mep_free(folder);
    return status;
}

/* Remove one checkpoint. It is renamed first, so that a partly removed one is never mistaken for a complete one. */
static mep_status remove_checkpoint(const char *run, int64_t step, const char *folder)
{
    char *temporary = NULL;
    MEP_TRY(folder_of(&temporary, run, step, TEMPORARY));
    mep_status status = mep_rename_folder_atomic(folder, temporary);
    if (status == MEP_OK) status = mep_remove_tree(temporary);
    mep_free(&temporary);
    return status;
}

/* Of the complete checkpoints before `step`, keep the newest keep - 1. */
static mep_status remove_old(const char *run, int64_t step, int64_t keep)
{
    int64_t *steps = NULL, count = 0, kept = 1;
    MEP_TRY(mep_checkpoint_list(run, &steps, &count));
    mep_status status = MEP_OK;
    for (int64_t i = count - 1; i >= 0 && status == MEP_OK; i--) {
        if (steps[i] >= step || ++kept <= keep) continue;
        char *folder = NULL;
        status = folder_of(&folder, run, steps[i], "");
        if (status == MEP_OK) status = remove_checkpoint(run, steps[i], folder);
        mep_free(&folder);
    }
    mep_free(&steps);
    return status;
}

mep_status mep_checkpoint_commit(const char *run, int64_t step, const json_t *state, int64_t keep)
{
    char *folder = NULL, *temporary = NULL;
    mep_status status;
    MEP_TRY_OR(status, folder_of(&folder, run, step, ""), done);
    MEP_TRY_OR(status, folder_of(&temporary, run, step, TEMPORARY), done);
    MEP_TRY_OR(status, mep_checkpoint_write_state(temporary, state), done);
    MEP_TRY_OR(status, mep_sync_folder(temporary), done);
    MEP_TRY_OR(status, mep_rename_folder_atomic(temporary, folder), done);
    MEP_TRY_OR(status, mep_remove_tree(temporary), done); /* the replaced checkpoint, or nothing */
    if (keep > 0) status = remove_old(run, step, keep);
done:
    mep_free(&folder);
    mep_free(&temporary);
    return status;
}

mep_status mep_checkpoint_abandon(const char *run, int64_t step)
{
    char *temporary = NULL;
    MEP_TRY(folder_of(&temporary, run, step, TEMPORARY));
    mep_status status = mep_remove_tree(temporary);
    mep_free(&temporary);
    return status;
}

mep_status mep_checkpoint_set_aside(const char *run, int64_t step)
{
    char *folder = NULL, *aside = NULL;
    MEP_TRY(folder_of(&folder, run, step, ""));
    mep_status status;
    MEP_TRY_OR(status, mep_format(&aside, "%s.damaged", folder), done);
    for (int64_t n = 2; mep_folder_exists(aside); n++) {
        mep_free(&aside);
        MEP_TRY_OR(status, mep_format(&aside, "%s.damaged-%lld", folder, (long long)n), done);
    }
    status = mep_rename_folder_atomic(folder, aside);
done:
    mep_free(&aside);
    mep_free(&folder);
    return status;
}
