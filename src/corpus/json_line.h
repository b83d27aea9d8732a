/* SPDX-License-Identifier: MIT */
/*
 * Extracts the string "text" of a line of JSON, faster than by building a tree of values. It accepts only
 * lines that are certainly valid; jansson parses the others and reports errors.
 */
#ifndef MEP_CORPUS_JSON_LINE_H
#define MEP_CORPUS_JSON_LINE_H

#include <stdint.h>

/* Returns 1 if `line` is a JSON object with a string "text". *text is the string (the last one if there are several),
 * decoded in place, which changes the line. Returns 0 if this is not certain; the line is then unchanged. */
int mep_json_line_text(char *line, int64_t size, char **text, int64_t *text_size);

#endif
