/* SPDX-License-Identifier: MIT */
/*
 * Included before every file of a wheel for x86-64 (scripts/build_wheel.sh). glibc 2.29 has new versions of the functions
 * below, which do not set errno; here the older ones are selected, so that the wheel runs on glibc 2.28. Both have the same results.
 */
#if defined(__x86_64__) && defined(__ELF__)
__asm__(".symver exp, exp@GLIBC_2.2.5");
__asm__(".symver exp2, exp2@GLIBC_2.2.5");
__asm__(".symver log, log@GLIBC_2.2.5");
__asm__(".symver log2, log2@GLIBC_2.2.5");
__asm__(".symver pow, pow@GLIBC_2.2.5");
#endif
