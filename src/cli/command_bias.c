/* SPDX-License-Identifier: MIT */
/*
 * mep bias: prints the values that a distance bias adds to the attention logits, as a table or as JSON in float64.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/sight_table.h"
#include "cli/text_table.h"
#include "io/json.h"
#include "mep/bias.h"

static const int64_t DISTANCE_MAX = (int64_t)1 << 31;

/* All printed values: values[h * count + n] is the bias of head h at distances[n]. */
typedef struct bias_page {
    mep_bias *bias;
    int64_t heads, count;
    int64_t query; /* position of the query, where the bias depends on it; -1: the first that has the distance */
    int64_t *distances;
    double *slopes, *values;
} bias_page;

static void page_free(bias_page *page)
{
    mep_bias_destroy(&page->bias);
    mep_free(&page->distances);
    mep_free(&page->slopes);
    mep_free(&page->values);
}

/* ---- Parameters from a file ---- */

/* Read `count` numbers of a JSON list; returns 0 if it is not such a list. */
static int read_numbers(const json_t *list, int64_t count, double *values)
{
    if (!json_is_array(list) || json_array_size(list) != (size_t)count) return 0;
    for (int64_t n = 0; n < count; n++) {
        const json_t *number = json_array_get(list, (size_t)n);
        if (!json_is_number(number)) return 0;
        values[n] = json_number_value(number);
    }
    return 1;
}

static mep_status read_param(const char *file, const json_t *list, const mep_bias_param *param, double *values)
{
    if (list == NULL) return mep_fail(MEP_ERROR_FORMAT, "%s: the parameter \"%s\" is missing", file, param->name);
    if (param->ndim == 0) {
        *values = json_number_value(list);
        return json_is_number(list) ? MEP_OK
                                    : mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" must be a number", file, param->name);
    }
    if (param->ndim == 1) {
        if (read_numbers(list, param->shape[0], values)) return MEP_OK;
        return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" must be a list of %lld numbers", file, param->name,
                        (long long)param->shape[0]);
    }
    int good = json_is_array(list) && json_array_size(list) == (size_t)param->shape[0];
    for (int64_t row = 0; good && row < param->shape[0]; row++)
        good = read_numbers(json_array_get(list, (size_t)row), param->shape[1], values + row * param->shape[1]);
    if (good) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" must be a list of %lld lists of %lld numbers", file, param->name,
                    (long long)param->shape[0], (long long)param->shape[1]);
}

static int has_param(const mep_bias *bias, const char *name)
{
    for (int64_t i = 0; i < mep_bias_param_count(bias); i++) {
        mep_bias_param param;
        if (mep_bias_get_param(bias, i, &param) == MEP_OK && strcmp(param.name, name) == 0) return 1;
    }
    return 0;
}

static mep_status read_params(const char *file, json_t *root, const mep_bias *bias, double *values)
{
    if (!json_is_object(root))
        return mep_fail(MEP_ERROR_FORMAT, "%s: expected an object of parameters, {\"NAME\": [...]}", file);
    for (void *member = json_object_iter(root); member != NULL; member = json_object_iter_next(root, member))
        if (!has_param(bias, json_object_iter_key(member)))
            return mep_fail(MEP_ERROR_FORMAT, "%s: %s has no parameter \"%s\"", file, mep_bias_spec(bias),
                            json_object_iter_key(member));
    for (int64_t i = 0; i < mep_bias_param_count(bias); i++) {
        mep_bias_param param;
        MEP_TRY(mep_bias_get_param(bias, i, &param));
        MEP_TRY(read_param(file, json_object_get(root, param.name), &param, values + param.offset));
    }
    return MEP_OK;
}

/* Set the parameters of a bias from a JSON file: {"NAME": [..], ..}, with lists of numbers, or of such
 * lists. */
static mep_status load_params(const char *file, mep_bias *bias)
{
    json_t *root;
    double *values = NULL;
    MEP_TRY(mep_json_load(file, &root));
    mep_status status = MEP_ALLOC(&values, mep_bias_param_values(bias));
    if (status == MEP_OK) status = read_params(file, root, bias, values);
    if (status == MEP_OK) status = mep_bias_set_params(bias, values, mep_bias_param_values(bias));
    mep_free(&values);
    json_decref(root);
    return status;
}

/* ---- The page ---- */

/* Create the bias of a position, and note where the position has more than this bias. */
static mep_status open_bias(bias_page *page, const char *spec, int64_t head_dim, int64_t train_length)
{
    mep_position *position;
    MEP_TRY(mep_position_create(&position, spec));
    mep_status status = mep_bias_create_from(&page->bias, position, page->heads, head_dim);
    if (status == MEP_OK && strcmp(mep_position_spec(position), mep_bias_spec(page->bias)) != 0)
        mep_cli_print(stderr, "mep bias: note: modifiers are not part of the bias: of \"%s\" only \"%s\" is printed\n",
                      mep_position_spec(position), mep_bias_spec(page->bias));
    mep_position_destroy(&position);
    if (status == MEP_OK) status = mep_bias_set_train_length(page->bias, train_length);
    if (status == MEP_OK && page->query >= 0 && mep_bias_threshold(page->bias) == INT64_MAX)
        status = mep_fail(MEP_ERROR_ARGUMENT, "--query-position: %s does not depend on the position of the query",
                          mep_bias_spec(page->bias));
    return status;
}

/* Set the distances of the list if `length` is 0, otherwise 0 .. length - 1. */
static mep_status set_distances(bias_page *page, const mep_lengths *list, int64_t length)
{
    page->count = length == 0 ? list->count : length;
    MEP_TRY(MEP_ALLOC(&page->distances, page->count));
    for (int64_t n = 0; n < page->count; n++) page->distances[n] = length == 0 ? list->values[n] : n;
    return MEP_OK;
}

static mep_status compute(bias_page *page, const char *params)
{
    int64_t size = 0;
    if (params != NULL) MEP_TRY(load_params(params, page->bias));
    MEP_TRY(mep_multiply(page->heads, page->count, 1, &size));
    MEP_TRY(MEP_ALLOC(&page->slopes, page->heads));
    MEP_TRY(MEP_ALLOC(&page->values, size));
    MEP_TRY(mep_alibi_slopes(page->heads, page->slopes));
    if (page->query >= 0)
        MEP_TRY(mep_bias_at_position(page->bias, page->query, page->distances, page->count, page->values));
    else
        MEP_TRY(mep_bias_at(page->bias, page->distances, page->count, page->values));
    for (int64_t n = 0; n < size; n++) page->values[n] += 0.0; /* 0 instead of -0 */
    return MEP_OK;
}

static void print_list(const double *values, int64_t count)
{
    for (int64_t n = 0; n < count; n++) printf("%s%.17g", n == 0 ? "[" : ", ", values[n]);
    fputs("]", stdout);
}

static void print_json(const bias_page *page)
{
    printf("{\"position\": \"%s\", ", mep_bias_spec(page->bias));
    if (mep_bias_threshold(page->bias) < INT64_MAX)
        printf("\"threshold\": %lld, ", (long long)mep_bias_threshold(page->bias));
    if (page->query >= 0) printf("\"query_position\": %lld, ", (long long)page->query);
    printf("\"distances\": ");
    for (int64_t n = 0; n < page->count; n++) printf("%s%lld", n == 0 ? "[" : ", ", (long long)page->distances[n]);
    fputs("], \"slopes\": ", stdout);
    print_list(page->slopes, page->heads);
    fputs(", \"bias\": ", stdout);
    for (int64_t h = 0; h < page->heads; h++) {
        fputs(h == 0 ? "[" : ", ", stdout);
        print_list(page->values + h * page->count, page->count);
    }
    fputs("]}\n", stdout);
}

static mep_status fill_table(const bias_page *page, mep_table *table)
{
    MEP_TRY(mep_table_cell(table, "distance"));
    for (int64_t h = 0; h < page->heads; h++) MEP_TRY(mep_table_cell(table, "head %lld", (long long)h + 1));
    for (int64_t n = 0; n < page->count; n++) {
        MEP_TRY(mep_table_cell(table, "%lld", (long long)page->distances[n]));
        for (int64_t h = 0; h < page->heads; h++)
            MEP_TRY(mep_table_cell(table, "%.6g", page->values[h * page->count + n]));
    }
    return MEP_OK;
}

/* What else the values depend on. */
static void print_dependence(const bias_page *page)
{
    long long threshold = mep_bias_threshold(page->bias);
    if (threshold == INT64_MAX) return;
    printf("beyond position %lld it depends on the position of the query too: ", threshold);
    if (page->query >= 0)
        printf("these are the values for a query at position %lld\n", (long long)page->query);
    else
        printf(
            "these are the values\nfor the first query at or beyond it that has the distance; see --query-position\n");
}

static mep_status print_text(const bias_page *page)
{
    mep_table *table;
    MEP_TRY(mep_table_create(&table, page->heads + 1));
    mep_status status = fill_table(page, table);
    if (status == MEP_OK) {
        mep_cli_print(stdout, "%s: added to the attention logits at each distance\n", mep_bias_spec(page->bias));
        print_dependence(page);
        fputs("ALiBi slopes:", stdout);
        for (int64_t h = 0; h < page->heads; h++) printf(" %.6g", page->slopes[h]);
        fputs("\n\n", stdout);
        mep_table_print(table, MEP_TABLE_TEXT, stdout);
    }
    mep_table_destroy(&table);
    return status;
}

static mep_status print_page(const bias_page *page, int json)
{
    if (!json) return print_text(page);
    print_json(page);
    return MEP_OK;
}

int mep_cli_bias(int argc, char **argv)
{
    const char *position = "mep", *params = NULL;
    int64_t heads = 12, head_dim = 64, length = 0, query = -1, train_length = 512;
    int json = 0, sight = 0, count;
    mep_lengths distances = {12, {0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}};
    mep_option options[] = {
        MEP_OPT_TEXT("--position", 'p', "SPEC", &position, "mixture or kernel, see below"),
        MEP_OPT_INT("--heads", 0, "N", &heads, 1, 65536, "attention heads"),
        MEP_OPT_INT("--head-dim", 0, "N", &head_dim, 1, 65536, "channels per head; t5 is scaled by its square root"),
        MEP_OPT_LENGTHS("--distances", 'd', "L,..", &distances, 0, DISTANCE_MAX, "distances to print"),
        MEP_OPT_LENGTH("--length", 'l', "L", &length, 1, 16777216, "print the distances 0 .. L-1 instead"),
        MEP_OPT_LENGTH("--query-position", 'q', "P", &query, 0, DISTANCE_MAX,
                       "position of the query, for a bias that depends on it (fire)"),
        MEP_OPT_LENGTH("--train-length", 0, "L", &train_length, 1, DISTANCE_MAX,
                       "training length, beyond which fire depends on the position of the query"),
        MEP_OPT_TEXT("--params", 0, "FILE", &params,
                     "JSON file of the learned parameters, {\"NAME\": number, list of numbers, or list of such lists}; "
                     "default: the initial parameters of seed 0"),
        MEP_OPT_FLAG(
            "--sight", 0, &sight,
            "print how far the bias lets each head look instead of the bias: its reach, and the sum of its weights "
            "over the distances below --length (1024)"),
        MEP_OPT_FLAG("--json", 0, &json, "print one JSON object: slopes [heads], bias [heads][distances]"),
        MEP_OPT_END,
    };
    mep_args_default(options, "--length", "");
    mep_args_default(options, "--query-position", "the first that has the distance");
    mep_usage usage = {.command = "bias",
                       .arguments = "",
                       .summary = "Print the bias that a position encoding adds to the attention logits.",
                       .notes = mep_position_help(),
                       .options = options};
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code != MEP_ARGS_GO) return code;
    if (mep_args_given(options, "--length") && mep_args_given(options, "--distances"))
        return mep_cli_usage("bias", "give --length or --distances, not both");
    if (sight && mep_args_given(options, "--distances"))
        return mep_cli_usage("bias", "--sight uses --length; leave out --distances");
    if (sight && query >= 0) return mep_cli_usage("bias", "--sight uses --length; leave out --query-position");
    while (query >= 0 && !mep_args_given(options, "--distances") && distances.values[distances.count - 1] > query)
        distances.count--;

    bias_page page = {.heads = heads, .query = query};
    mep_status status = open_bias(&page, position, head_dim, train_length);
    if (status == MEP_ERROR_ARGUMENT) {
        page_free(&page);
        return mep_cli_usage("bias", "%s", mep_error_message());
    }
    if (status == MEP_OK && sight) {
        if (params != NULL) status = load_params(params, page.bias);
        if (status == MEP_OK) status = mep_cli_print_sight(page.bias, length > 0 ? length : 1024, json);
        page_free(&page);
        return status == MEP_OK ? MEP_EXIT_OK : mep_cli_fail("bias");
    }
    if (status == MEP_OK) status = set_distances(&page, &distances, length);
    if (status == MEP_OK) status = compute(&page, params);
    if (status == MEP_OK) status = print_page(&page, json);
    page_free(&page);
    if (status == MEP_ERROR_ARGUMENT) return mep_cli_usage("bias", "%s", mep_error_message());
    return status == MEP_OK ? MEP_EXIT_OK : mep_cli_fail("bias");
}
