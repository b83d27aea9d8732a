/* SPDX-License-Identifier: MIT */
/*
 * The byte tokenizer: token t < 256 is the byte t, and token 256 ends a document. It needs no files and encodes any
 * text. For Hugging Face's library it can be written as a byte-level BPE without merges.
 */
#include "tokenizer/tokenizer_bytes.h"

#include "base/error.h"
#include "base/libraries.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/bpe.h"

enum { BYTES = 256 };

typedef struct bytes_tokenizer {
    mep_tokenizer base;
    char text[BYTES]; /* text[t] is the byte t; decode returns pointers into it */
} bytes_tokenizer;

static mep_status bytes_encode(const mep_tokenizer *tokenizer, const char *text, int64_t size, int is_rest,
                               int32_t **tokens, int64_t *count)
{
    (void)tokenizer, (void)is_rest;
    MEP_TRY(MEP_ALLOC(tokens, size));
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

static int64_t bytes_split_point(const mep_tokenizer *tokenizer, const char *text, int64_t size)
{
    (void)tokenizer, (void)text;
    return size;
}

static void bytes_destroy(mep_tokenizer *tokenizer)
{
    mep_free(&tokenizer);
}

static const mep_tokenizer_ops bytes_ops = {
    .encode = bytes_encode,
    .decode = bytes_decode,
    .split_point = bytes_split_point,
    .destroy = bytes_destroy,
};

mep_status mep_tokenizer_bytes(mep_tokenizer **tokenizer)
{
    MEP_REQUIRE(tokenizer);
    *tokenizer = NULL;
    bytes_tokenizer *bytes = NULL;
    MEP_TRY(MEP_ALLOC(&bytes, 1));
    bytes->base =
        (mep_tokenizer){.ops = &bytes_ops, .name = "bytes", .vocab_size = BYTES + 1, .end_of_document = BYTES};
    for (int i = 0; i < BYTES; ++i) bytes->text[i] = (char)i;
    *tokenizer = &bytes->base;
    return MEP_OK;
}

/* ---- The tokenizer.json ---- */

/* NULL if memory runs out. */
static json_t *compose(void)
{
    static const char *const special[] = {"<|endoftext|>"};
    json_t *vocab = json_object();
    int failed = vocab == NULL;
    for (int b = 0; b < BYTES && !failed; b++) {
        char name[5] = "";
        mep_utf8_encode(mep_bpe_code_of_byte(b), name);
        failed = json_object_set_new(vocab, name, json_integer(b)) != 0;
    }
    failed = failed || json_object_set_new(vocab, special[0], json_integer(BYTES)) != 0;
    if (!failed) return mep_bpe_compose_json(vocab, json_array(), special, 1);
    json_decref(vocab);
    return NULL;
}

mep_status mep_bytes_json(char **text, int64_t *size)
{
    *text = NULL;
    MEP_NEED(JANSSON, "jansson", "a tokenizer.json cannot be written");
    json_t *root = compose();
    size_t needed = root != NULL ? json_dumpb(root, NULL, 0, JSON_INDENT(2)) : 0;
    mep_status status = needed > 0 ? MEP_ALLOC(text, (int64_t)needed)
                                   : mep_fail(MEP_ERROR_MEMORY, "cannot compose a tokenizer of bytes");
    if (status == MEP_OK) json_dumpb(root, *text, needed, JSON_INDENT(2));
    *size = (int64_t)needed;
    json_decref(root);
    return status;
}

int mep_bytes_is_json(const char *text, int64_t size)
{
    enum { LIMIT = 1 << 16 }; /* most tokenizers are larger, which makes parsing them unnecessary */
    if (size > LIMIT) return 0;
    json_t *own = compose(), *root = json_loadb(text, (size_t)size, 0, NULL);
    int equal = own != NULL && json_equal(own, root);
    json_decref(own);
    json_decref(root);
    return equal;
}
