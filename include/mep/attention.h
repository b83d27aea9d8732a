/* SPDX-License-Identifier: MIT */
/*
 * Fused attention with additive score terms, forward and backward, in memory linear in the length.
 *
 * Query i of Lq (the last of Lk positions) is at position i + Lk - Lq and sees the keys j at distances
 * d = i + Lk - Lq - j >= 0:
 *
 *     score(i,j) = scale * q_i . k_j + table_h(d) + other terms;  out_i = sum_j softmax_j(score(i,j)) v_j
 *
 * A bidirectional plan (encoders) sees the keys at distances d < 0 too.
 *
 * Nothing of size Lq x Lk is stored. In addition to the tables of the terms, the forward pass keeps a few hundred KB
 * per thread (of the threads that OpenMP has when the plan is made), whatever the length; the backward pass keeps one
 * head's dq in float32 per thread, twice where threads share a head, and a few numbers per query. Threads also share a
 * head, so they are busy at batch 1 too. Results are bit-identical for any number of threads.
 *
 * bfloat16 tensors are multiplied in bfloat16 with float32 sums where the CPU can (AVX512_BF16): the softmax weights
 * are then rounded to bfloat16 for the product with the values, as in other fused kernels; elsewhere they are
 * converted, and the arithmetic is float32. Inputs are finite; a value that is not finite may reach queries that do not
 * see it.
 */
#ifndef MEP_ATTENTION_H
#define MEP_ATTENTION_H

#include "mep/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A plan: sizes, prepared terms and workspace. */
typedef struct mep_attention mep_attention;

/* What a plan is made for. Fill with mep_attention_defaults, then set the sizes. */
typedef struct mep_attention_settings {
    int64_t heads;      /* >= 1 */
    int64_t kv_heads;   /* heads of k and v, a divisor of `heads`; query head h reads head h / (heads / kv_heads)
                           (grouped-query attention). 0 (default): heads */
    int64_t head_dim;   /* >= 1; fastest for multiples of 16 */
    int64_t max_length; /* largest number of keys of a call */
    double scale;       /* of q.k; 0 means 1/sqrt(head_dim) */
    int bidirectional;  /* 0 (default): causal. 1: a query sees the keys after its own too; calls have queries = keys,
                           and the terms are table, window and sink. Of MEP_DEVICE_CPU */
    mep_dtype dtype;    /* of q, k, v, out and their gradients: MEP_FLOAT32 or MEP_BFLOAT16 */
    int skip_far;       /* 1 (default): blocks of keys whose every weight is exactly 0 in float32 are not computed. The
                           result is bit-identical to that with 0, for finite v and scores of magnitude below 1e6 */
    double tolerance;   /* 0 (default): exact. t > 0 with skip_far: blocks are also left out where the softmax weights
                           of all of them together are at most t per row */
    mep_device device;  /* MEP_DEVICE_CPU (default), or MEP_DEVICE_CUDA: the tensors of calls, lse and dtable are in the
                           device's memory. CUDA takes bfloat16 with head_dim a multiple of 8 up to 128, and views
                           aligned to 16 bytes with strides of multiples of 8 elements; gradients are bit-identical in
                           every run. Calls do not wait for the device (device.h) */
    void *stream;       /* of MEP_DEVICE_CUDA: the cudaStream_t of the calls; NULL: the default stream. The copies of
                           device.h do not wait for a stream made with cudaStreamNonBlocking, as PyTorch's are:
                           synchronize it first */
} mep_attention_settings;

/* A tensor [batch, heads, length, head_dim] with any strides, in elements; channels are contiguous. It covers
 * [B,H,L,D], [B,L,H,D] and slices of a fused [B,L,H,3,D]. Outputs overlap neither each other nor inputs. */
typedef struct mep_tensor_view {
    void *data;
    int64_t batch_stride, head_stride, token_stride;
} mep_tensor_view;

/* The score terms, or the parts of them, that are the same for all queries. A plan prepares them once for all its
 * calls. A term whose pointer is NULL, or whose count is 0, is absent. Arrays are in host memory. */
typedef struct mep_attention_terms {
    const float *table;   /* [heads, table_length]: table[h][d] is added to the scores of head h at distance d. Values
                             are finite, or -inf beyond distance 0 */
    int64_t table_length; /* at least the keys of later calls */
    const float *table_ahead; /* of a bidirectional plan with a table: [heads, table_length], the values at distance -d,
                                 d >= 1 (that at 0 is not used), finite or -inf; NULL: those of `table`, at |d| */
    int64_t window;           /* keys at this distance and beyond have weight 0; at |d| in a bidirectional plan */
    const float *sink;        /* [heads]: an additional logit of each softmax, whose value is zero; finite or -inf */
    const float *bank;        /* [rank, extent]: the profiles P_m(d), 0 for d >= extent; finite. Every call then has
                                 `profiles` */
    int64_t rank, extent;
    const float *log_kernels; /* [heads, kernels, log_kernels_length]: log K_m,h(d) of a mixture whose weights depend on
                                 the query; finite. Every call then has `mixture`. A query whose weighted kernels are
                                 below e^-80 of the largest kernel at every key can have no result (NaN), or gradients
                                 that are not finite */
    int64_t kernels, log_kernels_length; /* the length is at least the keys of later calls */
} mep_attention_terms;

/* One forward call, and what its backward call reads again: 1 <= queries <= keys <= max_length. */
typedef struct mep_attention_call {
    int64_t batch, queries, keys;
    mep_tensor_view q;    /* [batch, heads, queries, head_dim] */
    mep_tensor_view k, v; /* [batch, heads, keys, head_dim] */
    mep_tensor_view out;  /* like q; written by the forward call, read by the backward call */
    float *lse; /* [batch, heads, queries]: log sum_j exp(score(i,j)), with the sink; written by the forward call, where
                   it may be NULL, and read by the backward call */

    const int64_t *starts; /* [batch, queries], >= 0, in host memory: the first key that a query sees, or its own key if
                              that is earlier; NULL: 0. The first position of a query's document where several are
                              packed into a sequence; the number of padding tokens before a sequence */
    const int64_t *ends;   /* [batch, queries], >= 0, of a bidirectional plan: the key after the last that a query sees,
                              or that after its own if that is later; NULL: keys */

    /* Terms that depend on the content. */
    const double *gate; /* [batch, heads, keys], contiguous, at most 1e38 in size; NULL: none. gate[p_i] - gate[j] is
                           added to the score of the query at position p_i and key j: the cumulative sum of the
                           logarithms of forget gates. float64, since differences of a long sum count */
    mep_tensor_view profiles; /* float32 [batch, heads, queries, rank]: sum_m profiles[i][m] P_m(d) is added */
    mep_tensor_view
        mixture; /* float32 [batch, heads, queries, kernels], a: log sum_m softmax_m(a_i) K_m,h(d) is added */
} mep_attention_call;

/* Gradients of one call. dout is read. Gradients of what a call has are overwritten: dq, dk, dv, dgate, dprofiles,
 * dmixture. Those of what a plan has are increased, summed over the batch: dtable, dsink, dbank, dlog_kernels. Pointers
 * to gradients that are not wanted are NULL, except those of q, k and v. Without a table, dtable is the gradient of one
 * of zeros; without a sink, dsink is not changed. Those of other terms that the call does not have must be NULL. */
typedef struct mep_attention_gradient {
    mep_tensor_view dout, dq;            /* like q */
    mep_tensor_view dk, dv;              /* like k */
    double *dtable;                      /* [heads, keys] */
    double *dtable_ahead;                /* [heads, keys], where the terms have table_ahead */
    double *dsink;                       /* [heads] */
    double *dgate;                       /* [batch, heads, keys] */
    mep_tensor_view dprofiles, dmixture; /* float32, like profiles and mixture */
    double *dbank;                       /* [rank, extent] */
    double *dlog_kernels;                /* [heads, kernels, keys] */
} mep_attention_gradient;

MEP_API void mep_attention_defaults(mep_attention_settings *settings);

/* Make a plan with its workspace and without score terms. The caller owns *plan. One plan serves one call at a time. */
MEP_API mep_status mep_attention_create(mep_attention **plan, const mep_attention_settings *settings);
MEP_API void mep_attention_destroy(mep_attention **plan);

/* Copy and prepare the terms for later calls; NULL for none. MEP_ERROR_NUMERIC where a table has a value that is not
 * allowed; the plan then keeps the terms that it had. */
MEP_API mep_status mep_attention_set_terms(mep_attention *plan, const mep_attention_terms *terms);

/* Compute call->out and call->lse. */
MEP_API mep_status mep_attention_forward(mep_attention *plan, const mep_attention_call *call);

/* Compute the gradients of the forward call with the same `call` and terms. With a tolerance, blocks are left out by
 * the final log-sum-exp rather than the running maximum. */
MEP_API mep_status mep_attention_backward(mep_attention *plan, const mep_attention_call *call,
                                          const mep_attention_gradient *gradient);

/* Fraction of the blocks of keys up to the diagonal that the last forward call computed, 0 .. 1; 1 after decoding. */
MEP_API double mep_attention_computed_fraction(const mep_attention *plan);

/* ---- The reference ----
 *
 * Attention with every score term in float64, one loop per index of the formula; for tests, also those of other
 * programs. With d = i + keys - queries - j, the distance of query i and key j, and query head h reading key/value head
 * h / (heads / kv_heads):
 *
 *     score(i,j) = scale q_i . k_j + table_h(d) + gate_h(i + keys - queries) - gate_h(j)
 *                  + sum_m profiles_h,i,m bank_m(d) + log sum_m softmax(mixture_h,i)_m exp(log_kernels_h,m(d))
 *     weight(i,j) = exp(score(i,j)) / (exp(sink_h) + sum_l exp(score(i,l)))
 *
 * for the keys with min(starts_i, p) <= j <= p, where p = i + keys - queries, or, bidirectional,
 * min(starts_i, p) <= j < max(ends_i, p + 1), and |d| < window where it is not 0.
 *
 * All arrays are contiguous. A term whose pointer is NULL, or whose count is 0, is left out. */
typedef struct mep_attention_reference_call {
    int64_t batch, heads, queries, keys, head_dim;
    int64_t kv_heads;          /* 0: heads */
    double scale;              /* 0: 1/sqrt(head_dim) */
    int64_t window;            /* 0: none */
    int bidirectional;         /* 1: queries = keys, and the terms are table and sink */
    const int64_t *starts;     /* [batch, queries] */
    const int64_t *ends;       /* [batch, queries], bidirectional */
    const double *q;           /* [batch, heads, queries, head_dim] */
    const double *k;           /* [batch, kv_heads, keys, head_dim] */
    const double *v;           /* as k */
    const double *table;       /* [heads, keys] */
    const double *table_ahead; /* [heads, keys]: at distance -d, bidirectional; NULL: table */
    const double *gate;        /* [batch, heads, keys] */
    int64_t rank, extent;      /* of the profiles; bank_m(d) = 0 for d >= extent */
    const double *profiles;    /* [batch, heads, queries, rank] */
    const double *bank;        /* [rank, extent] */
    int64_t kernels;           /* of the mixture */
    const double *mixture;     /* [batch, heads, queries, kernels]: logits of the weights */
    const double *log_kernels; /* [heads, kernels, keys] */
    const double *sink;        /* [heads] */
    double *out;               /* [batch, heads, queries, head_dim] */
    double *lse;               /* [batch, heads, queries]: log of the denominator; may be NULL */
} mep_attention_reference_call;

/* Gradients, shaped like what they belong to; all are overwritten, and those of terms may be NULL. */
typedef struct mep_attention_reference_gradient {
    const double *dout; /* [batch, heads, queries, head_dim] */
    double *dq, *dk, *dv;
    double *dtable, *dtable_ahead, *dgate, *dprofiles, *dbank, *dmixture, *dlog_kernels, *dsink;
} mep_attention_reference_gradient;

MEP_API mep_status mep_attention_reference_forward(const mep_attention_reference_call *call);
/* The call's out and lse are not used. */
MEP_API mep_status mep_attention_reference_backward(const mep_attention_reference_call *call,
                                                    const mep_attention_reference_gradient *gradient);

#ifdef __cplusplus
}
#endif

#endif
