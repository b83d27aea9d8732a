/* SPDX-License-Identifier: MIT */
/*
 * The safetensors reader and writer.
 * Opening checks 1. the header's length, 2. its JSON, 3. each entry, 4. all entries together: sorted by offset, they
 * must cover the data without gaps or overlaps.
 */
#define _POSIX_C_SOURCE 200809L
#include "io/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assertion.h"
#include "base/bf16.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/integer.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "io/files.h"
#include "io/json.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "safetensors files are little-endian, and this code copies bytes without conversion");

enum { MAX_HEADER = 100000000, LENGTH_BYTES = 8, CHUNK = 1 << 15, CHECKSUM_TEXT = 17 };
static const char METADATA[] = "__metadata__", CHECKSUM[] = "mep_checksum."; /* the tensor's name follows */

struct mep_safetensors {
    char *path;         /* for messages */
    int fd;             /* -1 for bytes in memory */
    const char *memory; /* NULL for a file */
    int64_t data_start; /* offset of the data in the file */
    int64_t count;
    mep_safetensors_entry *entries; /* sorted by offset */
    json_t *metadata;               /* NULL if there is none */
};

/* Element types of the format; tensors of a type without a decoder can be listed, but not converted. */
typedef double (*decode_fn)(const char *bytes);

typedef struct element_type {
    const char *name;
    int64_t width;
    decode_fn decode; /* to float64, for floating point types */
} element_type;

static_assert(CHUNK % 8 == 0, "a chunk holds complete elements of every type");

static double decode_f64(const char *bytes)
{
    double value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static double decode_f32(const char *bytes)
{
    float value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static double decode_bf16(const char *bytes)
{
    mep_bf16 value;
    memcpy(&value, bytes, sizeof value);
    return mep_bf16_to_float(value);
}

/* IEEE binary16: 1 sign bit, 5 exponent bits (bias 15), 10 fraction bits. Moved to the bit positions of a float32 (bias
 * 127), the value is 2^112 times too small, for normal and subnormal numbers. */
static double decode_f16(const char *bytes)
{
    uint16_t bits;
    float value;
    memcpy(&bits, bytes, sizeof bits);
    uint32_t wide = (uint32_t)(bits & 0x7FFF) << 13;
    memcpy(&value, &wide, sizeof value);
    value *= 0x1p112f;
    if ((bits & 0x7C00) == 0x7C00) value = (bits & 1023) == 0 ? INFINITY : NAN;
    return bits >> 15 ? -(double)value : (double)value;
}

static const element_type TYPES[] = {
    {"F64", 8, decode_f64}, {"F32", 4, decode_f32}, {"BF16", 2, decode_bf16}, {"F16", 2, decode_f16},
    {"I64", 8, NULL},       {"I32", 4, NULL},       {"I16", 2, NULL},         {"I8", 1, NULL},
    {"U64", 8, NULL},       {"U32", 4, NULL},       {"U16", 2, NULL},         {"U8", 1, NULL},
    {"BOOL", 1, NULL},      {"F8_E4M3", 1, NULL},   {"F8_E5M2", 1, NULL},     {NULL, 0, NULL},
};

static const element_type *find_type(const char *name)
{
    const element_type *type = TYPES;
    while (type->name != NULL && strcmp(type->name, name) != 0) type++;
    return type->name == NULL ? NULL : type;
}

/* ---- Opening ---- */

/* Copy `size` bytes at `offset` of the file. */
static mep_status read_bytes(const mep_safetensors *file, int64_t offset, void *out, int64_t size)
{
    if (file->memory != NULL) {
        if (size > 0) memcpy(out, file->memory + offset, (size_t)size);
        return MEP_OK;
    }
    for (int64_t done = 0; done < size;) {
        ssize_t n = pread(file->fd, (char *)out + done, (size_t)(size - done), (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return mep_fail_errno("read", file->path);
        if (n == 0) return mep_fail(MEP_ERROR_FORMAT, "%s became shorter while it was read; read it again", file->path);
        done += n;
    }
    return MEP_OK;
}

/* 1 if a name may be used in a message: not empty, no control characters, short enough for an entry. */
static int is_plain(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7F) return 0;
    return length > 0 && length < MEP_TENSOR_NAME;
}

/* entry->ndim, shape and size from the JSON array. */
static mep_status parse_shape(const char *path, const json_t *shape, mep_safetensors_entry *entry)
{
    if (!json_is_array(shape))
        return mep_fail(MEP_ERROR_FORMAT, "%s: the shape of \"%s\" is not an array", path, entry->name);
    int64_t ndim = (int64_t)json_array_size(shape);
    entry->ndim = ndim > INT32_MAX ? INT32_MAX : (int)ndim;
    entry->size = 1;
    for (int64_t i = 0; i < ndim; i++) {
        const json_t *value = json_array_get(shape, (size_t)i);
        int64_t dim = json_integer_value(value);
        if (!json_is_integer(value) || dim < 0)
            return mep_fail(MEP_ERROR_FORMAT, "%s: the shape of \"%s\" must contain non-negative integers", path,
                            entry->name);
        if (i < MEP_TENSOR_DIMS) entry->shape[i] = dim;
        if (mep_multiply(entry->size, dim, 1, &entry->size) != MEP_OK)
            return mep_fail(MEP_ERROR_FORMAT, "%s: the shape of \"%s\" does not fit into 64 bits", path, entry->name);
    }
    return MEP_OK;
}

/* entry->begin and end, within data_size bytes and in agreement with the shape. */
static mep_status parse_offsets(const char *path, const json_t *offsets, int64_t data_size,
                                mep_safetensors_entry *entry)
{
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return mep_fail(MEP_ERROR_FORMAT, "%s: data_offsets of \"%s\" must be two integers", path, entry->name);
    entry->begin = json_integer_value(begin);
    entry->end = json_integer_value(end);
    if (entry->begin < 0 || entry->begin > entry->end || entry->end > data_size)
        return mep_fail(MEP_ERROR_FORMAT,
                        "%s: \"%s\" has the bytes %lld to %lld of %lld: the file is truncated or damaged", path,
                        entry->name, (long long)entry->begin, (long long)entry->end, (long long)data_size);
    int64_t bytes;
    if (mep_multiply(entry->size, entry->width, 1, &bytes) != MEP_OK || bytes != entry->end - entry->begin)
        return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" has %lld elements %s, but %lld bytes", path, entry->name,
                        (long long)entry->size, entry->dtype, (long long)(entry->end - entry->begin));
    return MEP_OK;
}

static mep_status parse_entry(const char *path, const char *name, const json_t *value, int64_t data_size,
                              mep_safetensors_entry *entry)
{
    if (!is_plain(name))
        return mep_fail(MEP_ERROR_FORMAT, "%s: a tensor's name is empty, longer than %d bytes or not printable", path,
                        MEP_TENSOR_NAME - 1);
    memcpy(entry->name, name, strlen(name) + 1);
    const char *dtype = json_string_value(json_object_get(value, "dtype"));
    if (dtype == NULL) return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" has no dtype", path, name);
    const element_type *type = find_type(dtype);
    if (type == NULL)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "%s: \"%s\" has the unknown dtype %s", path, name,
                        is_plain(dtype) ? dtype : "?");
    entry->dtype = type->name;
    entry->width = type->width;
    MEP_TRY(parse_shape(path, json_object_get(value, "shape"), entry));
    return parse_offsets(path, json_object_get(value, "data_offsets"), data_size, entry);
}

/* Sort by offset; an empty tensor comes before the tensor that begins at the same offset. */
static int compare_entries(const void *a, const void *b)
{
    const mep_safetensors_entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static mep_status check_coverage(const mep_safetensors *file, int64_t data_size)
{
    int64_t offset = 0;
    for (int64_t i = 0; i < file->count; i++) {
        const mep_safetensors_entry *entry = &file->entries[i];
        if (entry->begin != offset)
            return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" starts at byte %lld of the data, %s %lld", file->path,
                            entry->name, (long long)entry->begin,
                            entry->begin < offset ? "within the tensor that ends at" : "but the one before ends at",
                            (long long)offset);
        offset = entry->end;
    }
    if (offset == data_size) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT, "%s: %lld bytes follow the last tensor", file->path,
                    (long long)(data_size - offset));
}

static mep_status take_metadata(mep_safetensors *file, json_t *metadata)
{
    const char *key;
    json_t *value;
    if (metadata == NULL) return MEP_OK;
    if (!json_is_object(metadata)) return mep_fail(MEP_ERROR_FORMAT, "%s: %s is not an object", file->path, METADATA);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return mep_fail(MEP_ERROR_FORMAT, "%s: %s must contain only strings", file->path, METADATA);
    }
    file->metadata = json_incref(metadata);
    return MEP_OK;
}

static mep_status parse_header(mep_safetensors *file, json_t *header, int64_t data_size)
{
    if (!json_is_object(header)) return mep_fail(MEP_ERROR_FORMAT, "%s: the header is not a JSON object", file->path);
    MEP_TRY(take_metadata(file, json_object_get(header, METADATA)));
    MEP_TRY(MEP_ALLOC(&file->entries, (int64_t)json_object_size(header)));
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value)
    {
        if (strcmp(name, METADATA) == 0) continue;
        MEP_TRY(parse_entry(file->path, name, value, data_size, &file->entries[file->count]));
        file->count++;
    }
    qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_entries);
    return check_coverage(file, data_size);
}

/* Read the JSON of a header of `length` bytes; the caller releases *header. */
static mep_status read_header_json(const mep_safetensors *file, int64_t length, json_t **header)
{
    char *text = NULL;
    mep_status status;
    MEP_TRY_OR(status, MEP_ALLOC(&text, length), done);
    MEP_TRY_OR(status, read_bytes(file, LENGTH_BYTES, text, length), done);
    if (length == 0 || text[0] != '{') {
        status =
            mep_fail(MEP_ERROR_FORMAT, "%s is not a safetensors file: its header does not start with {", file->path);
        goto done;
    }
    status = mep_json_parse(file->path, text, length, header);
    if (status != MEP_OK) mep_fail_in(status, "the safetensors header of ");
done:
    mep_free(&text);
    return status;
}

static mep_status read_header(mep_safetensors *file, int64_t size)
{
    uint64_t length;
    char start[64] = "";
    int64_t head = min_i64(size, sizeof start);
    MEP_TRY(read_bytes(file, 0, start, head));
    MEP_TRY(mep_refuse_pointer(file->path, start, head));
    if (size < LENGTH_BYTES)
        return mep_fail(MEP_ERROR_FORMAT, "%s is not a safetensors file: it has only %lld bytes", file->path,
                        (long long)size);
    memcpy(&length, start, LENGTH_BYTES);
    if (length > MAX_HEADER || length > (uint64_t)(size - LENGTH_BYTES))
        return mep_fail(MEP_ERROR_FORMAT,
                        "%s is not a safetensors file, or truncated: a header of %llu bytes in a file of %lld",
                        file->path, (unsigned long long)length, (long long)size);
    file->data_start = LENGTH_BYTES + (int64_t)length;
    json_t *header = NULL;
    MEP_TRY(read_header_json(file, (int64_t)length, &header));
    mep_status status = parse_header(file, header, size - file->data_start);
    json_decref(header);
    return status;
}

/* Open *file for either source. It takes ownership of `fd`, also on failure. */
static mep_status open_source(mep_safetensors **file, const char *path, int fd, const char *memory, int64_t size)
{
    mep_status status = MEP_ALLOC(file, 1);
    if (status != MEP_OK) {
        if (fd >= 0) close(fd);
        return status;
    }
    (*file)->fd = fd;
    (*file)->memory = memory;
    status = mep_copy_string(&(*file)->path, path);
    if (status == MEP_OK) status = read_header(*file, size);
    if (status != MEP_OK) mep_safetensors_close(file);
    return status;
}

mep_status mep_safetensors_open(mep_safetensors **file, const char *path)
{
    int fd;
    int64_t size;
    *file = NULL;
    MEP_TRY(mep_file_open(path, &fd, &size));
    return open_source(file, path, fd, NULL, size);
}

mep_status mep_safetensors_open_memory(mep_safetensors **file, const char *name, const void *data, int64_t size)
{
    return open_source(file, name, -1, data, size);
}

void mep_safetensors_close(mep_safetensors **file)
{
    if (*file == NULL) return;
    if ((*file)->fd >= 0) close((*file)->fd);
    json_decref((*file)->metadata);
    mep_free(&(*file)->entries);
    mep_free(&(*file)->path);
    mep_free(file);
}

/* ---- Reading ---- */

const char *mep_safetensors_metadata(const mep_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(file->metadata, key));
}

int64_t mep_safetensors_count(const mep_safetensors *file)
{
    return file->count;
}

const mep_safetensors_entry *mep_safetensors_get(const mep_safetensors *file, int64_t index)
{
    return index < 0 || index >= file->count ? NULL : &file->entries[index];
}

const mep_safetensors_entry *mep_safetensors_find(const mep_safetensors *file, const char *name)
{
    for (int64_t i = 0; i < file->count; i++)
        if (strcmp(file->entries[i].name, name) == 0) return &file->entries[i];
    return NULL;
}

/* Write "[2, 3]" to `text`, truncated if it does not fit. */
static void shape_text(char *text, size_t size, int ndim, const int64_t *shape)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < ndim && i < MEP_TENSOR_DIMS && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i > 0 ? ", " : "", (long long)shape[i]);
    if (used < size) snprintf(text + used, size - used, ndim > MEP_TENSOR_DIMS ? ", ...]" : "]");
}

static mep_status check_shape(const mep_safetensors *file, const mep_safetensors_entry *entry, int ndim,
                              const int64_t *shape)
{
    if (entry->ndim > MEP_TENSOR_DIMS)
        return mep_fail(MEP_ERROR_UNSUPPORTED, "%s: \"%s\" has %d dimensions; at most %d can be read", file->path,
                        entry->name, entry->ndim, MEP_TENSOR_DIMS);
    int same = ndim == entry->ndim;
    for (int i = 0; i < ndim && same; i++) same = shape[i] == entry->shape[i];
    if (same) return MEP_OK;
    char found[112], expected[112];
    shape_text(found, sizeof found, entry->ndim, entry->shape);
    shape_text(expected, sizeof expected, ndim, shape);
    return mep_fail(MEP_ERROR_FORMAT, "%s: \"%s\" has the shape %s, expected %s", file->path, entry->name, found,
                    expected);
}

/* The checksum of a tensor in the header; NULL if there is none. */
static const char *recorded_checksum(const mep_safetensors *file, const char *name)
{
    char key[sizeof CHECKSUM + MEP_TENSOR_NAME];
    snprintf(key, sizeof key, "%s%s", CHECKSUM, name);
    return mep_safetensors_metadata(file, key);
}

static void checksum_text(const mep_checksum *checksum, char text[CHECKSUM_TEXT])
{
    snprintf(text, CHECKSUM_TEXT, "%016" PRIx64, mep_checksum_end(checksum));
}

/* Compare the checksum of the data that was read with the recorded one, if there is one. */
static mep_status check_checksum(const mep_safetensors *file, const char *name, const mep_checksum *found)
{
    char text[CHECKSUM_TEXT];
    const char *recorded = recorded_checksum(file, name);
    checksum_text(found, text);
    if (recorded == NULL || strcmp(recorded, text) == 0) return MEP_OK;
    return mep_fail(MEP_ERROR_FORMAT,
                    "%s: the tensor \"%s\" is damaged: its checksum differs from the recorded one; use a copy of the "
                    "file, or an older checkpoint",
                    file->path, name);
}

/* Read floating point numbers and convert them to another type, with a small buffer. */
static mep_status read_converted(const mep_safetensors *file, const mep_safetensors_entry *entry, decode_fn decode,
                                 mep_dtype wanted, mep_checksum *checksum, void *out)
{
    char bytes[CHUNK];
    int64_t chunk = CHUNK / entry->width;
    for (int64_t start = 0; start < entry->size; start += chunk) {
        int64_t n = min_i64(entry->size - start, chunk);
        MEP_TRY(read_bytes(file, file->data_start + entry->begin + start * entry->width, bytes, n * entry->width));
        mep_checksum_add(checksum, bytes, n * entry->width);
        for (int64_t i = 0; i < n; i++) {
            double value = decode(bytes + i * entry->width);
            if (wanted == MEP_FLOAT32)
                ((float *)out)[start + i] = (float)value;
            else
                ((double *)out)[start + i] = value;
        }
    }
    return MEP_OK;
}

/* The format's name of a mep_dtype; NULL for an invalid value. */
static const char *type_name(mep_dtype dtype)
{
    switch (dtype) {
    case MEP_FLOAT32:
        return "F32";
    case MEP_BFLOAT16:
        return "BF16";
    case MEP_FLOAT64:
        return "F64";
    case MEP_INT64:
        return "I64";
    }
    return NULL;
}

mep_status mep_safetensors_read(const mep_safetensors *file, const char *name, mep_dtype wanted, int ndim,
                                const int64_t *shape, void *out)
{
    const mep_safetensors_entry *entry = mep_safetensors_find(file, name);
    if (entry == NULL) return mep_fail(MEP_ERROR_FORMAT, "%s has no tensor \"%s\"", file->path, name);
    MEP_TRY(check_shape(file, entry, ndim, shape));
    decode_fn decode = find_type(entry->dtype)->decode;
    const char *wanted_name = type_name(wanted);
    mep_checksum checksum;
    mep_checksum_begin(&checksum);
    if (wanted_name != NULL && strcmp(entry->dtype, wanted_name) == 0) {
        int64_t size = entry->end - entry->begin;
        MEP_TRY(read_bytes(file, file->data_start + entry->begin, out, size));
        if (recorded_checksum(file, name) != NULL) mep_checksum_add(&checksum, out, size);
    } else if (decode != NULL && (wanted == MEP_FLOAT32 || wanted == MEP_FLOAT64)) {
        MEP_TRY(read_converted(file, entry, decode, wanted, &checksum, out));
    } else {
        return mep_fail(MEP_ERROR_UNSUPPORTED, "%s: \"%s\" is of type %s, which cannot be read as %s", file->path, name,
                        entry->dtype, mep_dtype_name(wanted));
    }
    return check_checksum(file, name, &checksum);
}

mep_status mep_safetensors_verify(const mep_safetensors *file)
{
    char bytes[CHUNK];
    for (int64_t t = 0; t < file->count; t++) {
        const mep_safetensors_entry *entry = &file->entries[t];
        mep_checksum checksum;
        mep_checksum_begin(&checksum);
        if (recorded_checksum(file, entry->name) == NULL) continue;
        for (int64_t at = entry->begin; at < entry->end; at += CHUNK) {
            int64_t n = min_i64(entry->end - at, CHUNK);
            MEP_TRY(read_bytes(file, file->data_start + at, bytes, n));
            mep_checksum_add(&checksum, bytes, n);
        }
        MEP_TRY(check_checksum(file, entry->name, &checksum));
    }
    return MEP_OK;
}

/* ---- Writing ---- */

/* Check a tensor to write; *bytes is its size. */
static int is_utf8(const char *text)
{
    int64_t size = (int64_t)strlen(text);
    return mep_utf8_valid(text, size) == size;
}

static mep_status check_tensor(const char *path, const mep_tensor *tensor, int64_t *bytes)
{
    int64_t size = 1;
    if (memchr(tensor->name, '\0', MEP_TENSOR_NAME) == NULL || !is_plain(tensor->name) || !is_utf8(tensor->name) ||
        strcmp(tensor->name, METADATA) == 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "cannot write %s: \"%.*s\" is not a valid name for a tensor", path,
                        MEP_TENSOR_NAME - 1, tensor->name);
    if (type_name(tensor->dtype) == NULL || tensor->ndim < 0 || tensor->ndim > MEP_TENSOR_DIMS)
        return mep_fail(MEP_ERROR_ARGUMENT, "cannot write %s: type %d, %d dimensions of \"%s\" are not possible", path,
                        (int)tensor->dtype, tensor->ndim, tensor->name);
    for (int i = 0; i < tensor->ndim; i++) MEP_TRY(mep_multiply(size, tensor->shape[i], 1, &size));
    if (size != tensor->size)
        return mep_fail(MEP_ERROR_ARGUMENT, "cannot write %s: the shape of \"%s\" has %lld elements, its size is %lld",
                        path, tensor->name, (long long)size, (long long)tensor->size);
    return mep_multiply(size, mep_dtype_size(tensor->dtype), 1, bytes);
}

/* The header's entry of a tensor; NULL if memory runs out. */
static json_t *entry_json(const mep_tensor *tensor, int64_t begin, int64_t end)
{
    json_t *shape = json_array();
    int failed = 0;
    for (int i = 0; i < tensor->ndim; i++) failed |= json_array_append_new(shape, json_integer(tensor->shape[i]));
    if (failed) {
        json_decref(shape);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", type_name(tensor->dtype), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

static mep_status fail_header(void)
{
    return mep_fail(MEP_ERROR_MEMORY, "cannot compose a safetensors header: out of memory");
}

static mep_status add_metadata(const char *path, json_t *strings, const char *const *metadata, int64_t pairs)
{
    for (int64_t i = 0; i < pairs; i++)
        if (json_object_set_new(strings, metadata[2 * i], json_string(metadata[2 * i + 1])) != 0)
            return is_utf8(metadata[2 * i]) && is_utf8(metadata[2 * i + 1])
                       ? fail_header()
                       : mep_fail(MEP_ERROR_ARGUMENT, "cannot write %s: metadata number %lld is not UTF-8", path,
                                  (long long)i);
    return MEP_OK;
}

/* Assign offsets to the tensors and describe them in `header`. */
static mep_status add_tensors(const char *path, json_t *header, const mep_tensor *tensors, int64_t count)
{
    int64_t *begins = NULL, offset = 0, bytes;
    MEP_TRY(MEP_ALLOC(&begins, count));
    mep_status status = MEP_OK;
    for (int64_t i = 0; i < count; i++) MEP_TRY_OR(status, check_tensor(path, &tensors[i], &bytes), done);
    for (int64_t width = 8; width > 0; width /= 2)
        for (int64_t i = 0; i < count; i++)
            if (mep_dtype_size(tensors[i].dtype) == width) {
                begins[i] = offset;
                offset += tensors[i].size * width;
            }
    for (int64_t i = 0; i < count; i++) {
        int64_t end = begins[i] + tensors[i].size * mep_dtype_size(tensors[i].dtype);
        int twice = json_object_get(header, tensors[i].name) != NULL;
        if (!twice && json_object_set_new(header, tensors[i].name, entry_json(&tensors[i], begins[i], end)) == 0)
            continue;
        status = !twice ? fail_header()
                        : mep_fail(MEP_ERROR_ARGUMENT, "cannot write %s: the name \"%s\" is used twice", path,
                                   tensors[i].name);
        break;
    }
done:
    mep_free(&begins);
    return status;
}

/* Add the checksum of each tensor's data to the metadata. */
static mep_status add_checksums(json_t *strings, const mep_tensor *tensors, int64_t count, mep_tensor_data_fn data,
                                void *context)
{
    for (int64_t i = 0; i < count; i++) {
        char key[sizeof CHECKSUM + MEP_TENSOR_NAME], text[CHECKSUM_TEXT];
        const void *bytes = NULL;
        mep_checksum checksum;
        MEP_TRY(data(context, i, &bytes));
        mep_checksum_begin(&checksum);
        mep_checksum_add(&checksum, bytes, tensors[i].size * mep_dtype_size(tensors[i].dtype));
        checksum_text(&checksum, text);
        snprintf(key, sizeof key, "%s%s", CHECKSUM, tensors[i].name);
        if (json_object_set_new(strings, key, json_string(text)) != 0) return fail_header();
    }
    return MEP_OK;
}

/* The first bytes of the file: the length and the JSON text, padded with spaces to a multiple of 8. *text is allocated.
 */
static mep_status header_text(const json_t *header, char **text, int64_t *size)
{
    char *json = NULL;
    int64_t length = 0;
    MEP_TRY(mep_json_dump(header, JSON_COMPACT, &json, &length));
    int64_t padded = round_up(length, 8);
    mep_status status;
    *size = LENGTH_BYTES + padded;
    MEP_TRY_OR(status, MEP_ALLOC(text, *size), done);
    memcpy(*text, &padded, LENGTH_BYTES);
    memset(*text + LENGTH_BYTES, ' ', (size_t)padded);
    memcpy(*text + LENGTH_BYTES, json, (size_t)length);
done:
    mep_free(&json);
    return status;
}

static mep_status write_file(const char *path, const char *text, int64_t text_size, const mep_tensor *tensors,
                             int64_t count, mep_tensor_data_fn data, void *context)
{
    mep_atomic_file file;
    const void *bytes = NULL;
    MEP_TRY(mep_atomic_begin(&file, path));
    mep_status status;
    MEP_TRY_OR(status, mep_atomic_write(&file, text, text_size), failed);
    for (int64_t width = 8; width > 0; width /= 2)
        for (int64_t i = 0; i < count; i++) {
            if (mep_dtype_size(tensors[i].dtype) != width) continue;
            MEP_TRY_OR(status, data(context, i, &bytes), failed);
            MEP_TRY_OR(status, mep_atomic_write(&file, bytes, tensors[i].size * width), failed);
        }
    return mep_atomic_commit(&file);
failed:
    mep_atomic_abandon(&file);
    return status;
}

mep_status mep_safetensors_write_from(const char *path, const mep_tensor *tensors, int64_t count,
                                      const char *const *metadata, int64_t pairs, mep_tensor_data_fn data,
                                      void *context)
{
    char *text = NULL;
    int64_t size = 0;
    json_t *header = json_object(), *strings = json_object();
    mep_status status = MEP_OK;
    if (pairs + count > 0 && json_object_set(header, METADATA, strings) != 0) status = fail_header();
    if (status != MEP_OK) goto done;
    MEP_TRY_OR(status, add_metadata(path, strings, metadata, pairs), done);
    MEP_TRY_OR(status, add_tensors(path, header, tensors, count), done);
    MEP_TRY_OR(status, add_checksums(strings, tensors, count, data, context), done);
    MEP_TRY_OR(status, header_text(header, &text, &size), done);
    status = write_file(path, text, size, tensors, count, data, context);
done:
    json_decref(strings);
    json_decref(header);
    mep_free(&text);
    return status;
}

/* The data of the tensors themselves. */
static mep_status own_data(void *context, int64_t index, const void **data)
{
    *data = ((const mep_tensor *)context)[index].data;
    return MEP_OK;
}

mep_status mep_safetensors_write(const char *path, const mep_tensor *tensors, int64_t count,
                                 const char *const *metadata, int64_t pairs)
{
    return mep_safetensors_write_from(path, tensors, count, metadata, pairs, own_data, (void *)tensors);
}
