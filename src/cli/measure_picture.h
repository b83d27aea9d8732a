/* SPDX-License-Identifier: MIT */
/*
 * A measure as a picture: curves against positions, contexts, gaps or lengths; a heat map of the passkey (lengths and
 * depths) and of the blindness (heads and layers, at the longest length).
 */
#ifndef MEP_CLI_MEASURE_PICTURE_H
#define MEP_CLI_MEASURE_PICTURE_H

#include "cli/measure_report.h"

mep_status mep_measure_draw(const mep_measure_report *report, const char *png);

#endif
