/* SPDX-License-Identifier: MIT */
/*
 * The table of bytes per token, from the tokenizer of a dataset; and the bits per byte of an evaluation.
 */
#include "eval/token_bytes.h"

#include <math.h>

#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "mep/measure.h"

/* Tokens around a text, such as <s>, are no bytes of it. */
static mep_status leave_out_special(const mep_tokenizer *tokenizer, mep_token_bytes *table)
{
    mep_special_tokens special;
    MEP_TRY(mep_tokenizer_special_tokens(tokenizer, &special));
    for (int64_t i = 0; i < special.before_count; i++) table->bytes[special.before[i]] = 0;
    for (int64_t i = 0; i < special.after_count; i++) table->bytes[special.after[i]] = 0;
    return MEP_OK;
}

mep_status mep_token_bytes_open(mep_token_bytes *table, const mep_dataset *data)
{
    mep_tokenizer *tokenizer = NULL;
    mep_status status = MEP_OK;
    const char *name = mep_dataset_tokenizer(data);
    *table = (mep_token_bytes){0};
    if (name[0] == '\0') return MEP_OK;
    MEP_TRY(mep_tokenizer_open(&tokenizer, name));
    int64_t count = mep_tokenizer_vocab_size(tokenizer);
    MEP_TRY_OR(status, MEP_ALLOC(&table->bytes, count), end);
    for (int64_t t = 0; t < count; t++) {
        const char *text;
        int64_t size = 0;
        if (t != mep_tokenizer_end_of_document(tokenizer) &&
            mep_tokenizer_decode(tokenizer, (int32_t)t, &text, &size) != MEP_OK)
            size = 0; /* a number that the vocabulary leaves out */
        table->bytes[t] = (int32_t)size;
    }
    table->count = count;
    status = leave_out_special(tokenizer, table);
end:
    if (status != MEP_OK) mep_token_bytes_close(table);
    mep_tokenizer_destroy(&tokenizer);
    return status;
}

void mep_token_bytes_close(mep_token_bytes *table)
{
    mep_free(&table->bytes);
    table->count = 0;
}

/* ---- Bits per byte of an evaluation ---- */

/* Add the bytes of the tokens start .. start + count - 1. */
static mep_status add_bytes(const mep_token_bytes *table, const mep_dataset *data, int64_t start, int64_t count,
                            int64_t *bytes)
{
    enum { CHUNK = 1 << 12 };
    int32_t tokens[CHUNK];
    for (int64_t done = 0; done < count; done += CHUNK) {
        int64_t some = min_i64(count - done, CHUNK);
        MEP_TRY(mep_dataset_read_targets(data, start + done, some, tokens));
        for (int64_t i = 0; i < some; i++) *bytes += mep_token_bytes_of(table, tokens[i]);
    }
    return MEP_OK;
}

/* Add the bytes of the scored tokens: the last ones of each segment, or all tokens after the first. */
static mep_status add_scored(const mep_token_bytes *table, const mep_dataset *data, const mep_eval_settings *s,
                             const mep_eval_result *result, int64_t *bytes)
{
    int64_t step = s->stride > 0 ? s->stride : s->length;
    if (s->last == 0) return add_bytes(table, data, 1, s->length + (result->segments - 1) * step, bytes);
    for (int64_t i = 1; i <= result->segments; i++)
        MEP_TRY(add_bytes(table, data, i * step - s->last + 1, s->last, bytes));
    return MEP_OK;
}

mep_status mep_eval_bits_per_byte(const mep_dataset *data, const mep_eval_settings *settings,
                                  const mep_eval_result *result, double *bits)
{
    MEP_REQUIRE(data, settings, result, bits);
    mep_token_bytes table;
    int64_t bytes = 0;
    MEP_TRY(mep_token_bytes_open(&table, data));
    mep_status status = table.count > 0 ? add_scored(&table, data, settings, result, &bytes) : MEP_OK;
    if (status == MEP_OK) *bits = bytes > 0 ? result->loss * (double)result->tokens / ((double)bytes * log(2)) : NAN;
    mep_token_bytes_close(&table);
    return status;
}
