/* SPDX-License-Identifier: MIT */
/*
 * A host program whose signal handlers have no SA_RESTART: every other system call on a file fails with EINTR, and
 * reads and writes are short. Files, locks, datasets and preparations are the same as without.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/lock.h"
#include "base/memory.h"
#include "golden.h"
#include "io/files.h"
#include "mep/data.h"
#include "text_files.h"

/* ---- System calls that replace those of libc ---- */

static int interrupting; /* whether calls are interrupted */
static _Thread_local unsigned calls;
static _Atomic long interrupted;

/* 1, with errno, for every other call. */
static int is_interrupted(void)
{
    if (!interrupting || ++calls % 2 == 0) return 0;
    interrupted++;
    errno = EINTR;
    return 1;
}

static size_t shorter(size_t size)
{
    return interrupting && size > 3 ? size / 2 + 1 : size;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    return is_interrupted() ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t read(int fd, void *data, size_t size)
{
    return is_interrupted() ? -1 : (ssize_t)syscall(SYS_read, fd, data, shorter(size));
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    return is_interrupted() ? -1 : (ssize_t)syscall(SYS_pread64, fd, data, shorter(size), offset);
}

ssize_t write(int fd, const void *data, size_t size)
{
    return is_interrupted() ? -1 : (ssize_t)syscall(SYS_write, fd, data, shorter(size));
}

int fsync(int fd)
{
    return is_interrupted() ? -1 : (int)syscall(SYS_fsync, fd);
}

int ftruncate(int fd, off_t size)
{
    return is_interrupted() ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

int flock(int fd, int operation)
{
    return is_interrupted() ? -1 : (int)syscall(SYS_flock, fd, operation);
}

/* ---- Tests ---- */

static void expect(mep_status status)
{
    if (status != MEP_OK) fail_msg("%s: %s", mep_status_name(status), mep_error_message());
}

static void test_files(void **state)
{
    (void)state;
    char path[512], *data = NULL, big[5000];
    int64_t size = 0;
    mep_lines lines;
    mep_lock lock, other;
    snprintf(path, sizeof path, "%s", in_folder("file"));
    memset(big, 'x', sizeof big);
    interrupting = 1;
    expect(mep_file_write_atomic(path, big, sizeof big));
    expect(mep_file_read(path, 1 << 20, &data, &size));
    assert_int_equal(size, sizeof big);
    assert_memory_equal(data, big, sizeof big);
    mep_free(&data);
    expect(mep_file_truncate(path, 10));
    expect(mep_sync_path(path));
    expect(mep_sync_folder(in_folder("")));
    snprintf(path, sizeof path, "%s", in_folder("lines"));
    expect(mep_lines_open(&lines, path));
    expect(mep_lines_append(&lines, "one"));
    expect(mep_lines_append(&lines, "two"));
    expect(mep_lines_close(&lines));
    expect(mep_file_read(path, 1 << 20, &data, &size));
    assert_string_equal(data, "one\ntwo\n");
    mep_free(&data);
    expect(mep_lock_take(&lock, in_folder("lock"), "it"));
    assert_int_equal(mep_lock_take(&other, in_folder("lock"), "it"), MEP_ERROR_IO);
    mep_lock_release(&lock);
    interrupting = 0;
    assert_true(interrupted > 10);
}

/* Prepare a .tar.gz and a text with a tokenizer from files, stopped and resumed. */
static int stop_twice(void *context, const mep_prepare_progress *progress)
{
    (void)progress;
    return ++*(int *)context % 2 == 0 && *(int *)context < 5;
}

static void prepare(const char *name, const char *const *inputs, int is_interrupting)
{
    mep_tokenizer *tokenizer = NULL;
    mep_prepare_settings s;
    int count = 0;
    mep_status status;
    interrupting = is_interrupting;
    expect(mep_tokenizer_open(&tokenizer, GOLDEN_OWN("tokenizer_folder")));
    mep_prepare_defaults(&s);
    s.inputs = inputs, s.input_count = 2, s.prefix = name, s.tokenizer = tokenizer, s.threads = 2, s.save_bytes = 1;
    while ((status = mep_prepare(&s, stop_twice, &count, NULL)) == MEP_INTERRUPTED) s.resume = 1;
    expect(status);
    interrupting = 0;
    mep_tokenizer_destroy(&tokenizer);
}

static void test_prepare(void **state)
{
    (void)state;
    enum { SIZE = 3000000, TOKENS = 5000 };
    char paths[2][512], prefixes[2][512], *text = malloc(SIZE);
    const char *inputs[2] = {paths[0], paths[1]};
    for (int i = 0; i < SIZE; i++) text[i] = (char)(i % 7 == 6 ? ' ' : 'a' + (int64_t)i * (i >> 7) % 26);
    const packed members[] = {{"a.txt", text, SIZE}, {"b.txt", text + SIZE / 2, SIZE / 3}};
    snprintf(paths[0], sizeof paths[0], "%s", write_packed("a.tar.gz", ARCHIVE_FILTER_GZIP, 1, members, 2));
    snprintf(paths[1], sizeof paths[1], "%s", write_bytes("c.txt", text, SIZE / 4));
    free(text);
    interrupted = 0;
    for (int i = 0; i < 2; i++) {
        snprintf(prefixes[i], sizeof prefixes[i], "%s", in_folder(i == 0 ? "straight" : "interrupted"));
        prepare(prefixes[i], inputs, i);
    }
    assert_true(interrupted > 100);
    mep_dataset *datasets[2];
    int32_t tokens[2][TOKENS];
    interrupting = 1;
    for (int i = 0; i < 2; i++) {
        expect(mep_dataset_open(&datasets[i], prefixes[i]));
        expect(mep_dataset_verify(datasets[i]));
        expect(mep_dataset_read(datasets[i], 100, TOKENS, tokens[i]));
    }
    interrupting = 0;
    assert_true(mep_dataset_checksum(datasets[0]) == mep_dataset_checksum(datasets[1]));
    assert_memory_equal(tokens[0], tokens[1], sizeof tokens[0]);
    for (int i = 0; i < 2; i++) mep_dataset_close(&datasets[i]);
}

static void on_alarm(int number)
{
    (void)number;
}

/* Real signals while a pipe is waited for: until the other side opens it, and for its bytes. */
static void test_pipe(void **state)
{
    (void)state;
    char path[512], prefix[512];
    const char *const input = path;
    snprintf(path, sizeof path, "%s", in_folder("pipe.txt"));
    snprintf(prefix, sizeof prefix, "%s", in_folder("pipe"));
    assert_int_equal(mkfifo(path, 0600), 0);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 3; i++) {
            usleep(100000);
            int fd = i == 0 ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY, 0) : 3;
            if (i == 0 && fd != 3 && dup2(fd, 3) < 0) _exit(1);
            if (syscall(SYS_write, 3, "some text ", 10) != 10) _exit(1);
        }
        _exit(0);
    }
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    struct itimerval every = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    mep_tokenizer *tokenizer = NULL;
    mep_prepare_settings s;
    expect(mep_tokenizer_open(&tokenizer, "bytes"));
    mep_prepare_defaults(&s);
    s.inputs = &input, s.input_count = 1, s.prefix = prefix, s.tokenizer = tokenizer;
    mep_prepare_progress result;
    mep_status status = mep_prepare(&s, NULL, NULL, &result);
    setitimer(ITIMER_REAL, &never, NULL);
    expect(status);
    assert_int_equal(result.text_bytes, 30);
    int code = -1;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
    mep_tokenizer_destroy(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_prepare),
        cmocka_unit_test(test_pipe),
    };
    return cmocka_run_group_tests_name("fd", tests, text_folder_make, text_folder_remove);
}
