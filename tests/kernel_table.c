/* SPDX-License-Identifier: MIT */
/*
 * Checks that the table of kernels in a document, the lines between two marks, is the one that the kernels of the
 * library give. --write updates the document.
 *
 *     kernel_table [--write] FILE
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/number.h"
#include "base/string_builder.h"
#include "bias/kernel.h"
#include "bias/spec.h"
#include "io/files.h"

static const char BEGIN[] = "<!-- kernels: tests/kernel_table.c writes this table -->\n";
static const char END[] = "<!-- end of the kernels -->\n";

static void check(mep_status status)
{
    if (status == MEP_OK) return;
    fprintf(stderr, "kernel_table: %s\n", mep_error_message());
    exit(1);
}

/* A number as LaTeX where it is a large power of ten. */
static void number_text(double value, char text[64])
{
    char number[MEP_NUMBER_SIZE];
    mep_number_print(number, value);
    int minus = number[0] == '-';
    if (strncmp(number + minus, "1e+", 3) != 0)
        snprintf(text, 64, "%s", number);
    else
        snprintf(text, 64, "$%s10^{%d}$", minus ? "-" : "", atoi(number + minus + 3));
}

/* "c (1), bias_max (8)", each name as code */
static void add_options(mep_string_builder *table, const mep_kernel *kernel)
{
    for (int i = 0; i < mep_kernel_option_count(kernel); i++) {
        char value[64];
        if (kernel->options[i].value_text != NULL)
            snprintf(value, sizeof value, "%s", kernel->options[i].value_text);
        else
            number_text(kernel->options[i].value, value);
        check(mep_string_add(table, "%s`%s` (%s)", i == 0 ? "" : ", ", kernel->options[i].name, value));
    }
}

/* "[buckets, H]" */
static void add_shape(mep_string_builder *table, const mep_kernel *kernel, const mep_kernel_param *param)
{
    for (int n = 0; n < 2 && param->shape[n] != MEP_DIMENSION_NONE; n++) {
        int64_t dimension = param->shape[n];
        check(mep_string_add(table, n == 0 ? " [" : ", "));
        if (dimension > 0)
            check(mep_string_add(table, "%lld", (long long)dimension));
        else
            check(mep_string_add(
                table, "%s",
                dimension == MEP_DIMENSION_HEADS ? "H" : kernel->options[MEP_DIMENSION_OPTION - dimension].name));
    }
    if (param->shape[0] != MEP_DIMENSION_NONE) check(mep_string_add(table, "]"));
}

/* "p [H] in [0.01, 2], U(0, 2)" */
static void add_param(mep_string_builder *table, const mep_kernel *kernel, const mep_kernel_param *param)
{
    char min[64], max[64];
    number_text(param->min, min);
    number_text(param->max, max);
    for (const mep_learn_item *item = mep_learn_items; item->name != NULL; item++)
        if (item->bit == param->learn) check(mep_string_add(table, "with `/learn=%s`: ", item->name));
    check(mep_string_add(table, "`%s`", param->name));
    add_shape(table, kernel, param);
    if (param->min == -MEP_PARAM_MAX && param->max == MEP_PARAM_MAX)
        check(mep_string_add(table, " within $\\pm10^{15}$, %s", param->initial));
    else
        check(mep_string_add(table, " in [%s, %s], %s", min, max, param->initial));
}

static char *make_table(void)
{
    mep_string_builder table = {.text = NULL};
    check(mep_string_add(&table,
                         "| name | $\\log K_h(d)$ | options (default) | learned parameters: range, initial value |\n"
                         "| --- | --- | --- | --- |\n"));
    for (int i = 0; mep_kernels[i] != NULL; i++) {
        const mep_kernel *kernel = mep_kernels[i];
        int params = mep_kernel_param_count(kernel);
        check(mep_string_add(&table, "| `%s` | $%s$ | ", kernel->name, kernel->formula));
        add_options(&table, kernel);
        check(mep_string_add(&table, mep_kernel_option_count(kernel) > 0 ? " | " : "| "));
        for (int n = 0; n < params; n++) {
            if (n > 0) check(mep_string_add(&table, "; "));
            add_param(&table, kernel, &kernel->params[n]);
        }
        check(mep_string_add(&table, params > 0 ? " |\n" : "none |\n"));
    }
    return table.text;
}

int main(int argc, char **argv)
{
    int write = argc > 1 && strcmp(argv[1], "--write") == 0;
    char *text = NULL, *updated = NULL, *table = make_table();
    int64_t size = 0;
    if (argc != 2 + write) {
        fprintf(stderr, "usage: kernel_table [--write] FILE\n");
        return 2;
    }
    const char *file = argv[1 + write];
    check(mep_file_read(file, 1 << 24, &text, &size));
    const char *begin = strstr(text, BEGIN), *end = begin == NULL ? NULL : strstr(begin, END);
    if (end == NULL) {
        fprintf(stderr, "kernel_table: %s has no line \"%.*s\" with the end mark after it\n", file,
                (int)sizeof BEGIN - 2, BEGIN);
        return 1;
    }
    check(mep_format(&updated, "%.*s%s%s", (int)(begin + sizeof BEGIN - 1 - text), text, table, end));
    int same = strcmp(text, updated) == 0;
    if (!same && write) check(mep_file_write_atomic(file, updated, (int64_t)strlen(updated)));
    if (!same && !write)
        fprintf(stderr, "%s: the table of kernels is out of date; run %s --write %s\n", file, argv[0], file);
    mep_free(&updated);
    mep_free(&text);
    mep_free(&table);
    return !same && !write;
}
