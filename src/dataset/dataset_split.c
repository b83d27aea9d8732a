/* SPDX-License-Identifier: MIT */
/*
 * Splits the documents of a dataset by proportions as GPT-NeoX's get_train_valid_test_split_
 * (megatron/data/data_utils.py) does, with the same numbers.
 */
#include <math.h>
#include <string.h>

#include "mep/data.h"
#include "base/error.h"
#include "base/number.h"

static const int SPLITS = 3;

static mep_status fail_split(const char *proportions)
{
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "the split \"%s\" is not up to three proportions such as 949,50,1, none negative and not all 0",
                    proportions);
}

static mep_status parse_proportions(const char *proportions, double values[3])
{
    const char *at = proportions;
    double sum = 0;
    for (int i = 0; i < SPLITS; ++i) {
        char *end = NULL;
        values[i] = mep_number_parse(at, &end);
        if (end == at || !isfinite(values[i]) || values[i] < 0) return fail_split(proportions);
        sum += values[i];
        at = end;
        if (*at == '\0') break;
        if (i == SPLITS - 1 || (*at != ',' && *at != '/')) return fail_split(proportions);
        ++at;
    }
    if (!(sum > 0) || !isfinite(sum)) return fail_split(proportions);
    for (int i = 0; i < SPLITS; ++i) values[i] /= sum;
    return MEP_OK;
}

mep_status mep_split_documents(const char *proportions, int64_t documents, int64_t bounds[4])
{
    MEP_REQUIRE(proportions, bounds);
    double values[3] = {0};
    if (documents < 0 || documents > (int64_t)1 << 52)
        return mep_fail(MEP_ERROR_ARGUMENT, "%lld documents cannot be divided", (long long)documents);
    MEP_TRY(parse_proportions(proportions, values));
    bounds[0] = 0;
    for (int i = 0; i < SPLITS; ++i) bounds[i + 1] = bounds[i] + (int64_t)rint(values[i] * (double)documents);
    int64_t excess = bounds[SPLITS] - documents;
    for (int i = 1; i <= SPLITS; ++i) {
        bounds[i] -= excess;
        if (bounds[i] < 0) bounds[i] = 0; /* NeoX would use a negative index, which counts from the end */
    }
    return MEP_OK;
}
