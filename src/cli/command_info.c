/* SPDX-License-Identifier: MIT */
/*
 * mep info: describes a training run, a model or a token dataset. Both forms of output come from one JSON object.
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "io/files.h"
#include "io/json.h"
#include "mep/data.h"
#include "mep/model.h"
#include "mep/train.h"

/* Set `key` to `value`, whose reference is taken; NULL means out of memory. */
static mep_status put(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) == 0 ? MEP_OK : mep_json_out_of_memory();
}

static json_t *number_or_null(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

/* ---- Models ---- */

static mep_status count_groups(const mep_model *model, json_t **groups)
{
    *groups = json_object();
    for (int64_t i = 0; i < mep_model_parameter_count(model); i++) {
        mep_parameter p;
        MEP_TRY(mep_model_get_parameter(model, i, &p));
        json_int_t before = json_integer_value(json_object_get(*groups, p.group));
        MEP_TRY(put(*groups, p.group, json_integer(before + (json_int_t)p.size)));
    }
    return put(*groups, "total", json_integer((json_int_t)mep_model_parameter_values(model)));
}

static json_t *shape_of(const mep_parameter *p)
{
    json_t *shape = json_array();
    for (int i = 0; i < p->ndim; i++) json_array_append_new(shape, json_integer((json_int_t)p->shape[i]));
    return shape;
}

/* Describe a parameter of the position bias: {"shape", "min", "mean", "max", "values"}. */
static json_t *summarize(const mep_parameter *p)
{
    double least = INFINITY, most = -INFINITY, sum = 0;
    json_t *values = json_array();
    for (int64_t i = 0; i < p->size; i++) {
        double value = (double)p->values[i];
        least = fmin(least, value);
        most = fmax(most, value);
        sum += value;
        json_array_append_new(values, number_or_null(value));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "shape", shape_of(p), "min", number_or_null(least), "mean",
                     number_or_null(sum / (double)p->size), "max", number_or_null(most), "values", values);
}

static mep_status describe_position(const mep_model *model, json_t **position)
{
    static const char prefix[] = "position_bias.";
    *position = json_object();
    MEP_TRY(put(*position, "encoding", json_string(mep_position_spec(mep_model_get_position(model)))));
    json_t *learned = json_object();
    MEP_TRY(put(*position, "learned", learned));
    for (int64_t i = 0; i < mep_model_parameter_count(model); i++) {
        mep_parameter p;
        MEP_TRY(mep_model_get_parameter(model, i, &p));
        if (strncmp(p.name, prefix, sizeof prefix - 1) == 0)
            MEP_TRY(put(learned, p.name + sizeof prefix - 1, summarize(&p)));
    }
    return MEP_OK;
}

/* The keys have our names whatever the family of the folder is, which is the model_type. */
static mep_status describe_config(json_t *root, const char *folder, const mep_model_config *config)
{
    char *text = NULL;
    const char *family = NULL;
    MEP_TRY(mep_model_config_json(config, &text));
    mep_status status = put(root, "config", json_loads(text, 0, NULL));
    if (status == MEP_OK) status = mep_model_family(folder, &family);
    if (status == MEP_OK) status = put(json_object_get(root, "config"), "model_type", json_string(family));
    mep_text_free(&text);
    return status;
}

static mep_status describe_model(json_t *root, const char *folder)
{
    mep_model *model = NULL;
    json_t *groups = NULL, *position = NULL;
    MEP_TRY(mep_model_load(&model, folder));
    mep_status status = describe_config(root, folder, mep_model_get_config(model));
    if (status == MEP_OK) status = count_groups(model, &groups);
    if (status == MEP_OK) status = put(root, "parameters", json_incref(groups));
    if (status == MEP_OK) status = describe_position(model, &position);
    if (status == MEP_OK) status = put(root, "position", json_incref(position));
    json_decref(groups);
    json_decref(position);
    mep_model_destroy(&model);
    return status;
}

/* ---- Runs ---- */

/* *line stays NULL if the run has no step yet. */
static mep_status last_metrics(const char *run, json_t **line)
{
    char *path = NULL, *text = NULL;
    MEP_TRY(mep_path_join(&path, run, "metrics.jsonl"));
    mep_status status = mep_file_exists(path) ? mep_metrics_last(path, &text) : MEP_OK;
    if (text != NULL && (*line = json_loads(text, 0, NULL)) == NULL) status = mep_json_out_of_memory();
    mep_text_free(&text);
    mep_free(&path);
    return status;
}

/* The settings of train.json without the model, the number of steps done, and the last metrics. */
static mep_status describe_training(json_t *root, const char *run)
{
    mep_train_settings settings; /* reading them checks the file */
    json_t *training = NULL, *metrics = NULL;
    char *path = NULL;
    int64_t done = 0;
    MEP_TRY(mep_train_read_settings(run, &settings));
    MEP_TRY(mep_train_steps_done(run, &done));
    MEP_TRY(mep_path_join(&path, run, "train.json"));
    mep_status status = mep_json_load(path, &training);
    if (status == MEP_OK) json_object_del(training, "model");
    if (status == MEP_OK) status = put(training, "steps_done", json_integer((json_int_t)done));
    if (status == MEP_OK) status = last_metrics(run, &metrics);
    if (status == MEP_OK && metrics != NULL) status = put(training, "last", json_incref(metrics));
    if (status == MEP_OK) status = put(root, "training", json_incref(training));
    json_decref(metrics);
    json_decref(training);
    mep_free(&path);
    return status;
}

static mep_status has_file(const char *folder, const char *name, int *found)
{
    char *path = NULL;
    MEP_TRY(mep_path_join(&path, folder, name));
    *found = mep_file_exists(path);
    mep_free(&path);
    return MEP_OK;
}

static mep_status describe_folder(json_t *root, const char *path)
{
    char checkpoint[MEP_PATH_SIZE] = "";
    int64_t step = -1;
    int is_run = 0, is_checkpoint = 0;
    MEP_TRY(has_file(path, "train.json", &is_run));
    MEP_TRY(has_file(path, "state.json", &is_checkpoint));
    mep_status status = put(root, "kind", json_string(is_run ? "run" : is_checkpoint ? "checkpoint" : "model"));
    if (status == MEP_OK) status = mep_train_checkpoint(path, checkpoint, &step);
    if (status == MEP_OK && step >= 0) status = put(root, "checkpoint", json_string(checkpoint));
    if (status == MEP_OK && is_run) status = describe_training(root, path);
    if (status == MEP_OK && (step >= 0 || !is_run)) status = describe_model(root, path);
    return status;
}

/* ---- Datasets ---- */

/* The vocabulary that PREFIX.json names; mep_dataset_open has checked the file. */
static mep_status add_vocabulary(json_t *root, const mep_dataset *data)
{
    char *path = NULL;
    json_t *description = NULL;
    MEP_TRY(mep_format(&path, "%s.json", mep_dataset_prefix(data)));
    mep_status status = mep_file_exists(path) ? mep_json_load(path, &description) : MEP_OK;
    json_t *size = json_object_get(description, "vocab_size");
    if (json_is_integer(size)) status = put(root, "vocab_size", json_incref(size));
    json_decref(description);
    mep_free(&path);
    return status;
}

static mep_status fill_dataset(json_t *root, const mep_dataset *data)
{
    char checksum[17];
    MEP_TRY(mep_dataset_verify(data));
    snprintf(checksum, sizeof checksum, "%016" PRIx64, mep_dataset_checksum(data));
    MEP_TRY(put(root, "kind", json_string("dataset")));
    MEP_TRY(put(root, "tokens", json_integer((json_int_t)mep_dataset_tokens(data))));
    MEP_TRY(put(root, "documents", json_integer((json_int_t)mep_dataset_documents(data))));
    MEP_TRY(put(root, "dtype", json_string(mep_dataset_token_type(data))));
    MEP_TRY(put(root, "tokenizer", json_string(mep_dataset_tokenizer(data))));
    MEP_TRY(put(root, "largest_token", json_integer((json_int_t)mep_dataset_vocab_size(data) - 1)));
    if (mep_dataset_has_mask(data)) MEP_TRY(put(root, "mask", json_true()));
    MEP_TRY(put(root, "checksum", json_string(checksum)));
    return add_vocabulary(root, data);
}

static mep_status describe_dataset(json_t *root, const char *prefix)
{
    mep_dataset *data = NULL;
    MEP_TRY(mep_dataset_open(&data, prefix));
    mep_status status = fill_dataset(root, data);
    mep_dataset_close(&data);
    return status;
}

/* ---- Printing ---- */

static void print_value(const json_t *value)
{
    if (json_is_string(value))
        mep_cli_print(stdout, "%s", json_string_value(value)[0] != '\0' ? json_string_value(value) : "-");
    else if (json_is_integer(value))
        printf("%lld", (long long)json_integer_value(value));
    else if (json_is_boolean(value))
        printf("%s", json_is_true(value) ? "yes" : "no");
    else if (json_is_real(value))
        printf("%g", json_real_value(value));
    else
        printf("-");
    putchar('\n');
}

/* Print the scalars of an object, one per line, without its objects and lists. */
static void print_scalars(json_t *object)
{
    for (void *member = json_object_iter(object); member != NULL; member = json_object_iter_next(object, member)) {
        const json_t *value = json_object_iter_value(member);
        if (json_is_object(value) || json_is_array(value)) continue;
        const char *key = json_object_iter_key(member);
        int length = (int)strlen(key);
        fputs("  ", stdout);
        mep_cli_print(stdout, "%s", key);
        printf("%*s ", length < 24 ? 24 - length : 0, "");
        print_value(value);
    }
}

static void print_section(json_t *root, const char *key, const char *title)
{
    json_t *section = json_object_get(root, key);
    if (section == NULL) return;
    printf("\n%s\n", title);
    print_scalars(section);
}

static double number_in(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void print_learned(json_t *root)
{
    json_t *learned = json_object_get(json_object_get(root, "position"), "learned");
    for (void *member = json_object_iter(learned); member != NULL; member = json_object_iter_next(learned, member)) {
        const json_t *p = json_object_iter_value(member), *shape = json_object_get(p, "shape");
        mep_cli_print(stdout, "  %-24s", json_object_iter_key(member));
        for (size_t i = 0; i < json_array_size(shape); i++)
            printf("%s %lld", i == 0 ? "" : " x", (long long)json_integer_value(json_array_get(shape, i)));
        printf(" values, from %g to %g, mean %g\n", number_in(p, "min"), number_in(p, "max"), number_in(p, "mean"));
    }
}

static void print_text(json_t *root)
{
    print_scalars(root);
    print_section(root, "training", "training");
    print_section(json_object_get(root, "training"), "last", "last step");
    print_section(root, "config", "configuration");
    print_section(root, "parameters", "parameters");
    print_section(root, "position", "position encoding");
    print_learned(root);
}

static mep_status describe(json_t *root, const char *path)
{
    MEP_TRY(put(root, "path", json_string(path)));
    if (mep_folder_exists(path)) return describe_folder(root, path);
    if (mep_dataset_exists(path)) return describe_dataset(root, path);
    return mep_fail(MEP_ERROR_IO, "%s: neither a folder nor the prefix of a dataset (PREFIX.bin and PREFIX.idx)", path);
}

int mep_cli_info(int argc, char **argv)
{
    int json = 0, count;
    mep_option options[] = {
        MEP_OPT_FLAG("--json", 0, &json, "print one JSON object with all values of learned position parameters"),
        MEP_OPT_END,
    };
    mep_usage usage = {.command = "info",
                       .arguments = "PATH",
                       .summary =
                           "Describe the content of PATH: the folder of a run, a checkpoint or another model, or the "
                           "prefix of a dataset. A dataset is read completely and compared with its checksum.",
                       .options = options,
                       .min_arguments = 1,
                       .max_arguments = 1};
    int code = mep_args_parse(&usage, argc, argv, &count);
    if (code != MEP_ARGS_GO) return code;
    json_t *root = json_object();
    mep_status status = root == NULL ? mep_json_out_of_memory() : describe(root, argv[1]);
    if (status == MEP_OK && json) {
        json_dumpf(root, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (status == MEP_OK) {
        print_text(root);
    }
    json_decref(root);
    return status == MEP_OK ? MEP_EXIT_OK : mep_cli_fail("info");
}
