/* SPDX-License-Identifier: MIT */
/*
 * Every gpt_* folder of the golden files, GPT-NeoX blocks, and every gpt2_* folder of the second oracle's, Llama blocks
 * with encodings that depend on the content: logits, every gradient, the losses and gradient norms of the AdamW steps,
 * every parameter after them, and the loss at a longer length, each to what float32 can keep. Sizes come from the
 * files.
 */
#include "small_model.h"

#include <jansson.h>

#include "golden_list.h"
#include "io/safetensors.h"
#include "train/adamw.h"

/* SPEC 7 */
static const double LEARNING_RATE = 1e-3;
static const mep_adamw_settings ADAMW = {0.9, 0.999, 1e-8, 0.01, 1.0};

static int64_t checks; /* values compared */

typedef struct golden {
    const char *name;
    int oracle; /* 1: gpt_NAME, 2: gpt2_NAME */
    mep_model *model;
    mep_safetensors *expected;
    int64_t steps, batch, length;
    int32_t *tokens, *inputs, *targets; /* [steps, batch, length + 1]; of one step */
    mep_session *session;
    mep_adamw *optimizer;
    float *losses, *gradients;
    double precision;  /* eps of a sum over hidden channels, in each of the layers */
    double logit;      /* largest |logit| of step 1 */
    double *noise;     /* [tensors]: what a gradient may be off by, from step 1 */
    double *parameter; /* what each parameter may be off by */
} golden;

static double *read_expected(const golden *g, const char *name, int64_t size)
{
    const mep_safetensors_entry *e = mep_safetensors_find(g->expected, name);
    if (e == NULL) fail_msg("gpt_%s: expected.safetensors has no %s", g->name, name);
    if (e->size != size)
        fail_msg("gpt_%s: %s has %lld values, expected %lld", g->name, name, (long long)e->size, (long long)size);
    double *data = allocate(e->size, sizeof *data);
    assert_int_equal(mep_safetensors_read(g->expected, name, MEP_FLOAT64, e->ndim, e->shape, data), MEP_OK);
    return data;
}

/* The values grad.NAME or final.NAME of a tensor. */
static double *read_tensor(const golden *g, const char *kind, int64_t tensor)
{
    char name[MEP_TENSOR_NAME + 16];
    snprintf(name, sizeof name, "%s.%s", kind, g->model->tensors[tensor].name);
    return read_expected(g, name, g->model->tensors[tensor].size);
}

static int32_t *read_tokens(mep_safetensors *file, const char *name, const mep_safetensors_entry **info)
{
    const mep_safetensors_entry *e = *info = mep_safetensors_find(file, name);
    if (e == NULL) fail_msg("expected.safetensors has no %s", name);
    int64_t *wide = allocate(e->size, sizeof *wide);
    int32_t *tokens = allocate(e->size, sizeof *tokens);
    assert_int_equal(mep_safetensors_read(file, name, MEP_INT64, e->ndim, e->shape, wide), MEP_OK);
    for (int64_t i = 0; i < e->size; i++) tokens[i] = (int32_t)wide[i];
    free(wide);
    return tokens;
}

static void close_to(const golden *g, const char *what, int64_t i, double found, double expected, double bound)
{
    if (!(fabs(found - expected) <= bound))
        fail_msg("gpt_%s: %s[%lld] is %.9g, expected %.9g (off by %.2g, bound %.2g)", g->name, what, (long long)i,
                 found, expected, fabs(found - expected), bound);
    checks++;
}

/* inputs and targets of a step */
static void set_batch(golden *g, int64_t step)
{
    for (int64_t b = 0; b < g->batch; b++) {
        const int32_t *row = g->tokens + (step * g->batch + b) * (g->length + 1);
        memcpy(g->inputs + b * g->length, row, (size_t)g->length * sizeof *row);
        memcpy(g->targets + b * g->length, row + 1, (size_t)g->length * sizeof *row);
    }
}

static void check_logits(golden *g)
{
    int64_t size = g->batch * g->length * g->model->config.vocab_size;
    double *expected = read_expected(g, "logits", size);
    float *logits = allocate(size, sizeof *logits);
    set_batch(g, 0);
    assert_int_equal(mep_session_logits(g->session, g->batch, g->length, g->inputs, logits), MEP_OK);
    for (int64_t i = 0; i < size; i++) g->logit = fmax(g->logit, fabs(expected[i]));
    for (int64_t i = 0; i < size; i++)
        close_to(g, "logits", i, (double)logits[i], expected[i], 3 * g->precision * (g->logit + 1));
    free(expected);
    free(logits);
}

/* A gradient is a sum whose terms cancel: it is off by the rounding of the largest of its tensor, and where all of a
 * tensor is as small as rounding (the bias of keys has no gradient under a softmax) by that of the gradients at large.
 */
static void check_gradients(golden *g, double norm)
{
    for (int64_t t = 0; t < g->model->count; t++) {
        double *expected = read_tensor(g, "grad", t), largest = 0;
        const float *found = g->gradients + mep_tensor_offset(g->model, t);
        for (int64_t i = 0; i < g->model->tensors[t].size; i++) largest = fmax(largest, fabs(expected[i]));
        /* a kernel's parameter sums a table's gradients, which sum to 0, times derivatives that grow with the distance
         */
        double kernel = mep_tensor_row_of(g->model, t)->initialization == INIT_BY_KERNEL ? 2 : 1;
        g->noise[t] = kernel * 1e-5 * largest + 1e-8 * norm;
        for (int64_t i = 0; i < g->model->tensors[t].size; i++)
            close_to(g, g->model->tensors[t].name, i, (double)found[i], expected[i], g->noise[t]);
        free(expected);
    }
}

/*
 * How far a step may lead a parameter astray. AdamW moves it by the learning rate times m / (sqrt(v) + eps), so an
 * error of the gradient counts relative to sqrt(v) (times 4, since what other parameters are off by comes back), and
 * where the gradient is nothing but rounding the whole step does. A gradient that is 0 and always was (of an embedding
 * that no token used) moves nothing.
 */
static void widen_parameters(golden *g, double norm)
{
    double clip = norm > ADAMW.max_grad_norm ? ADAMW.max_grad_norm / norm : 1;
    double correction = 1 - pow(ADAMW.beta2, (double)g->optimizer->step);
    for (int64_t t = 0; t < g->model->count; t++)
        for (int64_t i = mep_tensor_offset(g->model, t), end = i + g->model->tensors[t].size; i < end; i++) {
            double root = sqrt((double)g->optimizer->v[i] / correction) + ADAMW.eps;
            double change =
                g->optimizer->v[i] == 0 && g->gradients[i] == 0 ? 0 : fmin(2, 4 * g->noise[t] * clip / root);
            g->parameter[i] += LEARNING_RATE * change + 1.2e-7 * fabs((double)g->model->values[i]);
        }
}

static void check_step(golden *g, int64_t step, const double *losses, const double *norms)
{
    int64_t rows = g->batch * g->length;
    set_batch(g, step);
    memset(g->gradients, 0, (size_t)g->model->size * sizeof *g->gradients);
    assert_int_equal(mep_session_refresh(g->session), MEP_OK);
    assert_int_equal(mep_session_train(g->session,
                                       &(mep_train_batch){.batch = g->batch,
                                                          .length = g->length,
                                                          .inputs = g->inputs,
                                                          .targets = g->targets,
                                                          .scale = 1.0f / (float)rows,
                                                          .accumulate = 1},
                                       g->losses, g->gradients),
                     MEP_OK);
    close_to(g, "loss", step, mean(g->losses, rows), losses[step], 2 * g->precision * (g->logit + losses[step]));
    double norm;
    assert_int_equal(mep_adamw_norm(g->optimizer, g->gradients, &norm), MEP_OK);
    close_to(g, "gradient norm", step, norm, norms[step], 2e-5 * norms[step]);
    if (step == 0) check_gradients(g, norms[0]);
    mep_adamw_step_run(g->optimizer, g->model, g->model->values, g->gradients, norm, LEARNING_RATE);
    widen_parameters(g, norm);
}

static void check_parameters(golden *g)
{
    int64_t sharp = 0;
    for (int64_t t = 0; t < g->model->count; t++) {
        double *expected = read_tensor(g, "final", t);
        int64_t first = mep_tensor_offset(g->model, t);
        for (int64_t i = 0; i < g->model->tensors[t].size; i++) {
            close_to(g, g->model->tensors[t].name, i, (double)g->model->values[first + i], expected[i],
                     g->parameter[first + i]);
            sharp += g->parameter[first + i] < 0.02 * LEARNING_RATE * (double)g->steps;
        }
        free(expected);
    }
    if (sharp * 4 < g->model->size * 3)
        fail_msg("gpt_%s: only %lld parameters are bounded well", g->name, (long long)sharp);
}

static void check_long(golden *g)
{
    const mep_safetensors_entry *info;
    int32_t *tokens = read_tokens(g->expected, "long_tokens", &info);
    int64_t length = info->shape[info->ndim - 1] - 1;
    double *expected = read_expected(g, "long_loss", 1);
    assert_int_equal(info->size, length + 1);
    mep_session *session = small_session(g->model, 1, length, MEP_FLOAT32, 0);
    float *losses = allocate(length, sizeof *losses);
    assert_int_equal(mep_session_losses(session, 1, length, tokens, tokens + 1, losses), MEP_OK);
    close_to(g, "long loss", 0, mean(losses, length), *expected, 2 * g->precision * (g->logit + *expected));
    mep_session_destroy(&session);
    free(tokens);
    free(losses);
    free(expected);
}

/* The trained model with a scaling of its rotation, which has no parameters, at eight times the training length. */
static void check_scaling(golden *g, const char *name)
{
    char tensor[64];
    const mep_safetensors_entry *info;
    snprintf(tensor, sizeof tensor, "long_loss_%s", name);
    if (mep_safetensors_find(g->expected, tensor) == NULL) return;
    mep_model_config c = g->model->config;
    snprintf(c.position_encoding, sizeof c.position_encoding, "rotary:scaling=%s,factor=8%s", name,
             strcmp(name, "yarn") == 0 ? ",original=32" : "");
    mep_model *model;
    if (mep_model_create(&model, &c, 1) != MEP_OK) fail_msg("%s", mep_error_message());
    assert_int_equal(model->size, g->model->size);
    memcpy(model->values, g->model->values, (size_t)model->size * sizeof *model->values);
    int32_t *tokens = read_tokens(g->expected, "long_tokens", &info);
    int64_t length = info->shape[info->ndim - 1] - 1;
    double *expected = read_expected(g, tensor, 1);
    mep_session *session = small_session(model, 1, length, MEP_FLOAT32, 0);
    float *losses = allocate(length, sizeof *losses);
    assert_int_equal(mep_session_losses(session, 1, length, tokens, tokens + 1, losses), MEP_OK);
    close_to(g, tensor, 0, mean(losses, length), *expected, 2 * g->precision * (g->logit + *expected));
    mep_session_destroy(&session);
    mep_model_destroy(&model);
    free(tokens);
    free(losses);
    free(expected);
}

static int64_t integer_of(const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    if (value == NULL) fail_msg("config.json has no %s", key);
    return json_is_boolean(value) ? json_is_true(value) : json_integer_value(value);
}

/* The configuration of the second oracle: keys of LlamaForCausalLM, "qk_norm", and the spec as "position". */
static mep_model_config config_of(const json_t *json)
{
    mep_model_config c = {.block = MEP_BLOCK_LLAMA,
                          .norm = MEP_NORM_RMS,
                          .mlp = MEP_MLP_SWIGLU,
                          .vocab_size = integer_of(json, "vocab_size"),
                          .hidden_size = integer_of(json, "hidden_size"),
                          .num_hidden_layers = integer_of(json, "num_hidden_layers"),
                          .num_attention_heads = integer_of(json, "num_attention_heads"),
                          .num_key_value_heads = integer_of(json, "num_key_value_heads"),
                          .head_dim = integer_of(json, "head_dim"),
                          .intermediate_size = integer_of(json, "intermediate_size"),
                          .max_position_embeddings = integer_of(json, "max_position_embeddings"),
                          .layer_norm_eps = json_real_value(json_object_get(json, "rms_norm_eps")),
                          .tie_word_embeddings = (int)integer_of(json, "tie_word_embeddings"),
                          .qkv_bias = (int)integer_of(json, "attention_bias"),
                          .qk_norm = integer_of(json, "qk_norm") ? MEP_QK_NORM_HEAD : MEP_QK_NORM_NONE,
                          .rotary_emb_base = 10000,
                          .rotary_pct = 1};
    const char *position = json_string_value(json_object_get(json, "position"));
    assert_non_null(position);
    /* the oracle gives every kernel of a sum the same weight, here a name has the weight of one term */
    if (strcmp(position, "mep + uniform/weights=query") == 0)
        position = "exp + exp:c=0.5 + gauss + uniform/weights=query";
    snprintf(c.position_encoding, sizeof c.position_encoding, "%s", position);
    return c;
}

/* A model of the second oracle. No parameter of the model, and no tensor of the file, is left over. */
static void load_second(golden *g, const char *folder)
{
    char path[4200];
    mep_safetensors *file;
    snprintf(path, sizeof path, "%s/config.json", folder);
    json_t *json = json_load_file(path, 0, NULL);
    if (json == NULL) fail_msg("cannot read %s", path);
    const mep_model_config config = config_of(json);
    json_decref(json);
    if (mep_model_create(&g->model, &config, 1) != MEP_OK) fail_msg("gpt2_%s: %s", g->name, mep_error_message());
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (mep_safetensors_open(&file, path) != MEP_OK) fail_msg("%s", mep_error_message());
    assert_int_equal(mep_safetensors_count(file), g->model->count);
    for (int64_t i = 0; i < g->model->count; i++) {
        const mep_tensor *t = &g->model->tensors[i];
        if (mep_safetensors_read(file, t->name, MEP_FLOAT32, t->ndim, t->shape, t->data) != MEP_OK)
            fail_msg("gpt2_%s: %s", g->name, mep_error_message());
    }
    mep_safetensors_close(&file);
}

static void open_golden(golden *g, int recompute)
{
    char folder[4096], path[4200], relative[GOLDEN_NAME + 8];
    snprintf(relative, sizeof relative, g->oracle == 1 ? "gpt_%s" : "gpt2_%s", g->name);
    snprintf(folder, sizeof folder, "%s", g->oracle == 1 ? golden_path(relative) : golden2_path(relative));
    snprintf(path, sizeof path, "%s/expected.safetensors", folder);
    if (g->oracle == 2)
        load_second(g, folder);
    else if (mep_model_load(&g->model, folder) != MEP_OK)
        fail_msg("%s", mep_error_message());
    if (mep_safetensors_open(&g->expected, path) != MEP_OK) fail_msg("%s", mep_error_message());
    const mep_safetensors_entry *tokens;
    g->tokens = read_tokens(g->expected, "tokens", &tokens);
    assert_int_equal(tokens->ndim, 3);
    g->steps = tokens->shape[0], g->batch = tokens->shape[1], g->length = tokens->shape[2] - 1;
    mep_session_settings settings;
    mep_session_defaults(&settings);
    settings.batch = g->batch, settings.length = g->length, settings.training = 1, settings.recompute = recompute;
    if (mep_session_create(&g->session, g->model, &settings) != MEP_OK) fail_msg("%s", mep_error_message());
    assert_int_equal(mep_adamw_create(&g->optimizer, g->model, &ADAMW, mep_context_cpu), MEP_OK);
    g->inputs = allocate(g->batch * g->length, sizeof *g->inputs);
    g->targets = allocate(g->batch * g->length, sizeof *g->targets);
    g->losses = allocate(g->batch * g->length, sizeof *g->losses);
    g->gradients = allocate(g->model->size, sizeof *g->gradients);
    g->parameter = allocate(g->model->size, sizeof *g->parameter);
    g->noise = allocate(g->model->count, sizeof *g->noise);
    g->precision = 6e-8 * sqrt((double)g->model->config.hidden_size) * (double)g->model->config.num_hidden_layers;
}

static void close_golden(golden *g)
{
    void *all[] = {g->tokens, g->inputs, g->targets, g->losses, g->gradients, g->parameter, g->noise};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    mep_adamw_destroy(&g->optimizer);
    mep_session_destroy(&g->session);
    mep_safetensors_close(&g->expected);
    mep_model_destroy(&g->model);
}

static void check_golden(int oracle, const char *name, int recompute)
{
    golden g = {.name = name, .oracle = oracle};
    int64_t before = checks;
    open_golden(&g, recompute);
    check_logits(&g);
    double *losses = read_expected(&g, "losses", g.steps), *norms = read_expected(&g, "grad_norms", g.steps);
    for (int64_t step = 0; step < g.steps; step++) check_step(&g, step, losses, norms);
    assert_int_equal(mep_session_refresh(g.session), MEP_OK);
    check_parameters(&g);
    check_long(&g);
    static const char *const scalings[] = {"yarn", "ntk", "linear"};
    for (int i = 0; i < 3; i++) check_scaling(&g, scalings[i]);
    free(losses);
    free(norms);
    /* logits, gradients of step 1, last parameters, losses and norms, the long loss, and with three scalings */
    int64_t logits = g.batch * g.length * g.model->config.vocab_size;
    assert_int_equal(checks - before,
                     logits + 2 * g.model->size + 2 * g.steps + (strcmp(name, "rotary") == 0 && oracle == 2 ? 4 : 1));
    close_golden(&g);
}

static void test_golden(void **state)
{
    (void)state;
    static const char *const known[] = {"alibi", "kerple_log", "kerple_power", "mep", "mep_param",
                                        "nope",  "rotary",     "sinusoidal",   "t5",  NULL};
    static golden_list list;
    golden_find("gpt_", "", known, &list);
    for (int i = 0; i < list.count; i++)
        for (int recompute = 0; recompute < 2; recompute++) check_golden(1, list.names[i], recompute);
}

static void test_second_oracle(void **state)
{
    (void)state;
    static const char *const names[] = {"rotary",      "rotary_nope",  "qwen",      "mep",      "mep_forget",
                                        "forget",      "kerple_query", "mep_query", "profiles", "profiles_sink",
                                        "window_sink", "bam_ssmax",    "fire"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int recompute = 0; recompute < 2; recompute++) check_golden(2, names[i], recompute);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_second_oracle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
