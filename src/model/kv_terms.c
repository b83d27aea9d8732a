/* SPDX-License-Identifier: MIT */
/*
 * Score terms of layers.
 */
#include "model/kv_terms.h"

#include <math.h>

#include "base/error.h"
#include "base/memory.h"
#include "bias/table.h"

/* Whether a layer with the distance bias has weights per query (query = 1), or the plain table (query = 0). */
static int is_used(const mep_model *m, int query)
{
    for (int i = 0; i < m->position->count; i++) {
        const mep_position_entry *e = &m->position->entries[i];
        if (e->kind == MEP_POSITION_BIAS && e->weights_query == query) return 1;
    }
    return 0;
}

mep_status mep_kv_tables_create(mep_kv_tables *t, const mep_model *m, int64_t length)
{
    int64_t heads = m->config.num_attention_heads, values = 0;
    *t = (mep_kv_tables){.model = m, .length = length};
    if (m->bias == NULL) return MEP_OK;
    MEP_TRY(MEP_ALLOC(&t->scratch, mep_bias_scratch(m->bias)));
    MEP_TRY(mep_multiply(length, heads, mep_bias_kernels(m->bias), &values));
    if (is_used(m, 0)) MEP_TRY(MEP_ALLOC(&t->table, heads * length));
    return is_used(m, 1) ? MEP_ALLOC(&t->kernels, values) : MEP_OK;
}

mep_status mep_kv_tables_refresh(mep_kv_tables *t)
{
    const mep_bias *bias = t->model->bias;
    if (t->table != NULL) MEP_TRY(mep_bias_table_with(bias, t->length, t->table, t->scratch));
    return t->kernels != NULL ? mep_bias_kernel_tables(bias, t->length, t->kernels, t->scratch) : MEP_OK;
}

void mep_kv_tables_destroy(mep_kv_tables *t)
{
    mep_free(&t->table);
    mep_free(&t->kernels);
    mep_free(&t->scratch);
}

mep_attention_terms mep_kv_layer_terms(const mep_kv_tables *t, int64_t layer)
{
    const mep_model *m = t->model;
    const mep_position_entry *e = mep_layer_position(m, layer);
    mep_attention_terms terms = {.window = e->window, .sink = mep_tensor_values(m, SINK, layer)};
    if (e->kind == MEP_POSITION_BIAS && !e->weights_query) terms.table = t->table, terms.table_length = t->length;
    if (e->weights_query) {
        terms.log_kernels = t->kernels;
        terms.kernels = mep_bias_kernels(m->bias);
        terms.log_kernels_length = t->length;
    }
    if (e->rank > 0) {
        terms.bank = mep_tensor_values(m, PROFILES_BANK, layer);
        terms.rank = e->rank;
        terms.extent = mep_layer_dimension(&m->config, e, DIM_EXTENT);
    }
    return terms;
}

int mep_kv_layer_fire(const mep_kv_tables *t, int64_t layer, mep_fire *fire)
{
    mep_bias_pieces p;
    if (!mep_entry_has_threshold(mep_layer_position(t->model, layer))) return 0;
    if (!mep_bias_get_pieces(t->model->bias, &p)) return 0;
    *fire = (mep_fire){.c = p.c,
                       .threshold = p.threshold,
                       .pieces = p.count,
                       .row = MEP_BIAS_PIECES,
                       .knots = p.knots,
                       .slope = p.slope,
                       .offset = p.offset};
    return 1;
}

mep_status mep_kv_set_terms(mep_attention *attention, const mep_kv_tables *t, int64_t layer, double *sums)
{
    const mep_attention_terms terms = mep_kv_layer_terms(t, layer);
    mep_fire fire;
    MEP_TRY(mep_attention_set_terms(attention, &terms));
    return mep_kv_layer_fire(t, layer, &fire) ? mep_attention_set_fire(attention, &fire, sums) : MEP_OK;
}

int64_t mep_kv_term_sets(const mep_model *m)
{
    int differ = m->position->count > 1;
    for (int i = 0; i < m->position->count; i++)
        differ |= m->position->entries[i].sink || m->position->entries[i].rank > 0;
    return differ ? m->config.num_hidden_layers : 1;
}

mep_status mep_kv_refuse_content(const mep_model *m, const char *what)
{
    if (!m->content) return MEP_OK;
    return mep_fail(MEP_ERROR_UNSUPPORTED, "%s does not compute the position encoding \"%s\"", what,
                    mep_position_spec(m->position));
}

/* log sigmoid(x), accurate at both ends. */
static double log_sigmoid(double x)
{
    return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
}

void mep_gate_sums(int64_t batch, int64_t length, int64_t heads, const float *logits, double *total, double *gate)
{
#pragma omp parallel for
    for (int64_t n = 0; n < batch * heads; n++) {
        int64_t b = n / heads, h = n % heads;
        double sum = total != NULL ? total[n] : 0;
        for (int64_t t = 0; t < length; t++)
            gate[n * length + t] = sum += log_sigmoid((double)logits[(b * length + t) * heads + h]);
        if (total != NULL) total[n] = sum;
    }
}

void mep_gate_sums_backward(int64_t batch, int64_t length, int64_t heads, const float *logits, const double *dgate,
                            float *dlogits)
{
#pragma omp parallel for
    for (int64_t n = 0; n < batch * heads; n++) {
        int64_t b = n / heads, h = n % heads;
        double sum = 0; /* of the gradients of this sum and all later ones */
        for (int64_t t = length - 1; t >= 0; t--) {
            int64_t at = (b * length + t) * heads + h;
            sum += dgate[n * length + t];
            dlogits[at] = (float)(sum / (1 + exp((double)logits[at]))); /* log sigmoid' = sigmoid(-x) */
        }
    }
}
