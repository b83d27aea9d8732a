/* SPDX-License-Identifier: MIT */
/*
 * Load a run made by `mep train` on bytes and continue a text.
 *
 *     generate RUN "Once upon a time"
 */
#include <mep/mep.h>
#include <stdio.h>
#include <string.h>

static int print_token(void *context, int32_t token)
{
    const char *text;
    int64_t size;
    if (mep_tokenizer_decode(context, token, &text, &size) != MEP_OK) return 1;
    fwrite(text, 1, (size_t)size, stdout);
    fflush(stdout);
    return 0;
}

static int fail(void)
{
    fprintf(stderr, "generate: %s\n", mep_error_message());
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: generate RUN TEXT\n");
        return 2;
    }
    mep_model *model = NULL;
    mep_tokenizer *tokenizer = NULL;
    int32_t *prompt = NULL;
    int64_t count = 0;
    mep_generate_settings settings;
    mep_generate_defaults(&settings);
    settings.max_tokens = 200;
    settings.temperature = 0.8;

    if (mep_model_load(&model, argv[1]) != MEP_OK || mep_tokenizer_bytes(&tokenizer) != MEP_OK) return fail();
    settings.vocab_limit = mep_tokenizer_vocab_size(tokenizer);
    settings.stop_token = mep_tokenizer_end_of_document(tokenizer);
    if (mep_tokenizer_encode(tokenizer, argv[2], (int64_t)strlen(argv[2]), &prompt, &count) != MEP_OK) return fail();
    fputs(argv[2], stdout);
    if (mep_generate(model, prompt, count, &settings, print_token, tokenizer) != MEP_OK) return fail();
    putchar('\n');

    mep_tokens_free(&prompt);
    mep_tokenizer_destroy(&tokenizer);
    mep_model_destroy(&model);
    return 0;
}
