/* SPDX-License-Identifier: MIT */
/*
 * Fibers: stacks that one thread of the CPU changes between. A dozen instructions on x86-64, ucontext elsewhere.
 */
#ifndef CUDA_EMULATOR_FIBER_H
#define CUDA_EMULATOR_FIBER_H

#include <stddef.h>

#if !defined(__x86_64__) || defined(CUDA_EMULATOR_UCONTEXT)
#define EMULATOR_UCONTEXT 1
#include <ucontext.h>
#else
#define EMULATOR_UCONTEXT 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define EMULATOR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATOR_ASAN 1
#endif
#endif

namespace emulator {

/* All zeros is the fiber that the program runs on. */
struct fiber {
    void *stack; /* its lowest address */
    size_t bytes;
    void *fake_stack; /* AddressSanitizer's */
#if EMULATOR_UCONTEXT
    ucontext_t context;
#else
    void *top; /* the stack pointer while the fiber does not run */
#endif
};

/* Make `f` begin with `entry` when it is next switched to, whatever it was in the midst of; `entry` first calls
 * fiber_entered, and never returns. Gets a stack at the first call, with an inaccessible page below it, and keeps it to
 * the end of the program. `number` spreads the stacks over the cache's sets. False: no memory. */
bool fiber_prepare(fiber *f, void (*entry)(), int number);

/* Keep the running stack in `from` and go on with `to`. */
void fiber_switch(fiber *from, fiber *to);

/* Tells AddressSanitizer that a new fiber runs, which was switched to from `from`. */
void fiber_entered(fiber *from);

} // namespace emulator

#endif
