/* SPDX-License-Identifier: MIT */
/*
 * The gnuplot scripts of src/cli/gnuplot as texts. CMake embeds the files in the program (cmake/gnuplot.cmake), which
 * therefore finds them wherever it is moved; `make install` copies them to share/mep/gnuplot.
 */
#ifndef MEP_CLI_GNUPLOT_SCRIPTS_H
#define MEP_CLI_GNUPLOT_SCRIPTS_H

extern const char mep_gnuplot_perplexity[], mep_gnuplot_kernels[], mep_gnuplot_training[], mep_gnuplot_measure[],
    mep_gnuplot_heat[];

#endif
