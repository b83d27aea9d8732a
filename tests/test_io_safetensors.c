/* SPDX-License-Identifier: MIT */
/*
 * Safetensors: round trips, the golden files, every kind of damage to a header, and a full disk.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <cmocka.h>

#include "base/bf16.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/random.h"
#include "golden.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "scratch.h"

static mep_tensor make_tensor(const char *name, mep_dtype dtype, int ndim, const int64_t *shape, void *data)
{
    mep_tensor tensor = {.dtype = dtype, .ndim = ndim, .size = 1, .data = data};
    snprintf(tensor.name, sizeof tensor.name, "%s", name);
    for (int i = 0; i < ndim; i++) {
        tensor.shape[i] = shape[i];
        tensor.size *= shape[i];
    }
    return tensor;
}

/* A small file with every type that can be written, a scalar and an empty tensor, in an order that must be sorted. */
static mep_bf16 bf16_data[3] = {0x3F80, 0xC000, 0x7F80};           /* 1, -2, inf */
static float f32_data[6] = {0, -1.5f, 3e38f, 1e-45f, INFINITY, 7}; /* [2, 3] */
static double f64_data[1] = {3.14159265358979};
static int64_t i64_data[4] = {0, -1, INT64_MAX, INT64_MIN};
static const char *const METADATA[] = {"format", "pt", "empty", ""};

static int64_t small_file(mep_tensor tensors[5])
{
    tensors[0] = make_tensor("half", MEP_BFLOAT16, 1, (int64_t[]){3}, bf16_data);
    tensors[1] = make_tensor("matrix", MEP_FLOAT32, 2, (int64_t[]){2, 3}, f32_data);
    tensors[2] = make_tensor("scalar", MEP_FLOAT64, 0, NULL, f64_data);
    tensors[3] = make_tensor("empty", MEP_FLOAT32, 2, (int64_t[]){4, 0}, NULL);
    tensors[4] = make_tensor("long", MEP_INT64, 4, (int64_t[]){1, 2, 2, 1}, i64_data);
    return 5;
}

static const char *write_small(void)
{
    mep_tensor tensors[5];
    const char *path = scratch_path("small.safetensors");
    assert_int_equal(mep_safetensors_write(path, tensors, small_file(tensors), METADATA, 2), MEP_OK);
    return path;
}

/* The bytes of a small file in a block of exactly their size, so that a sanitizer detects a read beyond it. */
static char *small_bytes(int64_t *size)
{
    char *text = NULL;
    assert_int_equal(mep_file_read(write_small(), 1 << 20, &text, size), MEP_OK);
    char *exact = malloc((size_t)*size);
    assert_non_null(exact);
    memcpy(exact, text, (size_t)*size);
    mep_free(&text);
    return exact;
}

static void test_round_trip(void **state)
{
    (void)state;
    mep_safetensors *file = NULL;
    mep_tensor tensors[5];
    int64_t count = small_file(tensors);
    assert_int_equal(mep_safetensors_open(&file, write_small()), MEP_OK);
    assert_int_equal(mep_safetensors_count(file), count);
    assert_string_equal(mep_safetensors_metadata(file, "format"), "pt");
    assert_string_equal(mep_safetensors_metadata(file, "empty"), "");
    assert_null(mep_safetensors_metadata(file, "none"));
    for (int64_t i = 0; i < count; i++) {
        const mep_safetensors_entry *entry = mep_safetensors_find(file, tensors[i].name);
        char out[64];
        assert_non_null(entry);
        assert_int_equal(entry->ndim, tensors[i].ndim);
        assert_int_equal(entry->size, tensors[i].size);
        assert_int_equal(entry->begin % entry->width, 0);
        assert_int_equal(
            mep_safetensors_read(file, tensors[i].name, tensors[i].dtype, tensors[i].ndim, tensors[i].shape, out),
            MEP_OK);
        int64_t bytes = tensors[i].size * mep_dtype_size(tensors[i].dtype);
        assert_int_equal(entry->end - entry->begin, bytes);
        if (bytes > 0) assert_memory_equal(out, tensors[i].data, (size_t)bytes);
    }
    assert_null(mep_safetensors_get(file, -1));
    assert_null(mep_safetensors_get(file, count));
    assert_null(mep_safetensors_find(file, "Matrix"));
    mep_safetensors_close(&file);
    assert_null(file);
    mep_safetensors_close(&file);
}

/* Entries are in the order of their data, the header is in the given order, and its size is a multiple of 8. */
static void test_layout(void **state)
{
    (void)state;
    int64_t size;
    char *bytes = small_bytes(&size);
    uint64_t length;
    memcpy(&length, bytes, 8);
    assert_int_equal(length % 8, 0);
    assert_int_equal(size, 8 + length + 8 + 32 + 24 + 6);
    static const char head[] = "{\"__metadata__\":{\"format\":\"pt\",\"empty\":\"\",\"mep_checksum.half\":\"";
    assert_int_equal(strncmp(bytes + 8, head, sizeof head - 1), 0);
    static const char first[] = "},\"half\":{\"dtype\":\"BF16\",";
    assert_int_equal(strncmp(strstr(bytes + 8, "},\""), first, sizeof first - 1), 0);
    mep_safetensors *file = NULL;
    assert_int_equal(mep_safetensors_open_memory(&file, "small", bytes, size), MEP_OK);
    static const char *const order[] = {"scalar", "long", "matrix", "empty", "half"};
    for (int i = 0; i < 5; i++) assert_string_equal(mep_safetensors_get(file, i)->name, order[i]);
    mep_safetensors_close(&file);
    free(bytes);
}

/* A change of any bit of the data is detected and the tensor named, for every way of reading it; without checksums,
 * which other writers do not write, it is not detected. */
static void test_checksums(void **state)
{
    (void)state;
    int64_t size, start, found = 0;
    char *bytes = small_bytes(&size), out[64], wanted[160];
    memcpy(&start, bytes, 8);
    start += 8;
    for (int64_t bit = 8 * start; bit < 8 * size; bit++) {
        mep_safetensors *file = NULL;
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_equal(mep_safetensors_open_memory(&file, "small", bytes, size), MEP_OK);
        for (int64_t i = 0; i < mep_safetensors_count(file); i++) {
            const mep_safetensors_entry *e = mep_safetensors_get(file, i);
            int hit = start + e->begin <= bit / 8 && bit / 8 < start + e->end;
            mep_dtype same = strcmp(e->dtype, "F64") == 0    ? MEP_FLOAT64
                             : strcmp(e->dtype, "F32") == 0  ? MEP_FLOAT32
                             : strcmp(e->dtype, "BF16") == 0 ? MEP_BFLOAT16
                                                             : MEP_INT64;
            snprintf(wanted, sizeof wanted, "\"%s\" is damaged", e->name);
            for (int converted = 0; converted <= (same != MEP_INT64); converted++) {
                mep_dtype type = converted ? MEP_FLOAT64 : same;
                assert_int_equal(mep_safetensors_read(file, e->name, type, e->ndim, e->shape, out),
                                 hit ? MEP_ERROR_FORMAT : MEP_OK);
                if (hit) assert_non_null(strstr(mep_error_message(), wanted));
                found += hit;
            }
            if (hit) assert_int_equal(mep_safetensors_verify(file), MEP_ERROR_FORMAT);
            if (hit) assert_non_null(strstr(mep_error_message(), wanted));
        }
        mep_safetensors_close(&file);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    assert_int_equal(found, 8 * (2 * (size - start) - 32)); /* the 32 bytes of "long" can be read in only one way */
    for (char *key = bytes; (key = memmem(key, (size_t)(bytes + size - key), "mep_checksum", 12)) != NULL;) *key = 'x';
    bytes[size - 1] ^= 1;
    mep_safetensors *file = NULL;
    assert_int_equal(mep_safetensors_open_memory(&file, "small", bytes, size), MEP_OK);
    assert_int_equal(mep_safetensors_verify(file), MEP_OK);
    mep_safetensors_close(&file);
    free(bytes);
}

static void test_no_tensors(void **state)
{
    (void)state;
    mep_safetensors *file = NULL;
    const char *path = scratch_path("none.safetensors");
    assert_int_equal(mep_safetensors_write(path, NULL, 0, NULL, 0), MEP_OK);
    assert_int_equal(mep_safetensors_open(&file, path), MEP_OK);
    assert_int_equal(mep_safetensors_count(file), 0);
    assert_null(mep_safetensors_metadata(file, "format"));
    mep_safetensors_close(&file);
}

static void test_conversion(void **state)
{
    (void)state;
    mep_safetensors *file = NULL;
    float f32[6];
    double f64[6];
    assert_int_equal(mep_safetensors_open(&file, write_small()), MEP_OK);
    assert_int_equal(mep_safetensors_read(file, "matrix", MEP_FLOAT64, 2, (int64_t[]){2, 3}, f64), MEP_OK);
    for (int i = 0; i < 6; i++) assert_true(f64[i] == (double)f32_data[i]);
    assert_int_equal(mep_safetensors_read(file, "half", MEP_FLOAT32, 1, (int64_t[]){3}, f32), MEP_OK);
    assert_true(f32[0] == 1 && f32[1] == -2 && isinf(f32[2]) && f32[2] > 0);
    assert_int_equal(mep_safetensors_read(file, "half", MEP_FLOAT64, 1, (int64_t[]){3}, f64), MEP_OK);
    assert_true(f64[0] == 1 && f64[1] == -2 && isinf(f64[2]) && f64[2] > 0);
    assert_int_equal(mep_safetensors_read(file, "scalar", MEP_FLOAT32, 0, NULL, f32), MEP_OK);
    assert_true(f32[0] == 3.14159265358979f);
    mep_safetensors_close(&file);
}

static void test_wrong_requests(void **state)
{
    (void)state;
    mep_safetensors *file = NULL;
    double out[6];
    assert_int_equal(mep_safetensors_open(&file, write_small()), MEP_OK);
    assert_int_equal(mep_safetensors_read(file, "none", MEP_FLOAT32, 0, NULL, out), MEP_ERROR_FORMAT);
    assert_non_null(strstr(mep_error_message(), "has no tensor \"none\""));
    assert_int_equal(mep_safetensors_read(file, "matrix", MEP_FLOAT32, 2, (int64_t[]){3, 2}, out), MEP_ERROR_FORMAT);
    assert_non_null(strstr(mep_error_message(), "\"matrix\" has the shape [2, 3], expected [3, 2]"));
    assert_int_equal(mep_safetensors_read(file, "matrix", MEP_FLOAT32, 1, (int64_t[]){6}, out), MEP_ERROR_FORMAT);
    assert_int_equal(mep_safetensors_read(file, "scalar", MEP_FLOAT32, 5, (int64_t[]){1, 1, 1, 1, 1}, out),
                     MEP_ERROR_FORMAT);
    assert_int_equal(mep_safetensors_read(file, "matrix", MEP_INT64, 2, (int64_t[]){2, 3}, out), MEP_ERROR_UNSUPPORTED);
    assert_int_equal(mep_safetensors_read(file, "matrix", MEP_BFLOAT16, 2, (int64_t[]){2, 3}, out),
                     MEP_ERROR_UNSUPPORTED);
    assert_int_equal(mep_safetensors_read(file, "long", MEP_FLOAT64, 4, (int64_t[]){1, 2, 2, 1}, out),
                     MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "\"long\" is of type I64, which cannot be read as float64"));
    mep_safetensors_close(&file);
}

/* ---- Handmade files ---- */

/* A file in memory with this header and `data_size` bytes of data (zeros if data is NULL). The caller frees it. */
static char *make_file(const char *header, const void *data, int64_t data_size, int64_t *size)
{
    uint64_t length = strlen(header);
    *size = 8 + (int64_t)length + data_size;
    char *bytes = calloc((size_t)*size, 1);
    assert_non_null(bytes);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    if (data != NULL) memcpy(bytes + 8 + length, data, (size_t)data_size);
    return bytes;
}

static mep_status open_header(const char *header, int64_t data_size)
{
    int64_t size;
    char *bytes = make_file(header, NULL, data_size, &size);
    mep_safetensors *file = NULL;
    mep_status status = mep_safetensors_open_memory(&file, "by-hand", bytes, size);
    if (status != MEP_OK) {
        assert_null(file);
        assert_non_null(strstr(mep_error_message(), "by-hand"));
        assert_null(strchr(mep_error_message(), '\n'));
    }
    mep_safetensors_close(&file);
    free(bytes);
    return status;
}

#define T(name, dtype, shape, begin, end)                                                                              \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void test_good_headers(void **state)
{
    (void)state;
    assert_int_equal(open_header("{}", 0), MEP_OK);
    assert_int_equal(open_header("{}   \n", 0), MEP_OK);
    assert_int_equal(open_header("{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[1]", 8, 12) "}", 12), MEP_OK);
    assert_int_equal(open_header("{" T("a", "F32", "[2]", 4, 12) "," T("b", "F32", "[1]", 0, 4) "}", 12), MEP_OK);
    assert_int_equal(open_header("{" T("a", "F32", "[2]", 0, 8) "," T("e", "F32", "[0]", 8, 8) "," //
                                 T("b", "F32", "[]", 8, 12) "," T("f", "F32", "[0,9]", 12, 12) "}",
                                 12),
                     MEP_OK);
    assert_int_equal(open_header("{\"__metadata__\":{}," T("a", "I8", "[1,1,1,1,1,3]", 0, 3) "}", 3), MEP_OK);
    assert_int_equal(open_header("{" T("a", "F32", "[2]", 1, 9) "," T("b", "BOOL", "[1]", 0, 1) "}", 9), MEP_OK);
}

static void test_bad_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        int64_t data_size;
    } bad[] = {
        {"", 0},
        {" {}", 0},
        {"[]", 0},
        {"{", 0},
        {"{}}", 0},
        {"{}", 1}, /* bytes after the last tensor */
        {"{" T("a", "F32", "[2]", 0, 8) "}", 9},
        {"{" T("a", "F32", "[2]", 0, 8) "}", 7},                                     /* truncated */
        {"{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 4, 12) "}", 12},    /* overlap */
        {"{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 0, 8) "}", 8},      /* the same offset twice */
        {"{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[1]", 12, 16) "}", 16},   /* gap */
        {"{" T("a", "F32", "[2]", 4, 12) "}", 12},                                   /* gap at the start */
        {"{" T("a", "F32", "[2]", 0, 8) "," T("a", "F32", "[2]", 8, 16) "}", 16},    /* duplicate key */
        {"{" T("a", "F32", "[2]", 8, 0) "}", 8},                                     /* backwards */
        {"{" T("a", "F32", "[2]", -8, 0) "}", 8},                                    /* negative */
        {"{" T("a", "F32", "[2]", 9223372036854775800, 9223372036854775807) "}", 8}, /* far beyond the end */
        {"{" T("a", "F32", "[2]", 0, 18446744073709551615) "}", 8},                  /* beyond int64 */
        {"{" T("a", "F32", "[2]", 0, 8.0) "}", 8},                                   /* not an integer */
        {"{" T("a", "F32", "[3]", 0, 8) "}", 8},                                     /* shape does not match */
        {"{" T("a", "F64", "[2]", 0, 8) "}", 8},                                     /* dtype does not match */
        {"{" T("a", "F32", "[-2]", 0, 8) "}", 8},                                    /* negative shape */
        {"{" T("a", "F32", "[-1,-2]", 0, 8) "}", 8},                                 /* with a positive product */
        {"{" T("a", "F32", "[2.0]", 0, 8) "}", 8},
        {"{" T("a", "F32", "[true,2]", 0, 8) "}", 8},
        {"{" T("a", "F32", "2", 0, 8) "}", 8},
        {"{" T("a", "F32", "[4294967296,4294967296]", 0, 0) "}", 0}, /* product is 0 modulo 2^64 */
        {"{" T("a", "F32", "[4611686018427387906]", 0, 8) "}", 8},   /* bytes are 8 modulo 2^64 */
        {"{" T("a", "F32", "[9223372036854775807,9223372036854775807]", 0, 8) "}", 8},
        {"{" T("a", "F32", "[4294967296,4294967296,0]", 0, 0) "}", 0},
        {"{" T("", "F32", "[2]", 0, 8) "}", 8},
        {"{" T("a\\n", "F32", "[2]", 0, 8) "}", 8},
        {"{" T("\xFF", "F32", "[2]", 0, 8) "}", 8},
        {"{\"a\":1}", 0},
        {"{\"a\":{}}", 0},
        {"{\"a\":{\"dtype\":3,\"shape\":[2],\"data_offsets\":[0,8]}}", 8},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,\"8\"]}}", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8},
        {"{\"__metadata__\":[]}", 0},
        {"{\"__metadata__\":{\"a\":1}}", 0},
        {"{\"__metadata__\":null}", 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (open_header(bad[i].header, bad[i].data_size) != MEP_ERROR_FORMAT) fail_msg("accepted: %s", bad[i].header);
    assert_int_equal(open_header("{" T("a", "F4", "[2]", 0, 1) "}", 1), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "has the unknown dtype F4"));
    assert_int_equal(open_header("{" T("a", "\\u001b[2J", "[2]", 0, 1) "}", 1), MEP_ERROR_UNSUPPORTED);
    assert_null(strchr(mep_error_message(), 27));
}

/* Names of 127 bytes are valid, names of 128 bytes are not. */
static void test_long_names(void **state)
{
    (void)state;
    for (int length = MEP_TENSOR_NAME - 1; length <= MEP_TENSOR_NAME; length++) {
        char name[MEP_TENSOR_NAME + 1] = "", header[512];
        memset(name, 'n', (size_t)length);
        snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", name);
        assert_int_equal(open_header(header, 4), length < MEP_TENSOR_NAME ? MEP_OK : MEP_ERROR_FORMAT);
    }
}

static void test_absurd_header_length(void **state)
{
    (void)state;
    int64_t size;
    char *bytes = small_bytes(&size);
    uint64_t right;
    memcpy(&right, bytes, 8);
    const uint64_t lengths[] = {0,
                                1,
                                right - 1,
                                right + 1,
                                (uint64_t)size - 8,
                                (uint64_t)size - 7,
                                100000001u,
                                INT64_MAX,
                                (uint64_t)INT64_MAX + 1,
                                UINT64_MAX - 7,
                                UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        mep_safetensors *file = NULL;
        memcpy(bytes, &lengths[i], 8);
        if (mep_safetensors_open_memory(&file, "absurd", bytes, size) != MEP_ERROR_FORMAT)
            fail_msg("accepted a header of %llu bytes", (unsigned long long)lengths[i]);
    }
    free(bytes);
}

/* More than four dimensions, and types without a decoder, are listed but not read. */
static void test_listed_only(void **state)
{
    (void)state;
    int64_t size;
    char *bytes =
        make_file("{" T("five", "F32", "[1,1,1,2,1]", 0, 8) "," T("ints", "I32", "[2]", 8, 16) "}", NULL, 16, &size);
    mep_safetensors *file = NULL;
    double out[2];
    assert_int_equal(mep_safetensors_open_memory(&file, "by-hand", bytes, size), MEP_OK);
    assert_int_equal(mep_safetensors_find(file, "five")->ndim, 5);
    assert_int_equal(mep_safetensors_read(file, "five", MEP_FLOAT32, 5, (int64_t[]){1, 1, 1, 2, 1}, out),
                     MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "\"five\" has 5 dimensions"));
    assert_string_equal(mep_safetensors_find(file, "ints")->dtype, "I32");
    for (mep_dtype wanted = MEP_FLOAT32; wanted <= MEP_INT64; wanted++)
        assert_int_equal(mep_safetensors_read(file, "ints", wanted, 1, (int64_t[]){2}, out), MEP_ERROR_UNSUPPORTED);
    assert_non_null(strstr(mep_error_message(), "I32"));
    mep_safetensors_close(&file);
    free(bytes);
}

/* ---- Conversions of 16-bit types: all values ---- */

/* The value of a binary16 or bfloat16 bit pattern, by definition. */
static double expected_16(unsigned bits, int exponent_bits)
{
    int fraction_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (int)(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    double fraction = (double)(bits & ((1u << fraction_bits) - 1)) / (1 << fraction_bits);
    double sign = bits >> 15 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1) return fraction > 0 ? NAN : sign * INFINITY;
    return sign * (exponent > 0 ? (1 + fraction) * exp2(exponent - bias) : fraction * exp2(1 - bias));
}

static void check_all_16(const char *header, int exponent_bits)
{
    enum { COUNT = 65536 };
    static uint16_t patterns[COUNT];
    static double f64[COUNT];
    static float f32[COUNT];
    for (int i = 0; i < COUNT; i++) patterns[i] = (uint16_t)i;
    int64_t size, shape[] = {COUNT};
    char *bytes = make_file(header, patterns, sizeof patterns, &size);
    mep_safetensors *file = NULL;
    assert_int_equal(mep_safetensors_open_memory(&file, "by-hand", bytes, size), MEP_OK);
    assert_int_equal(mep_safetensors_read(file, "a", MEP_FLOAT64, 1, shape, f64), MEP_OK);
    assert_int_equal(mep_safetensors_read(file, "a", MEP_FLOAT32, 1, shape, f32), MEP_OK);
    for (unsigned i = 0; i < COUNT; i++) {
        double expected = expected_16(i, exponent_bits);
        int same = isnan(expected) ? isnan(f64[i]) && isnan(f32[i]) : f64[i] == expected && (double)f32[i] == expected;
        if (!same || (!isnan(expected) && !signbit(f64[i]) != !signbit(expected)))
            fail_msg("pattern %04x: %g and %g, expected %g", i, f64[i], (double)f32[i], expected);
    }
    mep_safetensors_close(&file);
    free(bytes);
}

static void test_f16(void **state)
{
    (void)state;
    assert_true(expected_16(0x0001, 5) == 0x1p-24 && expected_16(0x7BFF, 5) == 65504);
    check_all_16("{" T("a", "F16", "[65536]", 0, 131072) "}", 5);
}

static void test_bf16(void **state)
{
    (void)state;
    assert_true(expected_16(0x0001, 8) == 0x1p-133 && expected_16(0x3FC0, 8) == 1.5);
    check_all_16("{" T("a", "BF16", "[65536]", 0, 131072) "}", 8);
}

/* ---- Damage ---- */

static void read_everything(const mep_safetensors *file)
{
    for (int64_t i = 0; i < mep_safetensors_count(file); i++) {
        const mep_safetensors_entry *entry = mep_safetensors_get(file, i);
        void *out = NULL;
        assert_int_equal(mep_alloc(&out, entry->size, 8), MEP_OK);
        for (mep_dtype wanted = MEP_FLOAT32; wanted <= MEP_INT64; wanted++)
            (void)mep_safetensors_read(file, entry->name, wanted, entry->ndim, entry->shape, out);
        mep_free(&out);
    }
}

static void test_truncation(void **state)
{
    (void)state;
    int64_t size;
    char *bytes = small_bytes(&size);
    const char *path = scratch_path("copy.safetensors");
    for (int64_t length = 0; length <= size; length++) {
        mep_safetensors *file = NULL;
        char *copy = malloc((size_t)length + 1);
        assert_non_null(copy);
        char *start = copy + 1; /* unaligned, and nothing readable after the end */
        memcpy(start, bytes, (size_t)length);
        assert_int_equal(mep_safetensors_open_memory(&file, "copy", start, length),
                         length < size ? MEP_ERROR_FORMAT : MEP_OK);
        mep_safetensors_close(&file);
        assert_int_equal(mep_file_write_atomic(path, start, length), MEP_OK);
        assert_int_equal(mep_safetensors_open(&file, path), length < size ? MEP_ERROR_FORMAT : MEP_OK);
        mep_safetensors_close(&file);
        free(copy);
    }
    free(bytes);
}

/* A file that becomes shorter between open and read. */
static void test_shrinking(void **state)
{
    (void)state;
    double out[6];
    mep_safetensors *file = NULL;
    const char *path = write_small();
    assert_int_equal(mep_safetensors_open(&file, path), MEP_OK);
    FILE *stream = fopen(path, "w");
    assert_non_null(stream);
    fclose(stream);
    assert_int_equal(mep_safetensors_read(file, "matrix", MEP_FLOAT32, 2, (int64_t[]){2, 3}, out), MEP_ERROR_FORMAT);
    assert_non_null(strstr(mep_error_message(), "became shorter"));
    mep_safetensors_close(&file);
}

static void test_random_damage(void **state)
{
    (void)state;
    enum { ROUNDS = 5000 };
    const uint64_t seed = 20240501;
    int64_t size, opened = 0, refused = 0;
    char *bytes = small_bytes(&size), *damaged = malloc((size_t)size);
    assert_non_null(damaged);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        memcpy(damaged, bytes, (size_t)size);
        uint64_t flips = 1 + mep_random_bits(seed, 0, round) % 4;
        for (uint64_t i = 0; i < flips; i++) {
            uint64_t draw = mep_random_bits(seed, i + 1, round);
            damaged[draw % (uint64_t)size] ^= (char)(1u << (draw >> 32) % 8);
        }
        mep_safetensors *file = NULL;
        mep_status status = mep_safetensors_open_memory(&file, "damaged", damaged, size);
        if (status == MEP_OK) {
            opened++;
            read_everything(file);
            mep_safetensors_close(&file);
        } else {
            refused++;
            assert_true(status == MEP_ERROR_FORMAT || status == MEP_ERROR_UNSUPPORTED);
            for (const char *c = mep_error_message(); *c != '\0'; c++) assert_true((unsigned char)*c >= ' ');
        }
    }
    assert_true(opened > ROUNDS / 50 && refused > ROUNDS / 10); /* both cases occurred, seed 20240501 */
    free(damaged);
    free(bytes);
}

/* Every allocation of a write and of a read fails once: an error and no leak (which the address sanitizer detects). */
static void test_failing_allocations(void **state)
{
    (void)state;
    mep_tensor tensors[5];
    int64_t count = small_file(tensors), failures = 0;
    const char *path = scratch_path("allocations.safetensors");
    mep_status status = MEP_ERROR_MEMORY;
    for (int64_t n = 1; status == MEP_ERROR_MEMORY; n++, failures++) {
        mep_fail_allocation(n);
        status = mep_safetensors_write(path, tensors, count, METADATA, 2);
    }
    assert_int_equal(status, MEP_OK);
    assert_true(failures > 3);
    failures = 0;
    status = MEP_ERROR_MEMORY;
    for (int64_t n = 1; status == MEP_ERROR_MEMORY; n++, failures++) {
        mep_safetensors *file = NULL;
        mep_fail_allocation(n);
        status = mep_safetensors_open(&file, path);
        assert_true((status == MEP_OK) == (file != NULL));
        mep_safetensors_close(&file);
    }
    mep_fail_allocation(0);
    assert_int_equal(status, MEP_OK);
    assert_true(failures > 3);
}

/* ---- Writing ---- */

static void test_bad_writes(void **state)
{
    (void)state;
    const char *path = scratch_path("bad.safetensors");
    mep_tensor t[2] = {make_tensor("a", MEP_FLOAT32, 1, (int64_t[]){2}, f32_data),
                       make_tensor("a", MEP_FLOAT32, 1, (int64_t[]){2}, f32_data)};
    assert_int_equal(mep_safetensors_write(path, t, 2, NULL, 0), MEP_ERROR_ARGUMENT);
    assert_non_null(strstr(mep_error_message(), "\"a\" is used twice"));
    static const char *const names[] = {"", "__metadata__", "line\nbreak", "\xFF\xFE"};
    for (int i = 0; i < 4; i++) {
        t[1] = make_tensor(names[i], MEP_FLOAT32, 1, (int64_t[]){2}, f32_data);
        assert_int_equal(mep_safetensors_write(path, t, 2, NULL, 0), MEP_ERROR_ARGUMENT);
    }
    t[0].size = 3;
    assert_int_equal(mep_safetensors_write(path, t, 1, NULL, 0), MEP_ERROR_ARGUMENT);
    t[0].size = 2;
    t[0].ndim = 5;
    assert_int_equal(mep_safetensors_write(path, t, 1, NULL, 0), MEP_ERROR_ARGUMENT);
    t[0].ndim = 1;
    t[0].dtype = (mep_dtype)9;
    assert_int_equal(mep_safetensors_write(path, t, 1, NULL, 0), MEP_ERROR_ARGUMENT);
    t[0].dtype = MEP_FLOAT32;
    memset(t[0].name, 'x', sizeof t[0].name);
    assert_int_equal(mep_safetensors_write(path, t, 1, NULL, 0), MEP_ERROR_ARGUMENT);
    const char *const latin[] = {"author", "\xE9"};
    assert_int_equal(mep_safetensors_write(path, NULL, 0, latin, 1), MEP_ERROR_ARGUMENT);
    assert_false(mep_file_exists(path));
}

/* A limit on the size of files simulates a full disk. */
static void test_full_disk(void **state)
{
    (void)state;
    enum { COUNT = 1 << 18 };
    static float big[COUNT];
    mep_tensor tensor = make_tensor("big", MEP_FLOAT32, 1, (int64_t[]){COUNT}, big);
    const char *path = write_small();
    char *before = NULL, *after = NULL;
    int64_t size_before = 0, size_after = 0;
    struct rlimit old, small;
    assert_int_equal(mep_file_read(path, 1 << 20, &before, &size_before), MEP_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 100000, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    mep_status status = mep_safetensors_write(path, &tensor, 1, NULL, 0);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, MEP_ERROR_IO);
    assert_non_null(strstr(mep_error_message(), path));
    assert_int_equal(mep_file_read(path, 1 << 20, &after, &size_after), MEP_OK);
    assert_int_equal(size_after, size_before);
    assert_memory_equal(after, before, (size_t)size_before);
    mep_free(&before);
    mep_free(&after);
    assert_int_equal(mep_safetensors_write(path, &tensor, 1, NULL, 0), MEP_OK);
}

/* ---- The golden files ---- */

/* Open a file and read all tensors as float64 or int64; returns their number. */
static int64_t check_golden(const char *path)
{
    mep_safetensors *file = NULL;
    if (mep_safetensors_open(&file, path) != MEP_OK) fail_msg("%s", mep_error_message());
    int64_t count = mep_safetensors_count(file);
    for (int64_t i = 0; i < count; i++) {
        const mep_safetensors_entry *entry = mep_safetensors_get(file, i);
        int integer = strcmp(entry->dtype, "I64") == 0;
        double *out = NULL;
        assert_int_equal(mep_alloc(&out, entry->size, sizeof *out), MEP_OK);
        if (mep_safetensors_read(file, entry->name, integer ? MEP_INT64 : MEP_FLOAT64, entry->ndim, entry->shape,
                                 out) != MEP_OK)
            fail_msg("%s", mep_error_message());
        for (int64_t j = 0; j < entry->size && !integer; j++)
            if (!(fabs(out[j]) < 1e6)) fail_msg("%s: %s[%lld] is %g", path, entry->name, (long long)j, out[j]);
        mep_free(&out);
    }
    mep_safetensors_close(&file);
    return count;
}

static void test_golden(void **state)
{
    (void)state;
    char folder[4096];
    struct dirent **entries;
    int64_t files = 0, tensors = 0;
    snprintf(folder, sizeof folder, "%s", GOLDEN_OWN(""));
    int found = scandir(folder, &entries, NULL, alphasort);
    assert_true(found > 2);
    for (int i = 0; i < found; i++) {
        static const char *const inside[] = {"", "/model.safetensors", "/expected.safetensors"};
        for (int j = 0; j < 3 && entries[i]->d_name[0] != '.'; j++) {
            char path[4096 + 512];
            snprintf(path, sizeof path, "%s%s%s", folder, entries[i]->d_name, inside[j]);
            if (strstr(path, ".safetensors") == NULL || !mep_file_exists(path)) continue;
            tensors += check_golden(path);
            files++;
        }
        free(entries[i]);
    }
    free(entries);
    assert_true(files >= 26);
    assert_true(tensors >= 26 * 9);
}

/* Known values of one golden file. */
static void test_golden_values(void **state)
{
    (void)state;
    mep_safetensors *file = NULL;
    assert_int_equal(mep_safetensors_open(&file, GOLDEN_OWN("attention_mep.safetensors")), MEP_OK);
    assert_string_equal(mep_safetensors_metadata(file, "kernels"), "exp+exp_half+gauss");
    assert_string_equal(mep_safetensors_metadata(file, "scale"), "0.25");
    assert_int_equal(mep_safetensors_find(file, "q")->ndim, 4);
    assert_int_equal(mep_safetensors_find(file, "bias")->ndim, 2);
    mep_safetensors_close(&file);
    assert_int_equal(mep_safetensors_open(&file, GOLDEN_OWN("bias.json")), MEP_ERROR_FORMAT);
    assert_int_equal(mep_safetensors_open(&file, GOLDEN_OWN("")), MEP_ERROR_IO);
    assert_int_equal(mep_safetensors_open(&file, GOLDEN_OWN("none")), MEP_ERROR_IO);
    assert_null(file);
}

static int remove_scratch(void **state)
{
    (void)state;
    return mep_remove_tree(scratch_path("")) != MEP_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_no_tensors),
        cmocka_unit_test(test_conversion),
        cmocka_unit_test(test_wrong_requests),
        cmocka_unit_test(test_good_headers),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_absurd_header_length),
        cmocka_unit_test(test_listed_only),
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_shrinking),
        cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_bad_writes),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_golden_values),
    };
    return cmocka_run_group_tests(tests, NULL, remove_scratch);
}
