/* SPDX-License-Identifier: MIT */
/*
 * Skipping far blocks changes no bit of a trained model's losses and gradients, far beyond the length that it was
 * trained at. Random and adversarial tensors are in test_attention_skip.c.
 */
#define _POSIX_C_SOURCE 200809L
#include "small_data.h"

enum { LONG = 2200 };

/* Give the session an attention plan that computes every block. */
static void forbid_skipping(mep_session *session)
{
    const mep_model_config *c = mep_model_get_config(session->model);
    mep_attention **attention = mep_kv_none_attention(session->kv);
    mep_attention_settings a;
    mep_attention_defaults(&a);
    a.heads = c->num_attention_heads, a.head_dim = c->hidden_size / c->num_attention_heads, a.max_length = LONG;
    a.dtype = session->settings.dtype, a.skip_far = 0;
    mep_attention_destroy(attention);
    assert_int_equal(mep_attention_create(attention, &a), MEP_OK);
    assert_int_equal(mep_session_refresh(session), MEP_OK);
}

/* Losses [LONG] and gradients of one long sequence. */
static void train_long(mep_model *model, mep_dtype dtype, int skip, const int32_t *tokens, float *losses,
                       float *gradients)
{
    mep_session *session;
    mep_session_settings settings;
    mep_session_defaults(&settings);
    settings.length = LONG, settings.dtype = dtype, settings.training = 1;
    assert_int_equal(mep_session_create(&session, model, &settings), MEP_OK);
    if (!skip) forbid_skipping(session);
    if (mep_session_train(session,
                          &(mep_train_batch){.batch = 1,
                                             .length = LONG,
                                             .inputs = tokens,
                                             .targets = tokens + 1,
                                             .scale = 1.0f / LONG,
                                             .accumulate = 1},
                          losses, gradients) != MEP_OK)
        fail_msg("%s", mep_error_message());
    double fraction = mep_attention_computed_fraction(*mep_kv_none_attention(session->kv)); /* of the last layer */
    if (!(skip ? fraction < 0.97 : fraction == 1)) fail_msg("%g of the blocks were computed", fraction);
    mep_session_destroy(&session);
}

static void test_trained(void **state)
{
    (void)state;
    static const char *const encodings[] = {"mep", "alibi", "mep/learn=weights,slopes"};
    static int32_t tokens[LONG + 1];
    static float losses[2][LONG];
    for (int e = 0; e < 3; e++) {
        char run[600], checkpoint[700];
        mep_train_settings s = settings_for(encodings[e]);
        mep_model *model;
        mep_dataset *data;
        snprintf(run, sizeof run, "%s/run%d", folder, e);
        assert_int_equal(mep_train_start(run, &s, NULL, NULL), MEP_OK);
        snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint-%d", run, (int)s.steps);
        if (mep_model_load(&model, checkpoint) != MEP_OK) fail_msg("%s", mep_error_message());
        assert_int_equal(mep_dataset_open(&data, data_path), MEP_OK);
        assert_int_equal(mep_dataset_read(data, 0, LONG + 1, tokens), MEP_OK);
        for (int dtype = 0; dtype < 2; dtype++) {
            float *gradients[2];
            for (int skip = 0; skip < 2; skip++) {
                gradients[skip] = calloc((size_t)model->size, sizeof(float));
                assert_non_null(gradients[skip]);
                train_long(model, (mep_dtype)dtype, skip, tokens, losses[skip], gradients[skip]);
            }
            assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
            assert_memory_equal(gradients[0], gradients[1], (size_t)model->size * sizeof(float));
            for (int64_t i = 0; i < model->size; i++) assert_true(isfinite(gradients[0][i]));
            free(gradients[0]);
            free(gradients[1]);
        }
        mep_dataset_close(&data);
        mep_model_destroy(&model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_trained)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
