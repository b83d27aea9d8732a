/* SPDX-License-Identifier: MIT */
/*
 * Types that several headers share: element types and the version.
 */
#ifndef MEP_TYPES_H
#define MEP_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "mep/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mep_dtype {
    MEP_FLOAT32 = 0,
    MEP_BFLOAT16 = 1, /* uint16_t: the upper half of a float32, rounded to nearest even */
    MEP_FLOAT64 = 2,
    MEP_INT64 = 3
} mep_dtype;

/* Bytes per element; 0 for a value that is not a mep_dtype. Thread-safe. */
MEP_API int64_t mep_dtype_size(mep_dtype dtype);

/* "float32", "bfloat16", "float64", "int64". Thread-safe. */
MEP_API const char *mep_dtype_name(mep_dtype dtype);

/* Where tensors are stored and kernels run (device.h). */
typedef enum mep_device {
    MEP_DEVICE_CPU = 0,
    MEP_DEVICE_CUDA = 1 /* one GPU: CUDA's current one */
} mep_device;

/* In targets, the place of a token that is not trained: it has no loss and no gradient. */
enum { MEP_TARGET_NONE = -1 };

enum { MEP_PATH_SIZE = 1024 }; /* of an array that holds a path */

/* Free a text that the library has allocated for its caller, and set *text to NULL; NULL is allowed. Thread-safe. */
MEP_API void mep_text_free(char **text);

/* Version of the library, "MAJOR.MINOR.PATCH". Thread-safe. */
MEP_API const char *mep_version(void);

/* Number of the binary interface that these headers describe. It increases with every change of a public structure,
 * signature or constant that a program built with earlier headers would misread, but not with additions
 * (scripts/check_abi.sh compares). */
#define MEP_ABI_VERSION 4

/* The number of the library in use. A binding that declares the interface itself, or a program that loads the library
 * at run time, compares it with the MEP_ABI_VERSION that it was written for, before any other call. Thread-safe. */
MEP_API int mep_abi_version(void);

/* Names of the libraries that this build lacks, separated by ", ": "" for a complete one, such as that of make or of a
 * wheel; a package built by pip from sources leaves out what it does not find. Functions that need one of them fail
 * with MEP_ERROR_UNSUPPORTED and name it. Thread-safe. */
MEP_API const char *mep_missing_libraries(void);

/* The instruction set level that kernels use on this machine: "c", "avx2", "avx512", "avx512_bf16" or "amx_bf16", and
 * on 64-bit Arm "c" or "neon". It is the highest that the CPU, the operating system and the build have; the environment
 * variable MEP_CPU with the name of a lower one selects that. It is read once. At "amx_bf16" the process has requested
 * the operating system's permission to use tile registers: docs/kernels.md. Thread-safe. */
MEP_API const char *mep_cpu_level_name(void);

/* Set the number of threads that the library uses (OpenMP's, for the calling thread); n <= 0 leaves it unchanged, and
 * more than 4096 are 4096. Returns the number in force. Results do not depend on it. How long threads spin while they
 * wait is set in the environment before the program starts (GOMP_SPINCOUNT, OMP_WAIT_POLICY): docs/performance.md.
 *
 * With GNU OpenMP the first thread of a child of fork() has one thread, whatever n is, if the parent had more than one
 * thread: OpenMP's threads do not exist in the child. Other threads of the child are not limited. fork() must not be
 * called while another thread is in a call of the library whose handles the child uses. */
MEP_API int mep_set_threads(int n);

#ifdef __cplusplus
}
#endif

#endif
