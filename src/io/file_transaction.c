/* SPDX-License-Identifier: MIT */
/*
 * The steps of a transaction: 1. write the files to the partial folder, 2. write a list of their names there, 3. move
 * the files to their folder one by one, 4. remove the partial folder. Between 2 and 4 a file of the list that is not in
 * the partial folder has been moved, and can be moved back.
 */
#include "io/file_transaction.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"

static const char PARTIAL[] = ".mep-partial", LIST[] = ".moving";
enum { LIST_LIMIT = 1 << 20 };

static void release(mep_file_transaction *s)
{
    mep_free(&s->partial);
    mep_free(&s->folder);
}

/* Rename from/name to to/name. */
static mep_status move(const char *from, const char *to, const char *name)
{
    char *source = NULL, *target = NULL;
    mep_status status;
    MEP_TRY_OR(status, mep_path_join(&source, from, name), done);
    MEP_TRY_OR(status, mep_path_join(&target, to, name), done);
    if (rename(source, target) != 0) status = mep_fail_errno("move a file to", target);
done:
    mep_free(&source);
    mep_free(&target);
    return status;
}

static mep_status exists(const char *folder, const char *name, int *found)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, folder, name));
    *found = access(path, F_OK) == 0;
    mep_free(&path);
    return MEP_OK;
}

/* ---- The list: one name per line, in the order of the moves ---- */

typedef mep_status (*name_fn)(const mep_file_transaction *s, const char *name);

/* Call `each` for each name of a list, which is changed during the call. */
static mep_status for_names(const mep_file_transaction *s, char *list, name_fn each)
{
    for (char *name = list, *end; (end = strchr(name, '\n')) != NULL; name = end + 1) {
        *end = '\0';
        MEP_TRY(each(s, name));
        *end = '\n';
    }
    return MEP_OK;
}

static mep_status append_name(char **list, const char *name)
{
    char *longer = NULL;
    MEP_TRY(mep_format(&longer, "%s%s\n", *list != NULL ? *list : "", name));
    mep_free(list);
    *list = longer;
    return MEP_OK;
}

/* List the files of the partial folder. */
static mep_status list_files(const mep_file_transaction *s, const char *last, char **list)
{
    struct dirent *entry;
    mep_status status = MEP_OK;
    DIR *folder = opendir(s->partial);
    if (folder == NULL) return mep_fail_errno("open", s->partial);
    while (status == MEP_OK && (entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, last) != 0) status = append_name(list, entry->d_name);
    closedir(folder);
    return status == MEP_OK ? append_name(list, last) : status;
}

/* ---- Undoing ---- */

/* The names come from a file: a name that leads out of the folder is ignored. */
static mep_status move_back(const mep_file_transaction *s, const char *name)
{
    int here = 0, there = 0;
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL) return MEP_OK;
    MEP_TRY(exists(s->partial, name, &here));
    MEP_TRY(exists(s->folder, name, &there));
    return !here && there ? move(s->folder, s->partial, name) : MEP_OK;
}

/* *completed is 1 if all files of the list were moved, that is, if the last one was. */
static mep_status was_completed(const mep_file_transaction *s, const char *list, int *completed)
{
    char last[256] = "";
    int here = 0;
    for (const char *name = list, *end; (end = strchr(name, '\n')) != NULL; name = end + 1)
        snprintf(last, sizeof last, "%.*s", (int)(end - name), name);
    MEP_TRY(exists(s->partial, last, &here));
    *completed = last[0] != '\0' && !here;
    return MEP_OK;
}

/* Move back the files that were moved, unless all were, and remove the partial folder. */
static mep_status undo(const mep_file_transaction *s)
{
    char *path = NULL, *list = NULL;
    int64_t size = 0;
    int completed = 0;
    MEP_TRY(mep_path_join(&path, s->partial, LIST));
    mep_status status;
    if (mep_file_exists(path)) {
        MEP_TRY_OR(status, mep_file_read(path, LIST_LIMIT, &list, &size), done);
        MEP_TRY_OR(status, was_completed(s, list, &completed), done);
        if (!completed) MEP_TRY_OR(status, for_names(s, list, move_back), done);
    }
    status = mep_remove_tree(s->partial);
done:
    mep_free(&list);
    mep_free(&path);
    return status;
}

/* ---- Begin, commit, abandon ---- */

mep_status mep_file_transaction_begin(mep_file_transaction *s, const char *folder)
{
    *s = (mep_file_transaction){.made = !mep_folder_exists(folder)};
    mep_status status;
    MEP_TRY_OR(status, mep_copy_string(&s->folder, folder), failed);
    MEP_TRY_OR(status, mep_path_join(&s->partial, folder, PARTIAL), failed);
    MEP_TRY_OR(status, mep_make_folder(folder, 1), failed);
    MEP_TRY_OR(status, undo(s), failed);
    MEP_TRY_OR(status, mep_make_folder(s->partial, 0), failed);
    return MEP_OK;
failed:
    if (s->made && s->folder != NULL) rmdir(s->folder);
    release(s);
    return status;
}

static mep_status refuse_existing(const mep_file_transaction *s, const char *name)
{
    int found = 0;
    MEP_TRY(exists(s->folder, name, &found));
    if (!found) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "%s: already contains %s, which would be replaced; choose another folder",
                    s->folder, name);
}

static mep_status move_in(const mep_file_transaction *s, const char *name)
{
    return move(s->partial, s->folder, name);
}

/* Write the list and move the files. */
static mep_status move_all(const mep_file_transaction *s, const char *last)
{
    char *list = NULL, *path = NULL;
    mep_status status;
    MEP_TRY_OR(status, list_files(s, last, &list), done);
    MEP_TRY_OR(status, for_names(s, list, refuse_existing), done);
    MEP_TRY_OR(status, mep_path_join(&path, s->partial, LIST), done);
    MEP_TRY_OR(status, mep_file_write_atomic(path, list, (int64_t)strlen(list)), done);
    MEP_TRY_OR(status, for_names(s, list, move_in), done);
    status = mep_sync_path(s->folder);
done:
    mep_free(&path);
    mep_free(&list);
    return status;
}

mep_status mep_file_transaction_commit(mep_file_transaction *s, const char *last)
{
    mep_status status = move_all(s, last);
    if (status != MEP_OK) {
        mep_file_transaction_abandon(s);
        return status;
    }
    status = mep_remove_tree(s->partial);
    release(s);
    return status;
}

void mep_file_transaction_abandon(mep_file_transaction *s)
{
    char *message = NULL;
    if (s->folder == NULL) return;
    /* a failure of undo is not reported: the first failure matters more */
    mep_status kept = mep_copy_string(&message, mep_error_message());
    undo(s);
    if (s->made) rmdir(s->folder);
    if (kept == MEP_OK) mep_fail(MEP_OK, "%s", message);
    mep_free(&message);
    release(s);
}
