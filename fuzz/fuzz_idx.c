/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: any bytes as the index of a dataset. The first byte says how long the .bin is, the rest is the
 * .idx. Where the dataset opens, every token and every document is read, of the whole and of the parts of a split.
 */
#define _XOPEN_SOURCE 700
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mep/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char prefix[64];

static void remove_files(void)
{
    char path[80];
    snprintf(path, sizeof path, "%s/a.idx", prefix);
    unlink(path);
    snprintf(path, sizeof path, "%s/a.bin", prefix);
    unlink(path);
    rmdir(prefix);
}

static void write_file(const char *name, const uint8_t *data, size_t size)
{
    char path[80];
    snprintf(path, sizeof path, "%s/%s", prefix, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) abort();
}

static void read_all(mep_dataset *dataset)
{
    int64_t tokens = mep_dataset_tokens(dataset), documents = mep_dataset_documents(dataset), before = 0;
    int32_t token = 0;
    for (int64_t i = 0; i < tokens; i++) (void)mep_dataset_read(dataset, i, 1, &token);
    for (int64_t i = 0; i <= documents; i++) {
        int64_t start = mep_dataset_document_start(dataset, i);
        if (start < before || start > tokens) abort();
        before = start;
    }
    if (before != tokens) abort();
    (void)mep_dataset_vocab_size(dataset);
    (void)mep_dataset_checksum(dataset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t bin[256] = {1, 0, 2, 0, 255, 255, 255, 127, 0, 128};
    char path[80];
    if (prefix[0] == '\0') {
        snprintf(prefix, sizeof prefix, "/tmp/mep-fuzz-XXXXXX");
        if (mkdtemp(prefix) == NULL) abort();
        atexit(remove_files);
    }
    if (size < 1) return 0;
    write_file("a.bin", bin, data[0]);
    write_file("a.idx", data + 1, size - 1);
    snprintf(path, sizeof path, "%s/a", prefix);
    for (int part = -1; part < 3; part++) {
        mep_dataset *dataset = NULL;
        if (mep_dataset_open_part(&dataset, path, part < 0 ? NULL : "5,3,2", (mep_split_part)(part < 0 ? 0 : part)) ==
            MEP_OK)
            read_all(dataset);
        mep_dataset_close(&dataset);
    }
    return 0;
}
