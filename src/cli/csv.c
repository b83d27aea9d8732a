/* SPDX-License-Identifier: MIT */
/*
 * The CSV reader.
 */
#include "cli/csv.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

static mep_status read_text(char **text, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) return mep_fail_errno("open", path);
    int64_t size = 0, capacity = 4096;
    mep_status status;
    MEP_TRY_OR(status, MEP_ALLOC(text, capacity), end);
    for (size_t got = 1; got > 0; size += (int64_t)got) {
        if (capacity - size < 2) {
            MEP_TRY_OR(status, MEP_GROW(text, capacity, 2 * capacity), end);
            capacity *= 2;
        }
        got = fread(*text + size, 1, (size_t)(capacity - size - 1), file);
    }
    if (ferror(file))
        status = mep_fail_errno("read", path);
    else if (memchr(*text, '\0', (size_t)size) != NULL)
        status = mep_fail(MEP_ERROR_FORMAT, "%s: not a CSV table: it has a zero byte", path);
end:
    fclose(file);
    return status;
}

/* Terminate the cell at *next, in place; *next moves past it. Returns the character that ended it: ',', '\n' or 0. */
static char cut_cell(char **next, char **cell)
{
    char *from = *next, *to = *next;
    int quoted = *from == '"';
    from += quoted;
    *cell = to;
    while (*from != '\0') {
        if (quoted && *from == '"') {
            if (from[1] != '"') quoted = 0;
            from += 1 + quoted;
            if (quoted) *to++ = '"';
        } else if (!quoted && (*from == ',' || *from == '\n')) {
            break;
        } else {
            *to++ = *from++;
        }
    }
    char end = *from;
    *next = from + (end != '\0');
    if (end != ',' && to > *cell && to[-1] == '\r') to--;
    *to = '\0';
    return end;
}

static mep_status add_cell(mep_csv *csv, int64_t count, int64_t *capacity, char *cell)
{
    if (count == *capacity) {
        MEP_TRY(MEP_GROW(&csv->cells, count, 2 * count + 64));
        *capacity = 2 * count + 64;
    }
    csv->cells[count] = cell;
    return MEP_OK;
}

static mep_status parse(mep_csv *csv, const char *path)
{
    int64_t count = 0, capacity = 0, line = 0;
    for (char *next = csv->text; *next != '\0';) {
        int64_t first = count;
        char *cell, end = ',';
        line++;
        while (end == ',') {
            end = cut_cell(&next, &cell);
            MEP_TRY(add_cell(csv, count++, &capacity, cell));
        }
        if (count == first + 1 && csv->cells[first][0] == '\0') {
            count = first; /* an empty line */
            continue;
        }
        if (csv->columns == 0) csv->columns = count;
        if (count - first != csv->columns)
            return mep_fail(MEP_ERROR_FORMAT, "%s: line %lld has %lld cells where the heading has %lld", path,
                            (long long)line, (long long)(count - first), (long long)csv->columns);
    }
    if (csv->columns == 0) return mep_fail(MEP_ERROR_FORMAT, "%s: an empty file; a CSV table was expected", path);
    csv->rows = count / csv->columns - 1;
    return MEP_OK;
}

mep_status mep_csv_read(mep_csv *csv, const char *path)
{
    *csv = (mep_csv){0};
    mep_status status = read_text(&csv->text, path);
    if (status == MEP_OK) status = parse(csv, path);
    if (status != MEP_OK) mep_csv_free(csv);
    return status;
}

void mep_csv_free(mep_csv *csv)
{
    mep_free(&csv->cells);
    mep_free(&csv->text);
    csv->columns = csv->rows = 0;
}

int64_t mep_csv_column(const mep_csv *csv, const char *name)
{
    for (int64_t c = 0; c < csv->columns; c++)
        if (strcmp(csv->cells[c], name) == 0) return c;
    return -1;
}

const char *mep_csv_cell(const mep_csv *csv, int64_t row, int64_t column)
{
    return csv->cells[(row + 1) * csv->columns + column];
}
