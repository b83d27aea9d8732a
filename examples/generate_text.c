/* SPDX-License-Identifier: MIT */
/*
 * Loads a run of `mep train` and continues a text, with the tokenizer of the run.
 *
 *     generate_text RUN "Once upon a time"
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

/* The tokenizer of a run is its tokenizer.json, or bytes if there is none. */
static mep_status open_tokenizer(mep_tokenizer **tokenizer, const char *run)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/tokenizer.json", run);
    FILE *file = fopen(path, "rb");
    if (file == NULL) return mep_tokenizer_bytes(tokenizer);
    fclose(file);
    return mep_tokenizer_open(tokenizer, path);
}

static int fail(void)
{
    fprintf(stderr, "generate: %s\n", mep_error_message());
    return 1;
}

int main(int argc, char **argv)
{
    enum { BYTES = 320 }; /* largest vocab_size of a model whose tokens are bytes: 257, rounded up */
    if (argc != 3) {
        fprintf(stderr, "usage: generate_text RUN TEXT\n");
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

    if (mep_model_load(&model, argv[1]) != MEP_OK || open_tokenizer(&tokenizer, argv[1]) != MEP_OK) return fail();
    if (strcmp(mep_tokenizer_name(tokenizer), "bytes") == 0 && mep_model_get_config(model)->vocab_size > BYTES) {
        fprintf(stderr, "generate: %s has no tokenizer.json, and its vocabulary is too large for bytes\n", argv[1]);
        return 1;
    }
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
