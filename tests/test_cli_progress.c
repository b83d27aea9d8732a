/* SPDX-License-Identifier: MIT */
/*
 * The progress line on a terminal and elsewhere: a line that is visible is ended, also where nothing was done, before
 * other output; nothing is shown where nothing was done and nothing is visible.
 */
#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "cli/progress.h"

/* What the progress line writes on: the other end of a terminal, or of a pipe. */
typedef struct screen {
    int reader, error; /* error: the test's own stderr */
} screen;

static screen open_screen(int is_terminal)
{
    screen s = {.error = dup(STDERR_FILENO)};
    int ends[2] = {-1, -1};
    if (is_terminal) {
        ends[0] = posix_openpt(O_RDWR | O_NOCTTY);
        assert_int_equal(grantpt(ends[0]), 0);
        assert_int_equal(unlockpt(ends[0]), 0);
        ends[1] = open(ptsname(ends[0]), O_WRONLY | O_NOCTTY);
    } else {
        assert_int_equal(pipe(ends), 0);
    }
    assert_true(s.error >= 0 && ends[0] >= 0 && ends[1] >= 0);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    close(ends[1]);
    s.reader = ends[0];
    return s;
}

/* Put the test's stderr back, and read what was written. */
static void close_screen(screen *s, char text[1024])
{
    struct pollfd poll_reader = {.fd = s->reader, .events = POLLIN};
    ssize_t size = 0;
    size_t used = 0;
    fflush(stderr);
    while (poll(&poll_reader, 1, 0) > 0 && (poll_reader.revents & POLLIN) != 0 && used < 1023 &&
           (size = read(s->reader, text + used, 1023 - used)) > 0)
        used += (size_t)size;
    text[used] = '\0';
    assert_int_equal(dup2(s->error, STDERR_FILENO), STDERR_FILENO);
    close(s->error);
    close(s->reader);
}

static void wait_for_next_line(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 150000000}, NULL);
}

/* The text of a progress from `first` to `done` of 9; on a terminal after a visible line, if `waits`. */
static void run(int is_terminal, int waits, int64_t first, int64_t done, char text[1024])
{
    mep_progress progress;
    screen s = open_screen(is_terminal);
    mep_progress_start(&progress, "work", first, 9);
    if (waits) wait_for_next_line();
    if (waits || done > first) mep_progress_update(&progress, done, "%s", "");
    mep_progress_finish(&progress);
    mep_progress_finish(&progress); /* a second one does nothing */
    close_screen(&s, text);
}

static int count(const char *text, char c)
{
    int n = 0;
    for (; *text != '\0'; text++) n += *text == c;
    return n;
}

static void test_visible_line(void **state)
{
    (void)state;
    char text[1024];
    for (int64_t done = 0; done < 2; done++) {
        run(1, 1, 0, done, text);
        assert_int_equal(count(text, '\n'), 1);
        assert_int_equal(text[strlen(text) - 1], '\n');
        assert_non_null(strstr(text, done == 0 ? "work  0/9" : "work  1/9"));
        assert_non_null(strstr(text, "took 0:00"));
    }
}

static void test_nothing_done(void **state)
{
    (void)state;
    char text[1024];
    for (int is_terminal = 0; is_terminal < 2; is_terminal++) {
        run(is_terminal, 0, 0, 0, text);
        assert_string_equal(text, "");
        run(is_terminal, 0, 5, 5, text); /* a resumed run */
        assert_string_equal(text, "");
    }
}

static void test_done(void **state)
{
    (void)state;
    char text[1024];
    run(0, 0, 5, 9, text);
    assert_string_equal(text, "work  9/9  100%  took 0:00\n");
    run(1, 0, 5, 9, text);
    assert_non_null(strstr(text, "work  9/9  100%  took 0:00"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_visible_line),
        cmocka_unit_test(test_nothing_done),
        cmocka_unit_test(test_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
