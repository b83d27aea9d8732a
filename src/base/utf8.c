/* SPDX-License-Identifier: MIT */
/*
 * Reading, writing and checking UTF-8.
 */
#include "base/utf8.h"

#include <string.h>

int mep_utf8_decode(const char *text, int64_t size, uint32_t *code)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *bytes = (const unsigned char *)text;
    if (bytes[0] < 0x80) {
        *code = bytes[0];
        return 1;
    }
    int length = bytes[0] >= 0xf0 ? 4 : bytes[0] >= 0xe0 ? 3 : 2;
    if (bytes[0] < 0xc2 || bytes[0] > 0xf4 || length > size) return 0;
    uint32_t value = bytes[0] & (0xffu >> (length + 1));
    for (int i = 1; i < length; ++i) {
        if ((bytes[i] & 0xc0) != 0x80) return 0;
        value = value << 6 | (bytes[i] & 0x3f);
    }
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return 0;
    *code = value;
    return length;
}

int64_t mep_utf8_valid(const char *text, int64_t size)
{
    int64_t at = 0;
    while (at < size) {
        uint64_t word = 0;
        uint32_t code;
        if (size - at >= 8) memcpy(&word, text + at, 8);
        if (size - at >= 8 && (word & UINT64_C(0x8080808080808080)) == 0) {
            at += 8;
            continue;
        }
        int length = mep_utf8_decode(text + at, size - at, &code);
        if (length == 0) return at;
        at += length;
    }
    return at;
}

int mep_utf8_encode(uint32_t code, char text[4])
{
    if (code < 0x80) {
        text[0] = (char)code;
        return 1;
    }
    int length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = length - 1; i > 0; --i, code >>= 6) text[i] = (char)(0x80 | (code & 0x3f));
    text[0] = (char)((0xf00u >> length & 0xf0) | code);
    return length;
}

int mep_utf8_is_control(uint32_t code)
{
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return 1;
    return code == 0x61c || code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}
