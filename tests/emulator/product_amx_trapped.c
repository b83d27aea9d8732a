/* SPDX-License-Identifier: MIT */
/*
 * The kernels of the level amx_bf16 as they are compiled for a CPU with AMX. On a CPU without it each of AMX's
 * instructions raises SIGILL; the handler decodes it and executes it by the emulated registers. So this runs what
 * amx_emulator.h alone does not: the instructions that the compiler has generated, with their operands, and the order
 * of their accesses to memory. Slow: microseconds per instruction.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <ucontext.h>

#include "base/amx_tiles.h"

#include "amx_emulator.h"

#define KERNELS trapped_kernels
#define KERNELS_NAME "amx_bf16"
#include "nn/product_amx_body.h"

#include "base/amx.h"

/* ---- Instructions ---- */

/* Opcodes of the VEX map 0F 38 and their prefixes, as Intel's manual encodes them. */
enum { OPCODE_STATE = 0x49, OPCODE_MEMORY = 0x4B, OPCODE_DOT = 0x5C };
enum { PREFIX_NONE, PREFIX_66, PREFIX_F3, PREFIX_F2 };
enum { AMX_TILE = 1 << 24 }; /* of CPUID leaf 7, EDX */

typedef struct instruction {
    int opcode, prefix, reg, rm, vvvv, is_register;
    char *base;     /* of a memory operand, with its displacement */
    int64_t stride; /* the index register, scaled */
    int64_t length;
} instruction;

static int64_t register_value(const ucontext_t *c, int number)
{
    static const int order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return c->uc_mcontext.gregs[order[number]];
}

static int64_t read_signed(const unsigned char *at, int size)
{
    int8_t one;
    int32_t four;
    memcpy(&one, at, 1);
    memcpy(&four, at, 4);
    return size == 0 ? 0 : size == 1 ? one : four;
}

/* The three bytes of VEX (with inverted register bits), opcode, ModRM, and for memory SIB and displacement. */
static instruction decode(const ucontext_t *c)
{
    const unsigned char *at = (const unsigned char *)c->uc_mcontext.gregs[REG_RIP];
    emulated_check(at[0] == 0xC4 && (at[1] & 0x1F) == 2 && (at[2] & 0x84) == 0, "an illegal instruction");
    int high_index = at[1] & 0x40 ? 0 : 8, high_base = at[1] & 0x20 ? 0 : 8, mod = at[4] >> 6;
    instruction i = {.opcode = at[3],
                     .prefix = at[2] & 3,
                     .reg = at[4] >> 3 & 7,
                     .rm = at[4] & 7,
                     .vvvv = ~(at[2] >> 3) & 15,
                     .is_register = mod == 3,
                     .length = 5};
    if (i.is_register) return i;
    int base = i.rm, size = mod == 1 ? 1 : mod == 2 ? 4 : 0;
    if (i.rm == 4) {
        int index = (at[5] >> 3 & 7) + high_index;
        if (index != 4) i.stride = register_value(c, index) * (1 << (at[5] >> 6));
        base = at[5] & 7;
        i.length++;
    }
    int has_base = mod != 0 || base != 5;
    if (!has_base) size = 4;
    int64_t displacement = read_signed(at + i.length, size);
    i.length += size;
    emulated_check(has_base || i.rm == 5, "an absolute address");
    int64_t address = has_base ? register_value(c, base + high_base) : (int64_t)(uintptr_t)at + i.length;
    i.base = (char *)(uintptr_t)(address + displacement);
    return i;
}

static void execute(const instruction *i)
{
    int kind = i->opcode << 8 | i->prefix << 4 | i->is_register;
    mep_tile_shapes shapes;
    switch (kind) {
    case OPCODE_STATE << 8 | PREFIX_NONE << 4 | 0:
        memcpy(&shapes, i->base + i->stride, sizeof shapes);
        emulated_configure(&shapes);
        break;
    case OPCODE_STATE << 8 | PREFIX_NONE << 4 | 1:
        emulated_release();
        break;
    case OPCODE_STATE << 8 | PREFIX_F2 << 4 | 1:
        emulated_zero(i->reg);
        break;
    case OPCODE_MEMORY << 8 | PREFIX_F2 << 4 | 0:
        emulated_load(i->reg, i->base, i->stride);
        break;
    case OPCODE_MEMORY << 8 | PREFIX_F3 << 4 | 0:
        emulated_store(i->reg, i->base, i->stride);
        break;
    case OPCODE_DOT << 8 | PREFIX_F3 << 4 | 1:
        emulated_dot(i->reg, i->rm, i->vvvv);
        break;
    default:
        emulated_check(0, "an illegal instruction");
    }
}

static void on_illegal_instruction(int number, siginfo_t *info, void *context)
{
    (void)number, (void)info;
    ucontext_t *c = context;
    instruction i = decode(c);
    execute(&i);
    c->uc_mcontext.gregs[REG_RIP] += i.length;
}

/* ---- The table ---- */

/* In each call, since cmocka sets its own handlers. */
static void begin(void)
{
    struct sigaction action = {.sa_sigaction = on_illegal_instruction, .sa_flags = SA_SIGINFO};
    emulated_check(sigaction(SIGILL, &action, NULL) == 0, "no handler");
}

static void trapped_product(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row,
                            int64_t a_column, const float *b, float *c, int64_t c_row, int accumulate)
{
    begin();
    product(rows, columns, depth, a, a_row, a_column, b, c, c_row, accumulate);
    emulated_check(emulated.shapes.palette == 0, "registers were not released");
}

static int64_t trapped_few_rows(int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row,
                                const char *b, int64_t b_stride, float *c, int64_t c_row, int accumulate)
{
    begin();
    int64_t complete = few_rows(rows, columns, depth, a, a_row, b, b_stride, c, c_row, accumulate);
    emulated_check(emulated.shapes.palette == 0, "registers were not released");
    return complete;
}

const mep_product_kernels mep_product_kernels_amx_bf16 = {
    .name = KERNELS_NAME,
    .panel = PANEL,
    .pair = 2,
    .rows = AMX_ROWS,
    .a_in_rows = 1,
    .product = trapped_product,
    .few_rows = trapped_few_rows,
};

const char *mep_amx_missing(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & AMX_TILE) != 0 ? "nothing is trapped: the CPU has AMX"
                                                                          : NULL;
}
