/* SPDX-License-Identifier: MIT */
/*
 * GNU OpenMP keeps the threads of a team between parallel regions. They do not exist in a child of fork(), but GNU
 * OpenMP does not notice, and the next parallel region waits for them forever. So the thread that a child begins with
 * runs every parallel region alone if its process had other threads. Threads that the child starts later have teams of
 * their own and are not limited. The OpenMP libraries of LLVM and Intel handle fork() themselves and are left
 * unchanged.
 */
#define _POSIX_C_SOURCE 200809L
#include "base/fork.h"

#include <omp.h>
#include <pthread.h>
#include <sys/stat.h>

/* Only the libraries of LLVM and Intel define it. */
extern void kmp_set_blocktime(int milliseconds) __attribute__((weak));

static _Thread_local int
    had_threads; /* set when the library is loaded, or before fork() of this thread at the latest */
static _Thread_local int is_forked;

/* A process has one folder per thread, and a folder has two links and one per folder in it. */
static void before_fork(void)
{
    struct stat threads;
    had_threads = stat("/proc/self/task", &threads) != 0 || threads.st_nlink != 3;
}

static void begin_child(void)
{
    if (!had_threads) return;
    is_forked = 1;
    omp_set_num_threads(1);
    omp_set_max_active_levels(0); /* also where a region specifies its number of threads */
}

__attribute__((constructor)) static void watch_forks(void)
{
    if (kmp_set_blocktime == NULL) pthread_atfork(before_fork, NULL, begin_child);
}

int mep_is_forked(void)
{
    return is_forked;
}
