/* SPDX-License-Identifier: MIT */
/*
 * Attention with a learned MEP bias on the caller's own tensors [batch, length, heads, channels], forward and backward.
 * The loss is sum(out * target). The gradient of the bias is compared with a finite difference of the loss.
 *
 *     cc attention_gradients.c $(pkg-config --cflags --libs mep) && ./a.out
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <mep/attention.h>
#include <mep/bias.h>

enum { BATCH = 2, LENGTH = 300, HEADS = 4, CHANNELS = 32, SIZE = BATCH * LENGTH * HEADS * CHANNELS };

static void check(mep_status status)
{
    if (status == MEP_OK) return;
    fprintf(stderr, "%s\n", mep_error_message());
    exit(1);
}

/* Pseudorandom numbers from -1 to 1, equal on every machine. */
static float *numbers(uint32_t seed)
{
    float *values = malloc(SIZE * sizeof *values);
    if (values == NULL) exit(1);
    for (int i = 0; i < SIZE; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(seed >> 8) / 8388608.0f - 1.0f;
    }
    return values;
}

/* Strides of [batch, length, heads, channels]. */
static mep_tensor_view view(float *data)
{
    return (mep_tensor_view){data, LENGTH * HEADS * CHANNELS, CHANNELS, HEADS * CHANNELS};
}

/* Set the bias of the plan: the plan reads a table. */
static void use_bias(mep_attention *plan, const mep_bias *bias)
{
    static float table[HEADS * LENGTH];
    check(mep_bias_table(bias, LENGTH, table));
    const mep_attention_terms terms = {.table = table, .table_length = LENGTH};
    check(mep_attention_set_terms(plan, &terms));
}

int main(void)
{
    float *q = numbers(1), *k = numbers(2), *v = numbers(3), *target = numbers(4);
    float *out = numbers(0), *dq = numbers(0), *dk = numbers(0), *dv = numbers(0);
    static float lse[BATCH * HEADS * LENGTH];
    static double dtable[HEADS * LENGTH];

    mep_bias *bias;
    check(mep_bias_create(&bias, "mep/learn=weights,slopes", HEADS, CHANNELS));
    mep_attention_settings settings;
    mep_attention_defaults(&settings);
    settings.heads = HEADS;
    settings.head_dim = CHANNELS;
    settings.max_length = LENGTH;
    mep_attention *plan;
    check(mep_attention_create(&plan, &settings));
    use_bias(plan, bias);

    const mep_attention_call call = {.batch = BATCH,
                                     .queries = LENGTH,
                                     .keys = LENGTH,
                                     .q = view(q),
                                     .k = view(k),
                                     .v = view(v),
                                     .out = view(out),
                                     .lse = lse};
    check(mep_attention_forward(plan, &call));
    double loss = 0;
    for (int i = 0; i < SIZE; i++) loss += (double)out[i] * target[i];
    printf("loss %.4f; %.0f %% of the blocks computed\n", loss, 100 * mep_attention_computed_fraction(plan));

    /* d loss / d out is the target. The bias has one gradient per head and distance, then one per parameter. */
    const mep_attention_gradient gradients = {
        .dout = view(target), .dq = view(dq), .dk = view(dk), .dv = view(dv), .dtable = dtable};
    check(mep_attention_backward(plan, &call, &gradients));
    int64_t count = mep_bias_param_values(bias);
    double *gradient = calloc((size_t)count, sizeof *gradient), *values = calloc((size_t)count, sizeof *values);
    if (gradient == NULL || values == NULL) return 1;
    check(mep_bias_table_backward(bias, LENGTH, dtable, gradient));

    /* A small step along the gradient changes the loss by the step times the squared norm of the gradient. */
    const double step = 2e-3;
    double square = 0, moved = 0;
    for (int64_t i = 0; i < count; i++) square += gradient[i] * gradient[i];
    for (int64_t i = 0; i < count; i++) values[i] = mep_bias_params(bias)[i] + step * gradient[i];
    check(mep_bias_set_params(bias, values, count));
    use_bias(plan, bias);
    check(mep_attention_forward(plan, &call));
    for (int i = 0; i < SIZE; i++) moved += (double)out[i] * target[i];
    double difference = (moved - loss) / step;
    printf("%s: %lld parameters; slope along the gradient %.4f, by finite difference %.4f\n", mep_bias_spec(bias),
           (long long)count, square, difference);

    mep_attention_destroy(&plan);
    mep_bias_destroy(&bias);
    free(values);
    free(gradient);
    float *tensors[] = {q, k, v, target, out, dq, dk, dv};
    for (int i = 0; i < 8; i++) free(tensors[i]);
    return difference > 0.98 * square && difference < 1.02 * square ? 0 : 1;
}
