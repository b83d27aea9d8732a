/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a data mix, "PREFIX=WEIGHT,PREFIX=WEIGHT", and after a newline the ratio of a split. A
 * data mix that parses has valid names and weights, and parses the same with a suffix after each name.
 */
#include <math.h>

#include "fuzz.h"
#include "mep/data.h"
#include "eval/data_mix.h"

static void check_weights(const mep_data_mix *m)
{
    double sum = 0;
    if (m->count < 1 || m->count > MEP_DATA_MIX_MOST) abort();
    for (int64_t i = 0; i < m->count; i++) {
        if (m->names[i] == NULL || (m->count > 1 && m->names[i][0] == '\0')) abort();
        if (!(m->weights[i] > 0 && m->weights[i] <= 1)) abort();
        sum += m->weights[i];
    }
    if (!(fabs(sum - 1) < 1e-9)) abort();
}

/* The names of `longer` are those of `m` with ".train" appended. */
static void check_append(const mep_data_mix *m, const char *spec)
{
    char longer[MEP_DATA_SIZE], title[MEP_DATA_SIZE];
    mep_data_mix *again;
    check_message(mep_data_mix_title(spec, title));
    mep_status status = mep_data_mix_append(spec, ".train", longer);
    check_message(status);
    if (status != MEP_OK) return;
    if (mep_data_mix_parse(&again, longer) != MEP_OK || again->count != m->count) abort();
    for (int64_t i = 0; i < m->count; i++) {
        size_t length = strlen(m->names[i]);
        if (strncmp(again->names[i], m->names[i], length) != 0 || strcmp(again->names[i] + length, ".train") != 0)
            abort();
        if (again->weights[i] != m->weights[i]) abort();
    }
    mep_data_mix_close(&again);
}

static void check_split(const char *split)
{
    static const int64_t DOCUMENTS[] = {0, 1, 2, 1000, INT64_C(1) << 40};
    for (size_t i = 0; i < sizeof DOCUMENTS / sizeof *DOCUMENTS; i++) {
        int64_t bounds[4] = {-1, -1, -1, -1};
        mep_status status = mep_split_documents(split, DOCUMENTS[i], bounds);
        check_message(status);
        if (status != MEP_OK) continue;
        if (bounds[0] != 0 || bounds[3] != DOCUMENTS[i]) abort();
        for (int b = 0; b < 3; b++)
            if (bounds[b] > bounds[b + 1]) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mep_data_mix *mix;
    char *text = text_of(data, size), *newline = strchr(text, '\n');
    if (newline != NULL) *newline = '\0';
    mep_status status = mep_data_mix_parse(&mix, text);
    check_message(status);
    if (status == MEP_OK) {
        check_weights(mix);
        check_append(mix, text);
    } else if (status != MEP_ERROR_ARGUMENT || mix != NULL) {
        abort();
    }
    mep_data_mix_close(&mix);
    if (newline != NULL) check_split(newline + 1);
    free(text);
    return 0;
}
