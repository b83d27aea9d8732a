/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is the index of a dataset. The first byte gives the length of the .bin, the rest is the
 * .idx. If the dataset opens, every token and every document is read, of the complete dataset and of the parts of a
 * split.
 */
#define _XOPEN_SOURCE 700
#include "folder.h"
#include "mep/data.h"

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
    char path[64];
    if (size < 1) return 0;
    file_path("a", path);
    put_file("a.bin", bin, data[0]);
    put_file("a.idx", data + 1, size - 1);
    for (int part = -1; part < 3; part++) {
        mep_dataset *dataset = NULL;
        mep_status status =
            mep_dataset_open_split(&dataset, path, part < 0 ? NULL : "5,3,2", (mep_split)(part < 0 ? 0 : part));
        check_message(status);
        if (status == MEP_OK) read_all(dataset);
        mep_dataset_close(&dataset);
    }
    return 0;
}
