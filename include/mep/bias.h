/* SPDX-License-Identifier: MIT */
/*
 * Distance biases: mixtures of kernels of the distance between query and key.
 *
 *     b_h(d) = log( sum_m w_m K_m,h(d) ),  d = 0, 1, 2, ...
 *
 * is added to the attention logits of head h at distance d (MEP, arXiv:2403.17698). ALiBi is a mixture of one.
 * A mep_bias is made from a spec string:
 *
 *     "mep"  "alibi"  "kerple_log"                    a named encoding
 *     "exp + 0.5*gauss"                               a weighted sum of kernels (weights are normalized to sum 1)
 *     "exp:c=0.5 + t5:buckets=64,max=256"             options for a kernel
 *     "mep/learn=weights,slopes"                      learned weights and slopes, starting from the given ones
 *
 * A bias owns its parameters as float64. Callers that train keep float32 masters and load them. The terms of a mixture
 * are kept in one order, whatever the order in the string (see mep_bias_spec). Functions that take a const mep_bias may
 * run at the same time on several threads. A bias is finite, in float32 too, at every distance up to 2^31.
 *
 * "fire" (arXiv:2310.04418) is the one bias that depends on the position p of the query too, beyond a threshold:
 * b_h(p, d). The functions of a distance alone take the first position at or beyond the threshold that has it.
 *
 * A mep_position is the parsed form of what a model uses: a distance bias, or an encoding that is not one.
 */
#ifndef MEP_BIAS_H
#define MEP_BIAS_H

#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mep_bias mep_bias;

/* ---- How a model encodes position ---- */

/* A position encoding, parsed from its spec. It depends on no model: the same one serves any number of heads. */
typedef struct mep_position mep_position;

typedef enum mep_position_kind {
    MEP_POSITION_NONE,       /* "nope" */
    MEP_POSITION_BIAS,       /* any bias spec */
    MEP_POSITION_ROTARY,     /* "rotary" */
    MEP_POSITION_SINUSOIDAL, /* "sinusoidal" */
    MEP_POSITION_LEARNED     /* "learned" */
} mep_position_kind;

/* Parse a name or bias spec. On failure *position is NULL, and the message has the position in the string and what is
 * possible there. The caller owns *position. */
MEP_API mep_status mep_position_create(mep_position **position, const char *spec);

/* Free *position and set it to NULL; NULL is allowed. */
MEP_API void mep_position_destroy(mep_position **position);

MEP_API mep_position_kind mep_position_get_kind(const mep_position *position);

/* The spec in canonical form: two spellings of one encoding give equal strings, and the string gives the same encoding.
 * Terms are in the order of mep_position_help, larger options before smaller ones; the smallest weight is 1; a mixture
 * that has a name is written by it. Belongs to the position. */
MEP_API const char *mep_position_spec(const mep_position *position);

/* 1 where two positions are the same encoding, however they are spelled. */
MEP_API int mep_position_same(const mep_position *a, const mep_position *b);

/* Text for help pages: every kernel with its options and every named encoding, one per line. A constant string. */
MEP_API const char *mep_position_help(void);

/* ---- Distance biases ---- */

/* One named, learned parameter. `name` belongs to the bias. */
typedef struct mep_bias_param {
    /* "kerple_log.p", "t5.table", "exp.log_c" (learned slopes: log c), "weights" (the weights of a head are the softmax
     * of its column); of a kernel that a mixture has twice: "exp_2.log_c" */
    const char *name;
    int ndim;         /* 0 to 2 */
    int64_t shape[2]; /* such as [heads] or [rows, heads]; 1 for indices of ndim and above */
    int64_t size;     /* product of shape */
    int64_t offset;   /* of its first value in the vector of mep_bias_params() */
} mep_bias_param;

/* Make the bias of `spec` for `heads` heads of `head_dim` channels (t5 scales by sqrt(head_dim)). Learned parameters
 * are drawn with seed 0; see mep_bias_init. On failure *bias is NULL, with the message of mep_position_create where the
 * spec is wrong. The caller owns *bias. */
MEP_API mep_status mep_bias_create(mep_bias **bias, const char *spec, int64_t heads, int64_t head_dim);

/* The same from a parsed position, whose kind must be MEP_POSITION_BIAS. The bias does not depend on it afterwards. */
MEP_API mep_status mep_bias_create_from(mep_bias **bias, const mep_position *position, int64_t heads, int64_t head_dim);

/* Free *bias and set it to NULL; NULL is allowed. */
MEP_API void mep_bias_destroy(mep_bias **bias);

/* Set the training length, from 1 to 2^31, which is the default of fire's threshold; it is 512 before. A model sets its
 * own. */
MEP_API mep_status mep_bias_set_train_length(mep_bias *bias, int64_t length);

/* Draw the learned parameters from their initial distributions; the same seed gives the same values everywhere. */
MEP_API void mep_bias_init(mep_bias *bias, uint64_t seed);

/* The spec in canonical form (mep_position_spec). Belongs to the bias. */
MEP_API const char *mep_bias_spec(const mep_bias *bias);
MEP_API int64_t mep_bias_heads(const mep_bias *bias);

/* Named learned parameters: their number, one of them, the total number of values, and the values, one vector in the
 * order of the parameters. mep_bias_get_param fails on an index out of range. The vector belongs to the bias. */
MEP_API int64_t mep_bias_param_count(const mep_bias *bias);
MEP_API mep_status mep_bias_get_param(const mep_bias *bias, int64_t index, mep_bias_param *param);
MEP_API int64_t mep_bias_param_values(const mep_bias *bias);
MEP_API const double *mep_bias_params(const mep_bias *bias);

/* Copy `count` values (must be mep_bias_param_values) into the bias and move them into their allowed ranges: KERPLE's p
 * and a at least 0.01, kerple_power's p at most 2, log_c within +-30, and so on (docs/mathematics.md has the table).
 * Fails on a value that is not finite; the bias then keeps its values. */
MEP_API mep_status mep_bias_set_params(mep_bias *bias, const double *values, int64_t count);

/* Move values of a parameter vector (float32 masters, mep_bias_param_values of them) into their allowed ranges, in
 * place; NaN stays NaN. Gradients at the end of a range are not changed by it. */
MEP_API void mep_bias_constrain(const mep_bias *bias, float *values);

/* out[h*count + n] = b_h(distances[n]) in float64; distances 0 .. 2^31. out holds heads*count values. */
MEP_API mep_status mep_bias_at(const mep_bias *bias, const int64_t *distances, int64_t count, double *out);

/* The position of a query up to which the bias depends on the distance alone; INT64_MAX: everywhere (every bias but
 * fire). */
MEP_API int64_t mep_bias_threshold(const mep_bias *bias);

/* The same as mep_bias_at for a query at a position, 0 .. 2^31; distances are not larger than it where the bias depends
 * on it. */
MEP_API mep_status mep_bias_at_position(const mep_bias *bias, int64_t position, const int64_t *distances, int64_t count,
                                        double *out);

/* table[h*length + d] = b_h(d) rounded to float32, d = 0 .. length-1. The form in which attention reads a bias. */
MEP_API mep_status mep_bias_table(const mep_bias *bias, int64_t length, float *table);

/* Chain rule: dparams[p] += sum_h,d dtable[h*length + d] * d b_h(d) / d params[p]. dtable has heads*length values,
 * dparams mep_bias_param_values. */
MEP_API mep_status mep_bias_table_backward(const mep_bias *bias, int64_t length, const double *dtable, double *dparams);

/* reach[h] = the smallest r in [0, max_distance] for which b_h(d) <= bound is certain for all d with r <= d <=
 * max_distance, in float64 and as mep_bias_table rounds it; max_distance + 1 where there is none. `bound` is in nats,
 * usually negative. The result may be larger than necessary for kernels that are not monotone, and by 1e-14 of b in
 * mixtures. max_distance is 0 .. 2^31. With fire the bounds are for all positions of queries up to max_distance. */
MEP_API mep_status mep_bias_reach(const mep_bias *bias, double bound, int64_t max_distance, int64_t *reach);

/* ALiBi's slopes (arXiv:2108.12409) for `heads` heads. */
MEP_API mep_status mep_alibi_slopes(int64_t heads, double *slopes);

#ifdef __cplusplus
}
#endif

#endif
