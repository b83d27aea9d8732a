/* SPDX-License-Identifier: MIT */
/*
 * Training data of a synthetic task: a dataset whose sequences all have one length, with a mask of the answers. One
 * token follows the last sequence, so that training at this length reads exactly the sequences that were made.
 */
#include "base/error.h"
#include "base/memory.h"
#include "eval/synthetic.h"
#include "mep/measure.h"

static mep_status check(const mep_synthetic *task, const mep_synthetic_settings *s)
{
    if (s->length < 1 || s->length > 1 << 26 || s->sequences < 1)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "synthetic data needs sequences of 1 to 2^26 tokens, and at least one of them; found %lld of "
                        "%lld tokens",
                        (long long)s->sequences, (long long)s->length);
    return mep_synthetic_check(task, s->length);
}

static mep_status write(mep_dataset_writer *writer, const mep_synthetic *task, const mep_synthetic_settings *s,
                        mep_synthetic_fn progress, void *context)
{
    enum { EVERY = 256 };
    int32_t *tokens = NULL;
    uint8_t *mask = NULL;
    mep_status status;
    MEP_TRY_OR(status, MEP_ALLOC(&tokens, s->length + 1), end);
    MEP_TRY_OR(status, MEP_ALLOC(&mask, s->length + 1), end);
    for (int64_t i = 0; i < s->sequences; i++) {
        int is_last = i + 1 == s->sequences;
        mep_synthetic_fill(task, 0, i, s->length, tokens, mask);
        tokens[s->length] = tokens[0];
        mask[s->length] = 0;
        MEP_TRY_OR(status, mep_dataset_writer_add_masked(writer, tokens, mask, s->length + is_last), end);
        if (progress == NULL || (i % EVERY != 0 && !is_last)) continue;
        if (progress(context, i + 1, s->sequences) != 0) {
            status = mep_fail(MEP_INTERRUPTED, "writing the synthetic data was stopped");
            goto end;
        }
    }
end:
    mep_free(&tokens);
    mep_free(&mask);
    return status;
}

void mep_synthetic_defaults(mep_synthetic_settings *settings)
{
    if (settings == NULL) return;
    *settings = (mep_synthetic_settings){.length = 64, .sequences = 20000, .seed = 1};
}

mep_status mep_synthetic_write(const char *task, const char *prefix, const mep_synthetic_settings *settings,
                               mep_synthetic_fn progress, void *context)
{
    MEP_REQUIRE(task, prefix, settings);
    mep_synthetic parsed;
    mep_tokenizer *bytes = NULL;
    mep_dataset_writer *writer = NULL;
    MEP_TRY(mep_synthetic_parse(&parsed, task, settings->seed));
    MEP_TRY(check(&parsed, settings));
    MEP_TRY(mep_tokenizer_bytes(&bytes));
    mep_status status = mep_dataset_writer_create(&writer, prefix, bytes);
    if (status == MEP_OK) status = write(writer, &parsed, settings, progress, context);
    if (status == MEP_OK) status = mep_dataset_writer_finish(&writer);
    mep_dataset_writer_abandon(&writer);
    mep_tokenizer_destroy(&bytes);
    return status;
}
