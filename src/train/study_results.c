/* SPDX-License-Identifier: MIT */
/*
 * The results of a study, from the eval.json of its runs, and their means over the seeds.
 */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "train/study_internal.h"

int64_t mep_study_index(const mep_study_settings *s, int64_t corpus, int64_t encoding, int64_t seed, int64_t length)
{
    if (s == NULL || corpus < 0 || corpus >= s->corpus_count || encoding < 0 || encoding >= s->encoding_count ||
        seed < 0 || seed >= s->seed_count || length < 0 || length >= s->length_count)
        return -1;
    return ((corpus * s->encoding_count + encoding) * s->seed_count + seed) * s->length_count + length;
}

/* Read the results of one run, results[length_count]. */
static mep_status read_run(const mep_study_settings *s, const char *run, const mep_eval_settings *settings,
                           mep_eval_result *results)
{
    json_t *eval = NULL;
    MEP_TRY(mep_study_eval_read(run, settings, s->train.steps, &eval));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < s->length_count && status == MEP_OK; i++)
        status = mep_study_eval_find(eval, run, s->lengths[i], &results[i]);
    json_decref(eval);
    return status;
}

/* Read the results of one corpus; encodings have the spelling of the study. All lengths of the study, including those
 * of earlier calls, are evaluated on the same tokens. */
static mep_status read_corpus(const char *folder, const mep_study_lists *all, const mep_study_settings *s,
                              int64_t corpus, mep_eval_result *results)
{
    mep_eval_settings eval;
    mep_study_settings spelled = *s;
    spelled.encodings = mep_study_lists_asked(all);
    MEP_TRY(mep_study_eval_settings(mep_study_lists_settings(all), corpus, &eval));
    for (int64_t encoding = 0; encoding < s->encoding_count; encoding++)
        for (int64_t seed = 0; seed < s->seed_count; seed++) {
            char run[MEP_PATH_SIZE];
            MEP_TRY(mep_study_run_folder(folder, &spelled, corpus, encoding, seed, run));
            MEP_TRY(read_run(s, run, &eval, results + mep_study_index(s, corpus, encoding, seed, 0)));
        }
    return MEP_OK;
}

mep_status mep_study_results(const char *folder, const mep_study_settings *s, mep_eval_result *results)
{
    mep_study_lists *all = NULL;
    MEP_REQUIRE_AS("folder, settings, results", folder, s, results);
    MEP_TRY(mep_study_check_lists(__func__, s));
    MEP_TRY(mep_study_lists_read(&all, folder, s));
    mep_status status = MEP_OK;
    for (int64_t corpus = 0; corpus < s->corpus_count && status == MEP_OK; corpus++)
        status = read_corpus(folder, all, s, corpus, results);
    mep_study_lists_free(&all);
    return status;
}

static mep_study_cell summarize_cell(const mep_study_settings *s, const mep_eval_result *results, int64_t corpus,
                                     int64_t encoding, int64_t length)
{
    mep_study_cell cell = {.mean = NAN, .deviation = NAN};
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < s->seed_count; i++) {
        const mep_eval_result *r = &results[mep_study_index(s, corpus, encoding, i, length)];
        if (r->segments == 0) continue;
        sum += r->perplexity;
        cell.seeds++;
    }
    if (cell.seeds > 0) cell.mean = sum / (double)cell.seeds;
    for (int64_t i = 0; i < s->seed_count; i++) {
        const mep_eval_result *r = &results[mep_study_index(s, corpus, encoding, i, length)];
        if (r->segments > 0) squares += (r->perplexity - cell.mean) * (r->perplexity - cell.mean);
    }
    if (cell.seeds > 1) cell.deviation = sqrt(squares / (double)(cell.seeds - 1));
    return cell;
}

void mep_study_summarize(const mep_study_settings *s, const mep_eval_result *results, int64_t corpus,
                         mep_study_cell *cells)
{
    if (s == NULL || results == NULL || cells == NULL || corpus < 0 || corpus >= s->corpus_count) return;
    for (int64_t length = 0; length < s->length_count; length++) {
        double lowest = INFINITY;
        for (int64_t encoding = 0; encoding < s->encoding_count; encoding++) {
            mep_study_cell *cell = &cells[encoding * s->length_count + length];
            *cell = summarize_cell(s, results, corpus, encoding, length);
            if (cell->mean < lowest) lowest = cell->mean;
        }
        for (int64_t encoding = 0; encoding < s->encoding_count; encoding++) {
            mep_study_cell *cell = &cells[encoding * s->length_count + length];
            cell->best = cell->mean == lowest && isfinite(lowest);
        }
    }
}
