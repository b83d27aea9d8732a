/* SPDX-License-Identifier: MIT */
/*
 * The bias as numbers: at any distances in float64, and as the float32 table that attention reads.
 */
#include "base/error.h"
#include "base/memory.h"
#include "bias/bias_internal.h"
#include "bias/table.h"

mep_status mep_bias_check_length(int64_t length)
{
    if (length >= 1 && length <= MEP_DISTANCE_MAX + 1) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "the length of a bias table must be from 1 to 2^31 + 1, but is %lld",
                    (long long)length);
}

mep_status mep_bias_at(const mep_bias *bias, const int64_t *distances, int64_t count, double *out)
{
    MEP_REQUIRE(bias);
    if (count < 0) return mep_fail(MEP_ERROR_ARGUMENT, "there are no %lld distances", (long long)count);
    if (count > 0) MEP_REQUIRE(distances, out);
    for (int64_t n = 0; n < count; n++)
        if (distances[n] < 0 || distances[n] > MEP_DISTANCE_MAX)
            return mep_fail(MEP_ERROR_ARGUMENT, "a distance must be from 0 to 2^31, but one is %lld",
                            (long long)distances[n]);
    double *values;
    MEP_TRY(MEP_ALLOC(&values, bias->spec.count * bias->heads));
    for (int64_t n = 0; n < count; n++) {
        mep_bias_log_values(bias, (double)distances[n], values);
        for (int64_t h = 0; h < bias->heads; h++) out[h * count + n] = mep_bias_mix(bias, h, values);
    }
    mep_free(&values);
    return MEP_OK;
}

int64_t mep_bias_scratch(const mep_bias *bias)
{
    return 2 * bias->spec.count * bias->heads;
}

mep_status mep_bias_table_with(const mep_bias *bias, int64_t length, float *table, double *values)
{
    MEP_TRY(mep_bias_check_length(length));
    for (int64_t d = 0; d < length; d++) {
        mep_bias_log_values(bias, (double)d, values);
        for (int64_t h = 0; h < bias->heads; h++) table[h * length + d] = (float)mep_bias_mix(bias, h, values);
    }
    return MEP_OK;
}

int64_t mep_bias_kernels(const mep_bias *bias)
{
    return bias->spec.count;
}

void mep_bias_log_weights(const mep_bias *bias, float *weights)
{
    int64_t kernels = bias->spec.count;
    for (int64_t h = 0; h < bias->heads; h++)
        for (int64_t m = 0; m < kernels; m++) weights[h * kernels + m] = (float)bias->log_weights[m * bias->heads + h];
}

mep_status mep_bias_kernel_tables(const mep_bias *bias, int64_t length, float *table, double *values)
{
    int64_t kernels = bias->spec.count;
    MEP_TRY(mep_bias_check_length(length));
    for (int64_t d = 0; d < length; d++) {
        mep_bias_log_values(bias, (double)d, values);
        for (int64_t h = 0; h < bias->heads; h++)
            for (int64_t m = 0; m < kernels; m++)
                table[(h * kernels + m) * length + d] = (float)values[m * bias->heads + h];
    }
    return MEP_OK;
}

mep_status mep_bias_table(const mep_bias *bias, int64_t length, float *table)
{
    MEP_REQUIRE(bias, table);
    double *scratch;
    MEP_TRY(MEP_ALLOC(&scratch, mep_bias_scratch(bias)));
    mep_status status = mep_bias_table_with(bias, length, table, scratch);
    mep_free(&scratch);
    return status;
}
