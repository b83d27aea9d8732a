/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a tokenizer.json. A second attempt adds the 256 byte tokens to its vocabulary, so that
 * small inputs get further. A tokenizer that opens encodes the input itself.
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
    mep_tokenizer_destroy(&tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    open_and_encode((const char *)data, (int64_t)size, data, size);
    json_t *root = json_loadb((const char *)data, size, 0, NULL);
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    if (json_is_object(vocab)) {
        add_bytes(vocab);
        char *text = json_dumps(root, JSON_COMPACT);
        if (text != NULL) open_and_encode(text, (int64_t)strlen(text), data, size);
        free(text);
    }
    json_decref(root);
    return 0;
}
