/* SPDX-License-Identifier: MIT */
/*
 * Find tensors that are not finite, and write a bad step to a folder.
 */
#include "train/numeric.h"

#include <math.h>
#include <stdio.h>

#include <jansson.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "train/json_fields.h"
#include "train/run.h"

enum { DUMPED = 5 }; /* maximum number of tensors */

/* ---- Finding ---- */

static int64_t count_bad(int64_t n, const float *x)
{
    int64_t bad = 0;
    for (int64_t i = 0; i < n; i++) bad += !isfinite(x[i]);
    return bad;
}

static int is_bad(int64_t n, const float *x)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return 1;
    return 0;
}

/* Tensor number `i` in the order of the backward pass: from the output to the embeddings, then the parameters of the
 * position bias, whose gradient comes from all layers. */
static int64_t backward_order(const mep_model *m, int64_t i)
{
    int64_t layers = mep_section_range(m, SECTION_POSITION).first;
    return i < layers ? layers - 1 - i : i;
}

mep_bad_tensors mep_find_bad_tensors(const mep_model *m, const float *gradients)
{
    mep_bad_tensors bad = {-1, -1};
    for (int64_t i = 0; i < m->count && bad.parameter < 0; i++)
        if (is_bad(m->tensors[i].size, m->tensors[i].data)) bad.parameter = i;
    for (int64_t i = 0; i < m->count && bad.gradient < 0; i++) {
        int64_t t = backward_order(m, i);
        if (is_bad(m->tensors[t].size, gradients + mep_tensor_offset(m, t))) bad.gradient = t;
    }
    return bad;
}

/* ---- Writing ---- */

static mep_status write_tensors(const char *path, const mep_bad_step *s, mep_bad_tensors bad)
{
    mep_tensor tensors[DUMPED] = {0};
    int64_t *tokens = NULL, rows = s->batch * s->length, count = 3;
    MEP_TRY(MEP_ALLOC(&tokens, 2 * rows));
    for (int64_t i = 0; i < rows; i++) tokens[i] = s->inputs[i], tokens[rows + i] = s->targets[i];
    const struct {
        const char *name;
        mep_dtype dtype;
        void *data;
    } rows_of[] = {{"inputs", MEP_INT64, tokens},
                   {"targets", MEP_INT64, tokens + rows},
                   {"losses", MEP_FLOAT32, (void *)s->losses}};
    for (int i = 0; i < 3; i++) {
        tensors[i] = (mep_tensor){.dtype = rows_of[i].dtype,
                                  .ndim = 2,
                                  .shape = {s->batch, s->length},
                                  .size = rows,
                                  .data = rows_of[i].data};
        snprintf(tensors[i].name, sizeof tensors[i].name, "%s", rows_of[i].name);
    }
    const int64_t which[] = {bad.parameter, bad.gradient};
    for (int i = 0; i < 2; i++) {
        if (which[i] < 0) continue;
        mep_tensor *t = &tensors[count++];
        *t = s->model->tensors[which[i]];
        if (i == 1) t->data = (float *)s->gradients + mep_tensor_offset(s->model, which[i]);
        snprintf(t->name, sizeof t->name, "%s", i == 0 ? "parameter" : "gradient");
    }
    mep_status status = mep_safetensors_write(path, tensors, count, NULL, 0);
    mep_free(&tokens);
    return status;
}

static json_t *name_of(const mep_model *model, int64_t tensor)
{
    return tensor < 0 ? json_null() : json_string(model->tensors[tensor].name);
}

/* {NAME: [number of values of the parameter that are not finite, number of values of its gradient]}, for tensors with
 * such values. NULL if memory is short. */
static json_t *counts(const mep_bad_step *s)
{
    json_t *root = json_object();
    for (int64_t i = 0; i < s->model->count; i++) {
        const mep_tensor *t = &s->model->tensors[i];
        int64_t values = count_bad(t->size, t->data),
                gradients = count_bad(t->size, s->gradients + mep_tensor_offset(s->model, i));
        if (values + gradients == 0 ||
            json_object_set_new(root, t->name, json_pack("[I, I]", (json_int_t)values, (json_int_t)gradients)) == 0)
            continue;
        json_decref(root);
        return NULL;
    }
    return root;
}

static json_t *step_json(const mep_bad_step *s, mep_bad_tensors bad)
{
    const mep_train_progress *p = s->progress;
    mep_json_fields f = mep_json_fields_begin();
    mep_json_add_integer(&f, "step", p->step);
    mep_json_add_finite(&f, "loss", p->loss);
    mep_json_add_finite(&f, "grad_norm", p->grad_norm);
    mep_json_add_number(&f, "learning_rate", p->learning_rate);
    mep_json_add(&f, "parameter", name_of(s->model, bad.parameter));
    mep_json_add(&f, "gradient", name_of(s->model, bad.gradient));
    mep_json_add(&f, "not_finite", counts(s));
    return mep_json_fields_end(&f);
}

mep_status mep_dump_bad_step(const mep_bad_step *s, mep_bad_tensors bad)
{
    char *folder = NULL, *path = NULL;
    mep_status status;
    MEP_TRY(mep_format(&folder, "%s/nan-%lld", s->run, (long long)s->progress->step));
    MEP_TRY_OR(status, mep_make_folder(folder, 1), end);
    MEP_TRY_OR(status, mep_path_join(&path, folder, "tensors.safetensors"), end);
    MEP_TRY_OR(status, write_tensors(path, s, bad), end);
    status = mep_run_save_json(folder, "step.json", step_json(s, bad));
end:
    mep_free(&path);
    mep_free(&folder);
    return status;
}
