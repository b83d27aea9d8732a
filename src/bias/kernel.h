/* SPDX-License-Identifier: MIT */
/*
 * What a kernel of the distance is: one `const mep_kernel` in a file of its own, listed in kernels.c. A kernel computes
 * the logarithm of its value, one distance for all heads at a time, and knows nothing of mixtures, tables or attention.
 *
 * A term is one kernel at its place in one bias: its options, slopes and learned parameters.
 */
#ifndef MEP_BIAS_KERNEL_H
#define MEP_BIAS_KERNEL_H

#include <stdint.h>

enum { MEP_KERNEL_OPTIONS = 2, MEP_KERNEL_PARAMS = 2 };

typedef struct mep_kernel mep_kernel;

/* An option in a spec: "c" in "exp:c=0.5". A name of NULL ends the list. */
typedef struct mep_kernel_option {
    const char *name;
    double value; /* default */
    double min, max;
    int integer; /* 1: only whole numbers */
} mep_kernel_option;

/* A learned parameter; values outside [min, max] are moved to its ends. A name of NULL ends the list. Every range is
 * finite, so that the bias is finite, in float32 too, at any distance up to 2^31. */
typedef struct mep_kernel_param {
    const char *name;
    int rows_option; /* 0: the shape is [heads]; n: it is [value of option n-1, heads] */
    double min, max;
} mep_kernel_param;

typedef struct mep_term {
    const mep_kernel *kernel;
    double options[MEP_KERNEL_OPTIONS];
    int64_t heads, head_dim;
    double *rate;                           /* [heads]: c s_h^(bias_max/8), where the kernel has a slope */
    const double *param[MEP_KERNEL_PARAMS]; /* values of its parameters; NULL where they are not learned */
} mep_term;

struct mep_kernel {
    const char *name;
    const char *help; /* one line: the formula */
    int has_slope;    /* 1: options are those of MEP_OPTIONS_SLOPE, params[0] is "log_c", only with learn=slopes */
    mep_kernel_option options[MEP_KERNEL_OPTIONS + 1];
    mep_kernel_param params[MEP_KERNEL_PARAMS + 1];

    /* What is wrong with a set of options whose ranges are right, or NULL; the function may be NULL. */
    const char *(*check)(const double *options);

    /* Initial value number `place` of parameter `param`. Random ones are drawn from (seed, stream, place). */
    double (*init)(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t place);

    /* out[h] = log K_h(distance). */
    void (*log_value)(const mep_term *term, double distance, double *out);

    /* grad[p] of the shape of parameter p: += upstream[h] * d log K_h(distance) / d param. */
    void (*gradient)(const mep_term *term, double distance, const double *upstream, double *const *grad);

    /* out[h] >= log K_h(d) for every whole d in [from, to]. NULL: K never rises, so that its value at `from` is the
     * bound. */
    void (*sup)(const mep_term *term, double from, double to, double *out);
};

/* Every kernel, in the order in which the terms of a mixture are kept; ended by NULL. */
extern const mep_kernel *const mep_kernels[];

/* The kernel of this name, `length` characters long, or NULL. */
const mep_kernel *mep_kernel_find(const char *name, int64_t length);

/* Number of parameters that the kernel has in a bias with or without learned slopes. */
int mep_kernel_param_count(const mep_kernel *kernel, int learn_slopes);

/* mep_kernel.init of the kernels with a slope: log c. */
double mep_kernel_init_log_c(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t place);

/* The options, C's default being VALUE, and the parameter of every kernel with a slope. The slopes of alibi_bias_max
 * in MPT, 2^(-bias_max h/H), are powers of ALiBi's, for which it is 8. */
enum { MEP_OPTION_C, MEP_OPTION_BIAS_MAX };
/* clang-format off */
#define MEP_ALIBI_BIAS_MAX 8.0
#define MEP_OPTIONS_SLOPE(VALUE) \
    [MEP_OPTION_C] = {.name = "c", .value = (VALUE), .min = 1e-12, .max = 1e12}, \
    [MEP_OPTION_BIAS_MAX] = {.name = "bias_max", .value = MEP_ALIBI_BIAS_MAX, .min = 0.01, .max = 100.0}
#define MEP_PARAM_LOG_C {.name = "log_c", .min = -30.0, .max = 30.0}
/* clang-format on */

/* The widest range of a parameter that has no narrower one. */
#define MEP_PARAM_MAX 1e15

#endif
