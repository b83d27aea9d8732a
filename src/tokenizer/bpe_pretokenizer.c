/* SPDX-License-Identifier: MIT */
/*
 * Reads the stages from JSON and splits text with them.
 */
#include "tokenizer/bpe.h"

#include <string.h>

#include "base/assertion.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"

/* GPT-2's pattern, which {"type": "ByteLevel", "use_regex": true} stands for. */
#define GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Two alternatives for words in upper and lower case, and what follows the number. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASES(END)                                                                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" END "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" END "|"
#define CASES_END "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* Patterns that split text after every word, that is, between a letter or number and white space:
 * 1. each letter or number alone matches, so that none is left between two matches;
 * 2. no match has white space after a letter or number, so that every match of one ends there;
 * 3. they look ahead only after white space and never look behind, so that neither half depends on the other.
 * Other patterns may have this property too, but texts are not split for them. */
static const char *const SPLITS_WORDS[] = {
    GPT2_PATTERN,                   /* also GPT-NeoX, Pythia */
    " ?[^(\\s|[.,!?…。，、।۔،])]+", /* BLOOM */
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", /* Llama 3 */
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", /* Qwen 2 */
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",                               /* Qwen 3.5 */
    CASES("") "\\p{N}" CASES_END,                                   /* Mistral Nemo */
    CASES("(?i:'s|'t|'re|'ve|'m|'ll|'d)?") "\\p{N}{1,3}" CASES_END, /* o200k: GPT-4o, gpt-oss */
    NULL};

static int splits_words(const char *pattern)
{
    for (int i = 0; SPLITS_WORDS[i] != NULL; ++i)
        if (strcmp(pattern, SPLITS_WORDS[i]) == 0) return 1;
    return 0;
}

static const char *type_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type != NULL ? type : "(no type)";
}

/* A flag that may be missing. */
static int flag(const json_t *object, const char *key, int fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

static mep_status add_byte_level(mep_bpe_stage *stage, const json_t *object)
{
    stage->prefix_space = flag(object, "add_prefix_space", 1);
    if (!flag(object, "use_regex", 1)) return MEP_OK;
    stage->splits_words = 1;
    return mep_bpe_pattern_compile(GPT2_PATTERN, 0, &stage->code);
}

static mep_status read_behavior(mep_bpe_stage *stage, const char *type, const char *behavior)
{
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    static_assert(sizeof names / sizeof *names == MEP_BPE_CONTIGUOUS + 1, "one name per behavior, in the same order");
    for (int i = 0; behavior != NULL && i <= MEP_BPE_CONTIGUOUS; ++i) {
        if (strcmp(behavior, names[i]) != 0) continue;
        stage->behavior = (mep_bpe_behavior)i;
        return MEP_OK;
    }
    return mep_fail(MEP_ERROR_UNSUPPORTED, "the pre_tokenizer %s has the unknown behavior \"%s\"", type,
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
    stage->splits_words = regex != NULL && stage->behavior == MEP_BPE_ISOLATED && splits_words(regex);
    return mep_bpe_pattern_compile(regex != NULL ? regex : literal, regex == NULL, &stage->code);
}

/* Add a stage that matches single characters of a class, none of which is a blank. */
static mep_status add_class(mep_bpe_stage *stage, mep_bpe_class class)
{
    stage->is_class = stage->behavior == MEP_BPE_ISOLATED || stage->behavior == MEP_BPE_CONTIGUOUS;
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

/* "prepend_scheme" is missing in files of older versions, which have "add_prefix_space". */
static mep_status read_prepend(mep_bpe_stage *stage, const json_t *object)
{
    static const char *const names[] = {"never", "first", "always"};
    static_assert(sizeof names / sizeof *names == MEP_BPE_PREPEND_ALWAYS + 1, "one name per scheme, in the same order");
    const char *scheme = json_string_value(json_object_get(object, "prepend_scheme"));
    stage->prepend = flag(object, "add_prefix_space", 1) ? MEP_BPE_PREPEND_ALWAYS : MEP_BPE_PREPEND_NEVER;
    for (int i = 0; scheme != NULL && i <= MEP_BPE_PREPEND_ALWAYS; ++i) {
        if (strcmp(scheme, names[i]) != 0) continue;
        stage->prepend = (mep_bpe_prepend)i;
        return MEP_OK;
    }
    if (scheme == NULL) return MEP_OK;
    return mep_fail(MEP_ERROR_UNSUPPORTED, "the pre_tokenizer Metaspace has the unknown prepend_scheme \"%s\"", scheme);
}

static mep_status add_metaspace(mep_bpe_stage *stage, const json_t *object)
{
    const char *character = json_string_value(json_object_get(object, "replacement"));
    uint32_t code = 0;
    size_t size = character != NULL ? strlen(character) : 0;
    if (size == 0 || size >= sizeof stage->metaspace || mep_utf8_decode(character, (int64_t)size, &code) != (int)size)
        return mep_fail(MEP_ERROR_FORMAT, "the pre_tokenizer Metaspace has no replacement of one character");
    memcpy(stage->metaspace, character, size);
    MEP_TRY(read_prepend(stage, object));
    if (!flag(object, "split", 1)) return MEP_OK;
    stage->behavior = MEP_BPE_NEXT;
    return mep_bpe_pattern_compile(character, 1, &stage->code);
}

/* Append a pre_tokenizer. */
static mep_status add_stage(mep_bpe_pretokenizer *pretokenizer, const json_t *object)
{
    static const struct {
        const char *type;
        mep_status (*add)(mep_bpe_stage *stage, const json_t *object);
    } known[] = {{"ByteLevel", add_byte_level},
                 {"Split", add_split},
                 {"Digits", add_digits},
                 {"Punctuation", add_punctuation},
                 {"Metaspace", add_metaspace}};
    const char *type = type_of(object);
    if (pretokenizer->count == MEP_BPE_STAGES)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "there are more than %d pre_tokenizers", MEP_BPE_STAGES);
    for (int i = 0; i < (int)(sizeof known / sizeof *known); ++i) {
        if (strcmp(type, known[i].type) != 0) continue;
        if (i == 0 && pretokenizer->byte_level >= 0)
            return mep_fail(MEP_ERROR_UNSUPPORTED, "there are two pre_tokenizers of type ByteLevel");
        if (i == 0) pretokenizer->byte_level = pretokenizer->count;
        return known[i].add(&pretokenizer->stages[pretokenizer->count++], object);
    }
    return mep_fail(MEP_ERROR_UNSUPPORTED,
                    "the pre_tokenizer \"%s\" is not supported; the supported ones are ByteLevel, Split, Digits, "
                    "Punctuation and Metaspace",
                    type);
}

/* Metaspace belongs to vocabularies of characters, ByteLevel to those of bytes. */
static mep_status check_stages(const mep_bpe_pretokenizer *pretokenizer)
{
    for (int i = 0; pretokenizer->byte_level >= 0 && i < pretokenizer->count; ++i)
        if (pretokenizer->stages[i].metaspace[0] != '\0')
            return mep_fail(MEP_ERROR_UNSUPPORTED,
                            "the pre_tokenizers Metaspace and ByteLevel together are not supported");
    return MEP_OK;
}

static mep_status add_stages(mep_bpe_pretokenizer *pretokenizer, const json_t *object)
{
    size_t i;
    json_t *item;
    pretokenizer->byte_level = -1;
    if (object == NULL || json_is_null(object)) return MEP_OK;
    if (strcmp(type_of(object), "Sequence") == 0) {
        json_array_foreach(json_object_get(object, "pretokenizers"), i, item) MEP_TRY(add_stage(pretokenizer, item));
    } else {
        MEP_TRY(add_stage(pretokenizer, object));
    }
    return check_stages(pretokenizer);
}

mep_status mep_bpe_pretokenizer_init(mep_bpe_pretokenizer *pretokenizer, const json_t *normalizer,
                                     const json_t *pre_tokenizer)
{
    MEP_TRY(mep_bpe_normalizers_init(pretokenizer, normalizer));
    return add_stages(pretokenizer, pre_tokenizer);
}

void mep_bpe_pretokenizer_free(mep_bpe_pretokenizer *pretokenizer)
{
    for (int i = 0; i < pretokenizer->count; ++i) pcre2_code_free(pretokenizer->stages[i].code);
    for (int i = 0; i < pretokenizer->normalizer_count; ++i) {
        mep_bpe_normalizer *step = &pretokenizer->normalizers[i];
        pcre2_code_free(step->code);
        mep_free(&step->content);
        mep_free(&step->literal);
    }
    pretokenizer->count = pretokenizer->normalizer_count = 0;
}

/* 1 if splitting a text before a space changes nothing in the two halves: the space becomes the character that begins
 * words, and nothing else is replaced or split. */
static int keeps_sections(const mep_bpe_pretokenizer *pretokenizer)
{
    int replaces = 0;
    for (int i = 0; i < pretokenizer->normalizer_count; ++i) {
        const mep_bpe_normalizer *step = &pretokenizer->normalizers[i];
        if (step->kind != MEP_BPE_REPLACE) continue;
        if (step->literal == NULL || strcmp(step->literal, " ") != 0 || strcmp(step->content, MEP_BPE_WORD_MARK) != 0)
            return 0;
        replaces = 1;
    }
    for (int i = 0; i < pretokenizer->count; ++i) {
        if (strcmp(pretokenizer->stages[i].metaspace, MEP_BPE_WORD_MARK) != 0) return 0;
        replaces = 1;
    }
    return replaces;
}

/* The first pattern decides, because later stages see only its pre-tokens. Stages of a class before it do not matter: a
 * split at a blank only makes their pre-tokens shorter, and a pattern that splits words splits them there in any case.
 * With prefix_space only " " is returned: the second half then begins with a space and gets no other one. */
const char *mep_bpe_pretokenizer_split_characters(const mep_bpe_pretokenizer *pretokenizer)
{
    int prefix_space = 0;
    if (pretokenizer->byte_level < 0) return keeps_sections(pretokenizer) ? " " : "";
    for (int i = 0; i < pretokenizer->count; ++i) {
        const mep_bpe_stage *stage = &pretokenizer->stages[i];
        prefix_space |= stage->prefix_space;
        if (stage->is_class) continue;
        if (stage->code != NULL) return !stage->splits_words ? "" : prefix_space ? " " : " \t\n\v\f\r";
    }
    return "";
}

/* ---- Splitting ---- */

/* The arguments of one call of mep_bpe_pretokenizer_run. */
typedef struct call {
    const mep_bpe_pretokenizer *pretokenizer;
    pcre2_match_data *match;
    mep_bpe_pretoken_fn pretoken;
    void *context;
} call;

/* A text of a stage. */
typedef struct piece {
    const char *text;
    int64_t size;
    mep_bpe_start start;
} piece;

static mep_status run_stage(const call *c, int stage, const piece *p);

/* Output a pre-token of the last stage. If stages follow ByteLevel, the text is in characters of bytes. */
static mep_status output_pretoken(const call *c, const char *text, int64_t size)
{
    char *bytes = NULL;
    int64_t count = 0;
    if (c->pretokenizer->byte_level < 0 || c->pretokenizer->byte_level == c->pretokenizer->count - 1)
        return c->pretoken(c->context, text, size);
    MEP_TRY(MEP_ALLOC(&bytes, size));
    for (int64_t at = 0; at < size;) {
        uint32_t code = 0;
        at += mep_utf8_decode(text + at, size - at, &code);
        bytes[count++] = (char)mep_bpe_byte_of_code(code);
    }
    mep_status status = c->pretoken(c->context, bytes, count);
    mep_free(&bytes);
    return status;
}

/* A pre-token that is assembled from matches and the text between them, as in Hugging Face's split_normalized. */
typedef struct assembly {
    const call *c;
    const piece *complete;
    int stage;
    int64_t first, last; /* the pre-token so far; empty: none */
    int was_match;       /* the range before this one was a match */
} assembly;

static mep_status flush(assembly *j)
{
    int64_t first = j->first, last = j->last;
    j->first = j->last;
    if (last == first) return MEP_OK;
    if (j->stage + 1 == j->c->pretokenizer->count) /* most pre-tokens of most tokenizers */
        return output_pretoken(j->c, j->complete->text + first, last - first);
    const piece part = {.text = j->complete->text + first,
                        .size = last - first,
                        .start = first == 0 ? j->complete->start : MEP_BPE_SECTION};
    return run_stage(j->c, j->stage + 1, &part);
}

/* Take the next range of the text, which may join the pre-token. */
static mep_status take_range(assembly *j, int64_t first, int64_t last, int is_match)
{
    const mep_bpe_stage *stage = &j->c->pretokenizer->stages[j->stage];
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

/* Pass the matches of a stage and the text between them to the next stage. */
static mep_status split_text(const call *c, int stage, const piece *p)
{
    const pcre2_code *code = c->pretokenizer->stages[stage].code;
    assembly j = {.c = c, .complete = p, .stage = stage};
    if (code == NULL) return run_stage(c, stage + 1, p);
    for (int64_t done = 0, first, last; done < p->size; done = last) {
        MEP_TRY(mep_bpe_pattern_next(code, c->match, p->text, p->size, done, &first, &last));
        if (first < 0) first = last = p->size;
        MEP_TRY(take_range(&j, done, first, 0));
        MEP_TRY(take_range(&j, first, last, 1));
    }
    return flush(&j);
}

/* The stages after ByteLevel get characters of bytes. */
static mep_status run_on_characters(const call *c, int stage, const piece *p)
{
    char *characters = NULL;
    piece made = {.start = p->start};
    MEP_TRY(MEP_ALLOC(&characters, 2 * p->size));
    for (int64_t i = 0; i < p->size; ++i)
        made.size += mep_utf8_encode(mep_bpe_code_of_byte((unsigned char)p->text[i]), characters + made.size);
    made.text = characters;
    mep_status status = split_text(c, stage, &made);
    mep_free(&characters);
    return status;
}

static mep_status run_with_space(const call *c, int stage, const piece *p)
{
    char *longer = NULL;
    MEP_TRY(MEP_ALLOC(&longer, p->size + 1));
    longer[0] = ' ';
    memcpy(longer + 1, p->text, (size_t)p->size);
    mep_status status = split_text(c, stage, &(piece){.text = longer, .size = p->size + 1, .start = p->start});
    mep_free(&longer);
    return status;
}

/* Metaspace: replace the spaces and put the prefix before the text. */
static mep_status run_metaspace(const call *c, int stage, const piece *p)
{
    const mep_bpe_stage *s = &c->pretokenizer->stages[stage];
    const char *end = p->text + p->size;
    int64_t width = (int64_t)strlen(s->metaspace), spaces = 1;
    int starts = p->text[0] == ' ' || (p->size >= width && memcmp(p->text, s->metaspace, (size_t)width) == 0);
    int wanted = (s->prepend == MEP_BPE_PREPEND_ALWAYS && p->start != MEP_BPE_CONTINUED) ||
                 (s->prepend == MEP_BPE_PREPEND_FIRST && p->start == MEP_BPE_FIRST);
    char *made = NULL, *to;
    for (const char *at = p->text; at < end; ++at) spaces += *at == ' ';
    MEP_TRY(MEP_ALLOC(&made, p->size + spaces * (width - 1) + width));
    to = made;
    if (wanted && !starts) {
        memcpy(to, s->metaspace, (size_t)width);
        to += width;
    }
    for (const char *at = p->text; at < end; ++at) {
        if (*at != ' ') {
            *to++ = *at;
            continue;
        }
        memcpy(to, s->metaspace, (size_t)width);
        to += width;
    }
    mep_status status = split_text(c, stage, &(piece){.text = made, .size = to - made, .start = p->start});
    mep_free(&made);
    return status;
}

/* Pass a text to stage number `stage` of the pretokenizer, which passes its pieces to the next stage; after the last
 * stage a piece is a pre-token. */
static mep_status run_stage(const call *c, int stage, const piece *p)
{
    const mep_bpe_pretokenizer *pretokenizer = c->pretokenizer;
    if (stage == pretokenizer->count) return output_pretoken(c, p->text, p->size);
    if (pretokenizer->byte_level >= 0 && stage == pretokenizer->byte_level + 1) return run_on_characters(c, stage, p);
    if (pretokenizer->stages[stage].metaspace[0] != '\0') return run_metaspace(c, stage, p);
    int adds_space = pretokenizer->stages[stage].prefix_space && p->text[0] != ' ';
    return adds_space ? run_with_space(c, stage, p) : split_text(c, stage, p);
}

mep_status mep_bpe_pretokenizer_run(const mep_bpe_pretokenizer *pretokenizer, const mep_bpe_text *text,
                                    mep_bpe_pretoken_fn pretoken, void *context)
{
    call c = {.pretokenizer = pretokenizer, .match = text->match, .pretoken = pretoken, .context = context};
    const piece complete = {.text = text->bytes, .size = text->size, .start = text->start};
    return text->size > 0 ? run_stage(&c, 0, &complete) : MEP_OK;
}
