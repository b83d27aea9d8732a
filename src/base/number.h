/* SPDX-License-Identifier: MIT */
/*
 * Numbers in texts that mean the same everywhere, such as specs and what files keep of them: with a point, whatever
 * locale the host program has set. Thread-safe.
 */
#ifndef MEP_BASE_NUMBER_H
#define MEP_BASE_NUMBER_H

enum { MEP_NUMBER_SIZE = 32 };

/* strtod. */
double mep_number_parse(const char *text, char **end);

/* The shortest form of 6 digits or more that is read back as the same number. */
void mep_number_print(char text[MEP_NUMBER_SIZE], double value);

#endif
