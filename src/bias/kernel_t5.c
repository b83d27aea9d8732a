/* SPDX-License-Identifier: MIT */
/*
 * t5: log K = sqrt(head_dim) T[bucket(d), h], T learned (T5, arXiv:1910.10683).
 *
 * The first half of the buckets hold one distance each, the others hold wider and wider ranges up to `max`. The last
 * bucket holds all distances from `max` on.
 */
#include "bias/kernel.h"

#include <math.h>

#include "base/random.h"
#include "bias/t5.h"

enum { BUCKETS, MAX };

/* bucket(d) = d for d < e, else min(buckets - 1, e + floor(log(d/e) / log(max/e) (buckets - e))), e = buckets/2 rounded
 * down. A quotient within rounding of an integer is that integer: d/e and max/e are often powers of the same base.
 */
int64_t mep_t5_bucket(double distance, int64_t buckets, double max)
{
    double exact = (double)(buckets / 2), wide = (double)buckets - exact;
    if (distance < exact) return (int64_t)distance;
    if (distance >= max) return buckets - 1;
    double position = log(distance / exact) / log(max / exact) * wide;
    double nearest = round(position);
    if (!(fabs(position - nearest) <= 1e-12 * wide)) nearest = floor(position);
    int64_t bucket = (int64_t)(exact + nearest);
    return bucket < buckets - 1 ? bucket : buckets - 1;
}

static int64_t bucket_of(const mep_term *term, double distance)
{
    return mep_t5_bucket(distance, (int64_t)term->options[BUCKETS], term->options[MAX]);
}

static const char *check(const double *options)
{
    return options[MAX] > floor(options[BUCKETS] / 2.0) ? NULL : "t5 needs max > buckets/2";
}

/* Xavier normal. */
static double init(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t index)
{
    (void)param;
    double deviation = sqrt(2.0 / (term->options[BUCKETS] + (double)term->heads));
    return deviation * mep_random_normal(seed, stream, (uint64_t)index);
}

static void log_value(const mep_term *term, double distance, double *out)
{
    const double *row = mep_term_param(term, 0) + bucket_of(term, distance) * term->heads;
    double scale = sqrt((double)term->head_dim);
    for (int64_t h = 0; h < term->heads; h++) out[h] = scale * row[h];
}

static void gradient(const mep_term *term, double distance, const double *upstream, double *grad)
{
    double *row = mep_term_gradient(term, 0, grad) + bucket_of(term, distance) * term->heads;
    double scale = sqrt((double)term->head_dim);
    for (int64_t h = 0; h < term->heads; h++) row[h] += upstream[h] * scale;
}

/* The largest entry of the buckets between those of `from` and `to`. */
static void sup(const mep_term *term, double from, double to, double *out)
{
    log_value(term, from, out);
    const double *table = mep_term_param(term, 0);
    double scale = sqrt((double)term->head_dim);
    int64_t last = bucket_of(term, to);
    for (int64_t bucket = bucket_of(term, from) + 1; bucket <= last; bucket++)
        for (int64_t h = 0; h < term->heads; h++) out[h] = fmax(out[h], scale * table[bucket * term->heads + h]);
}

static const mep_kernel_option options[] = {
    [BUCKETS] = {.name = "buckets", .value = 32.0, .min = 2.0, .max = 65536.0, .integer = 1},
    [MAX] = {.name = "max", .value = 128.0, .min = 2.0, .max = 2147483648.0, .integer = 1},
    {.name = NULL},
};

static const mep_kernel_param params[] = {
    {.name = "table",
     .shape = {MEP_DIMENSION_OPTION - BUCKETS, MEP_DIMENSION_HEADS},
     .min = -MEP_PARAM_MAX,
     .max = MEP_PARAM_MAX,
     .initial = "normal with standard deviation $\\sqrt{2/(\\mathrm{buckets}+H)}$",
     .python = "torch.randn(shape) * math.sqrt(2 / (k.options['buckets'] + k.heads))"},
    {.name = NULL},
};

const mep_kernel mep_kernel_t5 = {
    .name = "t5",
    .help = "sqrt(head_dim) T[bucket(d), head], T learned",
    .formula = "\\sqrt D\\; T[\\mathrm{bucket}(d), h]",
    .python = "buckets, exact = int(k.options['buckets']), int(k.options['buckets']) // 2\n"
              "wide = torch.log(d.clamp(min=exact) / exact) / math.log(k.options['max'] / exact) * (buckets - exact)\n"
              "wide = (exact + (wide + 1e-12 * buckets).floor()).clamp(max=buckets - 1)\n"
              "return math.sqrt(k.head_dim) * k.parameter('table')[torch.where(d < exact, d, wide).long()].T",
    .options = options,
    .params = params,
    .check = check,
    .init = init,
    .log_value = log_value,
    .gradient = gradient,
    .sup = sup,
};
