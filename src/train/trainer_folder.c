/* SPDX-License-Identifier: MIT */
/*
 * The folder of a run during its training, in process 0: checks, lock, and writing while the folder may be moved.
 */
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"
#include "train/trainer_state.h"

static mep_status has_file(const char *folder, const char *name, int *found)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, folder, name));
    *found = mep_file_exists(path);
    mep_free(&path);
    return MEP_OK;
}

mep_status mep_trainer_check_folder(const mep_trainer *t)
{
    int is_run = 0, is_study = 0;
    MEP_TRY(has_file(t->run, "train.json", &is_run));
    MEP_TRY(has_file(t->run, "study.json", &is_study));
    if (is_study) return mep_fail(MEP_ERROR_ARGUMENT, "%s: is the folder of a study; choose another folder", t->run);
    if (!is_run) return MEP_OK;
    MEP_TRY(mep_run_check_settings(t->run, &t->settings));
    return mep_fail(MEP_ERROR_ARGUMENT, "%s: already contains a run; resume it, or choose another folder", t->run);
}

mep_status mep_trainer_lock_folder(mep_trainer *t)
{
    MEP_TRY(mep_run_folder_open(&t->folder, t->run, 1));
    t->run = t->folder.path;
    return MEP_OK;
}

/* The folder is checked again under the lock: another process may have started a run in it since the first check. */
mep_status mep_trainer_make_folder(mep_trainer *t)
{
    mep_run_checksums checksums = mep_trainer_checksums(t);
    MEP_TRY(mep_make_folder(t->run, 1));
    MEP_TRY(mep_trainer_lock_folder(t));
    MEP_TRY(mep_trainer_check_folder(t));
    MEP_TRY(mep_run_write_tokenizer(t->run, t->data->data[0]));
    return mep_run_write_settings(t->run, &t->settings, &checksums);
}

/* Set t->run to the folder's present path. */
static mep_status follow(mep_trainer *t, int *moved)
{
    mep_status status = mep_run_folder_follow(&t->folder, moved);
    t->run = t->folder.path;
    return status;
}

mep_status mep_trainer_write(mep_trainer *t, mep_status (*write)(mep_trainer *t))
{
    int moved = 0;
    char reason[MEP_TRAINER_MESSAGE];
    MEP_TRY(follow(t, &moved));
    mep_status status = write(t);
    if (status != MEP_ERROR_IO) return status;
    snprintf(reason, sizeof reason, "%s", mep_error_message());
    MEP_TRY(follow(t, &moved));
    return moved ? write(t) : mep_fail(status, "%s", reason);
}
