/* SPDX-License-Identifier: MIT */
/*
 * Printing of help pages.
 */
#include "cli/help.h"

#include <string.h>

#include "cli/size_text.h"

enum { PAGE_WIDTH = 100, HELP_COLUMN = 30, LINE = 512 };

/* Print `text` word by word in lines of at most `width` columns. The first line starts at `column`, the others at
 * `indent`. A newline in the text ends a line; there is none at the end. */
static void wrap(FILE *file, const char *text, int column, int indent, int width)
{
    int at_start = 1;
    while (*text != '\0') {
        int length = (int)strcspn(text, " \n");
        if (!at_start && column + 1 + length > width) {
            fprintf(file, "\n%*s", indent, "");
            column = indent;
            at_start = 1;
        }
        column += fprintf(file, "%s%.*s", at_start ? "" : " ", length, text);
        at_start = 0;
        text += length;
        if (*text == '\n') {
            fprintf(file, "\n%*s", text[1] == '\0' ? 0 : indent, "");
            column = indent;
            at_start = 1;
        }
        if (*text != '\0') text++;
    }
}

/* Append one item of a list, separated by commas. */
static void append_item(char *line, const char *item)
{
    size_t used = strlen(line);
    snprintf(line + used, LINE - used, "%s%s", used == 0 ? "" : ",", item);
}

/* The default as text; "" if none is shown. */
static void default_text(const mep_option *option, char line[LINE])
{
    char length[24];
    line[0] = '\0';
    if (option->default_text != NULL) {
        snprintf(line, LINE, "%s", option->default_text);
        return;
    }
    switch (option->kind) {
    case MEP_OPTION_INT:
        snprintf(line, LINE, "%lld", (long long)*option->target.integer);
        break;
    case MEP_OPTION_LENGTH:
        snprintf(line, LINE, "%lld", (long long)*option->target.integer);
        break;
    case MEP_OPTION_BYTES:
        mep_bytes_text(*option->target.integer, length);
        snprintf(line, LINE, "%s", length);
        break;
    case MEP_OPTION_REAL:
        snprintf(line, LINE, "%g", *option->target.real);
        break;
    case MEP_OPTION_TEXT:
        if (*option->target.text != NULL) snprintf(line, LINE, "%s", *option->target.text);
        break;
    case MEP_OPTION_CHOICE:
        snprintf(line, LINE, "%s", option->choices[*option->target.choice]);
        break;
    case MEP_OPTION_LENGTHS:
        for (int64_t i = 0; i < option->target.lengths->count; i++) {
            mep_length_text(option->target.lengths->values[i], length);
            append_item(line, length);
        }
        break;
    case MEP_OPTION_TEXTS:
        for (int64_t i = 0; i < option->target.texts->count; i++) append_item(line, option->target.texts->values[i]);
        break;
    case MEP_OPTION_FLAG:
    case MEP_OPTION_GROUP:
    case MEP_OPTION_END:
        break;
    }
}

/* Returns 1 if a default was shown. */
static int print_option(const mep_option *option, FILE *file)
{
    char shown[LINE], text[2 * LINE + 256] = "";
    int column = 0;
    if (option->letter != 0)
        column = fprintf(file, "  -%c, %s", option->letter, option->name);
    else
        column = fprintf(file, "      %s", option->name);
    if (option->value != NULL) column += fprintf(file, " %s", option->value);
    if (column > HELP_COLUMN - 2) {
        fputc('\n', file);
        column = 0;
    }
    fprintf(file, "%*s", HELP_COLUMN - column, "");
    snprintf(text, sizeof text, "%s", option->help);
    if (option->choices != NULL) {
        char list[LINE] = "";
        for (int i = 0; option->choices[i] != NULL; i++) append_item(list, option->choices[i]);
        snprintf(text + strlen(text), sizeof text - strlen(text), ": %s", list);
    }
    default_text(option, shown);
    if (shown[0] != '\0') snprintf(text + strlen(text), sizeof text - strlen(text), " [%s]", shown);
    wrap(file, text, HELP_COLUMN, HELP_COLUMN, PAGE_WIDTH);
    fputc('\n', file);
    return shown[0] != '\0';
}

/* Print which suffixes numbers may have, if the table has such numbers. */
static void print_suffixes(const mep_option *options, FILE *file)
{
    int counts = 0, lengths = 0;
    for (; options->kind != MEP_OPTION_END; options++) {
        counts |= options->kind == MEP_OPTION_INT;
        lengths |= options->kind == MEP_OPTION_LENGTH || options->kind == MEP_OPTION_LENGTHS;
    }
    if (counts) fputs("Counts N may be written 5K, 2M (thousands, millions).\n", file);
    if (lengths) fputs("Lengths L may be written 4K, 1M (4096, 1048576 tokens).\n", file);
}

void mep_help_print(const mep_usage *usage, FILE *file)
{
    int defaults = 0;
    fprintf(file, "mep %s [OPTION ...]%s%s\n\n", usage->command, usage->arguments[0] == '\0' ? "" : " ",
            usage->arguments);
    wrap(file, usage->summary, 0, 0, PAGE_WIDTH);
    fputc('\n', file);
    if (usage->options[0].kind != MEP_OPTION_GROUP) fputs("\nOptions:\n", file);
    for (const mep_option *option = usage->options; option->kind != MEP_OPTION_END; option++) {
        if (option->kind == MEP_OPTION_GROUP)
            fprintf(file, "\n%s:\n", option->name);
        else
            defaults |= print_option(option, file);
    }
    fprintf(file, "  -h, --help%*sprint this page\n", HELP_COLUMN - 12, "");
    if (defaults) fputs("\nDefaults are in brackets.\n", file);
    print_suffixes(usage->options, file);
    if (usage->notes != NULL)
        fprintf(file, "\n%s%s", usage->notes, usage->notes[strlen(usage->notes) - 1] == '\n' ? "" : "\n");
}
