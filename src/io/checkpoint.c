/* SPDX-License-Identifier: MIT */
/*
 * Checkpoint folders: begin, commit, latest. A folder's name says its state: checkpoint-STEP.tmp is being written or
 * removed, checkpoint-STEP is whole.
 */
#define _POSIX_C_SOURCE 200809L
#include "io/checkpoint.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"

static const char PREFIX[] = "checkpoint-", TEMPORARY[] = ".tmp";

static mep_status folder_of(char **path, const char *run, int64_t step, const char *suffix)
{
    char *name = NULL;
    MEP_TRY(mep_format(&name, "%s%lld%s", PREFIX, (long long)step, suffix));
    mep_status status = mep_path_join(path, run, name);
    mep_free(&name);
    return status;
}

/* *complete = 1 where a folder holds state.json. */
static mep_status look_for_state(const char *folder, int *complete)
{
    char *state = NULL;
    MEP_TRY(mep_path_join(&state, folder, "state.json"));
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

/* The steps of all RUN/checkpoint-STEP + suffix, ascending. *steps is allocated. */
static mep_status list_steps(const char *run, const char *suffix, int64_t **steps, int64_t *count)
{
    struct dirent **entries = NULL;
    *count = 0;
    int found = scandir(run, &entries, NULL, NULL);
    if (found < 0) return mep_fail_errno("list", run);
    mep_status status = mep_alloc(steps, found, sizeof **steps);
    for (int i = 0; i < found; i++) {
        int64_t step = step_of(entries[i]->d_name, suffix);
        if (status == MEP_OK && step >= 0) (*steps)[(*count)++] = step;
        free(entries[i]);
    }
    free(entries);
    if (status == MEP_OK) qsort(*steps, (size_t)*count, sizeof **steps, compare_steps);
    return status;
}

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
    MEP_TRY(mep_make_folder(run, 1));
    MEP_TRY(remove_leftovers(run));
    MEP_TRY(folder_of(folder, run, step, TEMPORARY));
    mep_status status = mep_make_folder(*folder, 0);
    if (status != MEP_OK) mep_free(folder);
    return status;
}

/* Remove one checkpoint. It loses its name first, so that a half removed one is never taken for a whole one. */
static mep_status retire(const char *run, int64_t step, const char *folder)
{
    char *temporary = NULL;
    MEP_TRY(folder_of(&temporary, run, step, TEMPORARY));
    mep_status status = mep_rename_folder_atomic(folder, temporary);
    if (status == MEP_OK) status = mep_remove_tree(temporary);
    mep_free(&temporary);
    return status;
}

/* Of the complete checkpoints before `step`, leave the newest keep - 1. */
static mep_status retire_old(const char *run, int64_t step, int64_t keep)
{
    int64_t *steps = NULL, count = 0, kept = 1;
    MEP_TRY(list_steps(run, "", &steps, &count));
    mep_status status = MEP_OK;
    for (int64_t i = count - 1; i >= 0 && status == MEP_OK; i--) {
        if (steps[i] >= step) continue;
        char *folder = NULL;
        int complete = 0;
        status = folder_of(&folder, run, steps[i], "");
        if (status == MEP_OK) status = look_for_state(folder, &complete);
        if (complete && ++kept > keep) status = retire(run, steps[i], folder);
        mep_free(&folder);
    }
    mep_free(&steps);
    return status;
}

mep_status mep_checkpoint_commit(const char *run, int64_t step, int64_t keep)
{
    char *folder = NULL, *temporary = NULL;
    int complete = 0;
    mep_status status;
    MEP_TRY_OR(status, folder_of(&folder, run, step, ""), done);
    MEP_TRY_OR(status, folder_of(&temporary, run, step, TEMPORARY), done);
    MEP_TRY_OR(status, look_for_state(temporary, &complete), done);
    if (!complete) {
        status = mep_fail(MEP_ERROR_ARGUMENT, "%s holds no state.json; write it before the checkpoint is committed",
                          temporary);
        goto done;
    }
    MEP_TRY_OR(status, mep_sync_folder(temporary), done);
    MEP_TRY_OR(status, mep_rename_folder_atomic(temporary, folder), done);
    MEP_TRY_OR(status, mep_remove_tree(temporary), done); /* the one that was there before, or nothing */
    if (keep > 0) status = retire_old(run, step, keep);
done:
    mep_free(&folder);
    mep_free(&temporary);
    return status;
}

mep_status mep_checkpoint_latest(const char *run, char **path, int64_t *step)
{
    *path = NULL;
    *step = -1;
    int64_t *steps = NULL, count = 0;
    MEP_TRY(list_steps(run, "", &steps, &count));
    mep_status status = MEP_OK;
    for (int64_t i = count - 1; i >= 0 && *step < 0 && status == MEP_OK; i--) {
        int complete = 0;
        status = folder_of(path, run, steps[i], "");
        if (status == MEP_OK) status = look_for_state(*path, &complete);
        if (complete)
            *step = steps[i];
        else
            mep_free(path);
    }
    mep_free(&steps);
    return status;
}
