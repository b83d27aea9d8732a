/* SPDX-License-Identifier: MIT */
/*
 * Sizes in bytes and lengths in tokens as text, as options read them and tables and help pages show them.
 */
#ifndef MEP_CLI_SIZE_TEXT_H
#define MEP_CLI_SIZE_TEXT_H

#include <stdint.h>

/* Read a size of at least 1 byte, with or without a unit: "500MB", "2GiB", "4096". Returns 1, or 0 where `text` is not
 * one. */
int mep_bytes_read(const char *text, int64_t *bytes);

/* Write a size in that form: "50GB", "4096"; at most 22 characters and the final 0. */
void mep_bytes_text(int64_t bytes, char text[24]);

/* Write a length in short form: "512", "4K" for 4096, "1M"; at most 20 characters and the final 0. */
void mep_length_text(int64_t length, char text[24]);

#endif
