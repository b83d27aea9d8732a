/* SPDX-License-Identifier: MIT */
/*
 * The logarithm of a weighted sum of kernels, from the logarithms of the kernels.
 */
#include <math.h>

#include "bias/bias_internal.h"

void mep_bias_log_values(const mep_bias *bias, double distance, double *values)
{
    for (int m = 0; m < bias->spec.count; m++) {
        const mep_term *term = &bias->terms[m];
        term->kernel->log_value(term, distance, values + m * bias->heads);
    }
}

double mep_bias_largest(const mep_bias *bias, int64_t head, const double *values)
{
    double largest = values[head];
    for (int m = 1; m < bias->spec.count; m++) largest = fmax(largest, values[m * bias->heads + head]);
    return largest;
}

/* log sum_m exp(log w_m + v_m - top), exact where the weight of the largest kernel is small. */
static double log_sum(const mep_bias *bias, int64_t head, const double *values, double top)
{
    double largest = -INFINITY, sum = 0.0;
    for (int pass = 0; pass < 2; pass++)
        for (int m = 0; m < bias->spec.count; m++) {
            double x = values[m * bias->heads + head] - top + bias->log_weights[m * bias->heads + head];
            if (pass == 0)
                largest = fmax(largest, x);
            else
                sum += exp(x - largest);
        }
    return largest + log(sum);
}

/* With the largest value t taken out, the sum is e^t (1 + sum_m w_m (e^(v_m - t) - 1)), since the weights sum to 1:
 * exact to the last digits of b for equal kernels and short distances. Where 1 + ... is nearly 0 this loses digits, and
 * log_sum is used. */
double mep_bias_mix(const mep_bias *bias, int64_t head, const double *values)
{
    double top = mep_bias_largest(bias, head, values);
    if (bias->spec.count == 1) return top;
    double sum = 0.0;
    for (int m = 0; m < bias->spec.count; m++) {
        int64_t at = m * bias->heads + head;
        sum += bias->weights[at] * expm1(values[at] - top);
    }
    return top + (sum > -0.95 ? log1p(sum) : log_sum(bias, head, values, top));
}

void mep_bias_responsibilities(const mep_bias *bias, int64_t head, const double *values, double *out)
{
    double top = mep_bias_largest(bias, head, values);
    double log_total = log_sum(bias, head, values, top);
    for (int m = 0; m < bias->spec.count; m++) {
        int64_t at = m * bias->heads + head;
        out[at] = exp(values[at] - top + bias->log_weights[at] - log_total);
    }
}
