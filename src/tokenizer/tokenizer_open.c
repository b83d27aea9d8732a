/* SPDX-License-Identifier: MIT */
/*
 * Makes a tokenizer by its name: one of the list, or the path of a file or folder.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/tokenizer.h"

static const struct {
    const char *name;
    mep_status (*create)(mep_tokenizer **tokenizer);
} tokenizers[] = {
    {"bytes", mep_tokenizer_bytes},
    {NULL, NULL},
};

mep_status mep_tokenizer_open(mep_tokenizer **tokenizer, const char *name)
{
    MEP_REQUIRE(tokenizer, name);
    *tokenizer = NULL;
    char known[256] = "";
    for (int i = 0; tokenizers[i].name != NULL; ++i) {
        if (strcmp(name, tokenizers[i].name) == 0) return tokenizers[i].create(tokenizer);
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, " %s", tokenizers[i].name);
    }
    struct stat info;
    if (stat(name, &info) == 0) return mep_bpe_open(tokenizer, name);
    return mep_fail(MEP_ERROR_ARGUMENT, "\"%s\" is not a tokenizer: neither a file or folder nor one of these names:%s",
                    name, known);
}
