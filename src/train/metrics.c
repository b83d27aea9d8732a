/* SPDX-License-Identifier: MIT */
/*
 * Reading metrics.jsonl, one line at a time.
 */
#include "train/metrics.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json_keys.h"
#include "base/libraries.h"
#include "base/memory.h"
#include "io/files.h"
#include "io/json.h"
#include "eval/data_mix.h"

enum { NAME = 1024 };
static const int64_t LARGEST_FILE = (int64_t)1 << 34;

/* Make room for one more step, and for its validation losses once the corpora are known. */
static mep_status reserve(mep_metrics *m, int64_t *capacity)
{
    int64_t more = *capacity == 0 ? 256 : 2 * *capacity, before = 0, after = 0;
    if (m->count < *capacity) return MEP_OK;
    MEP_TRY(mep_multiply(*capacity, m->corpus_count, 1, &before));
    MEP_TRY(mep_multiply(more, m->corpus_count, 1, &after));
    MEP_TRY(mep_grow(&m->steps, *capacity, more, sizeof *m->steps));
    if (m->corpus_count > 0) MEP_TRY(mep_grow(&m->valid_losses, before, after, sizeof *m->valid_losses));
    *capacity = more;
    return MEP_OK;
}

/* The first line with losses of corpora determines the corpora; the steps before it had no validation. */
static mep_status find_corpora(mep_metrics *m, const json_t *losses, int64_t capacity)
{
    int64_t size = 0, count = (int64_t)json_object_size(losses);
    if (m->corpus_count > 0 || count == 0 || count > MEP_DATA_MIX_MOST) return MEP_OK;
    MEP_TRY(MEP_ALLOC(&m->corpora, count));
    m->corpus_count = count;
    int64_t i = 0;
    for (void *at = json_object_iter((json_t *)losses); at != NULL; at = json_object_iter_next((json_t *)losses, at))
        MEP_TRY(mep_copy_string(&m->corpora[i++], json_object_iter_key(at)));
    MEP_TRY(mep_multiply(capacity, count, 1, &size));
    MEP_TRY(MEP_ALLOC(&m->valid_losses, size));
    for (i = 0; i < m->count * count; i++) m->valid_losses[i] = NAN;
    return MEP_OK;
}

static mep_status read_number(const json_t *line, const char *name, const char *key, double *number)
{
    return mep_json_get_number_or(line, name, key, -INFINITY, INFINITY, NAN, number);
}

static mep_status read_step(json_t *line, const char *name, mep_metrics_step *step)
{
    static const char *const keys[] = {
        "step",       "loss",         "learning_rate", "grad_norm",   "tokens_per_second",
        "valid_loss", "valid_losses", "valid_seconds", "skipped_for", NULL};
    MEP_TRY(mep_json_get_int(line, name, "step", 1, INT64_MAX, &step->step));
    MEP_TRY(read_number(line, name, "loss", &step->loss));
    MEP_TRY(read_number(line, name, "learning_rate", &step->learning_rate));
    MEP_TRY(read_number(line, name, "grad_norm", &step->grad_norm));
    MEP_TRY(read_number(line, name, "tokens_per_second", &step->tokens_per_second));
    MEP_TRY(read_number(line, name, "valid_loss", &step->valid_loss));
    MEP_TRY(mep_json_check_keys(line, name, keys));
    step->skipped = json_object_get(line, "skipped_for") != NULL;
    return MEP_OK;
}

/* Parse a line as JSON, which the caller frees, and as a step. *line is NULL on failure. */
static mep_status read_line(const char *path, int64_t number, const char *text, int64_t size, json_t **line,
                            mep_metrics_step *step)
{
    char *name = NULL;
    *line = NULL;
    MEP_TRY(mep_format(&name, "%.*s: line %lld", NAME, path, (long long)number));
    mep_status status;
    MEP_TRY_OR(status, mep_json_parse(name, text, size, line), end);
    status = read_step(*line, name, step);
end:
    if (status != MEP_OK) {
        json_decref(*line);
        *line = NULL;
    }
    mep_free(&name);
    return status;
}

static mep_status add_line(mep_metrics *m, const json_t *line, const mep_metrics_step *step, int64_t *capacity)
{
    const json_t *losses = json_object_get(line, "valid_losses");
    while (m->count > 0 && m->steps[m->count - 1].step >= step->step) m->count--;
    MEP_TRY(reserve(m, capacity));
    MEP_TRY(find_corpora(m, losses, *capacity));
    for (int64_t i = 0; i < m->corpus_count; i++) {
        const json_t *loss = json_object_get(losses, m->corpora[i]);
        m->valid_losses[m->count * m->corpus_count + i] = json_is_number(loss) ? json_number_value(loss) : NAN;
    }
    m->steps[m->count++] = *step;
    return MEP_OK;
}

static mep_status parse_line(mep_metrics *m, const char *path, int64_t number, const char *text, int64_t size,
                             int64_t *capacity)
{
    json_t *line = NULL;
    mep_metrics_step step = {0};
    MEP_TRY(read_line(path, number, text, size, &line, &step));
    mep_status status = add_line(m, line, &step, capacity);
    json_decref(line);
    return status;
}

static mep_status parse(mep_metrics *m, const char *path, const char *text, int64_t size)
{
    int64_t capacity = 0, number = 1;
    for (int64_t at = 0; at < size; number++) {
        const char *end = memchr(text + at, '\n', (size_t)(size - at));
        int64_t length = end != NULL ? end - (text + at) : size - at;
        mep_status status = length == 0 ? MEP_OK : parse_line(m, path, number, text + at, length, &capacity);
        at += length + 1;
        if (status == MEP_ERROR_FORMAT && at >= size && m->count > 0) {
            m->damaged_line = number;
            return MEP_OK;
        }
        MEP_TRY(status);
    }
    return m->count > 0 ? MEP_OK : mep_fail(MEP_ERROR_FORMAT, "%s: has no step yet", path);
}

mep_status mep_metrics_parse(mep_metrics *metrics, const char *path, const char *text, int64_t size)
{
    *metrics = (mep_metrics){0};
    MEP_NEED(JANSSON, "jansson", "the metrics of a run cannot be read");
    mep_status status = parse(metrics, path, text, size);
    if (status != MEP_OK) mep_metrics_free(metrics);
    return status;
}

mep_status mep_metrics_read(mep_metrics *metrics, const char *path)
{
    MEP_REQUIRE(metrics, path);
    char *text = NULL;
    int64_t size = 0;
    *metrics = (mep_metrics){0};
    MEP_TRY(mep_file_read(path, LARGEST_FILE, &text, &size));
    mep_status status = mep_metrics_parse(metrics, path, text, size);
    mep_free(&text);
    return status;
}

static int64_t count_lines(const char *text, int64_t size)
{
    int64_t count = 0;
    for (int64_t i = 0; i < size; i++) count += text[i] == '\n';
    return count;
}

/* The line as JSON text, or NULL for NULL. */
static mep_status copy_line(const json_t *line, char **copy)
{
    if (line == NULL) return MEP_OK;
    char *text = json_dumps(line, JSON_COMPACT);
    mep_status status = text != NULL ? mep_copy_string(copy, text) : mep_fail(MEP_ERROR_MEMORY, "cannot copy a line");
    free(text);
    return status;
}

static mep_status find_last(const char *path, json_t **last)
{
    char *text = NULL;
    int64_t end = 0;
    int damaged = 0;
    *last = NULL;
    mep_status status = mep_file_read(path, LARGEST_FILE, &text, &end);
    while (status == MEP_OK && *last == NULL && end > 0) {
        mep_metrics_step unused = {0};
        while (end > 0 && text[end - 1] == '\n') end--;
        int64_t first = end;
        while (first > 0 && text[first - 1] != '\n') first--;
        if (end > first)
            status = read_line(path, count_lines(text, first) + 1, text + first, end - first, last, &unused);
        if (status == MEP_ERROR_FORMAT && !damaged) status = MEP_OK, damaged = 1;
        end = first;
    }
    mep_free(&text);
    return status;
}

mep_status mep_metrics_last(const char *path, char **line)
{
    MEP_REQUIRE(path, line);
    json_t *last = NULL;
    *line = NULL;
    MEP_NEED(JANSSON, "jansson", "the metrics of a run cannot be read");
    mep_status status;
    MEP_TRY_OR(status, find_last(path, &last), end);
    status = copy_line(last, line);
end:
    json_decref(last);
    return status;
}

void mep_metrics_free(mep_metrics *metrics)
{
    if (metrics == NULL) return;
    for (int64_t i = 0; i < metrics->corpus_count; i++) mep_free(&metrics->corpora[i]);
    mep_free(&metrics->corpora);
    mep_free(&metrics->steps);
    mep_free(&metrics->valid_losses);
    *metrics = (mep_metrics){0};
}
