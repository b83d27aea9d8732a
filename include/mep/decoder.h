/* SPDX-License-Identifier: MIT */
/*
 * Decoding step by step: one or several sequences with key/value caches of their own, whose tokens the caller chooses.
 * For servers, other samplers and evaluation harnesses; mep_generate (mep/model.h) writes one text by itself.
 *
 *     mep_decoder_create(&decoder, model, &settings);
 *     mep_decoder_append(decoder, 0, count, prompt, 1, logits);       the prompt of sequence 0
 *     mep_decoder_append(decoder, 1, other_count, other, 1, logits + vocab);
 *     choose a token of each from its logits, then in a loop
 *     mep_decoder_step(decoder, 2, sequences, tokens, logits);        one token of each, in one pass
 *
 * Logits have the bits of mep_session_logits of the whole sequence, in whatever steps its tokens come and whichever
 * other sequences are in a step (docs/kernels.md). A step reads the weights of the model once for all its sequences.
 *
 * A decoder serves one call at a time; several decoders of one model may run on several threads.
 */
#ifndef MEP_DECODER_H
#define MEP_DECODER_H

#include "mep/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mep_decoder mep_decoder;

typedef struct mep_decoder_settings {
    int64_t sequences;  /* that the decoder holds, numbered from 0; 1 */
    int64_t max_tokens; /* largest number of tokens of a sequence; 4096. Scalings of rotary that depend on the length
                           take it as the length. Memory grows with the tokens that there are; MEP_GENERATE_ENDLESS
                           where the encoding has a reach (see mep_generate) */
    int64_t chunk;      /* tokens that a pass of mep_decoder_append reads at a time; more need more memory; 512 */
    mep_dtype dtype;    /* MEP_FLOAT32 or MEP_BFLOAT16 */
    double tolerance;   /* of attention; see mep_attention_settings */
} mep_decoder_settings;

MEP_API void mep_decoder_defaults(mep_decoder_settings *settings);

/* The model must outlive the decoder, and its parameters must not change. The caller owns *decoder. On the CPU. */
MEP_API mep_status mep_decoder_create(mep_decoder **decoder, mep_model *model, const mep_decoder_settings *settings);
MEP_API void mep_decoder_destroy(mep_decoder **decoder); /* NULL inside is accepted; becomes NULL */

/* Read `count` >= 1 tokens at the end of a sequence. logits [rows, vocab_size]: those after each of the last `rows`
 * tokens, 0 <= rows <= count; may be NULL where rows is 0. MEP_ERROR_ARGUMENT, and nothing is read, where a token is
 * not in the vocabulary or the sequence would be longer than max_tokens. After another failure, such as
 * MEP_ERROR_MEMORY, the sequence must be cleared. */
MEP_API mep_status mep_decoder_append(mep_decoder *decoder, int64_t sequence, int64_t count, const int32_t *tokens,
                                      int64_t rows, float *logits);

/* Read one token at the end of each of `count` sequences, which differ. logits [count, vocab_size]. Errors are those of
 * mep_decoder_append, for all sequences of the step. */
MEP_API mep_status mep_decoder_step(mep_decoder *decoder, int64_t count, const int64_t *sequences,
                                    const int32_t *tokens, float *logits);

/* Replace the tokens of sequence `to` by those of sequence `from`, whose keys and values are copied: the common
 * beginning of several texts is read once. MEP_ERROR_MEMORY leaves `to` empty. */
MEP_API mep_status mep_decoder_copy(mep_decoder *decoder, int64_t to, int64_t from);

/* Forget the tokens of a sequence, and free its memory. */
MEP_API mep_status mep_decoder_clear(mep_decoder *decoder, int64_t sequence);

/* Number of tokens of a sequence; -1 where there is no such sequence. */
MEP_API int64_t mep_decoder_length(const mep_decoder *decoder, int64_t sequence);

#ifdef __cplusplus
}
#endif

#endif
