/* SPDX-License-Identifier: MIT */
/*
 * Fibers: stacks between which one CPU thread switches. A dozen instructions on x86-64, ucontext elsewhere.
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

/* Zero-initialized: the fiber that the program runs on. */
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

/* Make `f` start at `entry` when it is switched to next, whatever it was doing. `entry` calls fiber_entered first and
 * never returns. The first call allocates a stack, with an inaccessible page below it, which is kept until the program
 * ends. `number` distributes the stacks over the sets of the cache. False: no memory. */
bool fiber_prepare(fiber *f, void (*entry)(), int number);

/* Save the running stack in `from` and continue with `to`. */
void fiber_switch(fiber *from, fiber *to);

/* Tell AddressSanitizer that a new fiber runs, which was switched to from `from`. */
void fiber_entered(fiber *from);

} // namespace emulator

#endif
