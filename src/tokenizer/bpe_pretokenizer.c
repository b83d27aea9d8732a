/* SPDX-License-Identifier: MIT */
/*
 * Reading the stages from JSON, and cutting text by them.
 */
#include "tokenizer/bpe.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"

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

static mep_status read_behavior(mep_bpe_stage *stage, const char *type, const char *behavior)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    for (int i = 0; behavior != NULL && i < (int)(sizeof names / sizeof *names); ++i) {
        if (strcmp(behavior, names[i]) != 0) continue;
        stage->behavior = (mep_bpe_behavior)i;
        return MEP_OK;
    }
    return mep_fail(MEP_ERROR_UNSUPPORTED, "the pre_tokenizer %s has the behavior \"%s\", which is not known", type,
                    behavior != NULL ? behavior : "");
}

static mep_status add_split(mep_bpe_stage *stage, const json_t *object)
{
    const json_t *pattern = json_object_get(object, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *literal = json_string_value(json_object_get(pattern, "String"));
    MEP_TRY(read_behavior(stage, "Split", json_string_value(json_object_get(object, "behavior"))));
    if (regex == NULL && literal == NULL)
        return mep_fail(MEP_ERROR_FORMAT, "the pre_tokenizer Split has no pattern, Regex or String");
    stage->invert = flag(object, "invert", 0);
    stage->parts_words = regex != NULL && stage->behavior == MEP_BPE_ISOLATED && parts_words(regex);
    return mep_bpe_pattern_compile(regex != NULL ? regex : literal, regex == NULL, &stage->code);
}

/* A stage that matches single characters of a class, none of them a blank. */
static mep_status add_class(mep_bpe_stage *stage, mep_bpe_class class)
{
    stage->of_class = stage->behavior == MEP_BPE_ISOLATED || stage->behavior == MEP_BPE_CONTIGUOUS;
    return mep_bpe_pattern_compile_class(class, &stage->code);
}

static mep_status add_digits(mep_bpe_stage *stage, const json_t *object)
{
    stage->behavior = flag(object, "individual_digits", 0) ? MEP_BPE_ISOLATED : MEP_BPE_CONTIGUOUS;
    return add_class(stage, MEP_BPE_DIGITS);
}

static mep_status add_punctuation(mep_bpe_stage *stage, const json_t *object)
{
    const json_t *behavior = json_object_get(object, "behavior");
    if (behavior != NULL) MEP_TRY(read_behavior(stage, "Punctuation", json_string_value(behavior)));
    return add_class(stage, MEP_BPE_PUNCTUATION);
}

/* Append a pre_tokenizer. */
static mep_status add_stage(mep_bpe_splitter *splitter, const json_t *object)
{
    static const struct {
        const char *type;
        mep_status (*add)(mep_bpe_stage *stage, const json_t *object);
    } known[] = {
        {"ByteLevel", add_byte_level}, {"Split", add_split}, {"Digits", add_digits}, {"Punctuation", add_punctuation}};
    const char *type = type_of(object);
    if (splitter->count == MEP_BPE_STAGES)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "there are more than %d pre_tokenizers", MEP_BPE_STAGES);
    for (int i = 0; i < (int)(sizeof known / sizeof *known); ++i) {
        if (strcmp(type, known[i].type) != 0) continue;
        if (i == 0 && splitter->byte_level >= 0)
            return mep_fail(MEP_ERROR_UNSUPPORTED, "there are two pre_tokenizers ByteLevel");
        if (i == 0) splitter->byte_level = splitter->count;
        return known[i].add(&splitter->stages[splitter->count++], object);
    }
    return mep_fail(MEP_ERROR_UNSUPPORTED,
                    "the pre_tokenizer \"%s\" is not known; known are ByteLevel, Split, Digits and Punctuation", type);
}

static mep_status add_stages(mep_bpe_splitter *splitter, const json_t *object)
{
    size_t i;
    json_t *item;
    splitter->byte_level = -1;
    if (strcmp(type_of(object), "Sequence") == 0) {
        json_array_foreach(json_object_get(object, "pretokenizers"), i, item) MEP_TRY(add_stage(splitter, item));
    } else {
        MEP_TRY(add_stage(splitter, object));
    }
    if (splitter->byte_level >= 0) return MEP_OK;
    return mep_fail(MEP_ERROR_UNSUPPORTED, "there is no pre_tokenizer ByteLevel: this is no byte-level BPE");
}

/* Append a normalizer, or those of a sequence, which may have sequences in it. */
static mep_status add_normalizer(mep_bpe_splitter *splitter, const json_t *object, int depth)
{
    static const char *const forms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    const json_t *list = json_object_get(object, "normalizers");
    const char *type = type_of(object);
    if (object == NULL || json_is_null(object)) return MEP_OK;
    if (strcmp(type, "Sequence") == 0 && json_is_array(list) && depth < MEP_BPE_FORMS) {
        for (size_t i = 0; i < json_array_size(list); ++i)
            MEP_TRY(add_normalizer(splitter, json_array_get(list, i), depth + 1));
        return MEP_OK;
    }
    for (int i = 0; i < (int)(sizeof forms / sizeof *forms); ++i) {
        if (strcmp(type, forms[i]) != 0) continue;
        if (splitter->form_count == MEP_BPE_FORMS)
            return mep_fail(MEP_ERROR_UNSUPPORTED, "there are more than %d normalizers", MEP_BPE_FORMS);
        splitter->forms[splitter->form_count++] = (mep_bpe_form)i;
        return MEP_OK;
    }
    return mep_fail(MEP_ERROR_UNSUPPORTED,
                    "the normalizer \"%s\" is not known; known are NFC, NFD, NFKC, NFKD, sequences of these, and none",
                    type);
}

mep_status mep_bpe_splitter_init(mep_bpe_splitter *splitter, const json_t *normalizer, const json_t *pre_tokenizer)
{
    MEP_TRY(add_normalizer(splitter, normalizer, 0));
    return add_stages(splitter, pre_tokenizer);
}

void mep_bpe_splitter_free(mep_bpe_splitter *splitter)
{
    for (int i = 0; i < splitter->count; ++i) pcre2_code_free(splitter->stages[i].code);
    splitter->count = 0;
}

/* The first pattern decides, because later stages see only its pieces. Stages of a class before it do not count: a cut at a
 * blank only makes their pieces shorter, and a pattern that separates words cuts them there in any case. A text that would
 * get a leading space has one already, so that a part from the middle of a text does not get another. */
const char *mep_bpe_splitter_divides(const mep_bpe_splitter *splitter)
{
    int prefix_space = 0;
    for (int i = 0; i < splitter->count; ++i) {
        const mep_bpe_stage *stage = &splitter->stages[i];
        prefix_space |= stage->prefix_space;
        if (stage->of_class) continue;
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

/* A piece that is being made of matches and the text between them, as Hugging Face's split_normalized does. */
typedef struct joining {
    const cut *c;
    const char *text;
    int stage;
    int64_t first, last; /* the piece so far; empty: none */
    int was_match;       /* the part before */
} joining;

static mep_status flush(joining *j)
{
    int64_t first = j->first, last = j->last;
    j->first = j->last;
    return last > first ? run_stage(j->c, j->stage + 1, j->text + first, last - first) : MEP_OK;
}

/* The next part of the text, which may join the piece. */
static mep_status take_part(joining *j, int64_t first, int64_t last, int is_match)
{
    const mep_bpe_stage *stage = &j->c->splitter->stages[j->stage];
    if (first == last) return MEP_OK;
    is_match ^= stage->invert;
    int joins = (stage->behavior == MEP_BPE_PREVIOUS && is_match && !j->was_match) ||
                (stage->behavior == MEP_BPE_NEXT && !is_match && j->was_match) ||
                (stage->behavior == MEP_BPE_CONTIGUOUS && is_match == j->was_match);
    if (!joins || j->first == j->last) {
        MEP_TRY(flush(j));
        j->first = first;
    }
    j->last = last;
    j->was_match = is_match;
    if (stage->behavior == MEP_BPE_REMOVED && is_match) j->first = j->last;
    return MEP_OK;
}

/* Matches and what lies between them go to the next stage, or out. */
static mep_status cut_text(const cut *c, int stage, const char *text, int64_t size)
{
    const pcre2_code *code = c->splitter->stages[stage].code;
    joining j = {.c = c, .text = text, .stage = stage};
    if (code == NULL) return run_stage(c, stage + 1, text, size);
    for (int64_t done = 0, first, last; done < size; done = last) {
        MEP_TRY(mep_bpe_pattern_next(code, c->match, text, size, done, &first, &last));
        if (first < 0) first = last = size;
        MEP_TRY(take_part(&j, done, first, 0));
        MEP_TRY(take_part(&j, first, last, 1));
    }
    return flush(&j);
}

/* A piece after the last stage: where that was not ByteLevel, it is characters of bytes. */
static mep_status give_piece(const cut *c, const char *text, int64_t size)
{
    char *bytes = NULL;
    int64_t count = 0;
    if (c->splitter->byte_level == c->splitter->count - 1) return c->piece(c->context, text, size);
    MEP_TRY(mep_alloc(&bytes, size, 1));
    for (int64_t at = 0; at < size;) {
        uint32_t code = 0;
        at += mep_utf8_decode(text + at, size - at, &code);
        bytes[count++] = (char)mep_bpe_byte_of_code(code);
    }
    mep_status status = c->piece(c->context, bytes, count);
    mep_free(&bytes);
    return status;
}

/* The stages after ByteLevel see characters of bytes. */
static mep_status run_on_characters(const cut *c, int stage, const char *text, int64_t size)
{
    char *characters = NULL;
    int64_t used = 0;
    MEP_TRY(mep_alloc(&characters, 2 * size, 1));
    for (int64_t i = 0; i < size; ++i)
        used += mep_utf8_encode(mep_bpe_code_of_byte((unsigned char)text[i]), characters + used);
    mep_status status = cut_text(c, stage, characters, used);
    mep_free(&characters);
    return status;
}

static mep_status run_stage(const cut *c, int stage, const char *text, int64_t size)
{
    char *longer = NULL;
    if (stage == c->splitter->count) return give_piece(c, text, size);
    if (stage == c->splitter->byte_level + 1) return run_on_characters(c, stage, text, size);
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
