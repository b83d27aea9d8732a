/* SPDX-License-Identifier: MIT */
/*
 * TensorBoard event files. A record is
 *
 *     uint64 length, uint32 masked_crc(length), bytes[length], uint32 masked_crc(bytes)      all little-endian
 *
 * with CRC-32C, masked as TFRecord defines it; the bytes are a tensorflow.Event in protobuf's wire format, of which
 * five fields are written here.
 */
#define _POSIX_C_SOURCE 200809L
#include "io/event_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assertion.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/memory.h"
#include "io/files.h"

/* Field numbers of tensorflow.Event, Summary, Summary.Value and SessionLog. */
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5, EVENT_SESSION_LOG = 7 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, SESSION_STATUS = 1, SESSION_START = 1 };
/* Wire types of protobuf. */
enum { WIRE_VARINT = 0, WIRE_64_BITS = 1, WIRE_BYTES = 2, WIRE_32_BITS = 5 };

enum { MESSAGE_SIZE = 512, TAG_SIZE = 200 }; /* an event with a tag of TAG_SIZE bytes fits into a message */

static const char NAME_START[] = "events.out.tfevents."; /* by which TensorBoard finds event files */

struct mep_event_file {
    char *path;
    mep_output *output;
};

typedef struct message {
    unsigned char data[MESSAGE_SIZE];
    int64_t size;
} message;

/* ---- Protobuf ---- */

static void put_bytes(message *m, const void *data, size_t size)
{
    MEP_ASSERT(m->size + (int64_t)size <= MESSAGE_SIZE);
    memcpy(m->data + m->size, data, size);
    m->size += (int64_t)size;
}

static void put_little_endian(message *m, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) m->data[m->size++] = (unsigned char)(value >> (8 * i));
}

static void put_varint(message *m, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) m->data[m->size++] = (unsigned char)(value | 0x80);
    m->data[m->size++] = (unsigned char)value;
}

static void put_key(message *m, int field, int wire_type)
{
    put_varint(m, (uint64_t)field << 3 | (uint64_t)wire_type);
}

static void put_string(message *m, int field, const void *data, size_t size)
{
    put_key(m, field, WIRE_BYTES);
    put_varint(m, size);
    put_bytes(m, data, size);
}

static void put_double(message *m, int field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(m, field, WIRE_64_BITS);
    put_little_endian(m, bits, 8);
}

static void put_float(message *m, int field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(m, field, WIRE_32_BITS);
    put_little_endian(m, bits, 4);
}

/* ---- Records ---- */

/* CRC-32C (Castagnoli, reflected), bit by bit: records have a few dozen bytes. */
static uint32_t masked_crc(const unsigned char *data, int64_t size)
{
    uint32_t crc = 0xffffffffu;
    for (int64_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static mep_status append(mep_event_file *file, const message *event)
{
    message head = {.size = 0}, tail = {.size = 0};
    put_little_endian(&head, (uint64_t)event->size, 8);
    put_little_endian(&head, masked_crc(head.data, 8), 4);
    put_little_endian(&tail, masked_crc(event->data, event->size), 4);
    if (mep_output_write(file->output, head.data, head.size) != 0 ||
        mep_output_write(file->output, event->data, event->size) != 0 ||
        mep_output_write(file->output, tail.data, tail.size) != 0)
        return mep_fail_errno("write", file->path);
    return MEP_OK;
}

static message begin_event(int64_t step)
{
    struct timespec now;
    message event = {.size = 0};
    clock_gettime(CLOCK_REALTIME, &now);
    put_double(&event, EVENT_WALL_TIME, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
    put_key(&event, EVENT_STEP, WIRE_VARINT);
    put_varint(&event, (uint64_t)step);
    return event;
}

/* The version comes first in a file. A session's start lets readers drop the values of earlier files at its step and
 * after it. */
static mep_status append_start(mep_event_file *file, int64_t first)
{
    static const char version[] = "brain.Event:2";
    message event = begin_event(0), start = begin_event(first), session = {.size = 0};
    put_string(&event, EVENT_FILE_VERSION, version, strlen(version));
    MEP_TRY(append(file, &event));
    put_key(&session, SESSION_STATUS, WIRE_VARINT);
    put_varint(&session, SESSION_START);
    put_string(&start, EVENT_SESSION_LOG, session.data, (size_t)session.size);
    return append(file, &start);
}

/* ---- The file ---- */

/* The name that TensorBoard looks for; the process and a number make it unique on this host. */
static mep_status open_file(mep_event_file *file, const char *folder)
{
    char host[64] = "localhost", name[160];
    gethostname(host, sizeof host - 1);
    for (int number = 0;; number++) {
        snprintf(name, sizeof name, "%s%lld.%s.%ld.%d", NAME_START, (long long)time(NULL), host, (long)getpid(),
                 number);
        MEP_TRY(mep_path_join(&file->path, folder, name));
        if (!mep_file_exists(file->path)) break;
        mep_free(&file->path);
    }
    if (mep_output_open(&file->output, file->path, O_EXCL) != 0) return mep_fail_errno("create", file->path);
    return MEP_OK;
}

int mep_event_file_exists(const char *folder)
{
    int found = 0;
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries != NULL && !found && (entry = readdir(entries)) != NULL;)
        found = strncmp(entry->d_name, NAME_START, strlen(NAME_START)) == 0;
    if (entries != NULL) closedir(entries);
    return found;
}

mep_status mep_event_file_create(mep_event_file **file, const char *folder, int64_t first)
{
    *file = NULL;
    MEP_TRY(mep_make_folder(folder, 1));
    mep_event_file *f;
    MEP_TRY(mep_alloc(&f, 1, sizeof *f));
    mep_status status = open_file(f, folder);
    if (status == MEP_OK) status = append_start(f, first);
    if (status == MEP_OK) status = mep_event_file_flush(f);
    if (status != MEP_OK) {
        mep_event_file_close(&f);
        return status;
    }
    *file = f;
    return MEP_OK;
}

mep_status mep_event_file_scalar(mep_event_file *file, const char *tag, int64_t step, double value)
{
    if (strlen(tag) > TAG_SIZE)
        return mep_fail(MEP_ERROR_ARGUMENT, "the tag \"%.40s...\" is longer than %d bytes", tag, TAG_SIZE);
    if (!isfinite(value)) return MEP_OK;
    message event = begin_event(step), scalar = {.size = 0}, summary = {.size = 0};
    put_string(&scalar, VALUE_TAG, tag, strlen(tag));
    put_float(&scalar, VALUE_SIMPLE, (float)value);
    put_string(&summary, SUMMARY_VALUE, scalar.data, (size_t)scalar.size);
    put_string(&event, EVENT_SUMMARY, summary.data, (size_t)summary.size);
    return append(file, &event);
}

mep_status mep_event_file_flush(mep_event_file *file)
{
    return mep_output_flush(file->output) == 0 ? MEP_OK : mep_fail_errno("write", file->path);
}

mep_status mep_event_file_close(mep_event_file **file)
{
    mep_event_file *f = *file;
    mep_status status = MEP_OK;
    if (f == NULL) return MEP_OK;
    if (f->output != NULL && mep_output_close(&f->output) != 0) status = mep_fail_errno("write", f->path);
    mep_free(&f->path);
    mep_free(file);
    return status;
}
