/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a vocab.json next to a short merges.txt. A second attempt adds the 256 byte tokens. A
 * tokenizer that opens encodes the input.
 */
#include "byte_vocabulary.h"
#include "fuzz.h"
#include "mep/data.h"

static void open_and_encode(const char *vocab, int64_t vocab_size, const uint8_t *text, size_t size)
{
    static const char MERGES[] = "#version: 0.2\na b\nab c\n";
    mep_tokenizer *tokenizer = NULL;
    mep_status status = mep_bpe_from_tables(&tokenizer, "input", vocab, vocab_size, MERGES, (int64_t)strlen(MERGES));
    check_message(status);
    if (status == MEP_OK) encode_and_decode(tokenizer, text, (int64_t)size, 0);
    mep_tokenizer_destroy(&tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    open_and_encode((const char *)data, (int64_t)size, data, size);
    json_t *vocab = json_loadb((const char *)data, size, 0, NULL);
    if (json_is_object(vocab)) {
        add_bytes(vocab);
        char *text = json_dumps(vocab, JSON_COMPACT);
        if (text != NULL) open_and_encode(text, (int64_t)strlen(text), data, size);
        free(text);
    }
    json_decref(vocab);
    return 0;
}
