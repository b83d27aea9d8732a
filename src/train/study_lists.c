/* SPDX-License-Identifier: MIT */
/*
 * The encodings, seeds and lengths that were ever asked of a study, in that order. They are lists of study.json, so
 * that a table shows the results of earlier calls, and an encoding keeps its index.
 */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "bias/position.h"
#include "io/files.h"
#include "io/json.h"
#include "train/json_fields.h"
#include "train/study_internal.h"

struct mep_study_lists {
    mep_study_settings settings;
    json_t *study; /* study.json */
    const char **encodings;
    const char **asked; /* the encodings of the call, in the spelling of the study */
    uint64_t *seeds;
    int64_t *lengths;
    const char **measures;
    int64_t *gaps;
    double *depths;
};

static const char ENCODINGS[] = "encodings", SEEDS[] = "seeds", LENGTHS[] = "lengths";
/* These are missing until a measure is asked for, so that versions without measures can continue the study. */
static const char MEASURES[] = "measures", GAPS[] = "gaps", DEPTHS[] = "depths", MEASURE[] = "measure_settings";

/* ---- Adding ---- */

/* Add a value to a list that does not have it, and release the value. */
static mep_status add(json_t *study, const char *list, json_t *value, int *changed)
{
    json_t *values = json_object_get(study, list);
    if (values == NULL) {
        values = json_array();
        if (json_object_set_new(study, list, values) != 0) {
            json_decref(value);
            return mep_json_out_of_memory();
        }
    }
    const json_t *other = NULL;
    size_t index = 0;
    int is_there = 0;
    json_array_foreach(values, index, other) is_there |= json_equal(other, value);
    if (is_there) {
        json_decref(value);
        return MEP_OK;
    }
    *changed = 1;
    return value == NULL || json_array_append_new(values, value) != 0 ? mep_json_out_of_memory() : MEP_OK;
}

/* The study's spelling of an encoding; NULL if the study does not have it. */
static mep_status find_encoding(const json_t *study, const char *spec, const char **spelling)
{
    const json_t *value = NULL;
    size_t index = 0;
    mep_position *position = NULL;
    *spelling = NULL;
    MEP_TRY(mep_position_create(&position, spec));
    json_array_foreach(json_object_get(study, ENCODINGS), index, value)
    {
        mep_position *other = NULL;
        const char *text = json_string_value(value);
        if (text == NULL || *spelling != NULL || mep_position_create(&other, text) != MEP_OK) continue;
        if (mep_position_same(position, other)) *spelling = text;
        mep_position_destroy(&other);
    }
    mep_position_destroy(&position);
    return MEP_OK;
}

static mep_status add_encoding(json_t *study, const char *spec, int *changed)
{
    const char *spelling = NULL;
    MEP_TRY(find_encoding(study, spec, &spelling));
    return spelling != NULL ? MEP_OK : add(study, ENCODINGS, json_string(spec), changed);
}

/* A seed is stored as text, since it has 64 bits. */
static mep_status add_seed(json_t *study, uint64_t seed, int *changed)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, seed);
    return add(study, SEEDS, json_string(text), changed);
}

static mep_status add_length(json_t *study, int64_t length, int *changed)
{
    return add(study, LENGTHS, json_integer((json_int_t)length), changed);
}

/* ---- Studies of versions without lists ---- */

/* Add the encoding and seed of a run, and the lengths of its eval.json. */
static mep_status add_run(json_t *study, const char *run, int *changed)
{
    char *path = NULL;
    json_t *eval = NULL;
    const json_t *row = NULL;
    size_t index = 0;
    mep_train_settings settings;
    MEP_TRY(mep_train_read_settings(run, &settings));
    MEP_TRY(add_encoding(study, settings.model.position_encoding, changed));
    MEP_TRY(add_seed(study, settings.seed, changed));
    MEP_TRY(mep_path_join(&path, run, "eval.json"));
    mep_status status = mep_file_exists(path) ? mep_json_load(path, &eval) : MEP_OK;
    json_array_foreach(json_object_get(eval, "results"), index, row)
    {
        int64_t length = 0;
        if (status == MEP_OK) status = mep_json_get_int(row, path, "length", 1, INT64_MAX, &length);
        if (status == MEP_OK) status = add_length(study, length, changed);
    }
    json_decref(eval);
    mep_free(&path);
    return status;
}

static mep_status add_if_run(json_t *study, const char *folder, const char *name, int *changed)
{
    char *run = NULL, *train = NULL;
    MEP_TRY(mep_path_join(&run, folder, name));
    mep_status status = mep_path_join(&train, run, "train.json");
    if (status == MEP_OK && name[0] != '.' && mep_file_exists(train)) status = add_run(study, run, changed);
    mep_free(&train);
    mep_free(&run);
    return status;
}

/* Add the runs of a corpus, in the order of their names. */
static mep_status add_folder(json_t *study, const char *folder, int *changed)
{
    struct dirent **entries = NULL;
    int found = scandir(folder, &entries, NULL, alphasort);
    if (found < 0) return errno == ENOENT ? MEP_OK : mep_fail_errno("list", folder);
    mep_status status = MEP_OK;
    for (int i = 0; i < found; i++) {
        if (status == MEP_OK) status = add_if_run(study, folder, entries[i]->d_name, changed);
        free(entries[i]);
    }
    free(entries);
    return status;
}

/* ---- The lists ---- */

/* Create missing lists from the existing runs. */
static mep_status complete(json_t *study, const char *folder, const mep_study_settings *asked, int *changed)
{
    static const char *const lists[] = {ENCODINGS, SEEDS, LENGTHS};
    int is_new = 0;
    for (int i = 0; i < 3; i++) {
        if (json_is_array(json_object_get(study, lists[i]))) continue;
        is_new = 1;
        if (json_object_set_new(study, lists[i], json_array()) != 0) return mep_json_out_of_memory();
    }
    for (int64_t corpus = 0; is_new && corpus < asked->corpus_count; corpus++) {
        char path[MEP_PATH_SIZE];
        MEP_TRY(mep_study_corpus_folder(folder, asked, corpus, path));
        MEP_TRY(add_folder(study, path, changed));
    }
    *changed |= is_new;
    return MEP_OK;
}

/* Set the settings of the measures; a call without measures keeps those of the study. */
static mep_status set_measure_settings(json_t *study, const mep_study_settings *asked, int *changed)
{
    const mep_measure_settings *m = &asked->measure;
    mep_json_fields f = mep_json_fields_begin();
    mep_json_add_integer(&f, "samples", m->samples);
    mep_json_add_integer(&f, "seed", (int64_t)m->seed);
    mep_json_add_integer(&f, "bins", m->bins);
    mep_json_add_integer(&f, "copy_tokens", m->copy_tokens);
    mep_json_add_number(&f, "top", m->top);
    json_t *value = mep_json_fields_end(&f);
    if (value == NULL) return mep_json_out_of_memory();
    *changed |= !json_equal(json_object_get(study, MEASURE), value);
    return json_object_set_new(study, MEASURE, value) == 0 ? MEP_OK : mep_json_out_of_memory();
}

mep_status mep_study_lists_add(json_t *study, const char *folder, const mep_study_settings *asked, int *changed)
{
    *changed = 0;
    MEP_TRY(complete(study, folder, asked, changed));
    for (int64_t i = 0; i < asked->encoding_count; i++) MEP_TRY(add_encoding(study, asked->encodings[i], changed));
    for (int64_t i = 0; i < asked->seed_count; i++) MEP_TRY(add_seed(study, asked->seeds[i], changed));
    for (int64_t i = 0; i < asked->length_count; i++) MEP_TRY(add_length(study, asked->lengths[i], changed));
    for (int64_t i = 0; i < asked->measure_count; i++)
        MEP_TRY(add(study, MEASURES, json_string(asked->measures[i]), changed));
    for (int64_t i = 0; i < asked->gap_count; i++)
        MEP_TRY(add(study, GAPS, json_integer((json_int_t)asked->gaps[i]), changed));
    for (int64_t i = 0; i < asked->depth_count; i++) MEP_TRY(add(study, DEPTHS, json_real(asked->depths[i]), changed));
    return asked->measure_count > 0 ? set_measure_settings(study, asked, changed) : MEP_OK;
}

static int compare_depths(const void *a, const void *b)
{
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static int compare_lengths(const void *a, const void *b)
{
    int64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static mep_status fail_list(const char *list)
{
    return mep_fail(MEP_ERROR_FORMAT, "study.json: \"%s\" has a value that cannot be read; bring the file back", list);
}

/* Read the settings of the measures, which are those of the call where the study has none. */
static mep_status read_measure_settings(const json_t *study, mep_measure_settings *m)
{
    static const char file[] = "study.json";
    const json_t *from = json_object_get(study, MEASURE);
    int64_t seed = 0;
    if (from == NULL) return MEP_OK;
    MEP_TRY(mep_json_get_int(from, file, "samples", 1, INT64_MAX, &m->samples));
    MEP_TRY(mep_json_get_int(from, file, "seed", INT64_MIN, INT64_MAX, &seed));
    MEP_TRY(mep_json_get_int(from, file, "bins", 0, INT64_MAX, &m->bins));
    MEP_TRY(mep_json_get_int(from, file, "copy_tokens", 1, INT64_MAX, &m->copy_tokens));
    MEP_TRY(mep_json_get_number(from, file, "top", 0, 1, &m->top));
    m->seed = (uint64_t)seed;
    return MEP_OK;
}

/* Convert the lists of measures to arrays. A study without measures has none of them. */
static mep_status read_measure_lists(mep_study_lists *lists, mep_study_settings *s)
{
    const json_t *value = NULL;
    size_t i = 0;
    const json_t *measures = json_object_get(lists->study, MEASURES), *gaps = json_object_get(lists->study, GAPS),
                 *depths = json_object_get(lists->study, DEPTHS);
    s->measure_count = (int64_t)json_array_size(measures);
    s->gap_count = (int64_t)json_array_size(gaps);
    s->depth_count = (int64_t)json_array_size(depths);
    MEP_TRY(MEP_ALLOC(&lists->measures, s->measure_count + 1));
    MEP_TRY(MEP_ALLOC(&lists->gaps, s->gap_count + 1));
    MEP_TRY(MEP_ALLOC(&lists->depths, s->depth_count + 1));
    json_array_foreach(measures, i, value)
    {
        if (!json_is_string(value)) return fail_list(MEASURES);
        lists->measures[i] = json_string_value(value);
    }
    json_array_foreach(gaps, i, value)
    {
        lists->gaps[i] = json_integer_value(value);
        if (!json_is_integer(value) || lists->gaps[i] < 0) return fail_list(GAPS);
    }
    json_array_foreach(depths, i, value)
    {
        lists->depths[i] = json_number_value(value);
        if (!json_is_number(value) || !(lists->depths[i] >= 0 && lists->depths[i] <= 1)) return fail_list(DEPTHS);
    }
    qsort(lists->gaps, (size_t)s->gap_count, sizeof *lists->gaps, compare_lengths);
    qsort(lists->depths, (size_t)s->depth_count, sizeof *lists->depths, compare_depths);
    s->measures = lists->measures;
    s->gaps = lists->gaps;
    s->depths = lists->depths;
    return MEP_OK;
}

/* Convert the lists of study.json to arrays. */
static mep_status read_lists(mep_study_lists *lists, mep_study_settings *s)
{
    const json_t *value = NULL;
    size_t i = 0;
    const json_t *encodings = json_object_get(lists->study, ENCODINGS), *seeds = json_object_get(lists->study, SEEDS),
                 *lengths = json_object_get(lists->study, LENGTHS);
    s->encoding_count = (int64_t)json_array_size(encodings);
    s->seed_count = (int64_t)json_array_size(seeds);
    s->length_count = (int64_t)json_array_size(lengths);
    MEP_TRY(MEP_ALLOC(&lists->encodings, s->encoding_count));
    MEP_TRY(MEP_ALLOC(&lists->seeds, s->seed_count));
    MEP_TRY(MEP_ALLOC(&lists->lengths, s->length_count));
    json_array_foreach(encodings, i, value)
    {
        if (!json_is_string(value)) return fail_list(ENCODINGS);
        lists->encodings[i] = json_string_value(value);
    }
    json_array_foreach(seeds, i, value)
    {
        char *end = NULL;
        const char *text = json_is_string(value) ? json_string_value(value) : "";
        lists->seeds[i] = strtoull(text, &end, 10);
        if (end == text || *end != '\0') return fail_list(SEEDS);
    }
    json_array_foreach(lengths, i, value)
    {
        lists->lengths[i] = json_integer_value(value);
        if (lists->lengths[i] < 1) return fail_list(LENGTHS);
    }
    qsort(lists->lengths, (size_t)s->length_count, sizeof *lists->lengths, compare_lengths);
    s->encodings = lists->encodings;
    s->seeds = lists->seeds;
    s->lengths = lists->lengths;
    MEP_TRY(read_measure_settings(lists->study, &s->measure));
    return read_measure_lists(lists, s);
}

mep_status mep_study_lists_read(mep_study_lists **result, const char *folder, const mep_study_settings *asked)
{
    MEP_REQUIRE_AS("lists", result);
    *result = NULL;
    MEP_REQUIRE_AS("folder, settings", folder, asked);
    MEP_TRY(mep_study_check_lists(__func__, asked));
    char *path = NULL;
    int changed = 0;
    mep_study_lists *lists;
    MEP_TRY(MEP_ALLOC(&lists, 1));
    lists->settings = *asked;
    mep_status status = mep_path_join(&path, folder, "study.json");
    if (status == MEP_OK) status = mep_file_exists(path) ? mep_json_load(path, &lists->study) : MEP_OK;
    mep_free(&path);
    if (status == MEP_OK && lists->study == NULL) lists->study = json_object();
    if (status == MEP_OK) status = mep_study_lists_add(lists->study, folder, asked, &changed);
    if (status == MEP_OK) status = read_lists(lists, &lists->settings);
    if (status == MEP_OK) status = MEP_ALLOC(&lists->asked, asked->encoding_count);
    for (int64_t i = 0; status == MEP_OK && i < asked->encoding_count; i++)
        status = find_encoding(lists->study, asked->encodings[i], &lists->asked[i]);
    if (status != MEP_OK) mep_study_lists_free(&lists);
    *result = lists;
    return status;
}

const mep_study_settings *mep_study_lists_settings(const mep_study_lists *lists)
{
    return lists != NULL ? &lists->settings : NULL;
}

const char *const *mep_study_lists_asked(const mep_study_lists *lists)
{
    return lists != NULL ? lists->asked : NULL;
}

void mep_study_lists_free(mep_study_lists **lists)
{
    if (lists == NULL || *lists == NULL) return;
    json_decref((*lists)->study);
    mep_free(&(*lists)->encodings);
    mep_free(&(*lists)->asked);
    mep_free(&(*lists)->seeds);
    mep_free(&(*lists)->lengths);
    mep_free(&(*lists)->measures);
    mep_free(&(*lists)->gaps);
    mep_free(&(*lists)->depths);
    mep_free(lists);
}

/* ---- The index of an encoding ---- */

/* -1 if the folder is not that of a study which has the encoding. */
static int64_t find_index(const char *folder, const char *encoding)
{
    char *path = NULL;
    json_t *study = NULL;
    const json_t *value = NULL;
    size_t index = 0;
    int64_t found = -1;
    if (mep_path_join(&path, folder, "study.json") == MEP_OK && mep_file_exists(path) &&
        mep_json_load(path, &study) == MEP_OK)
        json_array_foreach(json_object_get(study, ENCODINGS), index, value)
        {
            const char *spec = json_string_value(value);
            int same = 0;
            if (found < 0 && spec != NULL && mep_position_specs_same(spec, encoding, &same) == MEP_OK && same)
                found = (int64_t)index;
        }
    json_decref(study);
    mep_free(&path);
    return found;
}

int64_t mep_study_encoding_index(const char *folder, const char *encoding)
{
    if (folder == NULL || encoding == NULL) return -1;
    static const char *const above[] = {".", "..", "../.."};
    int64_t found = -1;
    for (int i = 0; i < 3 && found < 0; i++) {
        char *path = NULL;
        if (mep_path_join(&path, folder, above[i]) == MEP_OK) found = find_index(path, encoding);
        mep_free(&path);
    }
    return found;
}
