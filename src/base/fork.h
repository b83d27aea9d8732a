/* SPDX-License-Identifier: MIT */
/*
 * Parallel regions in a child of fork(); see fork.c.
 */
#ifndef MEP_BASE_FORK_H
#define MEP_BASE_FORK_H

/* Whether the calling thread called fork() while its process had other threads, so that it runs every parallel region
 * alone. */
int mep_is_forked(void);

#endif
