/* SPDX-License-Identifier: MIT */
/*
 * Escape sequences of text for terminals.
 */
#define _POSIX_C_SOURCE 200809L
#include "cli/terminal_text.h"

#include <string.h>
#include <unistd.h>

#include "base/utf8.h"

void mep_terminal_text_begin(mep_terminal_text *text, FILE *file)
{
    *text = (mep_terminal_text){.file = file, .is_terminal = isatty(fileno(file))};
}

/* Return 1 if these bytes, fewer than 4, can be the beginning of a character. */
static int is_beginning(const char *bytes, int count)
{
    char whole[4] = {(char)0x80, (char)0x80, (char)0x80, (char)0x80};
    uint32_t code;
    memcpy(whole, bytes, (size_t)count);
    for (int last = 0x80; last < 0xc0; last += 0x10) { /* after E0, ED, F0 and F4 not every byte may follow */
        if (count < 2) whole[1] = (char)last;
        for (int size = count + 1; size <= 4; size++)
            if (mep_utf8_decode(whole, size, &code) == size) return 1;
    }
    return 0;
}

static void put_code(FILE *file, const char *bytes, int size, uint32_t code)
{
    if (code == '\n' || code == '\t' || !mep_utf8_is_control(code))
        fwrite(bytes, 1, (size_t)size, file);
    else
        fprintf(file, code < 0x80 ? "\\x%02x" : "\\u%04x", (unsigned)code);
}

/* Write the held bytes that are complete characters or cannot become one. */
static void write_held(mep_terminal_text *text)
{
    while (text->count > 0) {
        uint32_t code = 0;
        int size = mep_utf8_decode(text->held, text->count, &code);
        if (size > 0)
            put_code(text->file, text->held, size, code);
        else if (text->count < 4 && is_beginning(text->held, text->count))
            return;
        else
            fprintf(text->file, "\\x%02x", (unsigned)(unsigned char)text->held[size++]);
        text->count -= size;
        memmove(text->held, text->held + size, (size_t)text->count);
    }
}

void mep_terminal_text_write(mep_terminal_text *text, const char *bytes, int64_t size)
{
    if (!text->is_terminal) {
        if (size > 0) fwrite(bytes, 1, (size_t)size, text->file);
        return;
    }
    for (int64_t i = 0; i < size; i++) {
        text->held[text->count++] = bytes[i];
        write_held(text);
    }
}

void mep_terminal_text_end(mep_terminal_text *text)
{
    for (int i = 0; i < text->count; i++) fprintf(text->file, "\\x%02x", (unsigned)(unsigned char)text->held[i]);
    text->count = 0;
}
