/* SPDX-License-Identifier: MIT */
/*
 * NULL for every pointer of every public function: an error that names the function and the argument, or the documented
 * neutral value. tests/abi.txt has the functions: a new one, or a new argument, fails until it has a row here.
 */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "mep/mep.h"

/* What the other arguments point to: the NULL is seen before anything is read from it. */
static _Alignas(64) char bytes[1 << 16];
#define X ((void *)bytes)
#define VIEW ((mep_tensor_view){bytes, 1, 1, 1})
#define CALLBACK NULL /* a function that may be missing */

static int on_token(void *context, int32_t token)
{
    (void)context, (void)token;
    return 1;
}

/* ---- Rows ---- */

enum { MOST = 500 };
static struct {
    const char *function, *argument;
} rows[MOST];
static int row_count;

static void add_row(const char *function, const char *argument)
{
    assert_true(row_count < MOST);
    rows[row_count].function = function;
    rows[row_count++].argument = argument;
}

static void check_status(const char *function, const char *argument, mep_status status)
{
    char quoted[100];
    add_row(function, argument);
    snprintf(quoted, sizeof quoted, "\"%s\" is NULL", argument);
    if (status != MEP_ERROR_ARGUMENT) fail_msg("%s: %s may be NULL: %s", function, argument, mep_status_name(status));
    if (strstr(mep_error_message(), function) == NULL || strstr(mep_error_message(), quoted) == NULL)
        fail_msg("%s, %s: %s", function, argument, mep_error_message());
}

static void check_value(const char *function, const char *argument, int neutral)
{
    add_row(function, argument);
    if (!neutral) fail_msg("%s: another value where %s is NULL", function, argument);
}

static void check_text(const char *function, const char *argument, const char *text, const char *neutral)
{
    check_value(function, argument, neutral == NULL ? text == NULL : text != NULL && strcmp(text, neutral) == 0);
}

/* The argument is required; of a function with a status, without one, of a text, and of one that returns nothing. */
#define STATUS(function, argument, call) check_status(#function, #argument, call)
#define VALUE(function, argument, call) check_value(#function, #argument, call)
#define TEXT(function, argument, call, neutral) check_text(#function, #argument, call, neutral)
#define NOTHING(function, argument, call) (call, check_value(#function, #argument, 1))
/* The argument may be NULL. */
#define OPTIONAL(function, argument) add_row(#function, #argument)

static void test_attention(void **state)
{
    (void)state;
    VALUE(mep_attention_computed_fraction, plan, mep_attention_computed_fraction(NULL) == 0);
    const mep_attention_call call = {.q = VIEW, .k = VIEW, .v = VIEW, .out = VIEW, .lse = X};
    const mep_attention_gradient gradient = {.dout = VIEW, .dq = VIEW, .dk = VIEW, .dv = VIEW};
    STATUS(mep_attention_forward, plan, mep_attention_forward(NULL, &call));
    STATUS(mep_attention_forward, call, mep_attention_forward(X, NULL));
    STATUS(mep_attention_backward, plan, mep_attention_backward(NULL, &call, &gradient));
    STATUS(mep_attention_backward, call, mep_attention_backward(X, NULL, &gradient));
    STATUS(mep_attention_backward, gradient, mep_attention_backward(X, &call, NULL));
    /* X with the member missing */
#define WITHOUT_VIEW(type, value, member)                                                                              \
    type without = value;                                                                                              \
    without.member.data = NULL
#define NO_INPUT(member)                                                                                               \
    do {                                                                                                               \
        WITHOUT_VIEW(mep_attention_call, call, member);                                                                \
        STATUS(mep_attention_forward, call->member.data, mep_attention_forward(X, &without));                          \
        STATUS(mep_attention_backward, call->member.data, mep_attention_backward(X, &without, &gradient));             \
    } while (0)
#define NO_GRADIENT(member)                                                                                            \
    do {                                                                                                               \
        WITHOUT_VIEW(mep_attention_gradient, gradient, member);                                                        \
        STATUS(mep_attention_backward, gradient->member.data, mep_attention_backward(X, &call, &without));             \
    } while (0)
    NO_INPUT(q);
    NO_INPUT(k);
    NO_INPUT(v);
    NO_INPUT(out);
    NO_GRADIENT(dout);
    NO_GRADIENT(dq);
    NO_GRADIENT(dk);
    NO_GRADIENT(dv);
    mep_attention_call without_lse = call;
    without_lse.lse = NULL;
    STATUS(mep_attention_backward, call->lse, mep_attention_backward(X, &without_lse, &gradient));
    STATUS(mep_attention_create, plan, mep_attention_create(NULL, X));
    STATUS(mep_attention_create, settings, mep_attention_create(X, NULL));
    const mep_attention_reference_call whole = {.q = X, .k = X, .v = X, .out = X};
    const mep_attention_reference_gradient gradients = {.dout = X, .dq = X, .dk = X, .dv = X};
    STATUS(mep_attention_reference_forward, call, mep_attention_reference_forward(NULL));
    STATUS(mep_attention_reference_backward, call, mep_attention_reference_backward(NULL, &gradients));
    STATUS(mep_attention_reference_backward, gradient, mep_attention_reference_backward(&whole, NULL));
#define NO_REFERENCE_INPUT(member)                                                                                     \
    do {                                                                                                               \
        mep_attention_reference_call without = whole;                                                                  \
        without.member = NULL;                                                                                         \
        STATUS(mep_attention_reference_forward, call->member, mep_attention_reference_forward(&without));              \
        STATUS(mep_attention_reference_backward, call->member,                                                         \
               mep_attention_reference_backward(&without, &gradients));                                                \
    } while (0)
#define NO_REFERENCE_GRADIENT(member)                                                                                  \
    do {                                                                                                               \
        mep_attention_reference_gradient without = gradients;                                                          \
        without.member = NULL;                                                                                         \
        STATUS(mep_attention_reference_backward, gradient->member,                                                     \
               mep_attention_reference_backward(&whole, &without));                                                    \
    } while (0)
    NO_REFERENCE_INPUT(q);
    NO_REFERENCE_INPUT(k);
    NO_REFERENCE_INPUT(v);
    NO_REFERENCE_GRADIENT(dout);
    NO_REFERENCE_GRADIENT(dq);
    NO_REFERENCE_GRADIENT(dk);
    NO_REFERENCE_GRADIENT(dv);
    mep_attention_reference_call without_out = whole;
    without_out.out = NULL;
    STATUS(mep_attention_reference_forward, call->out, mep_attention_reference_forward(&without_out));
    STATUS(mep_attention_set_terms, plan, mep_attention_set_terms(NULL, X));
    OPTIONAL(mep_attention_set_terms, terms);
    NOTHING(mep_attention_defaults, settings, mep_attention_defaults(NULL));
    NOTHING(mep_attention_destroy, plan, mep_attention_destroy(NULL));
}

static void test_bias(void **state)
{
    (void)state;
    TEXT(mep_bias_spec, bias, mep_bias_spec(NULL), "");
    VALUE(mep_bias_params, bias, mep_bias_params(NULL) == NULL);
    VALUE(mep_bias_heads, bias, mep_bias_heads(NULL) == 0);
    VALUE(mep_bias_param_count, bias, mep_bias_param_count(NULL) == 0);
    VALUE(mep_bias_param_values, bias, mep_bias_param_values(NULL) == 0);
    STATUS(mep_alibi_slopes, slopes, mep_alibi_slopes(1, NULL));
    STATUS(mep_bias_at, bias, mep_bias_at(NULL, X, 1, X));
    STATUS(mep_bias_at, distances, mep_bias_at(X, NULL, 1, X));
    STATUS(mep_bias_at, out, mep_bias_at(X, X, 1, NULL));
    STATUS(mep_bias_at_position, bias, mep_bias_at_position(NULL, 1, X, 1, X));
    STATUS(mep_bias_at_position, distances, mep_bias_at_position(X, 1, NULL, 1, X));
    STATUS(mep_bias_at_position, out, mep_bias_at_position(X, 1, X, 1, NULL));
    VALUE(mep_bias_threshold, bias, mep_bias_threshold(NULL) == INT64_MAX);
    STATUS(mep_bias_set_train_length, bias, mep_bias_set_train_length(NULL, 1));
    STATUS(mep_bias_create, bias, mep_bias_create(NULL, X, 1, 1));
    STATUS(mep_bias_create, spec, mep_bias_create(X, NULL, 1, 1));
    STATUS(mep_bias_get_param, bias, mep_bias_get_param(NULL, 1, X));
    STATUS(mep_bias_get_param, param, mep_bias_get_param(X, 1, NULL));
    STATUS(mep_bias_reach, bias, mep_bias_reach(NULL, 1, 1, X));
    STATUS(mep_bias_reach, reach, mep_bias_reach(X, 1, 1, NULL));
    STATUS(mep_bias_set_params, bias, mep_bias_set_params(NULL, X, 1));
    STATUS(mep_bias_set_params, values, mep_bias_set_params(X, NULL, 1));
    STATUS(mep_bias_table, bias, mep_bias_table(NULL, 1, X));
    STATUS(mep_bias_table, table, mep_bias_table(X, 1, NULL));
    STATUS(mep_bias_table_backward, bias, mep_bias_table_backward(NULL, 1, X, X));
    STATUS(mep_bias_table_backward, dtable, mep_bias_table_backward(X, 1, NULL, X));
    STATUS(mep_bias_create_from, bias, mep_bias_create_from(NULL, X, 1, 1));
    STATUS(mep_bias_create_from, position, mep_bias_create_from(X, NULL, 1, 1));
    STATUS(mep_position_create, position, mep_position_create(NULL, X));
    STATUS(mep_position_create, spec, mep_position_create(X, NULL));
    TEXT(mep_position_spec, position, mep_position_spec(NULL), "");
    VALUE(mep_position_get_kind, position, mep_position_get_kind(NULL) == MEP_POSITION_NONE);
    VALUE(mep_position_same, a, mep_position_same(NULL, X) == 0);
    VALUE(mep_position_same, b, mep_position_same(X, NULL) == 0);
    NOTHING(mep_position_destroy, position, mep_position_destroy(NULL));
    NOTHING(mep_bias_constrain, bias, mep_bias_constrain(NULL, X));
    NOTHING(mep_bias_constrain, values, mep_bias_constrain(X, NULL));
    NOTHING(mep_bias_destroy, bias, mep_bias_destroy(NULL));
    NOTHING(mep_bias_init, bias, mep_bias_init(NULL, 1));
}

static void test_data(void **state)
{
    (void)state;
    TEXT(mep_dataset_tokenizer, dataset, mep_dataset_tokenizer(NULL), "");
    TEXT(mep_tokenizer_json, tokenizer, mep_tokenizer_json(NULL, X), NULL);
    TEXT(mep_tokenizer_json, size, mep_tokenizer_json(X, NULL), NULL);
    TEXT(mep_tokenizer_name, tokenizer, mep_tokenizer_name(NULL), "");
    VALUE(mep_dataset_exists, prefix, mep_dataset_exists(NULL) == 0);
    TEXT(mep_dataset_prefix, dataset, mep_dataset_prefix(NULL), "");
    TEXT(mep_dataset_token_type, dataset, mep_dataset_token_type(NULL), "");
    STATUS(mep_tokenizer_to_json, tokenizer, mep_tokenizer_to_json(NULL, X, X));
    STATUS(mep_tokenizer_to_json, text, mep_tokenizer_to_json(X, NULL, X));
    STATUS(mep_tokenizer_to_json, size, mep_tokenizer_to_json(X, X, NULL));
    NOTHING(mep_text_free, text, mep_text_free(NULL));
    VALUE(mep_tokenizer_equal, a, mep_tokenizer_equal(NULL, X) == 0);
    VALUE(mep_tokenizer_equal, b, mep_tokenizer_equal(X, NULL) == 0);
    VALUE(mep_tokenizer_end_of_document, tokenizer, mep_tokenizer_end_of_document(NULL) == -1);
    VALUE(mep_dataset_document_start, dataset, mep_dataset_document_start(NULL, 1) == -1);
    VALUE(mep_dataset_documents, dataset, mep_dataset_documents(NULL) == 0);
    VALUE(mep_dataset_tokens, dataset, mep_dataset_tokens(NULL) == 0);
    VALUE(mep_dataset_vocab_size, dataset, mep_dataset_vocab_size(NULL) == 0);
    VALUE(mep_tokenizer_vocab_size, tokenizer, mep_tokenizer_vocab_size(NULL) == 0);
    STATUS(mep_corpus_read, paths, mep_corpus_read(NULL, 1, CALLBACK, X));
    STATUS(mep_corpus_read, document, mep_corpus_read(X, 1, NULL, X));
    OPTIONAL(mep_corpus_read, context);
    STATUS(mep_dataset_open, dataset, mep_dataset_open(NULL, X));
    STATUS(mep_dataset_open, prefix, mep_dataset_open(X, NULL));
    STATUS(mep_dataset_open_split, dataset, mep_dataset_open_split(NULL, X, X, 1));
    STATUS(mep_dataset_open_split, prefix, mep_dataset_open_split(X, NULL, X, 1));
    OPTIONAL(mep_dataset_open_split, proportions);
    STATUS(mep_dataset_verify, dataset, mep_dataset_verify(NULL));
    STATUS(mep_dataset_read, dataset, mep_dataset_read(NULL, 1, 1, X));
    STATUS(mep_dataset_read, tokens, mep_dataset_read(X, 1, 1, NULL));
    VALUE(mep_dataset_has_mask, dataset, mep_dataset_has_mask(NULL) == 0);
    STATUS(mep_dataset_read_targets, dataset, mep_dataset_read_targets(NULL, 1, 1, X));
    STATUS(mep_dataset_read_targets, targets, mep_dataset_read_targets(X, 1, 1, NULL));
    STATUS(mep_dataset_writer_add_masked, writer, mep_dataset_writer_add_masked(NULL, X, X, 1));
    STATUS(mep_dataset_writer_add_masked, tokens, mep_dataset_writer_add_masked(X, NULL, X, 1));
    STATUS(mep_dataset_writer_add_masked, mask, mep_dataset_writer_add_masked(X, X, NULL, 1));
    STATUS(mep_dataset_writer_add, writer, mep_dataset_writer_add(NULL, X, 1, 1));
    STATUS(mep_dataset_writer_add, tokens, mep_dataset_writer_add(X, NULL, 1, 1));
    STATUS(mep_dataset_writer_append, writer, mep_dataset_writer_append(NULL, X, 1));
    STATUS(mep_dataset_writer_append, tokens, mep_dataset_writer_append(X, NULL, 1));
    STATUS(mep_dataset_writer_create, writer, mep_dataset_writer_create(NULL, X, X));
    STATUS(mep_dataset_writer_create, prefix, mep_dataset_writer_create(X, NULL, X));
    STATUS(mep_dataset_writer_create, tokenizer, mep_dataset_writer_create(X, X, NULL));
    STATUS(mep_dataset_writer_finish, writer, mep_dataset_writer_finish(NULL));
    STATUS(mep_prepare, settings, mep_prepare(NULL, CALLBACK, X, X));
    OPTIONAL(mep_prepare, progress);
    OPTIONAL(mep_prepare, context);
    OPTIONAL(mep_prepare, result);
    STATUS(mep_split_documents, proportions, mep_split_documents(NULL, 1, X));
    STATUS(mep_split_documents, bounds, mep_split_documents(X, 1, NULL));
    STATUS(mep_tokenizer_bytes, tokenizer, mep_tokenizer_bytes(NULL));
    STATUS(mep_tokenizer_decode, tokenizer, mep_tokenizer_decode(NULL, 1, X, X));
    STATUS(mep_tokenizer_decode, text, mep_tokenizer_decode(X, 1, NULL, X));
    STATUS(mep_tokenizer_decode, size, mep_tokenizer_decode(X, 1, X, NULL));
    STATUS(mep_tokenizer_decode_text, tokenizer, mep_tokenizer_decode_text(NULL, X, 1, X, X));
    STATUS(mep_tokenizer_decode_text, tokens, mep_tokenizer_decode_text(X, NULL, 1, X, X));
    STATUS(mep_tokenizer_decode_text, text, mep_tokenizer_decode_text(X, X, 1, NULL, X));
    STATUS(mep_tokenizer_decode_text, size, mep_tokenizer_decode_text(X, X, 1, X, NULL));
    STATUS(mep_tokenizer_encode, tokenizer, mep_tokenizer_encode(NULL, X, 1, X, X));
    STATUS(mep_tokenizer_encode, text, mep_tokenizer_encode(X, NULL, 1, X, X));
    STATUS(mep_tokenizer_encode, tokens, mep_tokenizer_encode(X, X, 1, NULL, X));
    STATUS(mep_tokenizer_encode, count, mep_tokenizer_encode(X, X, 1, X, NULL));
    STATUS(mep_tokenizer_open, tokenizer, mep_tokenizer_open(NULL, X));
    STATUS(mep_tokenizer_open, name, mep_tokenizer_open(X, NULL));
    STATUS(mep_tokenizer_special_tokens, tokenizer, mep_tokenizer_special_tokens(NULL, X));
    STATUS(mep_tokenizer_special_tokens, special, mep_tokenizer_special_tokens(X, NULL));
    STATUS(mep_tokenizer_trainer_add, trainer, mep_tokenizer_trainer_add(NULL, X, 1));
    STATUS(mep_tokenizer_trainer_add, text, mep_tokenizer_trainer_add(X, NULL, 1));
    STATUS(mep_tokenizer_trainer_create, trainer, mep_tokenizer_trainer_create(NULL, X));
    STATUS(mep_tokenizer_trainer_create, settings, mep_tokenizer_trainer_create(X, NULL));
    STATUS(mep_tokenizer_trainer_finish, trainer, mep_tokenizer_trainer_finish(NULL, CALLBACK, X, X));
    OPTIONAL(mep_tokenizer_trainer_finish, progress);
    OPTIONAL(mep_tokenizer_trainer_finish, context);
    STATUS(mep_tokenizer_trainer_finish, tokenizer, mep_tokenizer_trainer_finish(X, CALLBACK, X, NULL));
    VALUE(mep_dataset_checksum, dataset, mep_dataset_checksum(NULL) == 0);
    NOTHING(mep_dataset_close, dataset, mep_dataset_close(NULL));
    NOTHING(mep_dataset_writer_abandon, writer, mep_dataset_writer_abandon(NULL));
    NOTHING(mep_prepare_defaults, settings, mep_prepare_defaults(NULL));
    NOTHING(mep_tokenizer_destroy, tokenizer, mep_tokenizer_destroy(NULL));
    NOTHING(mep_tokenizer_train_defaults, settings, mep_tokenizer_train_defaults(NULL));
    NOTHING(mep_tokenizer_trainer_destroy, trainer, mep_tokenizer_trainer_destroy(NULL));
    NOTHING(mep_tokens_free, tokens, mep_tokens_free(NULL));
}

static void test_device(void **state)
{
    (void)state;
    STATUS(mep_device_alloc, data, mep_device_alloc(1, NULL, 1));
    STATUS(mep_device_read, to, mep_device_read(1, NULL, X, 1));
    STATUS(mep_device_read, from, mep_device_read(1, X, NULL, 1));
    STATUS(mep_device_write, to, mep_device_write(1, NULL, X, 1));
    STATUS(mep_device_write, from, mep_device_write(1, X, NULL, 1));
    NOTHING(mep_device_free, data, mep_device_free(1, NULL));
}

static void test_model(void **state)
{
    (void)state;
    VALUE(mep_model_get_position, model, mep_model_get_position(NULL) == NULL);
    VALUE(mep_model_get_bias, model, mep_model_get_bias(NULL) == NULL);
    VALUE(mep_model_get_config, model, mep_model_get_config(NULL) == NULL);
    VALUE(mep_model_parameter_count, model, mep_model_parameter_count(NULL) == 0);
    VALUE(mep_model_parameter_values, model, mep_model_parameter_values(NULL) == 0);
    VALUE(mep_model_parameter_is_new, model, mep_model_parameter_is_new(NULL, 0) == 0);
    STATUS(mep_generate, model, mep_generate(NULL, X, 1, X, on_token, X));
    STATUS(mep_generate, prompt, mep_generate(X, NULL, 1, X, on_token, X));
    STATUS(mep_generate, settings, mep_generate(X, X, 1, NULL, on_token, X));
    STATUS(mep_generate, token, mep_generate(X, X, 1, X, NULL, X));
    OPTIONAL(mep_generate, context);
    STATUS(mep_generate_reporting, model, mep_generate_reporting(NULL, X, 1, X, CALLBACK, on_token, X));
    STATUS(mep_generate_reporting, prompt, mep_generate_reporting(X, NULL, 1, X, CALLBACK, on_token, X));
    STATUS(mep_generate_reporting, settings, mep_generate_reporting(X, X, 1, NULL, CALLBACK, on_token, X));
    STATUS(mep_generate_reporting, token, mep_generate_reporting(X, X, 1, X, CALLBACK, NULL, X));
    OPTIONAL(mep_generate_reporting, reading);
    OPTIONAL(mep_generate_reporting, context);
    STATUS(mep_model_config_json, config, mep_model_config_json(NULL, X));
    STATUS(mep_model_config_json, text, mep_model_config_json(X, NULL));
    VALUE(mep_model_config_head_dim, config, mep_model_config_head_dim(NULL) == 0);
    STATUS(mep_model_config_values, config, mep_model_config_values(NULL, X));
    STATUS(mep_model_config_values, values, mep_model_config_values(X, NULL));
    STATUS(mep_model_copy_tokenizer, from, mep_model_copy_tokenizer(NULL, X));
    STATUS(mep_model_copy_tokenizer, to, mep_model_copy_tokenizer(X, NULL));
    STATUS(mep_model_family, folder, mep_model_family(NULL, X));
    STATUS(mep_model_family, family, mep_model_family(X, NULL));
    STATUS(mep_model_config_check, config, mep_model_config_check(NULL));
    STATUS(mep_model_create, model, mep_model_create(NULL, X, 1));
    STATUS(mep_model_create, config, mep_model_create(X, NULL, 1));
    STATUS(mep_model_export, model, mep_model_export(NULL, X, X, X));
    STATUS(mep_model_export, folder, mep_model_export(X, NULL, X, X));
    OPTIONAL(mep_model_export, settings);
    OPTIONAL(mep_model_export, family);
    STATUS(mep_model_get_parameter, model, mep_model_get_parameter(NULL, 1, X));
    STATUS(mep_model_get_parameter, parameter, mep_model_get_parameter(X, 1, NULL));
    STATUS(mep_model_load, model, mep_model_load(NULL, X));
    STATUS(mep_model_load, folder, mep_model_load(X, NULL));
    STATUS(mep_model_load_as, model, mep_model_load_as(NULL, X, X, 1));
    STATUS(mep_model_load_as, folder, mep_model_load_as(X, NULL, X, 1));
    OPTIONAL(mep_model_load_as, position);
    STATUS(mep_model_preset, name, mep_model_preset(NULL, X));
    STATUS(mep_model_preset, config, mep_model_preset(X, NULL));
    STATUS(mep_model_config_set_block, config, mep_model_config_set_block(NULL, MEP_BLOCK_LLAMA));
    STATUS(mep_decoder_create, decoder, mep_decoder_create(NULL, X, X));
    STATUS(mep_decoder_create, model, mep_decoder_create(X, NULL, X));
    STATUS(mep_decoder_create, settings, mep_decoder_create(X, X, NULL));
    STATUS(mep_decoder_append, decoder, mep_decoder_append(NULL, 0, 1, X, 1, X));
    STATUS(mep_decoder_append, tokens, mep_decoder_append(X, 0, 1, NULL, 1, X));
    STATUS(mep_decoder_append, logits, mep_decoder_append(X, 0, 1, X, 1, NULL));
    STATUS(mep_decoder_step, decoder, mep_decoder_step(NULL, 1, X, X, X));
    STATUS(mep_decoder_step, sequences, mep_decoder_step(X, 1, NULL, X, X));
    STATUS(mep_decoder_step, tokens, mep_decoder_step(X, 1, X, NULL, X));
    STATUS(mep_decoder_step, logits, mep_decoder_step(X, 1, X, X, NULL));
    STATUS(mep_decoder_copy, decoder, mep_decoder_copy(NULL, 1, 0));
    STATUS(mep_decoder_clear, decoder, mep_decoder_clear(NULL, 0));
    NOTHING(mep_decoder_defaults, settings, mep_decoder_defaults(NULL));
    NOTHING(mep_decoder_destroy, decoder, mep_decoder_destroy(NULL));
    VALUE(mep_decoder_length, decoder, mep_decoder_length(NULL, 0) == -1);
    STATUS(mep_model_read_config, folder, mep_model_read_config(NULL, X));
    STATUS(mep_model_read_config, config, mep_model_read_config(X, NULL));
    STATUS(mep_model_save, model, mep_model_save(NULL, X, X));
    STATUS(mep_model_save, folder, mep_model_save(X, NULL, X));
    OPTIONAL(mep_model_save, settings);
    STATUS(mep_session_create, session, mep_session_create(NULL, X, X));
    STATUS(mep_session_create, model, mep_session_create(X, NULL, X));
    STATUS(mep_session_create, settings, mep_session_create(X, X, NULL));
    STATUS(mep_session_logits, session, mep_session_logits(NULL, 1, 1, X, X));
    STATUS(mep_session_logits, tokens, mep_session_logits(X, 1, 1, NULL, X));
    STATUS(mep_session_logits, logits, mep_session_logits(X, 1, 1, X, NULL));
    STATUS(mep_session_losses, session, mep_session_losses(NULL, 1, 1, X, X, X));
    STATUS(mep_session_losses, inputs, mep_session_losses(X, 1, 1, NULL, X, X));
    STATUS(mep_session_losses, targets, mep_session_losses(X, 1, 1, X, NULL, X));
    STATUS(mep_session_losses, losses, mep_session_losses(X, 1, 1, X, X, NULL));
    NOTHING(mep_generate_defaults, settings, mep_generate_defaults(NULL));
    NOTHING(mep_model_destroy, model, mep_model_destroy(NULL));
    NOTHING(mep_save_defaults, settings, mep_save_defaults(NULL));
    NOTHING(mep_session_defaults, settings, mep_session_defaults(NULL));
    NOTHING(mep_session_destroy, session, mep_session_destroy(NULL));
}

static void test_train(void **state)
{
    (void)state;
    STATUS(mep_torch_register, find, mep_torch_register(NULL, X));
    OPTIONAL(mep_torch_register, context);
    VALUE(mep_train_learning_rate, settings, mep_train_learning_rate(NULL, 1) == 0);
    STATUS(mep_evaluate, model, mep_evaluate(NULL, X, X, CALLBACK, X, X));
    STATUS(mep_evaluate, data, mep_evaluate(X, NULL, X, CALLBACK, X, X));
    STATUS(mep_evaluate, settings, mep_evaluate(X, X, NULL, CALLBACK, X, X));
    OPTIONAL(mep_evaluate, progress);
    OPTIONAL(mep_evaluate, context);
    STATUS(mep_evaluate, result, mep_evaluate(X, X, X, CALLBACK, X, NULL));
    STATUS(mep_eval_bits_per_byte, data, mep_eval_bits_per_byte(NULL, X, X, X));
    STATUS(mep_eval_bits_per_byte, settings, mep_eval_bits_per_byte(X, NULL, X, X));
    STATUS(mep_eval_bits_per_byte, result, mep_eval_bits_per_byte(X, X, NULL, X));
    STATUS(mep_eval_bits_per_byte, bits, mep_eval_bits_per_byte(X, X, X, NULL));
    STATUS(mep_measure_by_position, call, mep_measure_by_position(NULL, X));
    STATUS(mep_measure_by_position, measure, mep_measure_by_position(X, NULL));
    STATUS(mep_measure_blindness, call, mep_measure_blindness(NULL, X));
    STATUS(mep_measure_blindness, measure, mep_measure_blindness(X, NULL));
    STATUS(mep_bias_sights, bias, mep_bias_sights(NULL, 1, X));
    STATUS(mep_bias_sights, sight, mep_bias_sights(X, 1, NULL));
    STATUS(mep_measure_context_gain, call, mep_measure_context_gain(NULL, X));
    STATUS(mep_measure_context_gain, measure, mep_measure_context_gain(X, NULL));
    STATUS(mep_measure_copy_gain, call, mep_measure_copy_gain(NULL, 1, X));
    STATUS(mep_measure_copy_gain, measure, mep_measure_copy_gain(X, 1, NULL));
    STATUS(mep_measure_passkey, call, mep_measure_passkey(NULL, 1, X));
    STATUS(mep_measure_passkey, measure, mep_measure_passkey(X, 1, NULL));
    STATUS(mep_measure_synthetic, call, mep_measure_synthetic(NULL, "mqar", X));
    STATUS(mep_measure_synthetic, task, mep_measure_synthetic(X, NULL, X));
    STATUS(mep_measure_synthetic, measure, mep_measure_synthetic(X, "mqar", NULL));
    STATUS(mep_synthetic_write, task, mep_synthetic_write(NULL, "p", X, CALLBACK, X));
    STATUS(mep_synthetic_write, prefix, mep_synthetic_write("mqar", NULL, X, CALLBACK, X));
    STATUS(mep_synthetic_write, settings, mep_synthetic_write("mqar", "p", NULL, CALLBACK, X));
    OPTIONAL(mep_synthetic_write, progress);
    OPTIONAL(mep_synthetic_write, context);
    NOTHING(mep_synthetic_defaults, settings, mep_synthetic_defaults(NULL));
    STATUS(mep_measure_effective_length, measure, mep_measure_effective_length(NULL, "loss", 1, 0, X));
    STATUS(mep_measure_effective_length, name, mep_measure_effective_length(X, NULL, 1, 0, X));
    STATUS(mep_measure_effective_length, length, mep_measure_effective_length(X, "loss", 1, 0, NULL));
    NOTHING(mep_measure_defaults, settings, mep_measure_defaults(NULL));
    STATUS(mep_measure_parse, text, mep_measure_parse(NULL, X));
    STATUS(mep_measure_parse, measure, mep_measure_parse("", NULL));
    STATUS(mep_measure_print, measure, mep_measure_print(NULL, X));
    STATUS(mep_measure_print, text, mep_measure_print(X, NULL));
    NOTHING(mep_measure_free, measure, mep_measure_free(NULL));
    VALUE(mep_measure_direction, name, mep_measure_direction(NULL) == 0);
    STATUS(mep_measure_by_length, measure, mep_measure_by_length(NULL, X));
    STATUS(mep_measure_by_length, reduced, mep_measure_by_length(X, NULL));
    STATUS(mep_measure_mean, runs, mep_measure_mean(NULL, 1, X));
    STATUS(mep_measure_mean, mean, mep_measure_mean(X, 1, NULL));
    STATUS(mep_measure_compare, runs, mep_measure_compare(NULL, X, 1, X, X));
    STATUS(mep_measure_compare, baselines, mep_measure_compare(X, NULL, 1, X, X));
    STATUS(mep_measure_compare, differences, mep_measure_compare(X, X, 1, NULL, X));
    STATUS(mep_measure_compare, difference_count, mep_measure_compare(X, X, 1, X, NULL));
    NOTHING(mep_measure_differences_free, differences, mep_measure_differences_free(NULL));
    NOTHING(mep_eval_samples_free, samples, mep_eval_samples_free(NULL));
    STATUS(mep_train_check, settings, mep_train_check(NULL));
    STATUS(mep_train_fall_back, run, mep_train_fall_back(NULL, X, X));
    STATUS(mep_train_fall_back, step, mep_train_fall_back(X, NULL, X));
    STATUS(mep_train_fall_back, set_aside, mep_train_fall_back(X, X, NULL));
    STATUS(mep_train_preset, name, mep_train_preset(NULL, X));
    STATUS(mep_train_preset, settings, mep_train_preset(X, NULL));
    STATUS(mep_train_read_settings, run, mep_train_read_settings(NULL, X));
    STATUS(mep_train_read_settings, settings, mep_train_read_settings(X, NULL));
    STATUS(mep_train_resume, run, mep_train_resume(NULL, CALLBACK, X));
    OPTIONAL(mep_train_resume, progress);
    OPTIONAL(mep_train_resume, context);
    STATUS(mep_train_set_device, run, mep_train_set_device(NULL, 1));
    STATUS(mep_train_set_on_nan, run, mep_train_set_on_nan(NULL, 1));
    STATUS(mep_train_start, run, mep_train_start(NULL, X, CALLBACK, X));
    STATUS(mep_train_start, settings, mep_train_start(X, NULL, CALLBACK, X));
    OPTIONAL(mep_train_start, progress);
    OPTIONAL(mep_train_start, context);
    VALUE(mep_train_gradient_parts, settings, mep_train_gradient_parts(NULL, 1) == 0);
    VALUE(mep_train_has_valid, settings, mep_train_has_valid(NULL) == 0);
    STATUS(mep_train_checkpoint, run, mep_train_checkpoint(NULL, X, X));
    STATUS(mep_train_checkpoint, path, mep_train_checkpoint(X, NULL, X));
    STATUS(mep_train_checkpoint, step, mep_train_checkpoint(X, X, NULL));
    STATUS(mep_train_memory, settings, mep_train_memory(NULL, 1, X));
    STATUS(mep_train_memory, bytes, mep_train_memory(X, 1, NULL));
    STATUS(mep_train_open_data, mix, mep_train_open_data(NULL, X));
    STATUS(mep_train_open_data, settings, mep_train_open_data(X, NULL));
    STATUS(mep_train_open_valid, mix, mep_train_open_valid(NULL, X));
    STATUS(mep_train_open_valid, settings, mep_train_open_valid(X, NULL));
    OPTIONAL(mep_train_resume_in, group);
    STATUS(mep_train_resume_in, run, mep_train_resume_in(NULL, NULL, CALLBACK, CALLBACK, X));
    OPTIONAL(mep_train_resume_in, begun);
    OPTIONAL(mep_train_resume_in, progress);
    OPTIONAL(mep_train_resume_in, context);
    OPTIONAL(mep_train_start_in, group);
    STATUS(mep_train_start_in, run, mep_train_start_in(NULL, NULL, X, CALLBACK, CALLBACK, X));
    STATUS(mep_train_start_in, settings, mep_train_start_in(NULL, X, NULL, CALLBACK, CALLBACK, X));
    OPTIONAL(mep_train_start_in, begun);
    OPTIONAL(mep_train_start_in, progress);
    OPTIONAL(mep_train_start_in, context);
    STATUS(mep_metrics_read, metrics, mep_metrics_read(NULL, X));
    STATUS(mep_metrics_read, path, mep_metrics_read(X, NULL));
    STATUS(mep_metrics_last, path, mep_metrics_last(NULL, X));
    STATUS(mep_metrics_last, line, mep_metrics_last(X, NULL));
    NOTHING(mep_metrics_free, metrics, mep_metrics_free(NULL));
    STATUS(mep_train_steps_done, run, mep_train_steps_done(NULL, X));
    STATUS(mep_train_steps_done, steps, mep_train_steps_done(X, NULL));
    NOTHING(mep_eval_defaults, settings, mep_eval_defaults(NULL));
}

static void test_dist(void **state)
{
    (void)state;
    VALUE(mep_dist_rank, group, mep_dist_rank(NULL) == 0);
    VALUE(mep_dist_size, group, mep_dist_size(NULL) == 0);
    TEXT(mep_dist_host, group, mep_dist_host(NULL), "");
    VALUE(mep_dist_is_settled, group, mep_dist_is_settled(NULL) == 0);
    VALUE(mep_dist_is_broken, group, mep_dist_is_broken(NULL) == 0);
    STATUS(mep_dist_create, group, mep_dist_create(NULL, X));
    STATUS(mep_dist_create, settings, mep_dist_create(X, NULL));
    STATUS(mep_dist_agree, group, mep_dist_agree(NULL, MEP_OK));
    STATUS(mep_dist_any, group, mep_dist_any(NULL, X));
    STATUS(mep_dist_any, flag, mep_dist_any(X, NULL));
    STATUS(mep_dist_broadcast, group, mep_dist_broadcast(NULL, X, 1));
    STATUS(mep_dist_broadcast, data, mep_dist_broadcast(X, NULL, 1));
    STATUS(mep_dist_check_same, group, mep_dist_check_same(NULL, X, 1, X));
    STATUS(mep_dist_check_same, data, mep_dist_check_same(X, NULL, 1, X));
    STATUS(mep_dist_check_same, name, mep_dist_check_same(X, X, 1, NULL));
    STATUS(mep_dist_gather, group, mep_dist_gather(NULL, X, 1, X));
    STATUS(mep_dist_gather, mine, mep_dist_gather(X, NULL, 1, X));
    STATUS(mep_dist_gather, all, mep_dist_gather(X, X, 1, NULL));
    NOTHING(mep_dist_destroy, group, mep_dist_destroy(NULL));
}

static void test_data_mix(void **state)
{
    (void)state;
    VALUE(mep_data_mix_count, mix, mep_data_mix_count(NULL) == 0);
    VALUE(mep_data_mix_dataset, mix, mep_data_mix_dataset(NULL, 0) == NULL);
    VALUE(mep_data_mix_least_tokens, mix, mep_data_mix_least_tokens(NULL) == 0);
    TEXT(mep_data_mix_name, mix, mep_data_mix_name(NULL, 0), "");
    VALUE(mep_data_mix_tokens, mix, mep_data_mix_tokens(NULL) == 0);
    VALUE(mep_data_mix_vocab_size, mix, mep_data_mix_vocab_size(NULL) == 0);
    VALUE(mep_data_mix_weight, mix, mep_data_mix_weight(NULL, 0) == 0);
    STATUS(mep_data_mix_append, spec, mep_data_mix_append(NULL, X, X));
    STATUS(mep_data_mix_append, suffix, mep_data_mix_append(X, NULL, X));
    STATUS(mep_data_mix_append, out, mep_data_mix_append(X, X, NULL));
    STATUS(mep_data_mix_open, mix, mep_data_mix_open(NULL, X, X, MEP_SPLIT_TRAIN));
    STATUS(mep_data_mix_open, spec, mep_data_mix_open(X, NULL, X, MEP_SPLIT_TRAIN));
    OPTIONAL(mep_data_mix_open, split);
    STATUS(mep_data_mix_title, spec, mep_data_mix_title(NULL, X));
    STATUS(mep_data_mix_title, out, mep_data_mix_title(X, NULL));
    STATUS(mep_data_mix_verify, mix, mep_data_mix_verify(NULL));
    STATUS(mep_evaluate_mix, call, mep_evaluate_mix(NULL, X, X, X));
    STATUS(mep_evaluate_mix, mix, mep_evaluate_mix(X, NULL, X, X));
    STATUS(mep_evaluate_mix, result, mep_evaluate_mix(X, X, NULL, X));
    OPTIONAL(mep_evaluate_mix, each);
    NOTHING(mep_data_mix_close, mix, mep_data_mix_close(NULL));
}

static void test_study(void **state)
{
    (void)state;
    VALUE(mep_study_index, settings, mep_study_index(NULL, 1, 1, 1, 1) == -1);
    STATUS(mep_study_corpus_folder, folder, mep_study_corpus_folder(NULL, X, 1, X));
    STATUS(mep_study_corpus_folder, settings, mep_study_corpus_folder(X, NULL, 1, X));
    STATUS(mep_study_corpus_folder, path, mep_study_corpus_folder(X, X, 1, NULL));
    VALUE(mep_study_encoding_index, folder, mep_study_encoding_index(NULL, X) == -1);
    VALUE(mep_study_encoding_index, encoding, mep_study_encoding_index(X, NULL) == -1);
    VALUE(mep_study_lists_asked, lists, mep_study_lists_asked(NULL) == NULL);
    VALUE(mep_study_lists_settings, lists, mep_study_lists_settings(NULL) == NULL);
    STATUS(mep_study_dtype, folder, mep_study_dtype(NULL, X));
    STATUS(mep_study_dtype, dtype, mep_study_dtype(X, NULL));
    STATUS(mep_study_lists_read, lists, mep_study_lists_read(NULL, X, X));
    STATUS(mep_study_lists_read, folder, mep_study_lists_read(X, NULL, X));
    STATUS(mep_study_lists_read, settings, mep_study_lists_read(X, X, NULL));
    OPTIONAL(mep_study_run_in, group);
    STATUS(mep_study_run_in, folder, mep_study_run_in(NULL, NULL, X, CALLBACK, X));
    STATUS(mep_study_run_in, settings, mep_study_run_in(NULL, X, NULL, CALLBACK, X));
    OPTIONAL(mep_study_run_in, progress);
    OPTIONAL(mep_study_run_in, context);
    STATUS(mep_study_run_settings, settings, mep_study_run_settings(NULL, 1, 1, 1, X));
    STATUS(mep_study_run_settings, run, mep_study_run_settings(X, 1, 1, 1, NULL));
    NOTHING(mep_study_lists_free, lists, mep_study_lists_free(NULL));
    STATUS(mep_study_results, folder, mep_study_results(NULL, X, X));
    STATUS(mep_study_results, settings, mep_study_results(X, NULL, X));
    STATUS(mep_study_results, results, mep_study_results(X, X, NULL));
    STATUS(mep_study_measure, folder, mep_study_measure(NULL, X, 0, 0, 0, "copy", X));
    STATUS(mep_study_measure, settings, mep_study_measure(X, NULL, 0, 0, 0, "copy", X));
    STATUS(mep_study_measure, measure, mep_study_measure(X, X, 0, 0, 0, NULL, X));
    STATUS(mep_study_measure, result, mep_study_measure(X, X, 0, 0, 0, "copy", NULL));
    STATUS(mep_study_run, folder, mep_study_run(NULL, X, CALLBACK, X));
    STATUS(mep_study_run, settings, mep_study_run(X, NULL, CALLBACK, X));
    OPTIONAL(mep_study_run, progress);
    OPTIONAL(mep_study_run, context);
    STATUS(mep_study_run_folder, folder, mep_study_run_folder(NULL, X, 1, 1, 1, X));
    STATUS(mep_study_run_folder, settings, mep_study_run_folder(X, NULL, 1, 1, 1, X));
    STATUS(mep_study_run_folder, path, mep_study_run_folder(X, X, 1, 1, 1, NULL));
    NOTHING(mep_study_summarize, settings, mep_study_summarize(NULL, X, 1, X));
    NOTHING(mep_study_summarize, results, mep_study_summarize(X, NULL, 1, X));
    NOTHING(mep_study_summarize, cells, mep_study_summarize(X, X, 1, NULL));
}

/* What a handle or settings point to. */
static void test_inner(void **state)
{
    (void)state;
    mep_dataset_writer *writer = NULL;
    mep_tokenizer_trainer *trainer = NULL;
    mep_bias *bias = NULL;
    mep_dist *group = NULL;
    mep_study_lists *lists = NULL;
    STATUS(mep_dataset_writer_finish, *writer, mep_dataset_writer_finish(&writer));
    STATUS(mep_tokenizer_trainer_finish, *trainer, mep_tokenizer_trainer_finish(&trainer, NULL, NULL, X));
    mep_tokenizer_train_settings training = {.special_count = 1};
    STATUS(mep_tokenizer_trainer_create, settings->special, mep_tokenizer_trainer_create(&trainer, &training));
    mep_study_settings study = {.corpus_count = 1};
    STATUS(mep_study_run, settings->corpora, mep_study_run("nowhere", &study, NULL, NULL));
    STATUS(mep_study_results, settings->corpora, mep_study_results("nowhere", &study, X));
    STATUS(mep_study_lists_read, settings->corpora, mep_study_lists_read(&lists, "nowhere", &study));
    STATUS(mep_study_measure, settings->corpora, mep_study_measure("nowhere", &study, 0, 0, 0, "copy", X));
    STATUS(mep_study_run_folder, settings->corpora, mep_study_run_folder("nowhere", &study, 0, 0, 0, X));
    const char *const texts[] = {"mep", NULL};
    study = (mep_study_settings){.corpora = texts, .corpus_count = 1, .encodings = texts, .encoding_count = 2};
    STATUS(mep_study_run, settings->encodings[1], mep_study_run("nowhere", &study, NULL, NULL));
    study.encoding_count = 1, study.measure_count = 3;
    STATUS(mep_study_run, settings->measures, mep_study_run("nowhere", &study, NULL, NULL));
    study.measure_count = 0, study.gap_count = 1;
    STATUS(mep_study_run, settings->gaps, mep_study_run("nowhere", &study, NULL, NULL));
    training = (mep_tokenizer_train_settings){.vocab_size = 300, .special = texts, .special_count = 2};
    assert_int_equal(mep_tokenizer_trainer_create(&trainer, &training), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "\"settings->special[]\" is NULL"));
    const mep_dist_transport transport = {.transfer = NULL};
    const mep_dist_settings processes = {.size = 2, .transport = &transport};
    assert_int_equal(mep_dist_create(&group, &processes), MEP_ERROR_ARGUMENT);
    mep_prepare_settings prepare = {.input_count = 1, .prefix = "nowhere", .tokenizer = X};
    assert_int_equal(mep_prepare(&prepare, NULL, NULL, NULL), MEP_ERROR_ARGUMENT);
    prepare.inputs = texts + 1;
    assert_int_equal(mep_prepare(&prepare, NULL, NULL, NULL), MEP_ERROR_ARGUMENT);
    assert_int_equal(mep_bias_create(&bias, "mep/learn=weights", 2, 4), MEP_OK);
    STATUS(mep_bias_table_backward, dparams, mep_bias_table_backward(bias, 1, X, NULL));
    mep_bias_destroy(&bias);
}

/* ---- The list ---- */

/* "const char *spec": the row is "spec"; of a tensor "q.data". NULL for what is no pointer. */
static const char *pointer_name(char *declaration, char name[80])
{
    char *bracket = strchr(declaration, '[');
    int pointer = strchr(declaration, '*') != NULL || bracket != NULL || strstr(declaration, "_fn ") != NULL;
    int view = strstr(declaration, "mep_tensor_view ") != NULL;
    if (bracket != NULL) *bracket = '\0';
    char *last = strrchr(declaration, ' ');
    if (last == NULL || (!pointer && !view)) return NULL;
    snprintf(name, 80, "%s%s", last + 1 + strspn(last + 1, "*"), view ? ".data" : "");
    return name;
}

static int has_row(const char *function, const char *argument)
{
    for (int i = 0; i < row_count; i++)
        if (strcmp(rows[i].function, function) == 0 && strcmp(rows[i].argument, argument) == 0) return 1;
    return 0;
}

/* Each argument of a declaration; returns how many are pointers. */
static int check_function(char *line)
{
    int pointers = 0;
    char name[80], *open = strchr(line, '('), *function = open, *save = NULL;
    while (function > line && strchr(" *", function[-1]) == NULL) function--;
    *open = '\0';
    char *close = strrchr(open + 1, ')');
    assert_non_null(close);
    *close = '\0';
    for (char *a = strtok_r(open + 1, ",", &save); a != NULL; a = strtok_r(NULL, ",", &save)) {
        if (pointer_name(a, name) == NULL) continue;
        pointers++;
        if (!has_row(function, name)) fail_msg("tests/test_null.c has no row for %s of %s", name, function);
    }
    return pointers;
}

static void test_all(void **state)
{
    (void)state;
    char line[2000];
    int functions = 0, pointers = 0;
    FILE *file = fopen(MEP_GOLDEN_DEFAULT "/../abi.txt", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "typedef", 7) == 0 || strncmp(line, "enum", 4) == 0 || strchr(line, '(') == NULL) continue;
        functions++;
        pointers += check_function(line);
    }
    fclose(file);
    assert_true(functions > 100 && pointers > 200);
    print_message("%d functions, %d pointers\n", functions, pointers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention), cmocka_unit_test(test_bias),  cmocka_unit_test(test_data),
        cmocka_unit_test(test_device),    cmocka_unit_test(test_model), cmocka_unit_test(test_train),
        cmocka_unit_test(test_study),     cmocka_unit_test(test_dist),  cmocka_unit_test(test_data_mix),
        cmocka_unit_test(test_inner),     cmocka_unit_test(test_all), /* the last */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
