/* SPDX-License-Identifier: MIT */
/*
 * The byte tokenizer: token t < 256 is the byte t, token 256 ends a document. It needs no files and knows any text.
 */
#include "text/tokenizer.h"

#include "base/error.h"
#include "base/memory.h"

enum { BYTES = 256 };

typedef struct bytes_tokenizer {
    mep_tokenizer base;
    char text[BYTES]; /* text[t] is the byte t: what decode points into */
} bytes_tokenizer;

static mep_status bytes_encode(const mep_tokenizer *tokenizer, const char *text, int64_t size, int32_t **tokens,
                               int64_t *count)
{
    (void)tokenizer;
    MEP_TRY(mep_alloc(tokens, size, sizeof **tokens));
    for (int64_t i = 0; i < size; ++i) (*tokens)[i] = (unsigned char)text[i];
    *count = size;
    return MEP_OK;
}

static mep_status bytes_decode(const mep_tokenizer *tokenizer, int32_t token, const char **text, int64_t *size)
{
    const bytes_tokenizer *bytes = (const bytes_tokenizer *)tokenizer;
    *text = token < BYTES ? bytes->text + token : "";
    *size = token < BYTES ? 1 : 0;
    return MEP_OK;
}

static int64_t bytes_cut(const mep_tokenizer *tokenizer, const char *text, int64_t size)
{
    (void)tokenizer, (void)text;
    return size;
}

static void bytes_destroy(mep_tokenizer *tokenizer)
{
    mep_free(&tokenizer);
}

static const mep_tokenizer_ops bytes_ops = {bytes_encode, bytes_decode, bytes_cut, NULL, bytes_destroy};

mep_status mep_tokenizer_bytes(mep_tokenizer **tokenizer)
{
    *tokenizer = NULL;
    bytes_tokenizer *bytes = NULL;
    MEP_TRY(mep_alloc(&bytes, 1, sizeof *bytes));
    bytes->base = (mep_tokenizer){&bytes_ops, "bytes", BYTES + 1, BYTES};
    for (int i = 0; i < BYTES; ++i) bytes->text[i] = (char)i;
    *tokenizer = &bytes->base;
    return MEP_OK;
}
