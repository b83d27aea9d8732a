/* SPDX-License-Identifier: MIT */
/*
 * Writes the kernels of mixtures as Python source: one function per kernel, then the tables of kernels and names. A
 * kernel that is never in one is written in src/io/python/modeling_mep.py.
 */
#include "bias/python_kernels.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/number.h"
#include "base/string_builder.h"
#include "bias/spec.h"

/* def kernel_NAME(k, d): the lines of the kernel's body, indented. */
static mep_status add_function(mep_string_builder *text, const mep_kernel *kernel)
{
    MEP_TRY(mep_string_add(text, "def kernel_%s(k, d):\n    \"\"\"%s\"\"\"\n", kernel->name, kernel->help));
    for (const char *line = kernel->python; *line != '\0';) {
        int length = (int)strcspn(line, "\n");
        MEP_TRY(mep_string_add(text, "    %.*s\n", length, line));
        line += length + (line[length] == '\n');
    }
    return mep_string_add(text, "\n\n");
}

static mep_status add_number(mep_string_builder *text, double value)
{
    char number[MEP_NUMBER_SIZE];
    mep_number_print(number, value);
    return mep_string_add(text, "%s", number);
}

static mep_status add_options(mep_string_builder *text, const mep_kernel *kernel)
{
    for (int i = 0; i < mep_kernel_option_count(kernel); i++) {
        MEP_TRY(mep_string_add(text, "%s\"%s\": ", i == 0 ? "" : ", ", kernel->options[i].name));
        MEP_TRY(add_number(text, kernel->options[i].value));
    }
    return MEP_OK;
}

/* A dimension as Parameter.shape has it: "heads", the name of an option, or a number. */
static mep_status add_dimension(mep_string_builder *text, const mep_kernel *kernel, int64_t dimension)
{
    if (dimension == MEP_DIMENSION_HEADS) return mep_string_add(text, "\"heads\", ");
    if (dimension > 0) return mep_string_add(text, "%lld, ", (long long)dimension);
    return mep_string_add(text, "\"%s\", ", kernel->options[MEP_DIMENSION_OPTION - dimension].name);
}

/* "NAME": Parameter(shape, low, high, learn, initial) */
static mep_status add_param(mep_string_builder *text, const mep_kernel *kernel, const mep_kernel_param *param)
{
    MEP_TRY(mep_string_add(text, "\n        \"%s\": Parameter((", param->name));
    for (int n = 0; n < 2 && param->shape[n] != MEP_DIMENSION_NONE; n++)
        MEP_TRY(add_dimension(text, kernel, param->shape[n]));
    MEP_TRY(mep_string_add(text, "), "));
    MEP_TRY(add_number(text, param->min));
    MEP_TRY(mep_string_add(text, ", "));
    MEP_TRY(add_number(text, param->max));
    const mep_learn_item *item = mep_learn_items;
    while (item->name != NULL && item->bit != param->learn) item++;
    if (item->name != NULL)
        MEP_TRY(mep_string_add(text, ", \"%s\"", item->name));
    else
        MEP_TRY(mep_string_add(text, ", None"));
    return mep_string_add(text, ", lambda k, shape: %s),", param->python);
}

/* "NAME": Row(function, options, parameters) */
static mep_status add_row(mep_string_builder *text, const mep_kernel *kernel)
{
    MEP_TRY(mep_string_add(text, "    \"%s\": Row(kernel_%s, {", kernel->name, kernel->name));
    MEP_TRY(add_options(text, kernel));
    MEP_TRY(mep_string_add(text, "}, {"));
    for (int i = 0; i < mep_kernel_param_count(kernel); i++) MEP_TRY(add_param(text, kernel, &kernel->params[i]));
    return mep_string_add(text, "}),\n");
}

static mep_status add_names(mep_string_builder *text)
{
    MEP_TRY(mep_string_add(text, "NAMED = {"));
    for (const mep_named_mixture *named = mep_named_mixtures; named->name != NULL; named++)
        MEP_TRY(mep_string_add(text, "\n    \"%s\": \"%s\",", named->name, named->mixture));
    MEP_TRY(mep_string_add(text, "\n}\nOTHERS = ("));
    for (const mep_other_position *other = mep_other_positions; other->name != NULL; other++)
        MEP_TRY(mep_string_add(text, "\"%s\", ", other->name));
    return mep_string_add(text, ")\n");
}

static mep_status add_all(mep_string_builder *text)
{
    for (int i = 0; mep_kernels[i] != NULL; i++)
        if (!mep_kernels[i]->alone) MEP_TRY(add_function(text, mep_kernels[i]));
    MEP_TRY(mep_string_add(text, "KERNELS = {\n"));
    for (int i = 0; mep_kernels[i] != NULL; i++)
        if (!mep_kernels[i]->alone) MEP_TRY(add_row(text, mep_kernels[i]));
    MEP_TRY(mep_string_add(text, "}\n"));
    return add_names(text);
}

mep_status mep_python_kernels(char **text)
{
    mep_string_builder built = {.text = NULL};
    mep_status status = add_all(&built);
    if (status != MEP_OK) mep_free(&built.text);
    *text = built.text;
    return status;
}
