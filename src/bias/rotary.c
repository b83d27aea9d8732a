/* SPDX-License-Identifier: MIT */
/*
 * Rotary frequencies of each scaling, in float64, as transformers' modeling_rope_utils.py defines them.
 */
#include "bias/rotary.h"

#include <math.h>

#include "base/assertion.h"
#include "base/integer.h"
#include "base/memory.h"

#define PI 3.14159265358979323846

mep_rotary_options mep_rotary_defaults(void)
{
    return (mep_rotary_options){.fraction = 1,
                                .factor = 1,
                                .beta_fast = 32,
                                .beta_slow = 1,
                                .truncate = 1,
                                .low_freq_factor = 1,
                                .high_freq_factor = 4};
}

void mep_rotary_free(mep_rotary_options *o)
{
    mep_free(&o->short_factor);
    mep_free(&o->long_factor);
    *o = mep_rotary_defaults();
}

int mep_rotary_depends_on_length(const mep_rotary_options *o)
{
    return o->scaling == MEP_ROTARY_DYNAMIC || o->scaling == MEP_ROTARY_LONGROPE;
}

int64_t mep_rotary_effective_length(const mep_rotary_options *o, const mep_rotary_model *m, int64_t length)
{
    if (!mep_rotary_depends_on_length(o)) return 0;
    int64_t effective = max_i64(length, m->original);
    return o->scaling == MEP_ROTARY_LONGROPE ? min_i64(effective, m->original + 1) : effective;
}

/* base * s^(dims / (dims - 2)): with it the lowest frequency is divided by s. With one frequency, which is 1, the base
 * is not used. */
static double stretch(const mep_rotary_model *m, double s)
{
    double dims = (double)m->dims;
    return m->dims > 2 ? m->base * pow(s, dims / (dims - 2)) : m->base;
}

double mep_rotary_base(const mep_rotary_options *o, const mep_rotary_model *m, int64_t length)
{
    if (o->scaling == MEP_ROTARY_NTK) return stretch(m, o->factor);
    if (o->scaling != MEP_ROTARY_DYNAMIC || length <= m->original) return m->base;
    return stretch(m, o->factor * (double)length / (double)m->original - (o->factor - 1));
}

/* The number of the frequency that rotates `rotations` times in the length of training. */
static double correction_dim(const mep_rotary_model *m, double base, double original, double rotations)
{
    return (double)m->dims * log(original / (rotations * 2 * PI)) / (2 * log(base));
}

static void scale_yarn(const mep_rotary_options *o, const mep_rotary_model *m, double base, double *frequency)
{
    double original = (double)m->original;
    double low = correction_dim(m, base, original, o->beta_fast),
           high = correction_dim(m, base, original, o->beta_slow);
    if (o->truncate != 0) low = floor(low), high = ceil(high);
    low = fmax(low, 0), high = fmin(high, (double)(m->dims - 1));
    if (low == high) high += 0.001;
    for (int64_t n = 0; n < m->dims / 2; n++) {
        double ramp = fmin(fmax(((double)n - low) / (high - low), 0), 1);
        frequency[n] = frequency[n] / o->factor * ramp + frequency[n] * (1 - ramp);
    }
}

static void scale_llama3(const mep_rotary_options *o, const mep_rotary_model *m, double *frequency)
{
    double original = (double)m->original, low = o->low_freq_factor, high = o->high_freq_factor;
    for (int64_t n = 0; n < m->dims / 2; n++) {
        double wavelength = 2 * PI / frequency[n], smooth = (original / wavelength - low) / (high - low);
        if (wavelength < original / high) continue;
        if (wavelength > original / low) smooth = 0;
        frequency[n] = (1 - smooth) * frequency[n] / o->factor + smooth * frequency[n];
    }
}

/* LongRoPE (arXiv:2402.13753) has a factor of its own for each frequency. */
static void scale_longrope(const mep_rotary_options *o, const mep_rotary_model *m, int64_t length, double *frequency)
{
    const double *factor = length > m->original ? o->long_factor : o->short_factor;
    MEP_ASSERT(o->factors == m->dims / 2);
    for (int64_t n = 0; n < m->dims / 2; n++) frequency[n] /= factor[n];
}

double mep_rotary_attention_factor(const mep_rotary_options *o, const mep_rotary_model *m)
{
    if (o->attention_factor > 0) return o->attention_factor;
    if (o->scaling == MEP_ROTARY_YARN) return 0.1 * log(o->factor) + 1;
    if (o->scaling == MEP_ROTARY_LONGROPE) return sqrt(1 + log(o->factor) / log((double)m->original));
    return 1;
}

void mep_rotary_frequencies(const mep_rotary_options *o, const mep_rotary_model *m, int64_t length, double *frequency,
                            double *attention_factor)
{
    int64_t count = m->dims / 2, kept = (int64_t)rint(o->fraction * (double)count);
    double base = mep_rotary_base(o, m, length);
    for (int64_t n = 0; n < count; n++) frequency[n] = pow(base, -2.0 * (double)n / (double)m->dims);
    if (o->scaling == MEP_ROTARY_LINEAR)
        for (int64_t n = 0; n < count; n++) frequency[n] /= o->factor;
    if (o->scaling == MEP_ROTARY_YARN) scale_yarn(o, m, base, frequency);
    if (o->scaling == MEP_ROTARY_LLAMA3) scale_llama3(o, m, frequency);
    if (o->scaling == MEP_ROTARY_LONGROPE) scale_longrope(o, m, length, frequency);
    for (int64_t n = kept; n < count; n++) frequency[n] = 0;
    *attention_factor = mep_rotary_attention_factor(o, m);
}
