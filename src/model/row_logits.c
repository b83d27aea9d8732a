/* SPDX-License-Identifier: MIT */
/*
 * Logits of single rows: the product of the output layer for one row of the final norm, which a pass leaves behind.
 */
#include "model/row_logits.h"

#include "base/device.h"
#include "base/error.h"

mep_status mep_session_row_logits(mep_session *s, int64_t row, float *logits)
{
    const mep_model_config *c = &s->model->config;
    mep_gemm g = {.m = 1, .n = c->vocab_size, .k = c->hidden_size};
    g.a = mep_activation_matrix(s->norm_final, row, c->hidden_size, 0);
    g.b = mep_session_weight(s, s->model->embed_out, 1);
    g.c = (mep_matrix){s->logits, MEP_FLOAT32, c->vocab_size, 0, 0};
    MEP_TRY(s->nn->gemm(s->state, &g));
    return mep_device_read(s->settings.device, logits, s->logits, c->vocab_size * (int64_t)sizeof *logits);
}
