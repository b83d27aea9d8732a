/* SPDX-License-Identifier: MIT */
/*
 * In place of PCRE2 in a build without it (MEP_OPTIONAL_LIBRARIES): what the sources name of it, so that they compile. No
 * pattern can be compiled; callers fail before they compile one (MEP_NEED).
 */
#ifndef MEP_ABSENT_PCRE2_H
#define MEP_ABSENT_PCRE2_H

#include <stddef.h>
#include <stdint.h>

typedef struct pcre2_code pcre2_code;
typedef struct pcre2_match_data pcre2_match_data;
typedef unsigned char PCRE2_UCHAR;
typedef const PCRE2_UCHAR *PCRE2_SPTR;
#define PCRE2_SIZE size_t
#define PCRE2_ZERO_TERMINATED SIZE_MAX
enum { PCRE2_ANCHORED, PCRE2_ENDANCHORED, PCRE2_UTF, PCRE2_NO_UTF_CHECK, PCRE2_NO_JIT, PCRE2_JIT_COMPLETE };
enum { PCRE2_INFO_MATCHEMPTY, PCRE2_ERROR_NOMATCH = -1, PCRE2_ERROR_JIT_STACKLIMIT = -46 };

#define MEP_ABSENT(result, ...) \
    {                           \
        (void)(__VA_ARGS__);    \
        return result;          \
    }
static inline pcre2_code *pcre2_compile(PCRE2_SPTR pattern, size_t size, uint32_t options, int *error, size_t *offset,
                                        void *context)
    MEP_ABSENT(NULL, pattern, size, options, error, offset, context)
static inline void pcre2_code_free(pcre2_code *code) MEP_ABSENT(, code)
static inline int pcre2_jit_compile(pcre2_code *code, uint32_t options) MEP_ABSENT(-1, code, options)
static inline int pcre2_pattern_info(const pcre2_code *code, uint32_t what, void *where)
    MEP_ABSENT(-1, code, what, where)
static inline int pcre2_get_error_message(int error, PCRE2_UCHAR *text, size_t size) MEP_ABSENT(-1, error, text, size)
static inline pcre2_match_data *pcre2_match_data_create(uint32_t pairs, void *context) MEP_ABSENT(NULL, pairs, context)
static inline void pcre2_match_data_free(pcre2_match_data *match) MEP_ABSENT(, match)
static inline size_t *pcre2_get_ovector_pointer(pcre2_match_data *match) MEP_ABSENT(NULL, match)
static inline int pcre2_match(const pcre2_code *code, PCRE2_SPTR text, size_t size, size_t start, uint32_t options,
                              pcre2_match_data *match, void *context)
    MEP_ABSENT(PCRE2_ERROR_NOMATCH, code, text, size, start, options, match, context)

#endif
