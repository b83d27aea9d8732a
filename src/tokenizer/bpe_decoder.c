/* SPDX-License-Identifier: MIT */
/*
 * The "decoder" section of a tokenizer.json with a vocabulary of characters: the bytes that a token stands for, and
 * what is removed at the start of a decoded text. Supported are Metaspace and sequences of Replace, ByteFallback, Fuse
 * and Strip in this order. Byte-level vocabularies need no decoder: the characters of a name stand for bytes.
 */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/bpe.h"

/* ---- Reading ---- */

static const char *type_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type != NULL ? type : "(no type)";
}

static mep_status refuse(const char *type, const char *why)
{
    return mep_fail(MEP_ERROR_UNSUPPORTED, "the decoder %s %s, which is not supported", type, why);
}

static mep_status add_replace(mep_bpe_decoder *decoder, const char *pattern, const char *content)
{
    if (decoder->replace_count == MEP_BPE_REPLACES) return refuse("Replace", "occurs too often");
    mep_bpe_replace *replace = &decoder->replaces[decoder->replace_count++];
    MEP_TRY(mep_copy_string(&replace->pattern, pattern));
    return mep_copy_string(&replace->content, content);
}

static mep_status read_replace(mep_bpe_decoder *decoder, const json_t *object)
{
    const char *pattern = json_string_value(json_object_get(json_object_get(object, "pattern"), "String"));
    const char *content = json_string_value(json_object_get(object, "content"));
    if (decoder->has_bytes || decoder->is_fused) return refuse("Replace", "comes after ByteFallback or Fuse");
    if (pattern == NULL || pattern[0] == '\0' || content == NULL) return refuse("Replace", "has no pattern String");
    return add_replace(decoder, pattern, content);
}

static mep_status read_bytes(mep_bpe_decoder *decoder, const json_t *object)
{
    (void)object;
    if (decoder->is_fused) return refuse("ByteFallback", "comes after Fuse");
    decoder->has_bytes = 1;
    return MEP_OK;
}

static mep_status read_fuse(mep_bpe_decoder *decoder, const json_t *object)
{
    (void)object;
    decoder->is_fused = 1;
    return MEP_OK;
}

static mep_status read_strip(mep_bpe_decoder *decoder, const json_t *object)
{
    const char *content = json_string_value(json_object_get(object, "content"));
    const json_t *start = json_object_get(object, "start");
    if (!decoder->is_fused) return refuse("Strip", "comes before Fuse");
    if (decoder->strip[0] != '\0') return refuse("Strip", "occurs twice");
    if (json_integer_value(json_object_get(object, "stop")) != 0) return refuse("Strip", "removes text at the end");
    if (content == NULL || content[0] == '\0' || strlen(content) >= sizeof decoder->strip || !json_is_integer(start))
        return refuse("Strip", "has no content of one character or no start");
    memcpy(decoder->strip, content, strlen(content) + 1);
    decoder->strip_count = json_integer_value(start);
    return MEP_OK;
}

/* The character of the prefix is removed from the first token. */
static mep_status read_metaspace(mep_bpe_decoder *decoder, const json_t *object)
{
    const char *mark = json_string_value(json_object_get(object, "replacement"));
    const char *scheme = json_string_value(json_object_get(object, "prepend_scheme"));
    const json_t *adds = json_object_get(object, "add_prefix_space");
    if (mark == NULL || mark[0] == '\0') return refuse("Metaspace", "has no replacement");
    decoder->drops_first = scheme != NULL ? strcmp(scheme, "never") != 0 : !json_is_boolean(adds) || json_is_true(adds);
    return add_replace(decoder, mark, " ");
}

static mep_status read_step(mep_bpe_decoder *decoder, const json_t *object)
{
    static const struct {
        const char *type;
        mep_status (*read)(mep_bpe_decoder *decoder, const json_t *object);
    } known[] = {{"Replace", read_replace}, {"ByteFallback", read_bytes}, {"Fuse", read_fuse}, {"Strip", read_strip}};
    const char *type = type_of(object);
    for (size_t i = 0; i < sizeof known / sizeof *known; ++i)
        if (strcmp(type, known[i].type) == 0) return known[i].read(decoder, object);
    if (strcmp(type, "ByteLevel") == 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "there is a decoder ByteLevel and no pre_tokenizer ByteLevel: the vocabulary is neither one of "
                        "bytes nor one of characters");
    return refuse(type, "is unknown in a vocabulary of characters");
}

mep_status mep_bpe_decoder_init(mep_bpe_decoder *decoder, const json_t *object)
{
    size_t i;
    json_t *step;
    if (object == NULL || json_is_null(object)) { /* as the models that leave it out decode */
        decoder->has_bytes = 1;
        return add_replace(decoder, MEP_BPE_WORD_MARK, " ");
    }
    if (strcmp(type_of(object), "Metaspace") == 0) return read_metaspace(decoder, object);
    if (strcmp(type_of(object), "Sequence") != 0) return read_step(decoder, object);
    json_array_foreach(json_object_get(object, "decoders"), i, step) MEP_TRY(read_step(decoder, step));
    return MEP_OK;
}

void mep_bpe_decoder_free(mep_bpe_decoder *decoder)
{
    for (int i = 0; i < decoder->replace_count; ++i) {
        mep_free(&decoder->replaces[i].pattern);
        mep_free(&decoder->replaces[i].content);
    }
    decoder->replace_count = 0;
}

/* ---- Decoding ---- */

/* Replace all occurrences in the `size` bytes of *text, which is replaced by a longer allocation where needed. */
static mep_status replace_all(const mep_bpe_replace *replace, char **text, int64_t *size)
{
    int64_t width = (int64_t)strlen(replace->pattern), content = (int64_t)strlen(replace->content), used = 0, at = 0;
    int64_t most = content > width ? *size / width * (content - width) : 0;
    char *made = NULL;
    MEP_TRY(MEP_ALLOC(&made, *size + most + 1));
    while (at < *size) {
        if (*size - at < width || memcmp(*text + at, replace->pattern, (size_t)width) != 0) {
            made[used++] = (*text)[at++];
            continue;
        }
        memcpy(made + used, replace->content, (size_t)content);
        used += content;
        at += width;
    }
    mep_free(text);
    *text = made;
    *size = used;
    return MEP_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int mep_bpe_byte_of_name(const char *name, int64_t size)
{
    if (size != 6 || memcmp(name, "<0x", 3) != 0 || name[5] != '>') return -1;
    int high = hex_digit(name[3]), low = hex_digit(name[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}

mep_status mep_bpe_decode_name(const mep_bpe_decoder *decoder, const char *name, char **text, int64_t *size)
{
    *size = (int64_t)strlen(name);
    MEP_TRY(mep_copy_string(text, name));
    mep_status status = MEP_OK;
    for (int i = 0; i < decoder->replace_count && status == MEP_OK; ++i)
        status = replace_all(&decoder->replaces[i], text, size);
    int byte = status == MEP_OK && decoder->has_bytes ? mep_bpe_byte_of_name(*text, *size) : -1;
    if (byte >= 0) {
        (*text)[0] = (char)byte;
        *size = 1;
    }
    if (status != MEP_OK) mep_free(text);
    return status;
}

/* Remove the blanks of text[.. first) and move the rest. Returns how many bytes were removed. */
static int64_t drop_blanks(char *text, int64_t size, int64_t first)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < first; ++i)
        if (text[i] != ' ') text[kept++] = text[i];
    memmove(text + kept, text + first, (size_t)(size - first));
    return first - kept;
}

void mep_bpe_decoder_begin(const mep_bpe_decoder *decoder, int64_t first, char *text, int64_t *size)
{
    int64_t width = (int64_t)strlen(decoder->strip), at = 0;
    if (decoder->drops_first) *size -= drop_blanks(text, *size, first);
    for (int64_t i = 0; i < decoder->strip_count && at + width <= *size; ++i) {
        if (memcmp(text + at, decoder->strip, (size_t)width) != 0) break;
        at += width;
    }
    memmove(text, text + at, (size_t)(*size - at));
    *size -= at;
}
