/* SPDX-License-Identifier: MIT */
/*
 * A fast checksum that detects accidents, not attacks: FNV-1a with 64 bits over little-endian words of 8 bytes,
 *
 *     h = (h ^ word) * 0x100000001b3;  h = h ^ (h >> 32)
 *
 * from h = 0xcbf29ce484222325. The last word is padded with zeros, and the number of bytes follows as one more word.
 * The fold by 32 bits is not in FNV: without it, two changes of the highest bits of words cancel.
 */
#ifndef MEP_BASE_CHECKSUM_H
#define MEP_BASE_CHECKSUM_H

#include <stdint.h>

typedef struct mep_checksum {
    uint64_t hash;
    uint64_t size;    /* bytes so far */
    uint64_t pending; /* the last size % 8 bytes, the first of them lowest */
} mep_checksum;

void mep_checksum_begin(mep_checksum *checksum);
/* Add `size` bytes. The result does not depend on how data is divided into calls. */
void mep_checksum_add(mep_checksum *checksum, const void *data, int64_t size);
uint64_t mep_checksum_end(const mep_checksum *checksum);

#endif
