/* SPDX-License-Identifier: MIT */
/*
 * The help text about position encodings, from the lists of kernels and names.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <threads.h>

#include "base/assertion.h"
#include "base/number.h"
#include "bias/position.h"

static char help[16384];
static size_t used;
static once_flag help_once = ONCE_FLAG_INIT;

static void __attribute__((format(printf, 1, 2))) add(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(help + used, sizeof help - used, format, args);
    va_end(args);
    MEP_ASSERT(length >= 0 && used + (size_t)length < sizeof help);
    used += (size_t)length;
}

static void add_kernel(const mep_kernel *kernel)
{
    add("  %-14s%s", kernel->name, kernel->help);
    for (int i = 0; i < mep_kernel_option_count(kernel); i++) {
        char number[MEP_NUMBER_SIZE];
        const char *text = kernel->options[i].value_text;
        mep_number_print(number, kernel->options[i].value);
        add("%s%s=%s", i == 0 ? "; options " : ", ", kernel->options[i].name, text != NULL ? text : number);
    }
    add("\n");
}

static void write_help(void)
{
    for (const mep_named_mixture *named = mep_named_mixtures; named->name != NULL; named++)
        add("  %-14s%s: %s\n", named->name, named->help, named->mixture);
    for (const mep_other_position *other = mep_other_positions; other->name != NULL; other++)
        add("  %-14s%s\n", other->name, other->help);
    add("Kernels of the distance d, alone or in a weighted sum; each line is the logarithm of the kernel:\n");
    for (int i = 0; mep_kernels[i] != NULL; i++) add_kernel(mep_kernels[i]);
    add("Options of rotary, after \":\" and separated by commas:\n");
    const char *name, *value, *text;
    for (int i = 0; mep_rotary_option_help(i, &name, &value, &text); i++) {
        char form[64];
        snprintf(form, sizeof form, "%s=%s", name, value);
        add("  %-27s%s\n", form, text);
    }
    add("Modifiers, each after a \"/\":\n");
    for (const mep_modifier *m = mep_modifiers; m->name != NULL; m++) {
        char form[64];
        snprintf(form, sizeof form, "%s%s", m->name, m->form);
        add("  %-27s%s\n", form, m->help);
    }
    add("Layers take the entries of a list in turn: \"rotary|rotary|rotary|nope\".\n");
    add("Examples: \"exp + 0.5*gauss\", \"exp:c=0.5 + t5:buckets=64,max=256\", \"mep/learn=weights,slopes\",\n"
        "  \"mep + uniform/weights=query\", \"nope/forget\", \"fire:max=512\", \"alibi/window=512/sink\",\n"
        "  \"rotary:scaling=yarn,factor=8,original=512\".\n");
}

const char *mep_position_help(void)
{
    call_once(&help_once, write_help);
    return help;
}
