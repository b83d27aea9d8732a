/* SPDX-License-Identifier: MIT */
/*
 * Creates, compares and destroys a mep_position: how a model encodes position, parsed from its spec.
 */
#include "bias/position.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* The encoding that is not a distance bias and has this name, with white space around it; NULL where there is none. */
static const mep_other_position *find_other(const char *spec)
{
    static const char SPACE[] = " \t\r\n";
    const char *start = spec + strspn(spec, SPACE);
    size_t length = strcspn(start, SPACE);
    if (start[length + strspn(start + length, SPACE)] != '\0') return NULL;
    for (const mep_other_position *other = mep_other_positions; other->name != NULL; other++)
        if (strlen(other->name) == length && memcmp(other->name, start, length) == 0) return other;
    return NULL;
}

static mep_status parse(mep_position *position, const char *spec)
{
    const mep_other_position *other = find_other(spec);
    if (other != NULL) {
        position->kind = other->kind;
        return mep_copy_string(&position->spec, other->name);
    }
    position->kind = MEP_POSITION_BIAS;
    MEP_TRY(mep_spec_parse(&position->mixture, spec));
    return mep_spec_canonical(&position->mixture, &position->spec);
}

mep_status mep_position_create(mep_position **position, const char *spec)
{
    MEP_REQUIRE(position, spec);
    *position = NULL;
    MEP_TRY(MEP_ALLOC(position, 1));
    mep_status status = parse(*position, spec);
    if (status != MEP_OK) mep_position_destroy(position);
    return status;
}

void mep_position_destroy(mep_position **position)
{
    if (position == NULL || *position == NULL) return;
    mep_spec_free(&(*position)->mixture);
    mep_free(&(*position)->spec);
    mep_free(position);
}

mep_position_kind mep_position_get_kind(const mep_position *position)
{
    if (position == NULL) return MEP_POSITION_NONE;
    return position->kind;
}

const char *mep_position_spec(const mep_position *position)
{
    if (position == NULL) return "";
    return position->spec;
}

double mep_position_values(const mep_position *position, int64_t heads)
{
    const mep_spec *spec = &position->mixture;
    double sum = (spec->learn & MEP_LEARN_WEIGHTS) ? (double)spec->count * (double)heads : 0.0;
    for (int m = 0; m < spec->count; m++) {
        const mep_kernel *kernel = spec->terms[m].kernel;
        for (int i = 0; i < mep_kernel_param_count(kernel); i++) {
            if (!mep_kernel_learns(&kernel->params[i], spec->learn)) continue;
            double size = 1.0;
            for (int n = 0; n < 2 && kernel->params[i].shape[n] != MEP_DIMENSION_NONE; n++)
                size *= (double)mep_kernel_dimension(&kernel->params[i], n, mep_spec_options(spec, m), heads);
            sum += size;
        }
    }
    return sum;
}

/* Canonical forms are equal where the encodings are. */
int mep_position_same(const mep_position *a, const mep_position *b)
{
    if (a == NULL || b == NULL) return 0;
    return strcmp(a->spec, b->spec) == 0;
}

mep_status mep_position_specs_same(const char *a, const char *b, int *same)
{
    mep_position *first = NULL, *second = NULL;
    *same = 0;
    mep_status status = mep_position_create(&first, a);
    if (status == MEP_OK) status = mep_position_create(&second, b);
    if (status == MEP_OK) *same = mep_position_same(first, second);
    mep_position_destroy(&first);
    mep_position_destroy(&second);
    return status;
}
