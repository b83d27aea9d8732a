/* SPDX-License-Identifier: MIT */
/*
 * Reads a tokenizer.json into a mep_bpe, and composes a tokenizer.json from a vocabulary and merges. A setting that
 * changes ids is either applied as in Hugging Face's library or refused by name. "truncation" and "padding" are
 * ignored: they do not concern tokenization. So is the "decoder" of a byte-level vocabulary.
 */
#include <stdio.h>
#include <string.h>

#include "base/assertion.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/bpe.h"

enum { TOKEN_TEXT = 4096 }; /* bytes that a token's name may have */

/* Names of the token that ends a document; the first one in the vocabulary is used. */
static const char *const END_NAMES[] = {
    "<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|eos|>", "<\uff5cend\u2581of\u2581sentence\uff5c>", NULL};

/* Write the bytes that a token's name stands for to `out`, at most strlen(text). Returns their number, or -1 if a
 * character stands for no byte. */
static int64_t decode_name(const char *text, char *out)
{
    int64_t size = (int64_t)strlen(text), count = 0;
    for (int64_t at = 0; at < size;) {
        uint32_t code = 0;
        int length = mep_utf8_decode(text + at, size - at, &code), byte = mep_bpe_byte_of_code(code);
        if (length == 0 || byte < 0) return -1;
        out[count++] = (char)byte;
        at += length;
    }
    return count;
}

/* ---- Reading ---- */

typedef struct reading {
    mep_bpe *bpe;
    const json_t *vocab, *added;
    const char **names; /* the name of each id; NULL for an unused id */
    int64_t count;      /* the ids of the vocabulary and of the added tokens are 0 .. count - 1 */
    int64_t entries, name_bytes;
    int drops_characters; /* some characters have no token: their neighbours may merge */
} reading;

/* The id of a token; -1 if the vocabulary does not have it. */
static int64_t find_token(const reading *r, const char *name)
{
    const json_t *id = json_object_get(r->vocab, name);
    return id != NULL ? (int64_t)json_integer_value(id) : -1;
}

/* Check that the model is a plain BPE: no dropout, no prefixes or suffixes. */
static mep_status check_model(const json_t *model)
{
    static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix", NULL};
    const char *type = json_string_value(json_object_get(model, "type"));
    const json_t *dropout = json_object_get(model, "dropout");
    if (type != NULL && strcmp(type, "BPE") != 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "the model is of type \"%s\"; only BPE is supported", type);
    if (dropout != NULL && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "the model has a dropout, which makes ids random; set it to null");
    for (int i = 0; texts[i] != NULL; ++i) {
        const json_t *text = json_object_get(model, texts[i]);
        if (text != NULL && !json_is_null(text) && (!json_is_string(text) || json_string_length(text) > 0))
            return mep_fail(MEP_ERROR_UNSUPPORTED, "the model has a %s, which is not supported", texts[i]);
    }
    if (!json_is_object(json_object_get(model, "vocab")) || !json_is_array(json_object_get(model, "merges")))
        return mep_fail(MEP_ERROR_FORMAT, "there is no \"model\" with an object \"vocab\" and an array \"merges\"");
    return MEP_OK;
}

/* Record the name of an id. The id must be new and not much larger than the number of entries. */
static mep_status take_name(reading *r, const char *name, const json_t *number)
{
    int64_t id = json_is_integer(number) ? (int64_t)json_integer_value(number) : -1, size = (int64_t)strlen(name);
    if (id < 0 || id >= 2 * r->entries + 1024)
        return mep_fail(MEP_ERROR_FORMAT, "the id of the token \"%.60s\" must be an integer from 0 to %lld", name,
                        (long long)(2 * r->entries + 1023));
    if (size > TOKEN_TEXT)
        return mep_fail(MEP_ERROR_FORMAT, "the token %lld has a name of %lld bytes; %d are allowed", (long long)id,
                        (long long)size, TOKEN_TEXT);
    if (r->names[id] != NULL)
        return mep_fail(MEP_ERROR_FORMAT, "the tokens \"%.60s\" and \"%.60s\" have the same id %lld", r->names[id],
                        name, (long long)id);
    r->names[id] = name;
    r->name_bytes += size;
    if (id >= r->count) r->count = id + 1;
    return MEP_OK;
}

static int get_flag(const json_t *object, const char *key, int fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

/* The tokens of the 256 bytes in a byte-level vocabulary. */
static mep_status read_bytes(reading *r)
{
    for (int byte = 0; byte < 256; ++byte) {
        char text[5] = "";
        mep_utf8_encode(mep_bpe_code_of_byte(byte), text);
        r->bpe->merges.bytes[byte] = (int32_t)find_token(r, text);
        int is_in_text = byte != 0xc0 && byte != 0xc1 && byte < 0xf5; /* GPT-NeoX has no token for the other bytes */
        if (r->bpe->merges.bytes[byte] < 0 && is_in_text)
            return mep_fail(MEP_ERROR_UNSUPPORTED,
                            "the vocabulary has no token \"%s\" for the byte %d: this is not a byte-level BPE that can "
                            "encode any text",
                            text, byte);
    }
    return MEP_OK;
}

/* The tokens of bytes and characters, and the unknown token. */
static mep_status read_characters(reading *r, const json_t *model)
{
    mep_bpe_merges *merges = &r->bpe->merges;
    const json_t *unknown = json_object_get(model, "unk_token");
    int falls_back = get_flag(model, "byte_fallback", 0), missing = 0;
    MEP_TRY(mep_bpe_characters_init(&merges->characters));
    for (int byte = 0; byte < 256; ++byte) {
        char text[8] = "";
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        merges->bytes[byte] = falls_back ? (int32_t)find_token(r, text) : -1;
        missing |= merges->bytes[byte] < 0;
    }
    for (int64_t id = 0; id < r->count; ++id) {
        uint32_t code = 0;
        int64_t size = r->names[id] != NULL ? (int64_t)strlen(r->names[id]) : 0;
        if (size > 0 && mep_utf8_decode(r->names[id], size, &code) == size)
            MEP_TRY(mep_bpe_characters_add(&merges->characters, code, (int32_t)id));
    }
    merges->characters.fuses_unknown = get_flag(model, "fuse_unk", 0);
    r->drops_characters = missing && !json_is_string(unknown);
    if (!json_is_string(unknown)) return MEP_OK;
    merges->characters.unknown = (int32_t)find_token(r, json_string_value(unknown));
    if (merges->characters.unknown >= 0 || !missing) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "the unk_token \"%.60s\" is not in the vocabulary", json_string_value(unknown));
}

static mep_status read_vocab(reading *r, const json_t *model)
{
    const char *name;
    json_t *number;
    r->entries = (int64_t)(json_object_size(r->vocab) + json_array_size(r->added));
    MEP_TRY(MEP_ALLOC(&r->names, 2 * r->entries + 1024));
    json_object_foreach((json_t *)r->vocab, name, number) MEP_TRY(take_name(r, name, number));
    return r->bpe->pretokenizer.byte_level >= 0 ? read_bytes(r) : read_characters(r, model);
}

/* Append an added token, whose id is known, to the set of the text in which it is searched. */
static mep_status append_added(reading *r, const json_t *object, const char *content, int64_t id)
{
    mep_bpe_added item = {.id = (int32_t)id,
                          .single_word = get_flag(object, "single_word", 0),
                          .lstrip = get_flag(object, "lstrip", 0),
                          .rstrip = get_flag(object, "rstrip", 0)};
    mep_bpe_normal normal = {.text = content, .size = (int64_t)strlen(content)};
    int is_normalized = get_flag(object, "normalized", !get_flag(object, "special", 0));
    normal.out = content;
    normal.out_size = normal.size;
    if (is_normalized) MEP_TRY(mep_bpe_normalize(&r->bpe->pretokenizer, &normal));
    mep_status status =
        mep_bpe_added_append(is_normalized ? &r->bpe->normalized : &r->bpe->raw, &item, normal.out, normal.out_size);
    mep_free(&normal.made);
    return status;
}

/* Read one entry of "added_tokens". Hugging Face's library ignores the id in the file: it uses the id in the
 * vocabulary, otherwise the next free one. A file with a different id is refused. If two entries have the same text,
 * the first one counts; `ids` has the ids of the entries read so far. */
static mep_status read_added_entry(reading *r, size_t index, json_t *ids, int64_t *next)
{
    const json_t *object = json_array_get(r->added, index);
    const char *content = json_string_value(json_object_get(object, "content"));
    json_t *number = json_object_get(object, "id");
    if (content == NULL || !json_is_integer(number))
        return mep_fail(MEP_ERROR_FORMAT, "added_tokens: entry %d has no \"content\" or no \"id\"", (int)index);
    if (content[0] == '\0') return MEP_OK;
    const json_t *earlier = json_object_get(ids, content);
    int64_t known = earlier != NULL ? json_integer_value(earlier) : find_token(r, content);
    int64_t expected = known >= 0 ? known : *next;
    if (json_integer_value(number) != expected)
        return mep_fail(MEP_ERROR_FORMAT,
                        "added_tokens: \"%.60s\" has the id %lld, but Hugging Face's library gives it %lld; "
                        "correct the file",
                        content, (long long)json_integer_value(number), (long long)expected);
    if (earlier != NULL) return MEP_OK;
    if (known < 0) {
        MEP_TRY(take_name(r, content, number));
        ++*next;
    }
    if (json_object_set(ids, content, number) != 0) return mep_fail(MEP_ERROR_MEMORY, "added_tokens: out of memory");
    MEP_TRY(append_added(r, object, content, expected));
    return MEP_OK;
}

/* Read the added tokens; those without an id in the vocabulary get the next ones. */
static mep_status read_added(reading *r)
{
    int64_t next = (int64_t)json_object_size(r->vocab);
    json_t *ids = json_object();
    mep_status status = MEP_OK;
    for (size_t i = 0; i < json_array_size(r->added); ++i) MEP_TRY_OR(status, read_added_entry(r, i, ids, &next), done);
    MEP_TRY_OR(status, mep_bpe_added_sort(&r->bpe->raw), done);
    status = mep_bpe_added_sort(&r->bpe->normalized);
done:
    json_decref(ids);
    return status;
}

/* A merge is "left right" or ["left", "right"]. Copy the concatenation to `text`; the right token begins at *middle. */
static mep_status split_merge(const json_t *merge, int64_t index, char text[2 * TOKEN_TEXT + 2], size_t *middle)
{
    const char *left = json_string_value(merge), *right = NULL;
    size_t left_size = 0;
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        left = json_string_value(json_array_get(merge, 0));
        right = json_string_value(json_array_get(merge, 1));
        left_size = left != NULL ? strlen(left) : 0;
    } else if (left != NULL) {
        const char *blank = strchr(left, ' ');
        left_size = blank != NULL ? (size_t)(blank - left) : 0;
        right = blank != NULL && strchr(blank + 1, ' ') == NULL ? blank + 1 : NULL;
    }
    if (left == NULL || right == NULL || left_size == 0 || *right == '\0' || left_size > TOKEN_TEXT ||
        strlen(right) > TOKEN_TEXT)
        return mep_fail(MEP_ERROR_FORMAT, "merge %lld is not a pair of tokens", (long long)index);
    memcpy(text, left, left_size);
    memcpy(text + left_size, right, strlen(right) + 1);
    *middle = left_size;
    return MEP_OK;
}

/* 1 if a merge joins a mark to another character before it. */
static int joins_words(const char *left, const char *right)
{
    static const char mark[] = MEP_BPE_WORD_MARK;
    size_t size = strlen(left), width = sizeof mark - 1;
    return strncmp(right, mark, width) == 0 && (size < width || strcmp(left + size - width, mark) != 0);
}

static mep_status read_merges(reading *r, const json_t *merges)
{
    char joined[2 * TOKEN_TEXT + 2], left[TOKEN_TEXT + 1];
    int64_t count = (int64_t)json_array_size(merges);
    r->bpe->splits_words =
        r->bpe->pretokenizer.byte_level < 0 && !r->drops_characters && find_token(r, MEP_BPE_WORD_MARK) >= 0;
    MEP_TRY(mep_bpe_merges_init(&r->bpe->merges, count));
    for (int64_t i = 0; i < count; ++i) {
        size_t middle = 0;
        MEP_TRY(split_merge(json_array_get(merges, (size_t)i), i, joined, &middle));
        memcpy(left, joined, middle);
        left[middle] = '\0';
        int64_t a = find_token(r, left), b = find_token(r, joined + middle), token = find_token(r, joined);
        if (a < 0 || b < 0 || token < 0)
            return mep_fail(MEP_ERROR_FORMAT, "merge %lld: \"%.60s\" is not in the vocabulary", (long long)i,
                            a < 0   ? left
                            : b < 0 ? joined + middle
                                    : joined);
        if (joins_words(left, joined + middle)) r->bpe->splits_words = 0;
        mep_bpe_merges_set(&r->bpe->merges, (int32_t)a, (int32_t)b, (int32_t)i, (int32_t)token);
    }
    return MEP_OK;
}

/* ---- The bytes of tokens ---- */

/* Append the bytes of a token of characters. */
static mep_status append_decoded(mep_bpe *bpe, const char *name, int64_t *used, int64_t *capacity)
{
    char *text = NULL;
    int64_t size = 0;
    MEP_TRY(mep_bpe_decode_name(&bpe->decoder, name, &text, &size));
    mep_status status = MEP_OK;
    if (*used + size > *capacity) {
        status = MEP_GROW(&bpe->bytes, *used, 2 * *capacity + size);
        if (status == MEP_OK) *capacity = 2 * *capacity + size;
    }
    if (status == MEP_OK) {
        memcpy(bpe->bytes + *used, text, (size_t)size);
        *used += size;
    }
    mep_free(&text);
    return status;
}

/* Append the bytes of a token of a byte-level vocabulary. */
static void append_bytes(mep_bpe *bpe, const char *name, int is_added, int64_t *used)
{
    int64_t size = is_added ? -1 : decode_name(name, bpe->bytes + *used);
    if (size < 0) {
        size = (int64_t)strlen(name);
        memcpy(bpe->bytes + *used, name, (size_t)size);
    }
    *used += size;
}

/* Fill the bytes of all tokens: those that the characters of the name stand for; of an added token, or where a
 * character stands for no byte, those of the name itself. In a vocabulary of characters the decoder finds them. */
static mep_status fill_bytes(reading *r)
{
    mep_bpe *bpe = r->bpe;
    const mep_bpe_added_set *sets[2] = {&bpe->raw, &bpe->normalized};
    int64_t used = 0, capacity = r->name_bytes + 1;
    MEP_TRY(MEP_ALLOC(&bpe->bytes, capacity));
    MEP_TRY(MEP_ALLOC(&bpe->begin, r->count + 2));
    MEP_TRY(MEP_ALLOC(&bpe->is_token, r->count + 1));
    for (int k = 0; k < 2; ++k)
        for (int64_t i = 0; i < sets[k]->count; ++i) bpe->is_token[sets[k]->items[i].id] = MEP_BPE_ADDED;
    if (bpe->pretokenizer.byte_level < 0) /* these decode to their normal form, as in Hugging Face's library */
        for (int64_t i = 0; i < bpe->normalized.count; ++i)
            r->names[bpe->normalized.items[i].id] = bpe->normalized.items[i].text;
    for (int64_t id = 0; id < r->count; ++id) {
        const char *name = r->names[id];
        bpe->begin[id] = used;
        if (name == NULL) continue;
        if (bpe->pretokenizer.byte_level >= 0)
            append_bytes(bpe, name, bpe->is_token[id] == MEP_BPE_ADDED, &used);
        else
            MEP_TRY(append_decoded(bpe, name, &used, &capacity));
        bpe->is_token[id] |= MEP_BPE_TOKEN;
    }
    MEP_ASSERT(used <= capacity);
    bpe->begin[r->count] = bpe->begin[r->count + 1] = used;
    return MEP_OK;
}

/* With "ignore_merges" a pre-token that is in the vocabulary is not merged. Fill a hash table of these tokens (added
 * tokens included) by the bytes that their names stand for, or by the names in a vocabulary of characters. */
static mep_status fill_words(reading *r)
{
    mep_bpe *bpe = r->bpe;
    int64_t slots = 16, used = 0;
    while (slots < 2 * r->count) slots *= 2;
    MEP_TRY(MEP_ALLOC(&bpe->word_bytes, r->name_bytes + 1));
    MEP_TRY(MEP_ALLOC(&bpe->words, slots));
    bpe->word_mask = (uint64_t)slots - 1;
    for (int64_t id = 0; id < r->count; ++id) {
        if (r->names[id] == NULL || find_token(r, r->names[id]) != id) continue;
        char *bytes = bpe->word_bytes + used;
        int64_t size =
            bpe->pretokenizer.byte_level >= 0 ? decode_name(r->names[id], bytes) : (int64_t)strlen(r->names[id]);
        if (size <= 0) continue;
        if (bpe->pretokenizer.byte_level < 0) memcpy(bytes, r->names[id], (size_t)size);
        uint64_t slot = mep_bpe_hash(bytes, size) & bpe->word_mask;
        while (bpe->words[slot].size > 0) slot = (slot + 1) & bpe->word_mask;
        bpe->words[slot] = (mep_bpe_word){used, (int32_t)size, (int32_t)id};
        used += size;
    }
    return MEP_OK;
}

/* Set the vocabulary size and the token that ends a document. If no token has such a name, one is added. */
static void set_end_of_document(reading *r)
{
    mep_tokenizer *base = &r->bpe->base;
    base->vocab_size = r->count;
    for (int i = 0; END_NAMES[i] != NULL; ++i) {
        for (int64_t id = 0; id < r->count; ++id) {
            if (r->names[id] == NULL || strcmp(r->names[id], END_NAMES[i]) != 0) continue;
            base->end_of_document = (int32_t)id;
            return;
        }
    }
    r->bpe->is_token[r->count] = MEP_BPE_TOKEN;
    base->end_of_document = (int32_t)base->vocab_size++;
}

static mep_status read_sections(reading *r, const json_t *root, const json_t *model)
{
    MEP_TRY(check_model(model));
    MEP_TRY(mep_bpe_pretokenizer_init(&r->bpe->pretokenizer, json_object_get(root, "normalizer"),
                                      json_object_get(root, "pre_tokenizer")));
    if (r->bpe->pretokenizer.byte_level < 0)
        MEP_TRY(mep_bpe_decoder_init(&r->bpe->decoder, json_object_get(root, "decoder")));
    MEP_TRY(read_vocab(r, model));
    MEP_TRY(read_added(r));
    MEP_TRY(read_merges(r, json_object_get(model, "merges")));
    MEP_TRY(fill_bytes(r));
    MEP_TRY(mep_bpe_template_init(&r->bpe->template, json_object_get(root, "post_processor"), r->count));
    set_end_of_document(r);
    MEP_TRY(mep_bpe_split_points_init(r->bpe));
    return get_flag(model, "ignore_merges", 0) ? fill_words(r) : MEP_OK;
}

mep_status mep_bpe_read(mep_bpe *bpe, const json_t *root)
{
    const json_t *model = json_object_get(root, "model");
    reading r = {.bpe = bpe, .vocab = json_object_get(model, "vocab"), .added = json_object_get(root, "added_tokens")};
    mep_status status = read_sections(&r, root, model);
    mep_free(&r.names);
    return status;
}

/* ---- Writing ---- */

static json_t *byte_level(void)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                     1);
}

static json_t *added_tokens(const json_t *vocab, const char *const *special, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; ++i) {
        json_t *id = json_object_get(vocab, special[i]);
        if (id == NULL) continue;
        json_t *token = json_pack("{s:O, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", special[i], "single_word",
                                  0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
        if (json_array_append_new(list, token) == 0) continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

json_t *mep_bpe_compose_json(json_t *vocab, json_t *merges, const char *const *special, int64_t special_count)
{
    json_t *added = added_tokens(vocab, special, special_count);
    json_t *model = json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                              "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                              "byte_fallback", 0, "ignore_merges", 0, "vocab", vocab, "merges", merges);
    return json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
                     "added_tokens", added, "normalizer", "pre_tokenizer", byte_level(), "post_processor", byte_level(),
                     "decoder", byte_level(), "model", model);
}
