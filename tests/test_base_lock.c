/* SPDX-License-Identifier: MIT */
/*
 * The lock between processes: which owner is named, what a crash, a rename and a release leave, and files that are not
 * locks.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/lock.h"
#include "scratch.h"

static int exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* A process that holds the lock until it is killed. */
static pid_t holder(const char *path)
{
    int ends[2];
    char ready;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        mep_lock lock;
        ready = mep_lock_take(&lock, path, "it") == MEP_OK ? 'y' : 'n';
        if (write(ends[1], &ready, 1) != 1) _exit(1);
        for (;;) pause();
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &ready, 1), 1);
    close(ends[0]);
    assert_int_equal(ready, 'y');
    return child;
}

static void end(pid_t child)
{
    int unused;
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &unused, 0), child);
}

static void test_held(void **state)
{
    (void)state;
    const char *path = scratch_path("held.lock");
    char host[64] = "", expected[128];
    pid_t child = holder(path);
    mep_lock lock;
    assert_int_equal(mep_lock_take(&lock, path, "the dataset x"), MEP_ERROR_IO);
    gethostname(host, sizeof host - 1);
    snprintf(expected, sizeof expected, "the dataset x is being written by process %ld on %s:", (long)child, host);
    assert_non_null(strstr(mep_error_message(), expected));
    mep_lock_release(&lock); /* not locked: no effect */
    assert_true(exists(path));

    end(child); /* a crash leaves the file, but not the lock */
    assert_true(exists(path));
    assert_int_equal(mep_lock_take(&lock, path, "it"), MEP_OK);
    mep_lock_release(&lock);
    assert_false(exists(path));
}

static void test_one_process(void **state)
{
    (void)state;
    const char *path = scratch_path("own.lock");
    mep_lock first, second;
    assert_int_equal(mep_lock_take(&first, path, "it"), MEP_OK);
    assert_int_equal(mep_lock_take(&second, path, "it"), MEP_ERROR_IO);
    assert_true(exists(path));
    mep_lock_release(&first);
    assert_false(exists(path));
    assert_int_equal(mep_lock_take(&second, path, "it"), MEP_OK);
    mep_lock_release(&second);
    mep_lock_release(&second);
}

/* The folder moves while the lock is held, and another one takes its name. */
static void test_renamed(void **state)
{
    (void)state;
    mep_lock lock, other;
    assert_int_equal(mkdir(scratch_path("run"), 0777), 0);
    assert_int_equal(mep_lock_take(&lock, scratch_path("run/lock"), "it"), MEP_OK);
    assert_int_equal(rename(scratch_path("run"), scratch_path("moved")), 0);
    assert_int_equal(mep_lock_take(&other, scratch_path("moved/lock"), "it"), MEP_ERROR_IO);
    assert_int_equal(mkdir(scratch_path("run"), 0777), 0);
    assert_int_equal(mep_lock_take(&other, scratch_path("run/lock"), "it"), MEP_OK);
    mep_lock_release(&lock);
    assert_false(exists(scratch_path("moved/lock")));
    assert_true(exists(scratch_path("run/lock")));
    mep_lock_release(&other);
    assert_false(exists(scratch_path("run/lock")));
}

/* A lock file that another process has removed and created again is not removed. */
static void test_replaced(void **state)
{
    (void)state;
    const char *path = scratch_path("replaced.lock");
    mep_lock lock, other;
    assert_int_equal(mep_lock_take(&lock, path, "it"), MEP_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mep_lock_take(&other, path, "it"), MEP_OK);
    mep_lock_release(&lock);
    assert_true(exists(path));
    mep_lock_release(&other);
    assert_false(exists(path));
}

static void test_not_ours(void **state)
{
    (void)state;
    mep_lock lock;
    char text[16] = "";
    const char *path = scratch_path("notes.lock");
    write_text(path, "my notes");
    assert_int_equal(mep_lock_take(&lock, path, "it"), MEP_ERROR_IO);
    assert_non_null(strstr(mep_error_message(), path));
    FILE *file = fopen(path, "r");
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_string_equal(text, "my notes");

    assert_int_equal(mep_lock_take(&lock, scratch_path("nowhere/lock"), "it"), MEP_ERROR_IO);
    assert_non_null(strstr(mep_error_message(), "nowhere"));
    write_text(scratch_path("empty.lock"), ""); /* a crash before the owner was written */
    assert_int_equal(mep_lock_take(&lock, scratch_path("empty.lock"), "it"), MEP_OK);
    mep_lock_release(&lock);
}

/* A child of fork() that does not call exec and outlives its parent does not keep the lock; its release neither removes
 * the file nor releases the lock of the parent. */
static void test_fork(void **state)
{
    (void)state;
    const char *path = scratch_path("fork.lock");
    int from_parent[2], from_child[2];
    char ready = 0;
    pid_t child = 0;
    assert_int_equal(pipe(from_parent), 0);
    assert_int_equal(pipe(from_child), 0);
    pid_t parent = fork();
    if (parent == 0) {
        mep_lock own;
        if (mep_lock_take(&own, path, "it") != MEP_OK) _exit(1);
        child = fork();
        if (child == 0) {
            mep_lock_release(&own);
            ready = own.name == NULL ? 'y' : 'n';
            if (write(from_child[1], &ready, 1) != 1) _exit(1);
        } else if (write(from_parent[1], &child, sizeof child) != sizeof child) {
            _exit(1);
        }
        for (;;) pause();
    }
    assert_int_equal(read(from_parent[0], &child, sizeof child), sizeof child);
    assert_int_equal(read(from_child[0], &ready, 1), 1);
    assert_int_equal(ready, 'y');
    mep_lock lock, refused;
    int is_there = exists(path);
    mep_status held_by_parent = mep_lock_take(&refused, path, "it");
    mep_lock_release(&refused);
    end(parent);
    mep_status status = mep_lock_take(&lock, path, "it");
    int child_runs = kill(child, 0) == 0;
    kill(child, SIGKILL);
    assert_true(is_there);
    assert_int_equal(held_by_parent, MEP_ERROR_IO);
    assert_int_equal(status, MEP_OK);
    assert_true(child_runs);
    mep_lock_release(&lock);
    assert_false(exists(path));
    for (int i = 0; i < 2; i++) {
        close(from_parent[i]);
        close(from_child[i]);
    }
}

/* Many processes that lock and release: never two at once. Each adds 1 to a number in a file, which would be lost
 * otherwise. */
static void test_race(void **state)
{
    (void)state;
    enum { PROCESSES = 6, TURNS = 200 };
    const char *path = scratch_path("race.lock"), *number = scratch_path("number");
    write_text(number, "0");
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() != 0) continue;
        for (int done = 0; done < TURNS;) {
            mep_lock lock;
            long value = -1;
            if (mep_lock_take(&lock, path, "it") != MEP_OK) continue;
            FILE *file = fopen(number, "r+");
            if (file == NULL || fscanf(file, "%ld", &value) != 1) _exit(1);
            rewind(file);
            fprintf(file, "%ld", value + 1);
            fclose(file);
            mep_lock_release(&lock);
            done++;
        }
        _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    long value = -1;
    FILE *file = fopen(number, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld", &value), 1);
    fclose(file);
    assert_int_equal(value, PROCESSES * TURNS);
    assert_false(exists(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_held),     cmocka_unit_test(test_one_process), cmocka_unit_test(test_renamed),
        cmocka_unit_test(test_replaced), cmocka_unit_test(test_not_ours),    cmocka_unit_test(test_race),
        cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
