/* SPDX-License-Identifier: MIT */
/*
 * What the emulator's own files share: the running thread, how it fails, and the device's memory.
 */
#ifndef CUDA_EMULATOR_INSIDE_H
#define CUDA_EMULATOR_INSIDE_H

#include <vector>

#include "cuda_emulator.h"
#include "fiber.h"

namespace emulator {

/* Memory of `bytes` between inaccessible pages, filled with 0xff. Its end is at the upper page or, to align its start,
 * up to alignment - 1 bytes before it. The bytes between are 0xff and must stay so. */
struct guarded {
    unsigned char *start, *pages;
    size_t bytes, page_bytes;
};
bool guard(guarded *memory, size_t bytes, size_t alignment);
void unguard(guarded *memory);
void protect(const guarded *memory, bool accessible);

/* Whether bytes next to the memory were written; `text` then describes it. */
bool damaged(const guarded *memory, const char *what, char *text, size_t bytes);

/* An asynchronous copy that has begun, and the number of groups that its thread had committed before. */
struct copy {
    void *to;
    const void *from;
    int bytes, group;
};

struct thread {
    enum { READY, AT_WARP, AT_BLOCK, RETURNED } state;
    bool paused; /* ready, but waits for other threads */
    const char *name;
    source_line at;
    finish *f; /* with name and line: what it waits for */
    void *operand;
    uint3 index;
    int number; /* in its block */
    fiber stack;
    std::vector<copy> copies;
    int committed;
};

struct block {
    uint3 index;
    std::vector<thread> threads;
    std::vector<char> warp_ready; /* has threads that can run */
    int returned;
    guarded shared; /* its dynamic shared memory */
};

/* What runs now; at_thread is NULL outside of kernels. */
extern thread *at_thread;
extern block *at_block;
extern size_t block_bytes; /* of dynamic shared memory */

enum : size_t { SHARED_BYTES = 227 * 1024 }; /* largest size for a block */

/* End the launch from the running thread. The error's message consists of the launch, the thread and this text. */
[[noreturn]] void fail(cudaError_t error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Device memory as a whole: make it accessible while a kernel or a copy runs; whether a range is in one allocation;
 * whether bytes between allocations were written; the allocation nearest to an address, as text. */
void open_memory(bool accessible);
bool in_memory(const void *start, size_t bytes);
bool memory_damaged(char *text, size_t bytes);
void describe_address(const void *address, char *text, size_t bytes);

/* Keep an error for cudaGetLastError; the second function also for all calls until then. They return it (the second
 * returns an error that was kept before, if there is one). `failure` is the text of the last kernel's error. */
cudaError_t keep_error(cudaError_t error);
cudaError_t keep_kernel_error(cudaError_t error);
extern char failure[1024];

} // namespace emulator

#endif
