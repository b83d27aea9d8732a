/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a metrics.jsonl. Accepted steps are in order, numbers are finite or NaN, and the lines
 * before the last one give the same result without it.
 */
#include <math.h>

#include "fuzz.h"
#include "train/metrics.h"

static void check_number(double number)
{
    if (isinf(number)) abort();
}

static void check_steps(const mep_metrics *m)
{
    if (m->count < 1 || (m->corpus_count > 0) != (m->valid_losses != NULL)) abort();
    for (int64_t i = 0; i < m->count; i++) {
        const mep_metrics_step *s = &m->steps[i];
        if (s->step <= (i > 0 ? m->steps[i - 1].step : 0)) abort();
        check_number(s->loss);
        check_number(s->learning_rate);
        check_number(s->grad_norm);
        check_number(s->tokens_per_second);
        check_number(s->valid_loss);
    }
    for (int64_t i = 0; i < m->count * m->corpus_count; i++) check_number(m->valid_losses[i]);
    for (int64_t i = 0; i < m->corpus_count; i++)
        if (m->corpora[i] == NULL) abort();
}

/* The text without its last line. */
static void check_start(const mep_metrics *m, const char *text, int64_t size)
{
    mep_metrics start;
    while (size > 0 && text[size - 1] == '\n') size--;
    while (size > 0 && text[size - 1] != '\n') size--;
    if (size == 0 || mep_metrics_parse(&start, "input", text, size) != MEP_OK) return;
    if (start.damaged_line > 0) abort();
    for (int64_t i = 0; i + 1 < m->count; i++)
        if (i >= start.count || m->steps[i].step != start.steps[i].step) abort();
    mep_metrics_free(&start);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mep_metrics metrics;
    mep_status status = mep_metrics_parse(&metrics, "input", (const char *)data, (int64_t)size);
    check_message(status);
    if (status == MEP_OK) {
        check_steps(&metrics);
        check_start(&metrics, (const char *)data, (int64_t)size);
    }
    mep_metrics_free(&metrics);
    return 0;
}
