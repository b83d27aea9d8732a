/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: any text as a stored measure. A text that is read is written and read again as the same numbers.
 */
#include "fuzz.h"
#include "mep/measure.h"

static int same_bits(const mep_measure_value *a, const mep_measure_value *b)
{
    return a->length == b->length && a->layer == b->layer && a->head == b->head && a->samples == b->samples &&
           strcmp(a->name, b->name) == 0 && (a->value == b->value || a->value != a->value);
}

static void check_measure(const mep_measure *measure)
{
    mep_measure again = {0};
    char *text = NULL, *second = NULL;
    if (mep_measure_print(measure, &text) != MEP_OK) abort();
    if (mep_measure_parse(text, &again) != MEP_OK || again.count != measure->count) abort();
    for (int64_t i = 0; i < measure->count; i++)
        if (!same_bits(&measure->values[i], &again.values[i])) abort();
    if (mep_measure_print(&again, &second) != MEP_OK || strcmp(text, second) != 0) abort();
    mep_text_free(&text);
    mep_text_free(&second);
    mep_measure_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mep_measure measure = {0};
    char *text = text_of(data, size);
    mep_status status = mep_measure_parse(text, &measure);
    check_message(status);
    if (status == MEP_OK)
        check_measure(&measure);
    else if ((status != MEP_ERROR_FORMAT && status != MEP_ERROR_MEMORY) || measure.values != NULL)
        abort();
    mep_measure_free(&measure);
    free(text);
    return 0;
}
