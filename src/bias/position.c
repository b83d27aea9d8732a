/* SPDX-License-Identifier: MIT */
/*
 * How a model encodes position: a distance bias or one of the other encodings; and the help page about all of them.
 */
#include <stdio.h>
#include <string.h>
#include <threads.h>

#include "base/error.h"
#include "base/number.h"
#include "bias/spec.h"
#include "mep/bias.h"

static char help[4096];
static once_flag help_once = ONCE_FLAG_INIT;

static void add(const char *name, const char *text)
{
    size_t used = strlen(help);
    snprintf(help + used, sizeof help - used, "  %-14s%s\n", name, text);
}

static void add_kernel(const mep_kernel *kernel)
{
    char text[256];
    int used = snprintf(text, sizeof text, "%s", kernel->help);
    for (int i = 0; kernel->options[i].name != NULL && used < (int)sizeof text; i++) {
        char number[MEP_NUMBER_SIZE];
        mep_number_print(number, kernel->options[i].value);
        used += snprintf(text + used, sizeof text - (size_t)used, "%s%s=%s", i == 0 ? "; options " : ", ",
                         kernel->options[i].name, number);
    }
    add(kernel->name, text);
}

static void write_help(void)
{
    char text[256];
    for (const mep_named_mixture *named = mep_named_mixtures; named->name != NULL; named++) {
        snprintf(text, sizeof text, "%s: %s", named->help, named->mixture);
        add(named->name, text);
    }
    for (const mep_other_position *other = mep_other_positions; other->name != NULL; other++)
        add(other->name, other->help);
    strcat(help, "Kernels of the distance d, alone or in a weighted sum; each line is the logarithm of the kernel:\n");
    for (int i = 0; mep_kernels[i] != NULL; i++) add_kernel(mep_kernels[i]);
    strcat(help,
           "Examples: \"exp + 0.5*gauss\", \"exp:c=0.5 + t5:buckets=64,max=256\", \"mep/learn=weights,slopes\".\n");
}

const char *mep_position_help(void)
{
    call_once(&help_once, write_help);
    return help;
}

mep_status mep_position_parse(const char *name, mep_position_kind *kind)
{
    MEP_REQUIRE(name, kind);
    static const char SPACE[] = " \t\r\n";
    const char *start = name + strspn(name, SPACE);
    size_t length = strcspn(start, SPACE);
    for (const mep_other_position *other = mep_other_positions; other->name != NULL; other++)
        if (start[length + strspn(start + length, SPACE)] == '\0' && strlen(other->name) == length &&
            memcmp(other->name, start, length) == 0) {
            *kind = (mep_position_kind)other->kind;
            return MEP_OK;
        }
    mep_spec spec;
    MEP_TRY(mep_spec_parse(&spec, name));
    *kind = MEP_POSITION_BIAS;
    return MEP_OK;
}
