/* SPDX-License-Identifier: MIT */
/*
 * Collectives that compute or access memory, and asynchronous copies. Fragments are as in the PTX ISA: with the lane
 * l = 4 g + t a register holds two neighbors of a row of 8 elements, at 2t and 2t + 1.
 */
#include "inside.h"

namespace emulator {

namespace {

struct product {
    float *c;
    const uint32_t *a, *b;
};

/* c += a b of a warp: unpack the fragments, multiply in float32 (the products are exact), and write c back. */
void multiply(void *const *lanes, int)
{
    float a[16][16], b[16][8];
    for (int l = 0; l < 32; l++) {
        const product *p = static_cast<product *>(lanes[l]);
        int g = l / 4, t = l % 4;
        for (int i = 0; i < 4; i++) {
            float *row = a[g + 8 * (i % 2)] + 2 * t + 8 * (i / 2);
            row[0] = bf16_low(p->a[i]);
            row[1] = bf16_high(p->a[i]);
        }
        for (int i = 0; i < 2; i++) {
            b[2 * t + 8 * i][g] = bf16_low(p->b[i]);
            b[2 * t + 8 * i + 1][g] = bf16_high(p->b[i]);
        }
    }
    float sum[16][8] = {};
    for (int m = 0; m < 16; m++)
        for (int k = 0; k < 16; k++)
            for (int n = 0; n < 8; n++) sum[m][n] += a[m][k] * b[k][n];
    for (int l = 0; l < 32; l++) {
        float *c = static_cast<product *>(lanes[l])->c;
        for (int i = 0; i < 4; i++) c[i] += sum[l / 4 + 8 * (i / 2)][2 * (l % 4) + i % 2];
    }
}

struct load {
    uint32_t *r;
    const void *row;
};

void load_rows(void *const *lanes, int)
{
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            const load *source = static_cast<load *>(lanes[8 * i + l / 4]);
            memcpy(&static_cast<load *>(lanes[l])->r[i], static_cast<const char *>(source->row) + 4 * (l % 4), 4);
        }
}

void load_columns(void *const *lanes, int)
{
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            uint16_t pair[2];
            for (int k = 0; k < 2; k++) {
                const load *source = static_cast<load *>(lanes[8 * i + 2 * (l % 4) + k]);
                memcpy(&pair[k], static_cast<const char *>(source->row) + 2 * (l / 4), 2);
            }
            static_cast<load *>(lanes[l])->r[i] = pair[0] | (uint32_t)pair[1] << 16;
        }
}

/* 16 bytes of the block's shared memory, aligned. */
void check_shared(const char *name, const void *address)
{
    uintptr_t offset = (uintptr_t)address - (uintptr_t)at_block->shared.start;
    if (offset % 16 != 0) fail(cudaErrorMisalignedAddress, "%s: address %p is not a multiple of 16", name, address);
    if (offset > block_bytes || block_bytes - offset < 16)
        fail(cudaErrorIllegalAddress,
             "%s: address %p is not in the block's %zu bytes of shared memory, which begin at %p", name, address,
             block_bytes, (void *)at_block->shared.start);
}

struct vote {
    int mine, any;
};

} // namespace

void load_matrices(const char *name, source_line at, uint32_t r[4], const void *row, bool transposed)
{
    check_shared(name, row);
    load mine = {r, row};
    meet_warp(name, at, transposed ? load_columns : load_rows, &mine);
}

/* The copy is made at its wait; until then its destination is NaN. */
void begin_copy(void *shared, const void *global, int bytes_valid)
{
    check_shared("copy_async", shared);
    if (bytes_valid != 0 && bytes_valid != 16)
        fail(cudaErrorLaunchFailure, "copy_async of %d bytes: give 0 or 16", bytes_valid);
    if ((uintptr_t)global % 16 != 0)
        fail(cudaErrorMisalignedAddress, "copy_async: global address %p is not a multiple of 16", global);
    if (bytes_valid > 0 && !in_memory(global, 16)) {
        char text[256];
        describe_address(global, text, sizeof text);
        fail(cudaErrorIllegalAddress, "copy_async: global address %s", text);
    }
    memset(shared, 0xff, 16);
    at_thread->copies.push_back({shared, global, bytes_valid, at_thread->committed});
}

void commit_copies()
{
    at_thread->committed++;
}

void wait_for_copies(int newest)
{
    std::vector<copy> &copies = at_thread->copies;
    size_t done = 0;
    for (; done < copies.size() && copies[done].group < at_thread->committed - newest; done++) {
        memset(copies[done].to, 0, 16);
        memcpy(copies[done].to, copies[done].from, (size_t)copies[done].bytes);
    }
    copies.erase(copies.begin(), copies.begin() + (ptrdiff_t)done);
}

} // namespace emulator

using namespace emulator;

void mma_16x8x16(float c[4], const uint32_t a[4], const uint32_t b[2], source_line at)
{
    product mine = {c, a, b};
    meet_warp("mma_16x8x16", at, multiply, &mine);
}

static void any(void *const *threads, int count)
{
    int some = 0;
    for (int i = 0; i < count; i++) some |= static_cast<vote *>(threads[i])->mine != 0;
    for (int i = 0; i < count; i++) static_cast<vote *>(threads[i])->any = some;
}

int __syncthreads_or(int condition, source_line at)
{
    vote mine = {condition, 0};
    meet_block("__syncthreads_or", at, any, &mine);
    return mine.any;
}

int warp_any(int condition, source_line at)
{
    vote mine = {condition, 0};
    meet_warp("warp_any", at, any, &mine);
    return mine.any;
}
