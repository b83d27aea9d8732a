/* SPDX-License-Identifier: MIT */
/*
 * Tables of results, printed as aligned text for a terminal, as Markdown, as CSV or as HTML.
 */
#ifndef MEP_CLI_TEXT_TABLE_H
#define MEP_CLI_TEXT_TABLE_H

#include <stdint.h>
#include <stdio.h>

#include "mep/status.h"

typedef enum mep_table_format { MEP_TABLE_TEXT, MEP_TABLE_MARKDOWN, MEP_TABLE_CSV, MEP_TABLE_HTML } mep_table_format;

/* The words of a --format option, in the order of mep_table_format, ended by NULL. HTML is for pages alone. */
extern const char *const mep_table_formats[];

typedef struct mep_table mep_table;

/* A table of `columns` columns without rows. The caller owns *table. */
mep_status mep_table_create(mep_table **table, int64_t columns);
void mep_table_destroy(mep_table **table);

/* Add the next cell, row by row; the first row is the heading. Text is UTF-8. */
mep_status mep_table_cell(mep_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Make the last cell bold: on a terminal (unless NO_COLOR is set), in Markdown and in HTML; CSV has no bold. */
void mep_table_bold(mep_table *table);

/* Print the complete rows. Columns of numbers are aligned to the right. */
void mep_table_print(const mep_table *table, mep_table_format format, FILE *file);

/* Write text with the characters that HTML reserves (& < > " ') as entities. */
void mep_write_html(FILE *file, const char *text);

#endif
