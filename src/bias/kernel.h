/* SPDX-License-Identifier: MIT */
/*
 * A kernel of the distance: one `const mep_kernel` in a file of its own, listed in kernel_list.c. A kernel computes the
 * logarithm of its value, for one distance and all heads at a time. It knows nothing of mixtures, tables or attention.
 *
 * A term is one kernel in one bias, with its options and learned parameters.
 */
#ifndef MEP_BIAS_KERNEL_H
#define MEP_BIAS_KERNEL_H

#include <stddef.h>
#include <stdint.h>

typedef struct mep_kernel mep_kernel;

/* An option in a spec: "c" in "exp:c=0.5". */
typedef struct mep_kernel_option {
    const char *name;
    double value; /* default */
    double min, max;
    int integer;            /* 1: only integers */
    const char *value_text; /* the default in help and documents, where it is not the number */
} mep_kernel_option;

/* Bits for what "/learn=" can request. */
enum { MEP_LEARN_WEIGHTS = 1, MEP_LEARN_SLOPES = 2 };

/* One dimension of a parameter's shape is a number, or one of these. */
enum {
    MEP_DIMENSION_NONE = 0,   /* the shape ends here */
    MEP_DIMENSION_HEADS = -1, /* the number of heads */
    MEP_DIMENSION_OPTION = -2 /* the value of option n: MEP_DIMENSION_OPTION - n */
};

/* A learned parameter. Values outside [min, max] are moved to the nearest end. Every range is finite, so that the bias
 * is finite, in float32 too, at any distance up to 2^31. */
typedef struct mep_kernel_param {
    const char *name;
    int64_t shape[2]; /* {MEP_DIMENSION_HEADS}, {32}, {32, MEP_DIMENSION_HEADS}, {MEP_DIMENSION_NONE} for one value */
    double min, max;
    int learn;           /* 0: always learned; otherwise learned only if "/learn=" requests this bit */
    const char *initial; /* the initial value, for the documents: LaTeX and text */
    const char *python;  /* the same as a tensor of PyTorch, from the kernel `k` and `shape` */
} mep_kernel_param;

typedef struct mep_term {
    const mep_kernel *kernel;
    int64_t heads, head_dim;
    const double *options;  /* in the order of kernel->options */
    const double *params;   /* the vector of all learned values of the bias */
    const int64_t *offsets; /* of each parameter of the kernel in that vector; -1: it is not learned here */
    double *derived;        /* [kernel->derived, heads]: what kernel->prepare computed */
    int64_t train_length;   /* of the model; see mep_bias_set_train_length */
} mep_term;

/* A kernel that depends on the position of the query, as a function of x = log(1 + c d) / log(1 + c max(p, threshold)):
 * at most MEP_BIAS_PIECES linear pieces. */
enum { MEP_BIAS_PIECES = 33 };

typedef struct mep_bias_pieces {
    double c;                     /* > 0 */
    int64_t threshold;            /* up to this position it depends on the distance alone */
    int64_t count;                /* pieces */
    const double *knots;          /* [count - 1]: where they meet; ascending, in (0, 1) */
    const double *slope, *offset; /* [heads, MEP_BIAS_PIECES]: slope x + offset */
} mep_bias_pieces;

struct mep_kernel {
    const char *name;
    const char *help;    /* the formula of log K, one line of text */
    const char *formula; /* the same in LaTeX */

    /* The body of a Python function of (k, d) that returns log K [heads, length]: d is float64 [length], `k` has what
     * src/io/python/modeling_mep.py gives a kernel: options, heads, head_dim, parameter(), column(), slopes() and
     * rate(). NULL with `alone`. */
    const char *python;

    const mep_kernel_option *options; /* ended by a name of NULL; NULL where there are none */
    const mep_kernel_param *params;   /* likewise */
    int derived;                      /* values per head that `prepare` computes */
    int alone;                        /* 1: it cannot be part of a mixture of several kernels */

    /* Returns an error message for options that are valid one by one but not together, else NULL. May be NULL. */
    const char *(*check)(const double *options);

    /* Returns initial value number `index` of parameter `param`. Random values are drawn from (seed, stream, index). */
    double (*init)(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t index);

    /* Compute `derived` from options and parameters; called whenever the parameters have changed. */
    void (*prepare)(const mep_term *term, double *derived);

    /* out[h] = log K_h(distance). */
    void (*log_value)(const mep_term *term, double distance, double *out);

    /* For each learned parameter p: += upstream[h] * d log K_h(distance) / dp, in the vector `grad`, which is laid out
     * as term->params (mep_term_gradient). */
    void (*gradient)(const mep_term *term, double distance, const double *upstream, double *grad);

    /* out[h] >= log K_h(d) for every integer d in [from, to]. NULL: K never rises, so its value at `from` is the
     * bound. */
    void (*sup)(const mep_term *term, double from, double to, double *out);

    /* Only where K depends on the position of the query too, beyond a threshold; otherwise NULL. The functions above
     * are then of the position max(distance, threshold), and `sup` is a bound for every position up to `to`. value_at:
     * out[h] = log K_h of a query at a position >= distance. pieces_gradient: grad is increased, as by `gradient`, from
     * sums[h, piece, 3], the sums over scores in a piece of dS, dS x and dS dx/dc. */
    int64_t (*threshold)(const mep_term *term);
    void (*value_at)(const mep_term *term, double position, double distance, double *out);
    void (*pieces)(const mep_term *term, mep_bias_pieces *pieces);
    void (*pieces_gradient)(const mep_term *term, const double *sums, double *grad);
};

/* Every kernel, in the order in which the terms of a mixture are kept; ended by NULL. */
extern const mep_kernel *const mep_kernels[];

/* The kernel of this name, `length` characters long, or NULL. */
const mep_kernel *mep_kernel_find(const char *name, int64_t length);

int mep_kernel_option_count(const mep_kernel *kernel);
int mep_kernel_param_count(const mep_kernel *kernel);

/* Whether a parameter is learned in a bias with this set of MEP_LEARN bits. */
static inline int mep_kernel_learns(const mep_kernel_param *param, int learn)
{
    return param->learn == 0 || (param->learn & learn) != 0;
}

/* Dimension n of a parameter's shape as a number; 0 where the shape has ended. */
static inline int64_t mep_kernel_dimension(const mep_kernel_param *param, int n, const double *options, int64_t heads)
{
    int64_t dimension = param->shape[n];
    if (dimension == MEP_DIMENSION_HEADS) return heads;
    return dimension <= MEP_DIMENSION_OPTION ? (int64_t)options[MEP_DIMENSION_OPTION - dimension] : dimension;
}

/* The values of a parameter; NULL where it is not learned. */
static inline const double *mep_term_param(const mep_term *term, int param)
{
    return term->offsets[param] < 0 ? NULL : term->params + term->offsets[param];
}

/* A parameter's part of a vector laid out as term->params. */
static inline double *mep_term_gradient(const mep_term *term, int param, double *grad)
{
    return term->offsets[param] < 0 ? NULL : grad + term->offsets[param];
}

/* The widest range of a parameter that needs no narrower one. */
#define MEP_PARAM_MAX 1e15

#endif
