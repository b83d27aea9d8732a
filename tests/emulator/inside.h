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

/* Memory of `bytes` between inaccessible pages, all 0xff; its end is at the upper page or, for the sake of the start's
 * alignment, up to alignment - 1 bytes before. What is between is 0xff and has to stay so. */
struct guarded {
    unsigned char *start, *pages;
    size_t bytes, page_bytes;
};
bool guard(guarded *memory, size_t bytes, size_t alignment);
void unguard(guarded *memory);
void protect(const guarded *memory, bool accessible);

/* Has something been written just outside? Then `text` says so. */
bool damaged(const guarded *memory, const char *what, char *text, size_t bytes);

/* An asynchronous copy that has begun, and how many groups its thread had committed before. */
struct copy {
    void *to;
    const void *from;
    int bytes, group;
};

struct thread {
    enum { READY, AT_WARP, AT_BLOCK, RETURNED } state;
    bool paused; /* ready, but waits for what others do */
    const char *name;
    place at;
    finish *f; /* with name and place: what it waits for */
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

/* Where the CPU is; `at_thread` is NULL outside of kernels. */
extern thread *at_thread;
extern block *at_block;
extern size_t block_bytes; /* of dynamic shared memory */

enum : size_t { SHARED_BYTES = 227 * 1024 }; /* a block's most */

/* End the launch from the running thread: the error's message is the launch, the thread and this text. */
[[noreturn]] void fail(cudaError_t error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Device memory as a whole: make it accessible for as long as a kernel or a copy runs; is a range in one allocation;
 * has something been written between allocations; what the nearest allocation to an address is, as text. */
void open_memory(bool accessible);
bool in_memory(const void *start, size_t bytes);
bool memory_damaged(char *text, size_t bytes);
void describe_address(const void *address, char *text, size_t bytes);

/* Keep an error for cudaGetLastError, the second also for all calls until then; they return it (the second returns one
 * that has been kept before, too). `failure` is the text of the last kernel's error. */
cudaError_t keep_error(cudaError_t error);
cudaError_t keep_kernel_error(cudaError_t error);
extern char failure[1024];

} // namespace emulator

#endif
