/* SPDX-License-Identifier: MIT */
/*
 * The scheduler. A step takes one warp and lets its threads run, one after the other, each until it waits for others or
 * returns. When all threads of a warp or of a block wait in the same line, that collective is finished and they can run
 * again. The seed chooses the order of everything. A launch in which no thread can run although blocks are unfinished
 * is an error of the kernel.
 */
#include <cxxabi.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "inside.h"

dim3 gridDim, blockDim;
uint3 blockIdx, threadIdx;

namespace emulator {

thread *at_thread;
block *at_block;
size_t block_bytes;

namespace {

enum { WARP = 32, MOST_THREADS = 1024, MOST_RESIDENT = 4, MOST_FRUITLESS = 200000, SHARED_ALIGNMENT = 128 };

struct launch_state {
    const void *kernel;
    void (*run)(void *);
    void *arguments;
    std::vector<unsigned> order; /* of the blocks, by number */
    size_t started;
    int resident, threads, warps; /* blocks that run at a time; threads of a block */
    int fruitless;                /* steps since the last one that did more than read flags */
    cudaError_t error;
} now;

block slots[MOST_RESIDENT]; /* blocks that run; they keep their fibers between launches */
fiber scheduler, abandoned;
uint64_t seed, random_state, switch_count;

/* A number below n; splitmix64. */
unsigned random_below(unsigned n)
{
    uint64_t x = random_state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (unsigned)((x ^ x >> 31) % n);
}

/* failure = "KERNEL, block (x, y, z), thread (x, y, z): TEXT". */
void describe_failure(const char *format, va_list arguments)
{
    Dl_info info;
    char *name = NULL;
    if (dladdr(now.kernel, &info) != 0 && info.dli_saddr == now.kernel)
        name = abi::__cxa_demangle(info.dli_sname, NULL, NULL, NULL);
    size_t length = (size_t)snprintf(failure, sizeof failure, "%.300s", name != NULL ? name : "a static kernel");
    free(name);
    if (at_block != NULL) {
        uint3 i = at_block->index;
        length += (size_t)snprintf(failure + length, sizeof failure - length, ", block (%u, %u, %u)", i.x, i.y, i.z);
    }
    if (at_thread != NULL) {
        uint3 i = at_thread->index;
        length += (size_t)snprintf(failure + length, sizeof failure - length, ", thread (%u, %u, %u)", i.x, i.y, i.z);
    }
    length += (size_t)snprintf(failure + length, sizeof failure - length, ": ");
    vsnprintf(failure + length, sizeof failure - length, format, arguments);
    fprintf(stderr, "CUDA emulator: %s\n", failure);
}

/* The same from the scheduler. */
__attribute__((format(printf, 2, 3))) void stop(cudaError_t error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    describe_failure(format, arguments);
    va_end(arguments);
    now.error = error;
}

void run_thread()
{
    fiber_entered(&scheduler);
    now.run(now.arguments);
    at_thread->state = thread::RETURNED;
    at_thread->f = NULL;
    at_thread->at = {"", 0};
    at_block->returned++;
    fiber_switch(&at_thread->stack, &scheduler);
}

void resume(thread *t)
{
    at_thread = t;
    threadIdx = t->index;
    switch_count += 2;
    fiber_switch(&scheduler, &t->stack);
    at_thread = NULL;
}

bool same_line(const thread &a, const thread &b)
{
    return a.state == b.state && a.f == b.f && a.at.line == b.at.line &&
           (a.at.file == b.at.file || strcmp(a.at.file, b.at.file) == 0);
}

/* If `count` threads from `first` wait in the same line, in `state`, finish what they wait for. */
bool try_to_meet(thread *first, int count, int state)
{
    static void *operands[MOST_THREADS];
    for (int i = 0; i < count; i++) {
        if (first[i].state != state || !same_line(first[0], first[i])) return false;
        operands[i] = first[i].operand;
    }
    first->f(operands, count);
    for (int i = 0; i < count; i++) first[i].state = thread::READY;
    return true;
}

/* Report a block in which no thread can run, with the lines where its threads wait. */
void report_stuck(const block &b)
{
    char text[600] = "";
    size_t length = 0;
    for (int i = 0, next; i < now.threads && length < sizeof text; i = next) {
        const thread &t = b.threads[(size_t)i];
        for (next = i + 1; next < now.threads && same_line(t, b.threads[(size_t)next]);) next++;
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%d to %d ", i > 0 ? ", " : "", i, next - 1);
        if (length >= sizeof text) break;
        if (t.state == thread::RETURNED)
            length += (size_t)snprintf(text + length, sizeof text - length, "have returned");
        else
            length += (size_t)snprintf(text + length, sizeof text - length, "wait in %s (%s:%d)", t.name, t.at.file,
                                       t.at.line);
    }
    stop(cudaErrorLaunchFailure, "threads wait for each other in different calls: %s", text);
}

/* A step of warp w of block b: its threads run in the seed's order, and collectives that are complete are finished. */
void step(block *b, int w)
{
    thread *first = &b->threads[(size_t)w * WARP];
    int count = now.threads - w * WARP < WARP ? now.threads - w * WARP : WARP;
    unsigned factor = seed > 1 ? random_below(16) * 2 + 1 : seed == 1 ? WARP - 1 : 1;
    unsigned offset = seed > 1 ? random_below(WARP) : seed == 1 ? WARP - 1 : 0;
    bool ready = false, fruitful = false;
    at_block = b;
    blockIdx = b->index;
    for (unsigned l = 0; l < WARP && now.error == cudaSuccess; l++) {
        int i = (int)((l * factor + offset) % WARP);
        if (i >= count || first[i].state != thread::READY) continue;
        first[i].paused = false;
        resume(&first[i]);
        ready = ready || first[i].state == thread::READY;
        fruitful = fruitful || !first[i].paused;
    }
    now.fruitless = fruitful ? 0 : now.fruitless + 1;
    if (now.error != cudaSuccess) return;
    b->warp_ready[(size_t)w] = ready || try_to_meet(first, count, thread::AT_WARP);
    if (memchr(b->warp_ready.data(), 1, b->warp_ready.size()) != NULL || b->returned == now.threads) return;
    if (try_to_meet(b->threads.data(), now.threads, thread::AT_BLOCK))
        b->warp_ready.assign(b->warp_ready.size(), 1);
    else
        report_stuck(*b);
}

/* Start the next block of the launch in the slot. */
void start_block(block *b)
{
    unsigned number = now.order[now.started++];
    b->index = {number % gridDim.x, number / gridDim.x % gridDim.y, number / gridDim.x / gridDim.y};
    b->returned = 0;
    b->warp_ready.assign((size_t)now.warps, 1);
    b->threads.reserve(MOST_THREADS); /* they must not move */
    if (b->threads.size() < (size_t)now.threads) b->threads.resize((size_t)now.threads);
    bool memory = b->shared.pages != NULL && b->shared.bytes == block_bytes;
    if (memory && block_bytes > 0) memset(b->shared.start, 0xff, block_bytes);
    if (!memory) {
        unguard(&b->shared);
        memory = guard(&b->shared, block_bytes, SHARED_ALIGNMENT);
    }
    for (int i = 0; i < now.threads && memory; i++) {
        thread &t = b->threads[(size_t)i];
        unsigned n = (unsigned)i;
        t.index = {n % blockDim.x, n / blockDim.x % blockDim.y, n / blockDim.x / blockDim.y};
        t.number = i;
        t.state = thread::READY;
        t.copies.clear();
        t.committed = 0;
        memory = fiber_prepare(&t.stack, run_thread, i);
    }
    if (!memory) stop(cudaErrorLaunchFailure, "the emulator has no memory for a block of %d threads", now.threads);
}

/* The warp that the next step tries first: the first, the last, or any; others follow where it waits for flags. */
int choose_start(int warps)
{
    if (seed > 1) return (int)random_below((unsigned)warps);
    return (seed == 1 ? warps - 1 : 0) + now.fruitless;
}

/* Run all blocks, a few at a time. */
void run_blocks()
{
    int running = 0, total = now.resident * now.warps;
    for (; running < now.resident && now.error == cudaSuccess; running++) start_block(&slots[running]);
    while (running > 0 && now.error == cudaSuccess) {
        int start = choose_start(total), way = seed == 1 ? total - 1 : 1, i = start % total, looked = 0;
        for (; looked < total && !slots[i / now.warps].warp_ready[(size_t)(i % now.warps)]; looked++)
            i = (i + way) % total;
        block *b = &slots[i / now.warps];
        step(b, i % now.warps);
        if (now.error == cudaSuccess && now.fruitless > MOST_FRUITLESS)
            stop(cudaErrorLaunchFailure, "waits for a flag that none of the running blocks sets");
        if (now.error != cudaSuccess || b->returned < now.threads) continue;
        char text[256];
        if (damaged(&b->shared, "shared memory", text, sizeof text))
            stop(cudaErrorIllegalAddress, "%s", text);
        else if (now.started < now.order.size())
            start_block(b);
        else
            running--;
    }
}

/* A fault in a kernel's thread ends the launch; another fault has its usual effect. */
void on_fault(int number, siginfo_t *info, void *)
{
    char text[256];
    if (at_thread == NULL) {
        signal(number, SIG_DFL);
        return;
    }
#ifdef __x86_64__
    if (number == SIGSEGV &&
        info->si_code == SI_KERNEL) /* not an address that a page can have: the CPU reports no address */
        fail(cudaErrorMisalignedAddress, "access to an address that is not a multiple of 16, or that no page can have");
#endif
    describe_address(info->si_addr, text, sizeof text);
    fail(cudaErrorIllegalAddress, "access outside of memory: %s", text);
}

/* Run all blocks with device memory accessible and faults caught, on a separate stack. */
void run_watched()
{
    static char stack[64 * 1024];
    stack_t alternate = {}, stack_before;
    alternate.ss_sp = stack;
    alternate.ss_size = sizeof stack;
    struct sigaction action = {}, before[2];
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaltstack(&alternate, &stack_before);
    sigaction(SIGSEGV, &action, &before[0]);
    sigaction(SIGBUS, &action, &before[1]);
    open_memory(true);
    run_blocks();
    at_block = NULL;
    at_thread = NULL;
    char text[256];
    if (now.error == cudaSuccess && memory_damaged(text, sizeof text)) stop(cudaErrorIllegalAddress, "%s", text);
    open_memory(false);
    sigaction(SIGSEGV, &before[0], NULL);
    sigaction(SIGBUS, &before[1], NULL);
    sigaltstack(&stack_before, NULL);
}

/* Let others run until the thread is scheduled again. */
void wait(int state, const char *name, source_line at, finish *f, void *operand)
{
    thread *t = at_thread;
    t->state = static_cast<decltype(t->state)>(state);
    t->name = name;
    t->at = at;
    t->f = f;
    t->operand = operand;
    fiber_switch(&t->stack, &scheduler);
}

} // namespace

void fail(cudaError_t error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    describe_failure(format, arguments);
    va_end(arguments);
    now.error = error;
    fiber_switch(&abandoned, &scheduler);
    abort(); /* never switched back to */
}

void meet_warp(const char *name, source_line at, finish *f, void *operand)
{
    if (now.threads % WARP != 0)
        fail(cudaErrorLaunchFailure, "%s (%s:%d) in a block of %d threads: give whole warps of 32", name, at.file,
             at.line, now.threads);
    wait(thread::AT_WARP, name, at, f, operand);
}

void meet_block(const char *name, source_line at, finish *f, void *operand)
{
    wait(thread::AT_BLOCK, name, at, f, operand);
}

void pause(const char *name, source_line at)
{
    at_thread->paused = true;
    wait(thread::READY, name, at, NULL, NULL);
}

void *block_memory()
{
    return at_block->shared.start;
}

int lane()
{
    return at_thread->number % WARP;
}

void set_seed(uint64_t s)
{
    seed = s;
}

uint64_t switches()
{
    return switch_count;
}

cudaError_t launch(const void *kernel, dim3 grid, dim3 threads, size_t shared_bytes, void (*run)(void *),
                   void *arguments)
{
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z, size = (uint64_t)threads.x * threads.y * threads.z;
    if (keep_kernel_error(cudaSuccess) != cudaSuccess) return keep_kernel_error(cudaSuccess);
    if (blocks == 0 || grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535 || size == 0 || size > MOST_THREADS)
        return keep_error(cudaErrorInvalidConfiguration);
    if (shared_bytes > SHARED_BYTES) return keep_error(cudaErrorInvalidValue);
    gridDim = grid;
    blockDim = threads;
    block_bytes = shared_bytes;
    random_state = seed;
    now = {kernel, run,        arguments, std::vector<unsigned>(blocks), 0, 1, (int)size, ((int)size + WARP - 1) / WARP,
           0,      cudaSuccess};
    if (seed > 1) now.resident = 1 + (int)random_below(MOST_RESIDENT);
    if (blocks < (uint64_t)now.resident) now.resident = (int)blocks;
    for (unsigned i = 0; i < blocks; i++) {
        unsigned j = seed > 1 ? random_below(i + 1) : i;
        now.order[i] = now.order[j];
        now.order[j] = i;
    }
    run_watched();
    return keep_kernel_error(now.error);
}

} // namespace emulator

#ifdef EMULATOR_CHECKS_ALIGNMENT
/* Kernels are compiled with the compiler's check of alignment, which calls this. */
extern "C" [[noreturn]] void __ubsan_handle_type_mismatch_v1_abort(const void *data, uintptr_t address)
{
    struct mismatch {
        const char *file;
        uint32_t line, column;
        const struct {
            uint16_t kind, information;
            char name[1];
        } * type;
        unsigned char log_alignment, kind;
    };
    const mismatch *m = static_cast<const mismatch *>(data);
    if (emulator::at_thread == NULL) abort();
    emulator::fail(cudaErrorMisalignedAddress, "%s:%u: address %p of a %s is not a multiple of %d", m->file, m->line,
                   (void *)address, m->type->name, 1 << m->log_alignment);
}
#endif

void cuda_emulator_seed(unsigned long s)
{
    emulator::set_seed(s);
}
