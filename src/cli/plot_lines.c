/* SPDX-License-Identifier: MIT */
/*
 * Memory of lines.
 */
#include "cli/plot_lines.h"

#include "base/error.h"
#include "base/memory.h"

mep_status mep_plot_lines_add(mep_plot_lines *drawing, const char *label, int64_t points)
{
    int64_t n = drawing->count;
    if (n == MEP_PLOT_LINES) return mep_fail(MEP_ERROR_ARGUMENT, "more than %d lines in one picture", MEP_PLOT_LINES);
    MEP_TRY(mep_copy_string(&drawing->labels[n], label));
    MEP_TRY(mep_alloc(&drawing->x[n], points, sizeof(double)));
    MEP_TRY(mep_alloc(&drawing->y[n], points, sizeof(double)));
    MEP_TRY(mep_alloc(&drawing->error[n], points, sizeof(double)));
    drawing->lines[n] = (mep_plot_line){
        .label = drawing->labels[n], .x = drawing->x[n], .y = drawing->y[n], .error = drawing->error[n]};
    drawing->count++;
    return MEP_OK;
}

void mep_plot_lines_free(mep_plot_lines *drawing)
{
    for (int64_t n = 0; n < MEP_PLOT_LINES; n++) {
        mep_free(&drawing->labels[n]);
        mep_free(&drawing->x[n]);
        mep_free(&drawing->y[n]);
        mep_free(&drawing->error[n]);
    }
}
