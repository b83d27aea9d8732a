/* SPDX-License-Identifier: MIT */
/*
 * Reader of the CSV tables that this program writes: a heading, then rows of the same number of cells; quotes as in
 * RFC 4180.
 */
#ifndef MEP_CLI_CSV_H
#define MEP_CLI_CSV_H

#include <stdint.h>

#include "mep/status.h"

typedef struct mep_csv {
    int64_t columns, rows; /* rows without the heading */
    char **cells;          /* (rows + 1) x columns; the heading first */
    char *text;
} mep_csv;

/* Read a file. The caller frees *csv with mep_csv_free. Errors name the file and the line. */
mep_status mep_csv_read(mep_csv *csv, const char *path);
void mep_csv_free(mep_csv *csv);

/* The index of the column with this heading; -1 if there is none. */
int64_t mep_csv_column(const mep_csv *csv, const char *name);
const char *mep_csv_cell(const mep_csv *csv, int64_t row, int64_t column);

#endif
