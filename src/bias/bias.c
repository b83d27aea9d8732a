/* SPDX-License-Identifier: MIT */
/*
 * Creates and destroys a mep_bias: its named parameters, their initial values and ranges.
 */
#include "bias/bias_internal.h"
#include "bias/position.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "bias/table.h"

/* Where the caller gives none (mep_bias_set_train_length). */
enum { DEFAULT_TRAIN_LENGTH = 512 };

/* ---- The list of parameters ---- */

/* A term's number among those of its kernel, from 1. */
static int number_of(const mep_bias *bias, int index)
{
    int number = 1;
    for (int m = 0; m < index; m++) number += bias->spec.terms[m].kernel == bias->spec.terms[index].kernel;
    return number;
}

/* Append a parameter; the bias takes ownership of its name. */
static mep_status add_entry(mep_bias *bias, mep_bias_entry entry, const int64_t shape[2])
{
    mep_bias_param info = {.name = entry.name, .shape = {1, 1}, .offset = bias->value_count};
    for (; info.ndim < 2 && shape[info.ndim] > 0; info.ndim++) info.shape[info.ndim] = shape[info.ndim];
    entry.info = info;
    mep_bias_entry *added = &bias->entries[bias->entry_count++];
    *added = entry;
    MEP_TRY(mep_multiply(info.shape[0], info.shape[1], 1, &added->info.size));
    if (added->info.size > INT64_MAX - bias->value_count)
        return mep_fail(MEP_ERROR_MEMORY, "the parameters of the bias %s are too many", bias->canonical);
    bias->value_count += added->info.size;
    return MEP_OK;
}

/* Append the learned parameters of a term: KERNEL.NAME, and KERNEL_2.NAME of the second term of a kernel. */
static mep_status add_term_entries(mep_bias *bias, int index, int64_t *offsets)
{
    mep_term *term = &bias->terms[index];
    char number[16] = "";
    if (number_of(bias, index) > 1) snprintf(number, sizeof number, "_%d", number_of(bias, index));
    for (int i = 0; i < mep_kernel_param_count(term->kernel); i++) {
        const mep_kernel_param *param = &term->kernel->params[i];
        const int64_t shape[2] = {mep_kernel_dimension(param, 0, term->options, term->heads),
                                  mep_kernel_dimension(param, 1, term->options, term->heads)};
        offsets[i] = -1;
        if (!mep_kernel_learns(param, bias->spec.learn)) continue;
        offsets[i] = bias->value_count;
        bias->learns[index] = 1;
        mep_bias_entry entry = {.min = param->min, .max = param->max, .term = index, .param = i};
        MEP_TRY(mep_format(&entry.name, "%s%s.%s", term->kernel->name, number, param->name));
        MEP_TRY(add_entry(bias, entry, shape));
    }
    return MEP_OK;
}

/* Append the parameter "weights" if the weights of the mixture are learned. */
static mep_status add_weights(mep_bias *bias)
{
    const int64_t shape[2] = {bias->spec.count, bias->heads};
    mep_bias_entry entry = {.min = -MEP_PARAM_MAX, .max = MEP_PARAM_MAX, .term = -1};
    bias->weights_offset = -1;
    if ((bias->spec.learn & MEP_LEARN_WEIGHTS) == 0) return MEP_OK;
    bias->weights_offset = bias->value_count;
    MEP_TRY(mep_copy_string(&entry.name, "weights"));
    return add_entry(bias, entry, shape);
}

/* ---- Creation ---- */

static void set_terms(mep_bias *bias)
{
    for (int m = 0; m < bias->spec.count; m++)
        bias->terms[m] = (mep_term){.kernel = bias->spec.terms[m].kernel,
                                    .heads = bias->heads,
                                    .head_dim = bias->head_dim,
                                    .options = mep_spec_options(&bias->spec, m),
                                    .train_length = DEFAULT_TRAIN_LENGTH};
}

/* The list of parameters, and the vector of their values. */
static mep_status make_params(mep_bias *bias)
{
    int64_t most = 0;
    for (int m = 0; m < bias->spec.count; m++) most += mep_kernel_param_count(bias->terms[m].kernel);
    MEP_TRY(MEP_ALLOC(&bias->entries, most + 1));
    MEP_TRY(MEP_ALLOC(&bias->offsets, most));
    int64_t *offsets = bias->offsets;
    for (int m = 0; m < bias->spec.count; m++) {
        bias->terms[m].offsets = offsets;
        MEP_TRY(add_term_entries(bias, m, offsets));
        offsets += mep_kernel_param_count(bias->terms[m].kernel);
    }
    MEP_TRY(add_weights(bias));
    MEP_TRY(MEP_ALLOC(&bias->params, bias->value_count));
    for (int m = 0; m < bias->spec.count; m++) bias->terms[m].params = bias->params;
    return MEP_OK;
}

/* The memory of everything that is computed from the parameters. */
static mep_status make_derived(mep_bias *bias)
{
    int64_t size = 0, derived = 0;
    for (int m = 0; m < bias->spec.count; m++) derived += bias->terms[m].kernel->derived;
    MEP_TRY(mep_multiply(bias->spec.count, bias->heads, 1, &size));
    MEP_TRY(MEP_ALLOC(&bias->weights, size));
    MEP_TRY(MEP_ALLOC(&bias->log_weights, size));
    MEP_TRY(mep_multiply(derived, bias->heads, 1, &size));
    MEP_TRY(MEP_ALLOC(&bias->derived, size));
    double *values = bias->derived;
    for (int m = 0; m < bias->spec.count; m++) {
        bias->terms[m].derived = values;
        values += bias->terms[m].kernel->derived * bias->heads;
    }
    return MEP_OK;
}

/* The bias of a parsed mixture, which it copies. */
static mep_status build(mep_bias *bias, const mep_spec *spec)
{
    MEP_TRY(mep_spec_copy(&bias->spec, spec));
    mep_string_builder text = {.text = NULL};
    mep_status status = mep_spec_print(&text, &bias->spec);
    bias->canonical = text.text;
    MEP_TRY(status);
    set_terms(bias);
    MEP_TRY(make_params(bias));
    MEP_TRY(make_derived(bias));
    mep_bias_init(bias, 0);
    return MEP_OK;
}

static mep_status create(mep_bias **bias, const mep_spec *spec, int64_t heads, int64_t head_dim)
{
    if (heads < 1 || head_dim < 1)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "a bias needs at least 1 head and 1 channel per head, but was given %lld and %lld",
                        (long long)heads, (long long)head_dim);
    MEP_TRY(MEP_ALLOC(bias, 1));
    (*bias)->heads = heads;
    (*bias)->head_dim = head_dim;
    mep_status status = build(*bias, spec);
    if (status != MEP_OK) mep_bias_destroy(bias);
    return status;
}

mep_status mep_bias_create(mep_bias **bias, const char *spec, int64_t heads, int64_t head_dim)
{
    MEP_REQUIRE(bias, spec);
    *bias = NULL;
    mep_position *position;
    MEP_TRY(mep_position_create(&position, spec));
    mep_status status = mep_bias_create_from(bias, position, heads, head_dim);
    mep_position_destroy(&position);
    return status;
}

mep_status mep_bias_create_from(mep_bias **bias, const mep_position *position, int64_t heads, int64_t head_dim)
{
    MEP_REQUIRE(bias, position);
    *bias = NULL;
    const mep_position_entry *entry = mep_position_bias_entry(position);
    if (entry == NULL)
        return mep_fail(
            MEP_ERROR_ARGUMENT,
            "the position encoding \"%s\" is not a distance bias; specify a mixture of kernels, such as alibi",
            position->spec);
    return create(bias, &entry->mixture, heads, head_dim);
}

void mep_bias_destroy(mep_bias **bias)
{
    if (bias == NULL || *bias == NULL) return;
    for (int i = 0; i < (*bias)->entry_count; i++) mep_free(&(*bias)->entries[i].name);
    mep_spec_free(&(*bias)->spec);
    mep_free(&(*bias)->canonical);
    mep_free(&(*bias)->derived);
    mep_free(&(*bias)->weights);
    mep_free(&(*bias)->log_weights);
    mep_free(&(*bias)->entries);
    mep_free(&(*bias)->offsets);
    mep_free(&(*bias)->params);
    mep_free(bias);
}

/* ---- Values ---- */

/* The weight of a term in a mixture of fixed weights, which sum to 1. */
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

/* Compute everything that depends on the parameters. */
static void refresh(mep_bias *bias)
{
    const double *learned = bias->weights_offset < 0 ? NULL : bias->params + bias->weights_offset;
    for (int64_t h = 0; learned != NULL && h < bias->heads; h++) softmax_weights(bias, learned, h);
    for (int m = 0; m < bias->spec.count; m++) {
        const mep_term *term = &bias->terms[m];
        double weight = fixed_weight(bias, m);
        for (int64_t h = 0; learned == NULL && h < bias->heads; h++) {
            bias->weights[m * bias->heads + h] = weight;
            bias->log_weights[m * bias->heads + h] = log(weight);
        }
        if (term->kernel->prepare != NULL) term->kernel->prepare(term, term->derived);
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

mep_status mep_bias_set_train_length(mep_bias *bias, int64_t length)
{
    MEP_REQUIRE(bias);
    if (length < 1 || length > MEP_DISTANCE_MAX)
        return mep_fail(MEP_ERROR_ARGUMENT, "a training length must be from 1 to 2^31, but is %lld", (long long)length);
    for (int m = 0; m < bias->spec.count; m++) bias->terms[m].train_length = length;
    refresh(bias);
    return MEP_OK;
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
        for (int64_t n = entry->info.offset; n < entry->info.offset + entry->info.size; n++) {
            float value = (float)clamp(values[n], entry->min, entry->max);
            if (value != values[n]) values[n] = value; /* other threads may read it */
        }
    }
}

int mep_bias_has_params(const mep_bias *bias, const float *values)
{
    for (int i = 0; i < bias->entry_count; i++) {
        const mep_bias_entry *entry = &bias->entries[i];
        for (int64_t n = entry->info.offset; n < entry->info.offset + entry->info.size; n++) {
            double value = clamp(values[n], entry->min, entry->max);
            if (memcmp(&value, &bias->params[n], sizeof value) != 0) return 0;
        }
    }
    return 1;
}

/* ---- Properties ---- */

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
        return mep_fail(MEP_ERROR_ARGUMENT, "the bias %s has %d parameters; there is no parameter %lld",
                        bias->canonical, bias->entry_count, (long long)index);
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
