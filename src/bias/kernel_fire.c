/* SPDX-License-Identifier: MIT */
/*
 * fire: FIRE (arXiv:2310.04418) with a fixed threshold T,
 *
 *     b_h(p, d) = W2 relu(w1 x + b1) + b2,  x = log(1 + |c| d) / log(1 + |c| max(p, T)),
 *
 * for a query at position p. Up to T it is a function of the distance, and the members that every kernel has compute
 * it there; where d > T they take the first position that has the distance, p = d. It is the only kernel that depends
 * on the position, and is never part of a mixture.
 *
 * As a function of x it is linear between knots, the zeros of the hidden units. The knots are the same for all heads.
 */
#include <math.h>

#include "base/random.h"
#include "bias/kernel.h"

enum { MAX };
enum { C, W1, B1, W2, B2 };
enum { UNITS = MEP_BIAS_PIECES - 1 };

/* A smaller |c| counts as this: x is then d / p. */
#define LEAST_C 1e-8

/* Where prepare stores the pieces in `derived`. */
enum { COUNT = 0, KNOTS = 1, SLOPES = MEP_BIAS_PIECES };

/* nn.Linear's of PyTorch: uniform within 1 / sqrt(inputs). */
static double init(const mep_term *term, int param, uint64_t seed, uint64_t stream, int64_t index)
{
    (void)term;
    if (param == C) return 0.1;
    double bound = param == W1 || param == B1 ? 1.0 : 1.0 / sqrt(UNITS);
    return bound * (2.0 * mep_random_uniform(seed, stream, (uint64_t)index) - 1.0);
}

static double rate(const mep_term *term)
{
    return fmax(fabs(*mep_term_param(term, C)), LEAST_C);
}

static int64_t threshold(const mep_term *term)
{
    return term->options[MAX] > 0 ? (int64_t)term->options[MAX] : term->train_length;
}

/* Unit k before relu. */
static double unit(const mep_term *term, int k, double x)
{
    return mep_term_param(term, W1)[k] * x + mep_term_param(term, B1)[k];
}

/* out[h] = the function at x. */
static void function_at(const mep_term *term, double x, double *out)
{
    const double *w2 = mep_term_param(term, W2), *b2 = mep_term_param(term, B2);
    for (int64_t h = 0; h < term->heads; h++) out[h] = b2[h];
    for (int k = 0; k < UNITS; k++) {
        double value = unit(term, k, x);
        for (int64_t h = 0; h < term->heads && value > 0; h++) out[h] += w2[h * UNITS + k] * value;
    }
}

/* x at a distance, for a query at a position, and its derivative by |c|. */
static double coordinate(const mep_term *term, double position, double distance, double *by_c)
{
    double c = rate(term), p = fmax(position, (double)threshold(term)), scale = 1 / log1p(c * p);
    double x = log1p(c * distance) * scale;
    if (by_c != NULL) *by_c = scale * (distance / (1 + c * distance) - x * p / (1 + c * p));
    return x;
}

static void value_at(const mep_term *term, double position, double distance, double *out)
{
    function_at(term, coordinate(term, position, distance, NULL), out);
}

static void log_value(const mep_term *term, double distance, double *out)
{
    value_at(term, distance, distance, out);
}

/* Add the gradients of a piece: `active` says which units are positive in it. sums: of dS, dS x and dS dx/d|c| of head
 * h. */
static void add_gradients(const mep_term *term, int64_t h, const double *active, const double sums[3], double *grad)
{
    const double *w1 = mep_term_param(term, W1), *b1 = mep_term_param(term, B1), *w2 = mep_term_param(term, W2);
    double *dw1 = mep_term_gradient(term, W1, grad), *db1 = mep_term_gradient(term, B1, grad);
    double *dw2 = mep_term_gradient(term, W2, grad), slope = 0;
    mep_term_gradient(term, B2, grad)[h] += sums[0];
    for (int k = 0; k < UNITS; k++) {
        double w = w2[h * UNITS + k];
        if (active[k] <= 0) continue;
        dw2[h * UNITS + k] += w1[k] * sums[1] + b1[k] * sums[0];
        dw1[k] += w * sums[1];
        db1[k] += w * sums[0];
        slope += w * w1[k];
    }
    *mep_term_gradient(term, C, grad) += (*mep_term_param(term, C) < 0 ? -1 : 1) * slope * sums[2];
}

static void gradient(const mep_term *term, double distance, const double *upstream, double *grad)
{
    double by_c, active[UNITS], x = coordinate(term, distance, distance, &by_c);
    for (int k = 0; k < UNITS; k++) active[k] = unit(term, k, x);
    for (int64_t h = 0; h < term->heads; h++)
        add_gradients(term, h, active, (double[]){upstream[h], upstream[h] * x, upstream[h] * by_c}, grad);
}

/* ---- Pieces ---- */

static double *slopes_of(double *derived)
{
    return derived + SLOPES;
}

static double *offsets_of(const mep_term *term, double *derived)
{
    return derived + SLOPES + MEP_BIAS_PIECES * term->heads;
}

/* The knots in (0, 1), ascending. */
static int find_knots(const mep_term *term, double *knots)
{
    const double *w1 = mep_term_param(term, W1), *b1 = mep_term_param(term, B1);
    int count = 0;
    for (int k = 0; k < UNITS; k++) {
        double knot = -b1[k] / w1[k]; /* w1 = 0: infinite or NaN, and no knot */
        if (!(knot > 0 && knot < 1)) continue;
        int at = count++;
        for (; at > 0 && knots[at - 1] > knot; at--) knots[at] = knots[at - 1];
        knots[at] = knot;
    }
    return count;
}

/* A point of piece number g of `count`. */
static double inside(const double *knots, int64_t count, int64_t g)
{
    return ((g > 0 ? knots[g - 1] : 0) + (g < count - 1 ? knots[g] : 1)) / 2;
}

static void prepare(const mep_term *term, double *derived)
{
    const double *w1 = mep_term_param(term, W1), *b1 = mep_term_param(term, B1), *w2 = mep_term_param(term, W2);
    double *slope = slopes_of(derived), *offset = offsets_of(term, derived);
    int count = find_knots(term, derived + KNOTS) + 1;
    derived[COUNT] = count;
    for (int64_t h = 0; h < term->heads; h++)
        for (int g = 0; g < count; g++) {
            double a = 0, b = mep_term_param(term, B2)[h], x = inside(derived + KNOTS, count, g);
            for (int k = 0; k < UNITS; k++)
                if (unit(term, k, x) > 0) a += w2[h * UNITS + k] * w1[k], b += w2[h * UNITS + k] * b1[k];
            slope[h * MEP_BIAS_PIECES + g] = a;
            offset[h * MEP_BIAS_PIECES + g] = b;
        }
}

static void pieces(const mep_term *term, mep_bias_pieces *p)
{
    *p = (mep_bias_pieces){.c = rate(term),
                           .threshold = threshold(term),
                           .count = (int64_t)term->derived[COUNT],
                           .knots = term->derived + KNOTS,
                           .slope = slopes_of(term->derived),
                           .offset = offsets_of(term, term->derived)};
}

static void pieces_gradient(const mep_term *term, const double *sums, double *grad)
{
    mep_bias_pieces p;
    double active[UNITS];
    pieces(term, &p);
    for (int64_t g = 0; g < p.count; g++) {
        for (int k = 0; k < UNITS; k++) active[k] = unit(term, k, inside(p.knots, p.count, g));
        for (int64_t h = 0; h < term->heads; h++)
            add_gradients(term, h, active, sums + (h * MEP_BIAS_PIECES + g) * 3, grad);
    }
}

/* At distances of `from` and above, x is at least that of the farthest position: the largest value is at one of the
 * ends, or at a knot between them. */
static void sup(const mep_term *term, double from, double to, double *out)
{
    mep_bias_pieces p;
    double lowest = coordinate(term, to, from, NULL), values[2];
    pieces(term, &p);
    for (int64_t h = 0; h < term->heads; h++) {
        const double *slope = p.slope + h * MEP_BIAS_PIECES, *offset = p.offset + h * MEP_BIAS_PIECES;
        out[h] = -INFINITY;
        for (int64_t g = 0; g < p.count; g++) {
            double begin = g > 0 ? p.knots[g - 1] : 0, end = g < p.count - 1 ? p.knots[g] : 1;
            if (end < lowest) continue;
            values[0] = slope[g] * fmax(begin, lowest) + offset[g];
            values[1] = slope[g] * end + offset[g];
            out[h] = fmax(out[h], fmax(values[0], values[1]));
        }
        out[h] += 1e-12 * (1 + fabs(out[h])); /* pieces and units differ by rounding */
    }
}

static const mep_kernel_option options[] = {
    [MAX] =
        {.name = "max", .value = 0, .min = 1, .max = 2147483648.0, .integer = 1, .value_text = "the training length"},
    {.name = NULL},
};

#define LINEAR(NAME, INITIAL, ...)                                                                                     \
    {                                                                                                                  \
        .name = NAME, .shape = {__VA_ARGS__}, .min = -1e6, .max = 1e6, .initial = INITIAL                              \
    }

static const mep_kernel_param params[] = {
    [C] = LINEAR("c", "0.1", MEP_DIMENSION_NONE),
    [W1] = LINEAR("w1", "U(-1, 1)", UNITS),
    [B1] = LINEAR("b1", "U(-1, 1)", UNITS),
    [W2] = LINEAR("w2", "U(-1, 1) / $\\sqrt{32}$", MEP_DIMENSION_HEADS, UNITS),
    [B2] = LINEAR("b2", "U(-1, 1) / $\\sqrt{32}$", MEP_DIMENSION_HEADS),
    {.name = NULL},
};

const mep_kernel mep_kernel_fire = {
    .name = "fire",
    .help = "w2 relu(w1 x + b1) + b2, x = log(1 + |c| d) / log(1 + |c| max(p, max)) at position p; never in a sum",
    .formula = "W_2 \\max(0, w_1 x + b_1) + b_2,\\ x = \\frac{\\log(1 + \\lvert c\\rvert d)}{\\log(1 + \\lvert "
               "c\\rvert \\max(p, T))}",
    .options = options,
    .params = params,
    .derived = 3 * MEP_BIAS_PIECES,
    .alone = 1,
    .init = init,
    .prepare = prepare,
    .log_value = log_value,
    .gradient = gradient,
    .sup = sup,
    .threshold = threshold,
    .value_at = value_at,
    .pieces = pieces,
    .pieces_gradient = pieces_gradient,
};
