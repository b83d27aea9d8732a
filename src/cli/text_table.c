/* SPDX-License-Identifier: MIT */
/*
 * Printing of tables.
 */
#define _POSIX_C_SOURCE 200809L
#include "cli/text_table.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

typedef struct table_cell {
    char *text;
    int bold;
} table_cell;

/* The layout of a column, updated with each cell. */
typedef struct table_column {
    int width, marked; /* of the widest cell, without and with the marks of bold ones in Markdown */
    int has_words;     /* below the heading */
} table_column;

struct mep_table {
    int64_t columns, count, capacity; /* of cells */
    table_cell *cells;
    table_column *column; /* [columns] */
};

enum { MARKS = 4 }; /* the characters around a bold cell in Markdown */

const char *const mep_table_formats[] = {"text", "markdown", "csv", NULL};

mep_status mep_table_create(mep_table **table, int64_t columns)
{
    *table = NULL;
    if (columns < 1) return mep_fail(MEP_ERROR_ARGUMENT, "a table needs a column");
    MEP_TRY(MEP_ALLOC(table, 1));
    (*table)->columns = columns;
    mep_status status = MEP_ALLOC(&(*table)->column, columns);
    for (int64_t c = 0; c < columns && status == MEP_OK; c++)
        (*table)->column[c].width = (*table)->column[c].marked = 1;
    if (status != MEP_OK) mep_table_destroy(table);
    return status;
}

void mep_table_destroy(mep_table **table)
{
    if (*table == NULL) return;
    for (int64_t i = 0; i < (*table)->count; i++) mep_free(&(*table)->cells[i].text);
    mep_free(&(*table)->cells);
    mep_free(&(*table)->column);
    mep_free(table);
}

/* Columns that UTF-8 text takes on a terminal: its bytes without continuation bytes. */
static int width_of(const char *text)
{
    int width = 0;
    for (; *text != '\0'; text++) width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static int is_number(const char *text)
{
    if (*text == '+' || *text == '-') text++;
    if (*text == '.') text++;
    return *text == '\0' || isdigit((unsigned char)*text) || strncmp(text, "inf", 3) == 0 ||
           strncmp(text, "nan", 3) == 0;
}

static void widen(table_column *column, int width, int marked)
{
    if (width > column->width) column->width = width;
    if (marked > column->marked) column->marked = marked;
}

mep_status mep_table_cell(mep_table *table, const char *format, ...)
{
    if (table->count == table->capacity) {
        int64_t capacity = 2 * table->capacity + 64;
        MEP_TRY(MEP_GROW(&table->cells, table->capacity, capacity));
        table->capacity = capacity;
    }
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    mep_one_line(text);
    MEP_TRY(mep_copy_string(&table->cells[table->count].text, text));
    table_column *column = &table->column[table->count % table->columns];
    widen(column, width_of(text), width_of(text));
    if (table->count >= table->columns && !is_number(text)) column->has_words = 1;
    table->count++;
    return MEP_OK;
}

void mep_table_bold(mep_table *table)
{
    if (table->count == 0) return;
    table_cell *last = &table->cells[table->count - 1];
    last->bold = 1;
    widen(&table->column[(table->count - 1) % table->columns], 0, width_of(last->text) + MARKS);
}

static int has_colors(FILE *file)
{
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if (no_color != NULL && *no_color != '\0') return 0;
    return terminal != NULL && strcmp(terminal, "dumb") != 0 && isatty(fileno(file));
}

static void repeat(char letter, int count, FILE *file)
{
    while (count-- > 0) fputc(letter, file);
}

/* Print one cell, padded to `width`; a bold one between `open` and `close`, which take `marks` columns. */
static void print_cell(const table_cell *cell, int width, int right, const char *open, const char *close, int marks,
                       FILE *file)
{
    int padding = width - width_of(cell->text) - (cell->bold ? marks : 0);
    if (right) repeat(' ', padding, file);
    fprintf(file, "%s%s%s", cell->bold ? open : "", cell->text, cell->bold ? close : "");
    if (!right) repeat(' ', padding, file);
}

static void print_text(const mep_table *table, FILE *file)
{
    int colors = has_colors(file);
    for (int64_t i = 0; i + table->columns <= table->count; i += table->columns) {
        for (int64_t c = 0; c < table->columns; c++) {
            int right = !table->column[c].has_words, is_last = c == table->columns - 1;
            int width = is_last && !right ? 0 : table->column[c].width;
            print_cell(&table->cells[i + c], width, right, colors ? "\033[1m" : "", colors ? "\033[0m" : "", 0, file);
            fputs(is_last ? "\n" : "  ", file);
        }
        for (int64_t c = 0; i == 0 && c < table->columns; c++) {
            repeat('-', table->column[c].width, file);
            fputs(c == table->columns - 1 ? "\n" : "  ", file);
        }
    }
}

static void print_markdown(const mep_table *table, FILE *file)
{
    for (int64_t i = 0; i + table->columns <= table->count; i += table->columns) {
        for (int64_t c = 0; c < table->columns; c++) {
            fputs(c == 0 ? "| " : " | ", file);
            const table_column *column = &table->column[c];
            print_cell(&table->cells[i + c], column->marked, !column->has_words, "**", "**", MARKS, file);
        }
        fputs(" |\n", file);
        for (int64_t c = 0; i == 0 && c < table->columns; c++) {
            int right = !table->column[c].has_words;
            fputs(c == 0 ? "| " : " | ", file);
            repeat('-', table->column[c].marked - right, file);
            if (right) fputc(':', file);
        }
        if (i == 0) fputs(" |\n", file);
    }
}

static void print_csv(const mep_table *table, FILE *file)
{
    for (int64_t i = 0; i < table->count / table->columns * table->columns; i++) {
        const char *text = table->cells[i].text;
        int quoted = strpbrk(text, ",\"\r\n") != NULL;
        if (quoted) fputc('"', file);
        for (; *text != '\0'; text++) {
            if (*text == '"') fputc('"', file);
            fputc(*text, file);
        }
        if (quoted) fputc('"', file);
        fputc((i + 1) % table->columns == 0 ? '\n' : ',', file);
    }
}

void mep_write_html(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) switch (*text) {
        case '&':
            fputs("&amp;", file);
            break;
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        case '"':
            fputs("&quot;", file);
            break;
        case '\'':
            fputs("&#39;", file);
            break;
        default:
            fputc(*text, file);
        }
}

static void print_html(const mep_table *table, FILE *file)
{
    fputs("<table>\n", file);
    for (int64_t i = 0; i + table->columns <= table->count; i += table->columns) {
        fputs("<tr>", file);
        for (int64_t c = 0; c < table->columns; c++) {
            const table_cell *cell = &table->cells[i + c];
            int is_name = c == 0 || table->column[c].has_words;
            fprintf(file, "<%s%s>%s", i == 0 ? "th" : "td", is_name ? " class=\"name\"" : "", cell->bold ? "<b>" : "");
            mep_write_html(file, cell->text);
            fprintf(file, "%s</%s>", cell->bold ? "</b>" : "", i == 0 ? "th" : "td");
        }
        fputs("</tr>\n", file);
    }
    fputs("</table>\n", file);
}

void mep_table_print(const mep_table *table, mep_table_format format, FILE *file)
{
    switch (format) {
    case MEP_TABLE_TEXT:
        print_text(table, file);
        break;
    case MEP_TABLE_MARKDOWN:
        print_markdown(table, file);
        break;
    case MEP_TABLE_CSV:
        print_csv(table, file);
        break;
    case MEP_TABLE_HTML:
        print_html(table, file);
        break;
    }
}
