/* SPDX-License-Identifier: MIT */
/*
 * Reading the stages from JSON, and cutting text by them.
 */
#include "text/bpe_split.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* Of GPT-2; what {"type": "ByteLevel", "use_regex": true} stands for. */
#define GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Patterns that divide text behind every word, that is, between a letter or number and white space:
 * 1. each letter and number by itself is a match, so that none lies between two matches;
 * 2. no match has white space behind a letter or number, so that every match of one ends there;
 * 3. they look ahead only behind white space, and never back, so that neither part sees the other.
 * A pattern that is not among them may do so too; texts are then not divided. */
static const char *const PARTS_WORDS[] = {
    GPT2_PATTERN,                   /* GPT-NeoX's and Pythia's too */
    " ?[^(\\s|[.,!?…。，、।۔،])]+", /* BLOOM */
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", /* Llama 3 */
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", /* Qwen 2 */
    NULL};

static int parts_words(const char *pattern)
{
    for (int i = 0; PARTS_WORDS[i] != NULL; ++i)
        if (strcmp(pattern, PARTS_WORDS[i]) == 0) return 1;
    return 0;
}

static const char *type_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type != NULL ? type : "of no type";
}

/* A flag of Hugging Face's, which may be missing. */
static int flag(const json_t *object, const char *key, int fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

static mep_status add_byte_level(mep_bpe_stage *stage, const json_t *object)
{
    stage->prefix_space = flag(object, "add_prefix_space", 1);
    if (!flag(object, "use_regex", 1)) return MEP_OK;
    stage->parts_words = 1;
    return mep_bpe_pattern_compile(GPT2_PATTERN, 0, &stage->code);
}

static mep_status add_split(mep_bpe_stage *stage, const json_t *object)
{
    const json_t *pattern = json_object_get(object, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    const char *behavior = json_string_value(json_object_get(object, "behavior"));
    if (behavior == NULL || strcmp(behavior, "Isolated") != 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED,
                        "the pre_tokenizer Split has the behavior \"%s\"; only Isolated is known",
                        behavior != NULL ? behavior : "");
    if (regex == NULL && literal == NULL)
        return mep_fail(MEP_ERROR_FORMAT, "the pre_tokenizer Split has no pattern, Regex or String");
    stage->parts_words = regex != NULL && parts_words(regex);
    return mep_bpe_pattern_compile(regex != NULL ? regex : literal, regex == NULL, &stage->code);
}

/* Append a pre_tokenizer. `byte_level` counts those of the type ByteLevel, of which there has to be one, at the end. */
static mep_status add_stage(mep_bpe_splitter *splitter, const json_t *object, int *byte_level)
{
    const char *type = type_of(object);
    int is_byte_level = strcmp(type, "ByteLevel") == 0;
    if (*byte_level > 0) return mep_fail(MEP_ERROR_UNSUPPORTED, "the pre_tokenizer ByteLevel is not the last one");
    if (splitter->count == MEP_BPE_STAGES)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "there are more than %d pre_tokenizers", MEP_BPE_STAGES);
    mep_bpe_stage *stage = &splitter->stages[splitter->count++];
    *byte_level += is_byte_level;
    if (is_byte_level) return add_byte_level(stage, object);
    if (strcmp(type, "Split") == 0) return add_split(stage, object);
    return mep_fail(MEP_ERROR_UNSUPPORTED, "the pre_tokenizer \"%s\" is not known; known are ByteLevel and Split",
                    type);
}

static mep_status add_stages(mep_bpe_splitter *splitter, const json_t *object)
{
    int byte_level = 0;
    size_t i;
    json_t *item;
    if (strcmp(type_of(object), "Sequence") == 0) {
        json_array_foreach(json_object_get(object, "pretokenizers"), i, item)
        {
            MEP_TRY(add_stage(splitter, item, &byte_level));
        }
    } else {
        MEP_TRY(add_stage(splitter, object, &byte_level));
    }
    if (byte_level == 1) return MEP_OK;
    return mep_fail(MEP_ERROR_UNSUPPORTED, "there is no pre_tokenizer ByteLevel: this is no byte-level BPE");
}

static mep_status add_normalizer(mep_bpe_splitter *splitter, const json_t *object)
{
    const json_t *list = json_object_get(object, "normalizers");
    if (object == NULL || json_is_null(object)) return MEP_OK;
    if (strcmp(type_of(object), "Sequence") == 0 && json_is_array(list) && json_array_size(list) == 0) return MEP_OK;
    if (strcmp(type_of(object), "NFC") != 0)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "the normalizer \"%s\" is not known; known are NFC and none",
                        type_of(object));
    splitter->nfc = 1;
    return MEP_OK;
}

mep_status mep_bpe_splitter_init(mep_bpe_splitter *splitter, const json_t *normalizer, const json_t *pre_tokenizer)
{
    MEP_TRY(add_normalizer(splitter, normalizer));
    return add_stages(splitter, pre_tokenizer);
}

void mep_bpe_splitter_free(mep_bpe_splitter *splitter)
{
    for (int i = 0; i < splitter->count; ++i) pcre2_code_free(splitter->stages[i].code);
    splitter->count = 0;
}

/* The first pattern decides: the stages behind it see its pieces alone. What would get a space before it has one, so
 * that a part in the middle of a text does not get another. */
const char *mep_bpe_splitter_divides(const mep_bpe_splitter *splitter)
{
    int prefix_space = 0;
    for (int i = 0; i < splitter->count; ++i) {
        const mep_bpe_stage *stage = &splitter->stages[i];
        prefix_space |= stage->prefix_space;
        if (stage->code != NULL) return !stage->parts_words ? "" : prefix_space ? " " : " \t\n\v\f\r";
    }
    return "";
}

/* ---- Cutting ---- */

typedef struct cut {
    const mep_bpe_splitter *splitter;
    pcre2_match_data *match;
    mep_bpe_piece_fn piece;
    void *context;
} cut;

static mep_status run_stage(const cut *c, int stage, const char *text, int64_t size);

/* Matches and what lies between them go to the next stage, or out. */
static mep_status cut_text(const cut *c, int stage, const char *text, int64_t size)
{
    const pcre2_code *code = c->splitter->stages[stage].code;
    int64_t done = 0, first, last;
    while (done < size) {
        if (code == NULL) return run_stage(c, stage + 1, text, size);
        MEP_TRY(mep_bpe_pattern_next(code, c->match, text, size, done, &first, &last));
        if (first < 0) first = last = size;
        if (first > done) MEP_TRY(run_stage(c, stage + 1, text + done, first - done));
        if (last > first) MEP_TRY(run_stage(c, stage + 1, text + first, last - first));
        done = last;
    }
    return MEP_OK;
}

static mep_status run_stage(const cut *c, int stage, const char *text, int64_t size)
{
    char *longer = NULL;
    if (stage == c->splitter->count) return c->piece(c->context, text, size);
    if (!c->splitter->stages[stage].prefix_space || text[0] == ' ') return cut_text(c, stage, text, size);
    MEP_TRY(mep_alloc(&longer, size + 1, 1));
    longer[0] = ' ';
    memcpy(longer + 1, text, (size_t)size);
    mep_status status = cut_text(c, stage, longer, size + 1);
    mep_free(&longer);
    return status;
}

mep_status mep_bpe_splitter_run(const mep_bpe_splitter *splitter, pcre2_match_data *match, const char *text,
                                int64_t size, mep_bpe_piece_fn piece, void *context)
{
    cut c = {splitter, match, piece, context};
    return size > 0 ? run_stage(&c, 0, text, size) : MEP_OK;
}
