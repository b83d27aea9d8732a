/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is the text of a position encoding; its first two bytes give the numbers of heads and
 * channels. A text that parses has a canonical form that is its own canonical form and the same bias. Values are finite
 * at short and long distances, in float64 and float32. The reach is in its range and keeps its promise.
 */
#include <math.h>

#include "base/memory.h"
#include "fuzz.h"
#include "mep/bias.h"

enum { HEADS_MOST = 16, NEAR = 24 };
#define FAR (INT64_C(1) << 31)

static const int64_t DISTANCES[] = {0, 1, 2, 3, 23, 100, 511, 4096, 1000003, FAR - 1, FAR};
enum { DISTANCE_COUNT = sizeof DISTANCES / sizeof *DISTANCES };

static void check_values(const mep_bias *bias, double *values)
{
    int64_t heads = mep_bias_heads(bias);
    float table[HEADS_MOST * NEAR];
    if (mep_bias_at(bias, DISTANCES, DISTANCE_COUNT, values) != MEP_OK) abort();
    for (int64_t i = 0; i < heads * DISTANCE_COUNT; i++)
        if (!isfinite(values[i]) || !isfinite((float)values[i])) abort();
    if (mep_bias_table(bias, NEAR, table) != MEP_OK) abort();
    for (int64_t h = 0; h < heads; h++)
        for (int64_t d = 0; d < 4; d++)
            if (table[h * NEAR + d] != (float)values[h * DISTANCE_COUNT + d]) abort();
}

static void check_reach(const mep_bias *bias, const double *values)
{
    static const double BOUNDS[] = {-1e300, -50, -1, 0, 50, INFINITY};
    static const int64_t MOST[] = {0, 100, FAR};
    int64_t reach[HEADS_MOST], heads = mep_bias_heads(bias);
    for (int b = 0; b < 6; b++)
        for (int m = 0; m < 3; m++) {
            if (mep_bias_reach(bias, BOUNDS[b], MOST[m], reach) != MEP_OK) abort();
            for (int64_t h = 0; h < heads; h++) {
                if (reach[h] < 0 || reach[h] > MOST[m] + 1) abort();
                for (int64_t i = 0; i < DISTANCE_COUNT; i++)
                    if (DISTANCES[i] >= reach[h] && DISTANCES[i] <= MOST[m] &&
                        !(values[h * DISTANCE_COUNT + i] <= BOUNDS[b]))
                        abort();
            }
        }
}

/* Learned parameters at the ends of their ranges, and their gradient. */
static void check_params(mep_bias *bias, double *values)
{
    int64_t count = mep_bias_param_values(bias), heads = mep_bias_heads(bias);
    double *params = NULL, *gradient = NULL, upstream[HEADS_MOST * NEAR];
    if (mep_alloc(&params, count, sizeof *params) != MEP_OK || mep_alloc(&gradient, count, sizeof *gradient) != MEP_OK)
        abort();
    for (int end = -1; end <= 1; end += 2) {
        for (int64_t i = 0; i < count; i++) params[i] = end * 1e300;
        for (int64_t i = 0; i < heads * NEAR; i++) upstream[i] = 1e-3;
        if (mep_bias_set_params(bias, params, count) != MEP_OK) abort();
        check_values(bias, values);
        if (mep_bias_table_backward(bias, NEAR, upstream, gradient) != MEP_OK) abort();
        for (int64_t i = 0; i < count; i++)
            if (!isfinite(gradient[i])) abort();
    }
    mep_free(&params);
    mep_free(&gradient);
}

static void check_bias(mep_bias *bias, int64_t head_dim)
{
    double values[HEADS_MOST * DISTANCE_COUNT], again[HEADS_MOST * DISTANCE_COUNT];
    mep_bias *twin = NULL;
    int64_t heads = mep_bias_heads(bias);
    if (mep_bias_create(&twin, mep_bias_spec(bias), heads, head_dim) != MEP_OK) abort();
    if (strcmp(mep_bias_spec(twin), mep_bias_spec(bias)) != 0) abort();
    check_values(bias, values);
    check_values(twin, again);
    if (memcmp(values, again, (size_t)(heads * DISTANCE_COUNT) * sizeof *values) != 0) abort();
    check_reach(bias, values);
    check_params(bias, values);
    mep_bias_destroy(&twin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mep_bias *bias = NULL;
    mep_position *position = NULL;
    if (size < 2) return 0;
    int64_t heads = 1 + data[0] % HEADS_MOST, head_dim = 1 + data[1];
    char *text = text_of(data + 2, size - 2);
    mep_status parsed = mep_position_create(&position, text), made = mep_bias_create(&bias, text, heads, head_dim);
    int is_bias = parsed == MEP_OK && mep_position_get_kind(position) == MEP_POSITION_BIAS;
    check_message(made);
    if (is_bias != (made == MEP_OK)) abort();
    if (is_bias && strcmp(mep_position_spec(position), mep_bias_spec(bias)) != 0) abort();
    mep_position_destroy(&position);
    if (made == MEP_OK)
        check_bias(bias, head_dim);
    else if (made != MEP_ERROR_ARGUMENT || bias != NULL)
        abort();
    mep_bias_destroy(&bias);
    free(text);
    return 0;
}
