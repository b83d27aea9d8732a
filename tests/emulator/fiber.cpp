/* SPDX-License-Identifier: MIT */
/*
 * Switching stacks (fiber.h).
 */
#include "fiber.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !EMULATOR_UCONTEXT
/* Push the registers that a function must preserve, change the stack pointer, and pop those that the other fiber has
 * pushed. */
extern "C" void emulator_change_stack(void **from, void *to);
asm(R"(
    .text
    .type emulator_change_stack, @function
emulator_change_stack:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
    .size emulator_change_stack, . - emulator_change_stack
)");
#endif

namespace emulator {

enum { STACK_BYTES = 256 * 1024, CACHE_SETS = 32, CACHE_LINE = 64 };

bool fiber_prepare(fiber *f, void (*entry)(), int number)
{
    if (f->stack == NULL) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        void *memory = mmap(NULL, STACK_BYTES + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return false;
        if (mprotect((char *)memory + page, STACK_BYTES, PROT_READ | PROT_WRITE) != 0) return false;
        f->stack = (char *)memory + page;
        f->bytes = STACK_BYTES;
    }
#ifdef EMULATOR_ASAN
    __asan_unpoison_memory_region(f->stack, f->bytes);
#endif
    size_t bytes = f->bytes - (size_t)(number % CACHE_SETS) * 2 * CACHE_LINE;
#if EMULATOR_UCONTEXT
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = bytes;
    makecontext(&f->context, entry, 0);
#else
    /* Six registers and the return address; at `entry` the stack pointer is 8 above a multiple of 16. */
    void **top = (void **)((char *)f->stack + bytes) - 8;
    memset(top, 0, 8 * sizeof *top);
    top[6] = (void *)(uintptr_t)entry;
    f->top = top;
#endif
    return true;
}

void fiber_switch(fiber *from, fiber *to)
{
#ifdef EMULATOR_ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->bytes);
#endif
#if EMULATOR_UCONTEXT
    swapcontext(&from->context, &to->context);
#else
    emulator_change_stack(&from->top, to->top);
#endif
#ifdef EMULATOR_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

void fiber_entered(fiber *from)
{
#ifdef EMULATOR_ASAN
    const void *stack;
    __sanitizer_finish_switch_fiber(NULL, &stack, &from->bytes);
    from->stack = const_cast<void *>(stack);
#else
    (void)from;
#endif
}

} // namespace emulator
