/* SPDX-License-Identifier: MIT */
/*
 * Shares of documents: GPT-NeoX's get_train_valid_test_split_ (megatron/data/data_utils.py), number for number.
 */
#include <math.h>
#include <string.h>

#include "mep/data.h"
#include "base/error.h"
#include "base/number.h"

static const int PARTS = 3;

static mep_status fail_split(const char *split)
{
    return mep_fail(MEP_ERROR_ARGUMENT,
                    "the split \"%s\" is not up to three shares such as 949,50,1, none negative and not all 0", split);
}

static mep_status parse_shares(const char *split, double shares[3])
{
    const char *at = split;
    double sum = 0;
    for (int i = 0; i < PARTS; ++i) {
        char *end = NULL;
        shares[i] = mep_number_parse(at, &end);
        if (end == at || !isfinite(shares[i]) || shares[i] < 0) return fail_split(split);
        sum += shares[i];
        at = end;
        if (*at == '\0') break;
        if (i == PARTS - 1 || (*at != ',' && *at != '/')) return fail_split(split);
        ++at;
    }
    if (!(sum > 0) || !isfinite(sum)) return fail_split(split);
    for (int i = 0; i < PARTS; ++i) shares[i] /= sum;
    return MEP_OK;
}

mep_status mep_split_documents(const char *split, int64_t documents, int64_t bounds[4])
{
    MEP_REQUIRE(split, bounds);
    double shares[3] = {0};
    MEP_TRY(parse_shares(split, shares));
    bounds[0] = 0;
    for (int i = 0; i < PARTS; ++i) bounds[i + 1] = bounds[i] + (int64_t)rint(shares[i] * (double)documents);
    int64_t excess = bounds[PARTS] - documents;
    for (int i = 1; i <= PARTS; ++i) {
        bounds[i] -= excess;
        if (bounds[i] < 0) bounds[i] = 0; /* there NeoX would count from the end */
    }
    return MEP_OK;
}
