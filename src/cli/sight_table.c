/* SPDX-License-Identifier: MIT */
/*
 * Reach, mass and convergence of a bias, a row per head.
 */
#include "cli/sight_table.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/text_table.h"
#include "mep/measure.h"

static mep_status fill_table(mep_table *table, const mep_bias_sight *sight, int64_t heads)
{
    static const char *const heading[] = {"head", "reach", "mass", "sum of all distances"};
    for (int i = 0; i < 4; i++) MEP_TRY(mep_table_cell(table, "%s", heading[i]));
    for (int64_t h = 0; h < heads; h++) {
        MEP_TRY(mep_table_cell(table, "%" PRId64, h + 1));
        MEP_TRY(sight[h].reach < 0 ? mep_table_cell(table, "none") : mep_table_cell(table, "%" PRId64, sight[h].reach));
        MEP_TRY(mep_table_cell(table, "%.6g", sight[h].mass));
        MEP_TRY(mep_table_cell(table, "%s", sight[h].converges ? "finite" : "infinite"));
    }
    return MEP_OK;
}

static mep_status print_table(const mep_bias *bias, int64_t length, const mep_bias_sight *sight)
{
    mep_table *table;
    MEP_TRY(mep_table_create(&table, 4));
    mep_status status = fill_table(table, sight, mep_bias_heads(bias));
    if (status == MEP_OK) {
        mep_cli_print(
            stdout,
            "%s: at the reach and beyond, the weight of a key is 0 where queries and keys add nothing to its score;\n"
            "the mass is the sum of exp(b(d) - b(0)) over the distances below %" PRId64 "\n\n",
            mep_bias_spec(bias), length);
        mep_table_print(table, MEP_TABLE_TEXT, stdout);
    }
    mep_table_destroy(&table);
    return status;
}

static void print_json(const mep_bias *bias, int64_t length, const mep_bias_sight *sight)
{
    int64_t heads = mep_bias_heads(bias);
    printf("{\"position\": \"%s\", \"length\": %" PRId64 ", \"heads\": [", mep_bias_spec(bias), length);
    for (int64_t h = 0; h < heads; h++) {
        printf("%s{\"reach\": ", h > 0 ? ", " : "");
        if (sight[h].reach < 0)
            printf("null");
        else
            printf("%" PRId64, sight[h].reach);
        printf(", \"mass\": %.17g, \"converges\": %s}", sight[h].mass, sight[h].converges ? "true" : "false");
    }
    printf("]}\n");
}

mep_status mep_cli_print_sight(const mep_bias *bias, int64_t length, int json)
{
    mep_bias_sight *sight = NULL;
    mep_status status = MEP_ALLOC(&sight, mep_bias_heads(bias));
    if (status == MEP_OK) status = mep_bias_sights(bias, length, sight);
    if (status == MEP_OK && json) print_json(bias, length, sight);
    if (status == MEP_OK && !json) status = print_table(bias, length, sight);
    mep_free(&sight);
    return status;
}
