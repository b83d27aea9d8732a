/* SPDX-License-Identifier: MIT */
/*
 * Philox 4x32-10.
 */
#include "base/random.h"

#include <math.h>

static void philox(uint32_t counter[4], uint32_t key0, uint32_t key1)
{
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * counter[0];
        uint64_t product1 = (uint64_t)0xCD9E8D57u * counter[2];
        uint32_t next0 = (uint32_t)(product1 >> 32) ^ counter[1] ^ key0;
        uint32_t next2 = (uint32_t)(product0 >> 32) ^ counter[3] ^ key1;
        counter[0] = next0;
        counter[1] = (uint32_t)product1;
        counter[2] = next2;
        counter[3] = (uint32_t)product0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

static void draw(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out[4])
{
    out[0] = (uint32_t)index;
    out[1] = (uint32_t)(index >> 32);
    out[2] = (uint32_t)stream;
    out[3] = (uint32_t)(stream >> 32);
    philox(out, (uint32_t)seed, (uint32_t)(seed >> 32));
}

uint64_t mep_random_bits(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t r[4];
    draw(seed, stream, index, r);
    return (uint64_t)r[0] << 32 | r[1];
}

static double unit(uint32_t high, uint32_t low)
{
    return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53;
}

double mep_random_uniform(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t r[4];
    draw(seed, stream, index, r);
    return unit(r[0], r[1]);
}

double mep_random_normal(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t r[4];
    draw(seed, stream, index, r);
    return sqrt(-2.0 * log(1.0 - unit(r[0], r[1]))) * cos(6.283185307179586476925 * unit(r[2], r[3]));
}

uint64_t mep_random_stream(const char *name)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (; *name != '\0'; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001B3u;
    return hash;
}
