/* SPDX-License-Identifier: MIT */
/*
 * The life of a mep_bias: creation from a spec, its named parameters, their initial values and ranges.
 */
#include "bias/bias.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"

/* ---- The list of parameters ---- */

/* The name of a term in names of parameters: that of its kernel, with "_2" where it is the second of its kind. */
static void term_name(const mep_bias *bias, int index, char name[24])
{
    int number = 1;
    for (int i = 0; i < index; i++) number += bias->terms[i].kernel == bias->terms[index].kernel;
    if (number == 1)
        snprintf(name, 24, "%s", bias->terms[index].kernel->name);
    else
        snprintf(name, 24, "%s_%d", bias->terms[index].kernel->name, number);
}

/* Append a parameter [rows, heads], or [heads] where rows is 0. Its name is in place already. */
static mep_status add_entry(mep_bias *bias, mep_bias_entry entry, int64_t rows)
{
    int64_t size = 0;
    MEP_TRY(mep_multiply(rows == 0 ? 1 : rows, bias->heads, 1, &size));
    entry.info = (mep_bias_param){.ndim = rows == 0 ? 1 : 2, .shape = {rows, bias->heads}, .size = size};
    if (rows == 0) entry.info.shape[0] = bias->heads, entry.info.shape[1] = 1;
    entry.info.offset = bias->value_count;
    bias->value_count += size;
    mep_bias_entry *place = &bias->entries[bias->entry_count++];
    *place = entry;
    place->info.name = place->name;
    return MEP_OK;
}

static mep_status add_term_entries(mep_bias *bias, int index)
{
    mep_term *term = &bias->terms[index];
    char owner[24];
    term_name(bias, index, owner);
    int count = mep_kernel_param_count(term->kernel, bias->spec.learn_slopes);
    for (int i = 0; i < count; i++) {
        const mep_kernel_param *param = &term->kernel->params[i];
        mep_bias_entry entry = {.min = param->min, .max = param->max, .term = index, .param = i};
        snprintf(entry.name, sizeof entry.name, "%s.%s", owner, param->name);
        MEP_TRY(add_entry(bias, entry, param->rows_option == 0 ? 0 : (int64_t)term->options[param->rows_option - 1]));
    }
    return MEP_OK;
}

static mep_status add_entries(mep_bias *bias)
{
    for (int m = 0; m < bias->spec.count; m++) MEP_TRY(add_term_entries(bias, m));
    mep_bias_entry weights = {.name = "weights", .min = -MEP_PARAM_MAX, .max = MEP_PARAM_MAX, .term = -1};
    return bias->spec.learn_weights ? add_entry(bias, weights, bias->spec.count) : MEP_OK;
}

/* ---- Creation ---- */

static void set_terms(mep_bias *bias)
{
    for (int m = 0; m < bias->spec.count; m++) {
        mep_term *term = &bias->terms[m];
        term->kernel = bias->spec.terms[m].kernel;
        memcpy(term->options, bias->spec.terms[m].options, sizeof term->options);
        term->heads = bias->heads;
        term->head_dim = bias->head_dim;
    }
}

static mep_status build(mep_bias *bias, const char *spec)
{
    MEP_TRY(mep_spec_parse(&bias->spec, spec));
    MEP_TRY(mep_spec_canonical(&bias->spec, &bias->canonical));
    set_terms(bias);
    MEP_TRY(add_entries(bias));
    int64_t size = 0;
    MEP_TRY(mep_multiply(bias->spec.count, bias->heads, 1, &size));
    MEP_TRY(mep_alloc(&bias->slopes, bias->heads, sizeof *bias->slopes));
    MEP_TRY(mep_alloc(&bias->rates, size, sizeof *bias->rates));
    MEP_TRY(mep_alloc(&bias->weights, size, sizeof *bias->weights));
    MEP_TRY(mep_alloc(&bias->log_weights, size, sizeof *bias->log_weights));
    MEP_TRY(mep_alloc(&bias->params, bias->value_count, sizeof *bias->params));
    MEP_TRY(mep_alibi_slopes(bias->heads, bias->slopes));
    for (int m = 0; m < bias->spec.count; m++) bias->terms[m].rate = bias->rates + m * bias->heads;
    for (int i = 0; i < bias->entry_count; i++) {
        const mep_bias_entry *entry = &bias->entries[i];
        if (entry->term >= 0) bias->terms[entry->term].param[entry->param] = bias->params + entry->info.offset;
    }
    mep_bias_init(bias, 0);
    return MEP_OK;
}

mep_status mep_bias_create(mep_bias **bias, const char *spec, int64_t heads, int64_t head_dim)
{
    MEP_REQUIRE(bias, spec);
    *bias = NULL;
    if (heads < 1 || head_dim < 1)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "a bias needs at least 1 head and 1 channel a head, but was given %lld and %lld",
                        (long long)heads, (long long)head_dim);
    MEP_TRY(mep_alloc(bias, 1, sizeof **bias));
    (*bias)->heads = heads;
    (*bias)->head_dim = head_dim;
    mep_status status = build(*bias, spec);
    if (status != MEP_OK) mep_bias_destroy(bias);
    return status;
}

void mep_bias_destroy(mep_bias **bias)
{
    if (bias == NULL || *bias == NULL) return;
    mep_free(&(*bias)->canonical);
    mep_free(&(*bias)->slopes);
    mep_free(&(*bias)->rates);
    mep_free(&(*bias)->weights);
    mep_free(&(*bias)->log_weights);
    mep_free(&(*bias)->params);
    mep_free(bias);
}

/* ---- Values ---- */

/* The share of each term in a mixture of fixed weights. */
static double fixed_weight(const mep_bias *bias, int term)
{
    double sum = 0.0;
    for (int m = 0; m < bias->spec.count; m++) sum += bias->spec.terms[m].weight;
    return bias->spec.terms[term].weight / sum;
}

/* Softmax of the free parameters x [terms, heads] over the terms of one head. */
static void softmax_weights(mep_bias *bias, const double *x, int64_t head)
{
    double largest = -INFINITY, sum = 0.0;
    for (int m = 0; m < bias->spec.count; m++) largest = fmax(largest, x[m * bias->heads + head]);
    for (int m = 0; m < bias->spec.count; m++) sum += exp(x[m * bias->heads + head] - largest);
    for (int m = 0; m < bias->spec.count; m++) {
        int64_t at = m * bias->heads + head;
        bias->log_weights[at] = x[at] - largest - log(sum);
        bias->weights[at] = exp(x[at] - largest) / sum;
    }
}

/* Compute rates and weights from the parameters. */
static void refresh(mep_bias *bias)
{
    const double *learned =
        bias->spec.learn_weights ? bias->params + bias->entries[bias->entry_count - 1].info.offset : NULL;
    for (int64_t h = 0; learned != NULL && h < bias->heads; h++) softmax_weights(bias, learned, h);
    for (int m = 0; m < bias->spec.count; m++) {
        const mep_term *term = &bias->terms[m];
        double weight = fixed_weight(bias, m);
        for (int64_t h = 0; learned == NULL && h < bias->heads; h++) {
            bias->weights[m * bias->heads + h] = weight;
            bias->log_weights[m * bias->heads + h] = log(weight);
        }
        const double *log_c = term->kernel->has_slope ? term->param[0] : NULL;
        for (int64_t h = 0; term->kernel->has_slope && h < bias->heads; h++)
            term->rate[h] = (log_c == NULL ? term->options[MEP_OPTION_C] : exp(log_c[h])) *
                            pow(bias->slopes[h], term->options[MEP_OPTION_BIAS_MAX] / MEP_ALIBI_BIAS_MAX);
    }
}

static double clamp(double x, double min, double max)
{
    return x < min ? min : x > max ? max : x;
}

void mep_bias_init(mep_bias *bias, uint64_t seed)
{
    if (bias == NULL) return;
    for (int i = 0; i < bias->entry_count; i++) {
        const mep_bias_entry *entry = &bias->entries[i];
        double *values = bias->params + entry->info.offset;
        uint64_t stream = mep_random_stream(entry->name);
        for (int64_t n = 0; n < entry->info.size; n++) {
            const mep_term *term = entry->term < 0 ? NULL : &bias->terms[entry->term];
            double value = term == NULL ? log(fixed_weight(bias, (int)(n / bias->heads)))
                                        : term->kernel->init(term, entry->param, seed, stream, n);
            values[n] = clamp(value, entry->min, entry->max);
        }
    }
    refresh(bias);
}

mep_status mep_bias_set_params(mep_bias *bias, const double *values, int64_t count)
{
    MEP_REQUIRE(bias);
    if (count > 0) MEP_REQUIRE(values);
    if (count != bias->value_count)
        return mep_fail(MEP_ERROR_ARGUMENT, "the bias %s has %lld parameter values, but %lld were given",
                        bias->canonical, (long long)bias->value_count, (long long)count);
    for (int i = 0; i < bias->entry_count; i++) {
        const mep_bias_param *info = &bias->entries[i].info;
        for (int64_t n = 0; n < info->size; n++)
            if (!isfinite(values[info->offset + n]))
                return mep_fail(MEP_ERROR_NUMERIC, "value %lld of %s is not finite; the bias keeps its values",
                                (long long)n, info->name);
    }
    for (int i = 0; i < bias->entry_count; i++) {
        const mep_bias_entry *entry = &bias->entries[i];
        for (int64_t n = entry->info.offset; n < entry->info.offset + entry->info.size; n++)
            bias->params[n] = clamp(values[n], entry->min, entry->max);
    }
    refresh(bias);
    return MEP_OK;
}

void mep_bias_constrain(const mep_bias *bias, float *values)
{
    if (bias == NULL || values == NULL) return;
    for (int i = 0; i < bias->entry_count; i++) {
        const mep_bias_entry *entry = &bias->entries[i];
        for (int64_t n = entry->info.offset; n < entry->info.offset + entry->info.size; n++)
            values[n] = (float)clamp(values[n], entry->min, entry->max);
    }
}

/* ---- Questions ---- */

const char *mep_bias_spec(const mep_bias *bias)
{
    if (bias == NULL) return "";
    return bias->canonical;
}

int64_t mep_bias_heads(const mep_bias *bias)
{
    if (bias == NULL) return 0;
    return bias->heads;
}

int64_t mep_bias_param_count(const mep_bias *bias)
{
    if (bias == NULL) return 0;
    return bias->entry_count;
}

mep_status mep_bias_get_param(const mep_bias *bias, int64_t index, mep_bias_param *param)
{
    MEP_REQUIRE(bias, param);
    if (index < 0 || index >= bias->entry_count)
        return mep_fail(MEP_ERROR_ARGUMENT, "the bias %s has %d parameters; there is no number %lld", bias->canonical,
                        bias->entry_count, (long long)index);
    *param = bias->entries[index].info;
    return MEP_OK;
}

int64_t mep_bias_param_values(const mep_bias *bias)
{
    if (bias == NULL) return 0;
    return bias->value_count;
}

const double *mep_bias_params(const mep_bias *bias)
{
    if (bias == NULL) return NULL;
    return bias->params;
}
