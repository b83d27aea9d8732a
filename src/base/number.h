/* SPDX-License-Identifier: MIT */
/*
 * Numbers in texts, such as specs and files, that have the same form in every locale of the host program: with a point.
 * Thread-safe.
 */
#ifndef MEP_BASE_NUMBER_H
#define MEP_BASE_NUMBER_H

enum { MEP_NUMBER_SIZE = 32 };

/* strtod. */
double mep_number_parse(const char *text, char **end);

/* The shortest form of at least 6 digits that reads back as the same number. */
void mep_number_print(char text[MEP_NUMBER_SIZE], double value);

#endif
