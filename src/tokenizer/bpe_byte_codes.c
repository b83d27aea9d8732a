/* SPDX-License-Identifier: MIT */
/*
 * GPT-2's table of bytes as printable characters, in which the names of tokens are written.
 */
#include "tokenizer/bpe.h"

uint32_t mep_bpe_code_of_byte(int byte)
{
    if (byte <= 0x20) return 0x100 + (uint32_t)byte;
    if (byte >= 0x7f && byte <= 0xa0) return 0x121 + (uint32_t)byte - 0x7f;
    return byte == 0xad ? 0x143 : (uint32_t)byte;
}

int mep_bpe_byte_of_code(uint32_t code)
{
    if (code >= 0x100 && code <= 0x120) return (int)code - 0x100;
    if (code >= 0x121 && code <= 0x142) return (int)(code - 0x121) + 0x7f;
    if (code == 0x143) return 0xad;
    return code <= 0xff && mep_bpe_code_of_byte((int)code) == code ? (int)code : -1;
}
