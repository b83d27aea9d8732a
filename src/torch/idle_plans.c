/* SPDX-License-Identifier: MIT */
/*
 * The idle plans of the process, since a kernel of PyTorch has no context of its own.
 */
#define _POSIX_C_SOURCE 200809L
#include "torch/idle_plans.h"

#include <pthread.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

enum { MOST_PLANS = 4, ARRAYS = 5 };

static pthread_mutex_t idle_mutex = PTHREAD_MUTEX_INITIALIZER;
static idle_plan *idle_plans[MOST_PLANS + 1]; /* from the least recently used one to the last one used; then NULL */

/* A child of fork() has the plans too, and the mutex is free in it. Its number of threads is part of the key. */
static void before_fork(void)
{
    pthread_mutex_lock(&idle_mutex);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&idle_mutex);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

static idle_plan *find_idle(const plan_key *key)
{
    idle_plan *found = NULL;
    int i = 0, most = -1;
    pthread_mutex_lock(&idle_mutex);
    for (i = 0; idle_plans[i] != NULL; i++)
        if (memcmp(&idle_plans[i]->key, key, sizeof *key) == 0) most = i;
    if (most >= 0) {
        found = idle_plans[most];
        memmove(idle_plans + most, idle_plans + most + 1, (size_t)(i - most) * sizeof *idle_plans);
    }
    pthread_mutex_unlock(&idle_mutex);
    return found;
}

void mep_torch_give_plan(idle_plan **plan)
{
    idle_plan *oldest = NULL;
    int count = 0;
    pthread_mutex_lock(&idle_mutex);
    while (idle_plans[count] != NULL) count++;
    if (count == MOST_PLANS) {
        oldest = idle_plans[0];
        memmove(idle_plans, idle_plans + 1, (size_t)count-- * sizeof *idle_plans);
    }
    idle_plans[count] = *plan;
    pthread_mutex_unlock(&idle_mutex);
    *plan = NULL;
    mep_torch_destroy_plan(&oldest);
}

void mep_torch_destroy_plan(idle_plan **plan)
{
    if (*plan == NULL) return;
    mep_attention_destroy(&(*plan)->plan);
    mep_free(&(*plan)->values);
    mep_free(plan);
}

static mep_status new_plan(idle_plan **plan, const plan_key *key)
{
    mep_attention_settings settings;
    mep_status status;
    MEP_TRY(MEP_ALLOC(plan, 1));
    (*plan)->key = *key;
    mep_attention_defaults(&settings);
    settings.heads = key->heads;
    settings.kv_heads = key->kv_heads;
    settings.head_dim = key->head_dim;
    settings.max_length = key->max_length;
    settings.dtype = (mep_dtype)key->dtype;
    settings.bidirectional = (int)key->bidirectional;
    settings.scale = key->scale;
    settings.tolerance = key->tolerance;
    MEP_TRY_OR(status, mep_attention_create(&(*plan)->plan, &settings), failed);
    return MEP_OK;
failed:
    mep_free(plan);
    return status;
}

/* ---- Terms ---- */

/* The arrays of `terms` and their numbers of values; those of absent terms have 0. */
static void list_arrays(mep_attention_terms *terms, int64_t heads, const float **arrays[ARRAYS], int64_t counts[ARRAYS])
{
    const float **all[ARRAYS] = {&terms->table, &terms->table_ahead, &terms->sink, &terms->bank, &terms->log_kernels};
    const int64_t sizes[ARRAYS] = {heads * terms->table_length, heads * terms->table_length, heads,
                                   terms->rank * terms->extent, heads * terms->kernels * terms->log_kernels_length};
    for (int i = 0; i < ARRAYS; i++) {
        arrays[i] = all[i];
        counts[i] = *all[i] != NULL ? sizes[i] : 0;
    }
}

/* Whether the plan has these terms already, bit by bit. */
static int has_terms(idle_plan *plan, mep_attention_terms *terms)
{
    const mep_attention_terms *own = &plan->terms;
    const float **there[ARRAYS], **here[ARRAYS];
    int64_t counts[ARRAYS], own_counts[ARRAYS];
    if (own->window != terms->window || own->table_length != terms->table_length || own->rank != terms->rank ||
        own->extent != terms->extent || own->kernels != terms->kernels ||
        own->log_kernels_length != terms->log_kernels_length)
        return 0;
    list_arrays(terms, plan->key.heads, here, counts);
    list_arrays(&plan->terms, plan->key.heads, there, own_counts);
    for (int i = 0; i < ARRAYS; i++)
        if (counts[i] != own_counts[i] ||
            (counts[i] > 0 && memcmp(*here[i], *there[i], (size_t)counts[i] * sizeof **here[i]) != 0))
            return 0;
    return 1;
}

static mep_status set_terms(idle_plan *plan, mep_attention_terms terms)
{
    const float **arrays[ARRAYS];
    int64_t counts[ARRAYS], count = 0;
    if (has_terms(plan, &terms)) return MEP_OK;
    MEP_TRY(mep_attention_set_terms(plan->plan, &terms));
    list_arrays(&terms, plan->key.heads, arrays, counts);
    for (int i = 0; i < ARRAYS; i++) count += counts[i];
    if (count > plan->count) {
        mep_free(&plan->values);
        plan->count = 0;
        MEP_TRY(MEP_ALLOC(&plan->values, count));
        plan->count = count;
    }
    float *values = plan->values;
    for (int i = 0; i < ARRAYS; i++) {
        if (counts[i] == 0) continue;
        memcpy(values, *arrays[i], (size_t)counts[i] * sizeof *values);
        *arrays[i] = values;
        values += counts[i];
    }
    plan->terms = terms;
    return MEP_OK;
}

mep_status mep_torch_take_plan(idle_plan **plan, const plan_key *key, const mep_attention_terms *terms)
{
    *plan = find_idle(key);
    if (*plan == NULL) MEP_TRY(new_plan(plan, key));
    mep_status status = set_terms(*plan, *terms);
    if (status != MEP_OK) mep_torch_destroy_plan(plan); /* its terms may be others than the ones recorded */
    return status;
}
