/* SPDX-License-Identifier: MIT */
/*
 * Names and layouts of tensors, from a family's table.
 */
#include <stdio.h>
#include <string.h>

#include "base/assertion.h"
#include "io/family.h"

int mep_family_matches(const char *pattern, const char *name)
{
    const char *mark = strchr(pattern, '#');
    if (mark == NULL) return strcmp(pattern, name) == 0;
    size_t before = (size_t)(mark - pattern);
    if (strncmp(pattern, name, before) != 0) return 0;
    size_t digits = strspn(name + before, "0123456789");
    return digits > 0 && strcmp(name + before + digits, mark + 1) == 0;
}

int mep_family_tensor_name(const mep_family *family, mep_tensor_kind kind, int64_t layer, const char *ours,
                           mep_family_name *theirs)
{
    *theirs = (mep_family_name){.has_prefix = 0};
    if (family->tensors == NULL) {
        snprintf(theirs->name, sizeof theirs->name, "%s", ours);
        return 1;
    }
    for (const mep_family_tensor *t = family->tensors; t->kind != TENSOR_KINDS; t++) {
        if (t->kind != kind) continue;
        const char *mark = strchr(t->theirs, '#');
        if (mark == NULL)
            snprintf(theirs->name, sizeof theirs->name, "%s", t->theirs);
        else
            snprintf(theirs->name, sizeof theirs->name, "%.*s%lld%s", (int)(mark - t->theirs), t->theirs,
                     (long long)layer, mark + 1);
        theirs->layout = t->layout;
        theirs->has_prefix = kind != EMBED_OUT;
        return 1;
    }
    return 0;
}

int mep_family_ignores(const mep_family *family, const char *theirs)
{
    size_t prefix = strlen(family->prefix);
    if (strncmp(theirs, family->prefix, prefix) == 0) theirs += prefix;
    for (int i = 0; family->ignored[i] != NULL; i++)
        if (mep_family_matches(family->ignored[i], theirs)) return 1;
    return 0;
}

/* The offset in the files of the model's element at row r of n, column j of k. */
static int64_t stored_offset(int layout, int64_t heads, int64_t n, int64_t k, int64_t r, int64_t j)
{
    if (layout & MEP_LAYOUT_QKV) {
        int64_t channels = n / (3 * heads), head = r / (3 * channels), which = r / channels % 3;
        r = (which * heads + head) * channels + r % channels;
    }
    return layout & MEP_LAYOUT_TRANSPOSED ? j * n + r : r * k + j;
}

void mep_family_from_layout(int layout, int64_t heads, int64_t n, int64_t k, const float *theirs, float *ours)
{
    if (layout & MEP_LAYOUT_SECOND) theirs += n * k;
    if (layout & MEP_LAYOUT_THIRD) theirs += 2 * n * k;
#pragma omp parallel for
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < k; j++) ours[r * k + j] = theirs[stored_offset(layout, heads, n, k, r, j)];
}

void mep_family_to_layout(int layout, int64_t heads, int64_t n, int64_t k, const float *ours, float *theirs)
{
    MEP_ASSERT((layout & MEP_LAYOUT_THIRDS) == 0);
#pragma omp parallel for
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < k; j++) theirs[stored_offset(layout, heads, n, k, r, j)] = ours[r * k + j];
}
