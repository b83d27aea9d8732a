/* SPDX-License-Identifier: MIT */
/*
 * The string "text" of a line of JSON, ten times as fast as by building a tree of values. Only what is plainly right is
 * taken; whatever looks odd is left to jansson, which decides and finds the words for a mistake. It knows no error.
 */
#ifndef MEP_CORPUS_JSON_LINE_H
#define MEP_CORPUS_JSON_LINE_H

#include <stdint.h>

/* 1 when `line` is a JSON object with a string "text" (the last one, where there are several): *text is it, decoded in
 * place, so the line is changed. 0 when that is not certain; the line is as it was then. */
int mep_json_line_text(char *line, int64_t size, char **text, int64_t *text_size);

#endif
