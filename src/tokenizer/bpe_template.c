/* SPDX-License-Identifier: MIT */
/*
 * The "post_processor" section of a tokenizer.json: the tokens that Hugging Face's encode adds around a text, such as
 * <s> before it. Nothing here concerns the tokens of the text itself.
 */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/bpe.h"

enum { DEPTH = 4 };

void mep_bpe_template_free(mep_bpe_template *template)
{
    mep_free(&template->before.ids);
    mep_free(&template->after.ids);
}

/* Put ids before those that are in the list already. */
static mep_status put_before(mep_bpe_tokens *tokens, const int32_t *ids, int64_t count)
{
    mep_bpe_tokens joined = {0};
    mep_status status = mep_bpe_tokens_append(&joined, ids, count);
    if (status == MEP_OK && tokens->count > 0) status = mep_bpe_tokens_append(&joined, tokens->ids, tokens->count);
    if (status != MEP_OK) {
        mep_free(&joined.ids);
        return status;
    }
    mep_free(&tokens->ids);
    *tokens = joined;
    return MEP_OK;
}

/* Append an id of the section, which must be a token. */
static mep_status take_id(mep_bpe_tokens *tokens, const json_t *number, int64_t vocab_size)
{
    int64_t id = json_is_integer(number) ? (int64_t)json_integer_value(number) : -1;
    if (id < 0 || id >= vocab_size)
        return mep_fail(MEP_ERROR_FORMAT, "the post_processor adds a token that the vocabulary does not have");
    return mep_bpe_tokens_append(tokens, &(int32_t){(int32_t)id}, 1);
}

/* The two sides of one processor. */
typedef struct sides {
    mep_bpe_tokens tokens[2]; /* before, after */
} sides;

/* Append the tokens of one special token of a TemplateProcessing. */
static mep_status take_special(sides *s, int side, const json_t *object, const char *name, int64_t vocab_size)
{
    const json_t *special = name != NULL ? json_object_get(json_object_get(object, "special_tokens"), name) : NULL;
    const json_t *ids = json_object_get(special, "ids");
    if (json_array_size(ids) == 0)
        return mep_fail(MEP_ERROR_FORMAT, "the post_processor TemplateProcessing has no ids for \"%.60s\"",
                        name != NULL ? name : "");
    for (size_t i = 0; i < json_array_size(ids); ++i)
        MEP_TRY(take_id(&s->tokens[side], json_array_get(ids, i), vocab_size));
    return MEP_OK;
}

/* "single" is a list of {"SpecialToken": {"id"}} and one {"Sequence": {"id": "A"}}, which is the text. */
static mep_status read_template(sides *s, const json_t *object, int64_t vocab_size)
{
    size_t i;
    int side = 0;
    json_t *item;
    json_array_foreach(json_object_get(object, "single"), i, item)
    {
        const json_t *special = json_object_get(item, "SpecialToken");
        if (special == NULL && (json_object_get(item, "Sequence") == NULL || ++side > 1)) break;
        if (special == NULL) continue;
        MEP_TRY(take_special(s, side, object, json_string_value(json_object_get(special, "id")), vocab_size));
    }
    if (side == 1 && i == json_array_size(json_object_get(object, "single"))) return MEP_OK;
    return mep_fail(MEP_ERROR_UNSUPPORTED,
                    "the post_processor TemplateProcessing has a \"single\" that is not a list of special tokens and "
                    "one text, which is not supported");
}

/* BERT's and RoBERTa's: [name, id] of a token before and of one after the text. */
static mep_status read_pair(sides *s, const json_t *object, int64_t vocab_size)
{
    MEP_TRY(take_id(&s->tokens[0], json_array_get(json_object_get(object, "cls"), 1), vocab_size));
    return take_id(&s->tokens[1], json_array_get(json_object_get(object, "sep"), 1), vocab_size);
}

static mep_status read_one(mep_bpe_template *template, const json_t *object, const char *type, int64_t vocab_size)
{
    sides s = {0};
    mep_status status = MEP_OK;
    if (strcmp(type, "TemplateProcessing") == 0)
        status = read_template(&s, object, vocab_size);
    else if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        status = read_pair(&s, object, vocab_size);
    else if (strcmp(type, "ByteLevel") != 0)
        status = mep_fail(MEP_ERROR_UNSUPPORTED,
                          "the post_processor \"%s\" is not supported; the supported ones are TemplateProcessing, "
                          "RobertaProcessing, BertProcessing, ByteLevel and sequences of these",
                          type);
    if (status == MEP_OK && s.tokens[0].count > 0)
        status = put_before(&template->before, s.tokens[0].ids, s.tokens[0].count);
    if (status == MEP_OK && s.tokens[1].count > 0)
        status = mep_bpe_tokens_append(&template->after, s.tokens[1].ids, s.tokens[1].count);
    mep_free(&s.tokens[0].ids);
    mep_free(&s.tokens[1].ids);
    return status;
}

static mep_status read_processor(mep_bpe_template *template, const json_t *object, int64_t vocab_size, int depth)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    size_t i;
    json_t *item;
    if (object == NULL || json_is_null(object)) return MEP_OK;
    if (type == NULL || strcmp(type, "Sequence") != 0 || depth == DEPTH)
        return read_one(template, object, type != NULL ? type : "(no type)", vocab_size);
    json_array_foreach(json_object_get(object, "processors"), i, item)
        MEP_TRY(read_processor(template, item, vocab_size, depth + 1));
    return MEP_OK;
}

mep_status mep_bpe_template_init(mep_bpe_template *template, const json_t *object, int64_t vocab_size)
{
    return read_processor(template, object, vocab_size, 0);
}
