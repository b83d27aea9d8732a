/* SPDX-License-Identifier: MIT */
/*
 * The checksum of datasets and tensors; checksum.h defines it.
 */
#include "base/checksum.h"

#include <string.h>

static uint64_t step(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 32;
}

static void add_byte(mep_checksum *checksum, unsigned char byte)
{
    checksum->pending |= (uint64_t)byte << 8 * (checksum->size % 8);
    if (++checksum->size % 8 != 0) return;
    checksum->hash = step(checksum->hash, checksum->pending);
    checksum->pending = 0;
}

void mep_checksum_begin(mep_checksum *checksum)
{
    *checksum = (mep_checksum){.hash = UINT64_C(0xcbf29ce484222325)};
}

void mep_checksum_add(mep_checksum *checksum, const void *data, int64_t size)
{
    if (size == 0) return; /* data may be NULL */
    const unsigned char *bytes = data, *end = bytes + size;
    while (bytes < end && checksum->size % 8 != 0) add_byte(checksum, *bytes++);
    for (; end - bytes >= 8; bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        checksum->hash = step(checksum->hash, word);
        checksum->size += 8;
    }
    while (bytes < end) add_byte(checksum, *bytes++);
}

uint64_t mep_checksum_end(const mep_checksum *checksum)
{
    uint64_t hash = checksum->size % 8 == 0 ? checksum->hash : step(checksum->hash, checksum->pending);
    return step(hash, checksum->size);
}
