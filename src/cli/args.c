/* SPDX-License-Identifier: MIT */
/*
 * Parsing of command-line options. The help page is in help.c.
 */
#include "cli/args.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/help.h"
#include "cli/size_text.h"

enum { WORD = 64 };

int64_t mep_edit_distance(const char *a, const char *b)
{
    int64_t rows = (int64_t)strlen(a), columns = (int64_t)strlen(b), row[WORD + 1];
    if (columns > WORD) return rows + columns;
    for (int64_t j = 0; j <= columns; j++) row[j] = j;
    for (int64_t i = 1; i <= rows; i++) {
        int64_t diagonal = row[0];
        row[0] = i;
        for (int64_t j = 1; j <= columns; j++) {
            int64_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            int64_t added = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = replaced < added ? replaced : added;
        }
    }
    return row[columns];
}

static int is_option(const mep_option *option)
{
    return option->kind != MEP_OPTION_GROUP;
}

/* The row whose name is the first `size` characters of `name`; NULL if there is none. */
static mep_option *find_name(mep_option *options, const char *name, size_t size)
{
    for (mep_option *option = options; option->kind != MEP_OPTION_END; option++)
        if (is_option(option) && strlen(option->name) == size && strncmp(option->name, name, size) == 0) return option;
    return NULL;
}

static mep_option *find_letter(mep_option *options, char letter)
{
    for (mep_option *option = options; option->kind != MEP_OPTION_END; option++)
        if (is_option(option) && option->letter != 0 && option->letter == letter) return option;
    return NULL;
}

static int unknown_option(const mep_usage *usage, const char *word, size_t size)
{
    char name[WORD];
    snprintf(name, sizeof name, "%.*s", (int)(size < WORD ? size : WORD - 1), word);
    const char *nearest = NULL;
    int64_t best = 1 + (int64_t)strlen(name) / 3;
    for (const mep_option *option = usage->options; option->kind != MEP_OPTION_END; option++) {
        int64_t distance = is_option(option) ? mep_edit_distance(name, option->name) : INT64_MAX;
        if (distance > best || (distance == best && nearest != NULL)) continue;
        best = distance;
        nearest = option->name;
    }
    if (nearest == NULL) return mep_cli_usage(usage->command, "there is no option %s", name);
    return mep_cli_usage(usage->command, "there is no option %s; did you mean %s?", name, nearest);
}

/* The factor of the suffix at `end`; 0 if it is not a suffix. */
static int64_t suffix_factor(mep_option_kind kind, const char *end)
{
    int64_t unit = kind == MEP_OPTION_INT ? 1000 : 1024;
    if (*end == '\0') return 1;
    if (end[1] != '\0') return 0;
    switch (*end) {
    case 'k':
    case 'K':
        return unit;
    case 'm':
    case 'M':
        return unit * unit;
    case 'g':
    case 'G':
        return unit * unit * unit;
    default:
        return 0;
    }
}

/* Return 1 if `text` is an integer in the range of the option. */
static int read_integer(const mep_option *option, const char *text, int64_t *number)
{
    char *end;
    if (!isdigit((unsigned char)*text) && !((*text == '-' || *text == '+') && isdigit((unsigned char)text[1])))
        return 0;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    int64_t factor = suffix_factor(option->kind == MEP_OPTION_INT ? MEP_OPTION_INT : MEP_OPTION_LENGTH, end), product;
    if (errno != 0 || factor == 0 || __builtin_mul_overflow((int64_t)value, factor, &product)) return 0;
    if (product < option->min || product > option->max) return 0;
    *number = product;
    return 1;
}

static int wrong_integer(const mep_usage *usage, const mep_option *option, const char *text)
{
    if (option->max == INT64_MAX)
        return mep_cli_usage(usage->command, "%s: \"%s\" is not an integer of at least %lld", option->name, text,
                             (long long)option->min);
    return mep_cli_usage(usage->command, "%s: \"%s\" is not an integer from %lld to %lld", option->name, text,
                         (long long)option->min, (long long)option->max);
}

static int set_integer(const mep_usage *usage, mep_option *option, const char *text)
{
    return read_integer(option, text, option->target.integer) ? MEP_ARGS_GO : wrong_integer(usage, option, text);
}

static int set_bytes(const mep_usage *usage, mep_option *option, const char *text)
{
    int64_t bytes;
    if (!mep_bytes_read(text, &bytes))
        return mep_cli_usage(usage->command, "%s: \"%s\" is not a size such as 500MB, 50GB or 2GiB", option->name,
                             text);
    *option->target.integer = bytes;
    return MEP_ARGS_GO;
}

static int set_real(const mep_usage *usage, mep_option *option, const char *text)
{
    char *end;
    double value = isspace((unsigned char)*text) ? NAN : strtod(text, &end);
    if (!isnan(value) && end != text && *end == '\0' && isfinite(value) && value >= option->low &&
        value <= option->high) {
        *option->target.real = value;
        return MEP_ARGS_GO;
    }
    if (!isfinite(option->high))
        return mep_cli_usage(usage->command, "%s: \"%s\" is not a number of at least %g", option->name, text,
                             option->low);
    return mep_cli_usage(usage->command, "%s: \"%s\" is not a number from %g to %g", option->name, text, option->low,
                         option->high);
}

static int set_choice(const mep_usage *usage, mep_option *option, const char *text)
{
    char list[256] = "";
    for (int i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(option->choices[i], text) == 0) {
            *option->target.choice = i;
            return MEP_ARGS_GO;
        }
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i == 0 ? "" : ", ", option->choices[i]);
    }
    return mep_cli_usage(usage->command, "%s: \"%s\" is not one of %s", option->name, text, list);
}

static int too_many(const mep_usage *usage, const mep_option *option)
{
    return mep_cli_usage(usage->command, "%s: more than %d values", option->name, MEP_ARGS_LIST);
}

/* Lengths, separated by commas, replace the default list. */
static int set_lengths(const mep_usage *usage, mep_option *option, char *text)
{
    mep_lengths *list = option->target.lengths;
    list->count = 0;
    for (char *next = text; next != NULL;) {
        char *item = next, *comma = strchr(item, ',');
        next = comma == NULL ? NULL : comma + 1;
        if (comma != NULL) *comma = '\0';
        if (list->count == MEP_ARGS_LIST) return too_many(usage, option);
        if (!read_integer(option, item, &list->values[list->count])) return wrong_integer(usage, option, item);
        list->count++;
    }
    return MEP_ARGS_GO;
}

/* Return 1 if a comma after these `size` characters belongs to a bias spec with options ("mep/learn=weights,slopes") or
 * to a mixture of datasets. A '/' alone is part of the path of a dataset. */
static int has_options(const char *text, size_t size)
{
    return memchr(text, ':', size) != NULL || memchr(text, '=', size) != NULL;
}

/* Texts, separated by ';', or by commas before any option of a bias spec. The first use replaces the default list. */
static int set_texts(const mep_usage *usage, mep_option *option, char *text)
{
    mep_texts *list = option->target.texts;
    if (!option->given) list->count = 0;
    if (option->whole && *text == '\0') return mep_cli_usage(usage->command, "%s: an empty value", option->name);
    if (option->whole && list->count < MEP_ARGS_LIST) {
        list->values[list->count++] = text;
        return MEP_ARGS_GO;
    }
    for (char *next = text; next != NULL;) {
        char *item = next + strspn(next, " \t"), *end = item + strcspn(item, ",;");
        while (*end == ',' && has_options(item, (size_t)(end - item))) end += 1 + strcspn(end + 1, ",;");
        next = *end == '\0' ? NULL : end + 1;
        while (end > item && isspace((unsigned char)end[-1])) end--;
        *end = '\0';
        if (*item == '\0') return mep_cli_usage(usage->command, "%s: an empty value", option->name);
        if (list->count == MEP_ARGS_LIST) return too_many(usage, option);
        list->values[list->count++] = item;
    }
    return MEP_ARGS_GO;
}

static int set_value(const mep_usage *usage, mep_option *option, char *text)
{
    int code = MEP_ARGS_GO;
    switch (option->kind) {
    case MEP_OPTION_FLAG:
        *option->target.flag = option->value_set;
        break;
    case MEP_OPTION_INT:
    case MEP_OPTION_LENGTH:
        code = set_integer(usage, option, text);
        break;
    case MEP_OPTION_BYTES:
        code = set_bytes(usage, option, text);
        break;
    case MEP_OPTION_REAL:
        code = set_real(usage, option, text);
        break;
    case MEP_OPTION_TEXT:
        if (*text == '\0' && !option->may_be_empty)
            return mep_cli_usage(usage->command, "%s: an empty value; it needs %s", option->name, option->value);
        *option->target.text = text;
        break;
    case MEP_OPTION_CHOICE:
        code = set_choice(usage, option, text);
        break;
    case MEP_OPTION_LENGTHS:
        code = set_lengths(usage, option, text);
        break;
    case MEP_OPTION_TEXTS:
        code = set_texts(usage, option, text);
        break;
    case MEP_OPTION_GROUP:
    case MEP_OPTION_END:
        break;
    }
    option->given = 1;
    return code;
}

/* Parse the option at argv[*i] and its value; *i becomes the index of the last word that was used. */
static int parse_option(const mep_usage *usage, int argc, char **argv, int *i)
{
    char *word = argv[*i], *value = NULL;
    int is_long = word[1] == '-';
    size_t size = is_long ? strcspn(word, "=") : 2;
    mep_option *option = is_long ? find_name(usage->options, word, size) : find_letter(usage->options, word[1]);
    if (option == NULL) return unknown_option(usage, word, size);
    if (option->given && option->kind != MEP_OPTION_TEXTS && option->kind != MEP_OPTION_FLAG)
        return mep_cli_usage(usage->command, "%s is given twice; it takes one value%s", option->name,
                             option->kind == MEP_OPTION_LENGTHS ? ", which may be a list with commas" : "");
    if (word[size] != '\0') value = word + size + is_long;
    if (option->kind == MEP_OPTION_FLAG) {
        if (value != NULL) return mep_cli_usage(usage->command, "%s takes no value", option->name);
    } else if (value == NULL) {
        if (*i + 1 >= argc) return mep_cli_usage(usage->command, "%s needs a value: %s", option->name, option->value);
        value = argv[++*i];
    }
    return set_value(usage, option, value);
}

static int check_count(const mep_usage *usage, char **argv, int count)
{
    if (count > usage->max_arguments && usage->max_arguments == 0)
        return mep_cli_usage(usage->command, "takes no argument \"%s\"", argv[1]);
    if (count > usage->max_arguments)
        return mep_cli_usage(usage->command, "one argument too many: \"%s\"", argv[usage->max_arguments + 1]);
    if (count < usage->min_arguments) return mep_cli_usage(usage->command, "needs %s", usage->arguments);
    return MEP_ARGS_GO;
}

int mep_args_parse(const mep_usage *usage, int argc, char **argv, int *count)
{
    int options_ended = 0;
    *count = 0;
    for (mep_option *option = usage->options; option->kind != MEP_OPTION_END; option++) option->given = 0;
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        if (!options_ended && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            mep_help_print(usage, stdout);
            return MEP_EXIT_OK;
        }
        if (!options_ended && strcmp(word, "--") == 0) {
            options_ended = 1;
        } else if (!options_ended && word[0] == '-' && word[1] != '\0') {
            int code = parse_option(usage, argc, argv, &i);
            if (code != MEP_ARGS_GO) return code;
        } else if (*word == '\0') {
            return mep_cli_usage(usage->command, "an argument is empty");
        } else {
            argv[++*count] = word;
        }
    }
    return check_count(usage, argv, *count);
}

int mep_args_given(const mep_option *options, const char *name)
{
    for (; options->kind != MEP_OPTION_END; options++)
        if (is_option(options) && strcmp(options->name, name) == 0) return options->given;
    return 0;
}

int mep_args_words(const char *command, const char *option, const mep_texts *texts, const char *const *words,
                   int64_t *indices)
{
    for (int64_t i = 0; i < texts->count; i++) {
        char list[128] = "";
        indices[i] = -1;
        for (int64_t w = 0; words[w] != NULL; w++) {
            if (strcmp(texts->values[i], words[w]) == 0) indices[i] = w;
            size_t used = strlen(list);
            snprintf(list + used, sizeof list - used, "%s%s", w == 0 ? "" : ", ", words[w]);
        }
        if (indices[i] < 0)
            return mep_cli_usage(command, "%s: \"%s\" is not one of %s", option, texts->values[i], list);
        for (int64_t k = 0; k < i; k++)
            if (indices[k] == indices[i])
                return mep_cli_usage(command, "%s: %s is given twice", option, texts->values[i]);
    }
    return MEP_ARGS_GO;
}

void mep_args_default(mep_option *options, const char *name, const char *text)
{
    for (; options->kind != MEP_OPTION_END; options++)
        if (is_option(options) && strcmp(options->name, name) == 0) options->default_text = text;
}
