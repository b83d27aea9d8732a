/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a tokenizer.json. A second attempt adds the 256 byte tokens to its vocabulary, and a
 * third one those of byte fallback, so that small inputs get further. A tokenizer that opens encodes the input itself.
 */
#include "byte_vocabulary.h"
#include "fuzz.h"
#include "mep/data.h"

static void open_and_encode(const char *json, int64_t json_size, const uint8_t *text, size_t size)
{
    mep_tokenizer *tokenizer = NULL;
    mep_status status = mep_bpe_from_json(&tokenizer, "input", json, json_size);
    check_message(status);
    if (status != MEP_OK) return;
    encode_and_decode(tokenizer, text, (int64_t)size, 0);
    encode_and_decode(tokenizer, "It's e\xcc\x81 \xff  12 words", 20, 0);
    encode_and_decode(tokenizer, " \xe2\x96\x81the  the<s>\xff the \xf0\x9f\x99\x82", 23, 0);
    mep_special_tokens special;
    if (mep_tokenizer_special_tokens(tokenizer, &special) != MEP_OK) abort();
    for (int64_t i = 0; i < special.before_count; i++)
        if (special.before[i] < 0 || special.before[i] >= mep_tokenizer_vocab_size(tokenizer)) abort();
    mep_tokenizer_destroy(&tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    open_and_encode((const char *)data, (int64_t)size, data, size);
    json_t *root = json_loadb((const char *)data, size, 0, NULL);
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    for (int kind = 0; kind < 2 && json_is_object(vocab); kind++) {
        kind == 0 ? add_bytes(vocab) : add_fallback(vocab);
        char *text = json_dumps(root, JSON_COMPACT);
        if (text != NULL) open_and_encode(text, (int64_t)strlen(text), data, size);
        free(text);
    }
    json_decref(root);
    return 0;
}
