/* SPDX-License-Identifier: MIT */
/*
 * Assertions: invariants that only an error in this library can break. What a caller, a file or the machine can get
 * wrong is checked by mep_fail (base/error.h) in every build.
 */
#ifndef MEP_BASE_ASSERTION_H
#define MEP_BASE_ASSERTION_H

#include <assert.h> /* static_assert; assert itself is off in every build of type Release */

/* MEP_ASSERT(condition): in builds with the CMake option MEP_ASSERTIONS (the presets ci, gpu, clang, arm64, asan,
 * ubsan, tsan and fuzz) a condition that is false is printed with its file and line, and the program aborts. In other
 * builds the condition is compiled but not evaluated. */
#if MEP_ASSERTIONS
#define MEP_ASSERT(condition) ((condition) ? (void)0 : mep_assertion_failed(#condition, __FILE__, __LINE__))
#else
#define MEP_ASSERT(condition) ((void)sizeof((condition) ? 1 : 0))
#endif

#ifdef __cplusplus
extern "C" {
#endif

__attribute__((noreturn, cold)) void mep_assertion_failed(const char *condition, const char *file, int line);

#ifdef __cplusplus
}
#endif

#endif
