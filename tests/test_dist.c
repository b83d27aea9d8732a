/* SPDX-License-Identifier: MIT */
/*
 * Groups of processes (here: threads): gathering, broadcasting and agreement give the same result in every process, for
 * any number of processes; notices; a broken group.
 */
#define _POSIX_C_SOURCE 200809L
#include "base/error.h"
#include "thread_group.h"

typedef struct job {
    int64_t failing, stopping; /* ranks; -1: none, -2: all */
    int wrong[MOST_THREADS];
    mep_status status[MOST_THREADS];
    char message[MOST_THREADS][256];
} job;

static void talk(mep_dist *g, void *context)
{
    job *j = context;
    int64_t all[2 * MOST_THREADS], mine[2] = {g->rank, 7 * g->rank}, word = g->rank == 0 ? 1234567 : 0;
    int *wrong = &j->wrong[g->rank], flag = g->rank == g->size - 1, none = 0;
    *wrong |= mep_dist_gather(g, mine, sizeof mine, all) != MEP_OK;
    for (int64_t r = 0; r < g->size; r++) *wrong |= all[2 * r] != r || all[2 * r + 1] != 7 * r;
    *wrong |= mep_dist_broadcast(g, &word, sizeof word) != MEP_OK || word != 1234567;
    *wrong |= mep_dist_any(g, &flag) != MEP_OK || flag != 1;
    *wrong |= mep_dist_any(g, &none) != MEP_OK || none != 0;
    *wrong |= mep_dist_agree(g, MEP_OK) != MEP_OK || g->settled;
}

static void test_talk(void **state)
{
    (void)state;
    for (int64_t size = 1; size <= MOST_THREADS; size++) {
        job j = {0};
        run_group(size, talk, &j);
        for (int64_t r = 0; r < size; r++) assert_false(j.wrong[r]);
    }
}

static void fail_alike(mep_dist *g, void *context)
{
    job *j = context;
    mep_status mine = MEP_OK;
    if (g->rank == j->stopping || j->stopping == -2) mine = mep_fail(MEP_INTERRUPTED, "stopped");
    if (g->rank == j->failing || j->failing == -2) mine = mep_fail(MEP_ERROR_IO, "no disk");
    j->status[g->rank] = mep_dist_agree(g, mine);
    snprintf(j->message[g->rank], sizeof j->message[0], "%s", mep_error_message());
    j->wrong[g->rank] = !g->settled || mep_dist_agree(g, MEP_OK) != MEP_OK || g->settled;
}

static void expect_failure(job j, mep_status status, const char *message)
{
    run_group(4, fail_alike, &j);
    for (int64_t r = 0; r < 4; r++) {
        assert_false(j.wrong[r]);
        assert_int_equal(j.status[r], status);
        assert_string_equal(j.message[r], message);
    }
}

/* If one process fails, all fail; a failure has priority over an interruption. */
static void test_agree(void **state)
{
    (void)state;
    expect_failure((job){.failing = 2, .stopping = -1}, MEP_ERROR_IO, "process 2 of 4: no disk");
    expect_failure((job){.failing = 3, .stopping = 0}, MEP_ERROR_IO, "process 3 of 4: no disk");
    expect_failure((job){.failing = -2, .stopping = -1}, MEP_ERROR_IO, "no disk");
    expect_failure((job){.failing = 1, .stopping = -2}, MEP_ERROR_IO, "process 1 of 4: no disk");
    expect_failure((job){.failing = -1, .stopping = 1}, MEP_INTERRUPTED, "stopped");
}

/* If one process has a different file, all fail, and the message names its machine; the next comparison may succeed. */
static void compare_files(mep_dist *g, void *context)
{
    job *j = context;
    char file[100] = "the same";
    snprintf(g->host, sizeof g->host, "host%d", (int)g->rank);
    if (g->rank == j->failing) file[99] = 1;
    j->status[g->rank] = mep_dist_check_same(g, file, sizeof file, "books.bin");
    snprintf(j->message[g->rank], sizeof j->message[0], "%s", mep_error_message());
    file[99] = 2;
    j->wrong[g->rank] = mep_dist_check_same(g, file, sizeof file, "books.bin") != MEP_OK;
}

static void test_same(void **state)
{
    (void)state;
    const char *message = "process 2 of 3 on host2: books.bin: differs from the copy of process 0";
    for (int64_t size = 1; size <= 3; size++) {
        job j = {.failing = 2};
        run_group(size, compare_files, &j);
        for (int64_t r = 0; r < size; r++) {
            assert_false(j.wrong[r]);
            assert_int_equal(j.status[r], size == 3 ? MEP_ERROR_FORMAT : MEP_OK);
            if (size == 3 && strncmp(j.message[r], message, strlen(message)) != 0) fail_msg("%s", j.message[r]);
        }
    }
}

/* Two processes notify; some see it before they agree and some do not; afterwards no notice remains. */
static void give_notice(mep_dist *g, void *context)
{
    job *j = context;
    int seen = 0, *wrong = &j->wrong[g->rank];
    for (int round = 0; round < 20; round++) {
        if (g->rank < 2) *wrong |= mep_dist_notify(g) != MEP_OK || mep_dist_notify(g) != MEP_OK;
        if (g->rank == 2)
            for (seen = 0; !seen;) *wrong |= mep_dist_notified(g, &seen) != MEP_OK;
        *wrong |= mep_dist_agree(g, MEP_OK) != MEP_OK;
    }
    *wrong |= mep_dist_notified(g, &seen) != MEP_OK || seen;
}

static void test_notices(void **state)
{
    (void)state;
    for (int64_t size = 3; size <= 5; size++) {
        job j = {0};
        run_group(size, give_notice, &j);
        for (int64_t r = 0; r < size; r++) {
            assert_false(j.wrong[r]);
            assert_int_equal(post.notices[r], 0);
        }
    }
}

/* A failed transfer breaks the group: no agreement is attempted any more. */
static void strike(mep_dist *g, void *context)
{
    job *j = context;
    int64_t word = 0;
    mep_dist_block block = {1 - g->rank, &word, sizeof word};
    if (g->rank == 0) j->status[0] = mep_dist_agree(g, mep_dist_transfer(g, &block, 1, NULL, 0));
    snprintf(j->message[g->rank], sizeof j->message[0], "%s", g->broken ? mep_error_message() : "");
}

static void test_broken(void **state)
{
    (void)state;
    job j = {0};
    set_strikes(1);
    run_group(2, strike, &j);
    set_strikes(0);
    assert_int_equal(j.status[0], MEP_ERROR_IO);
    assert_string_equal(j.message[0], "the processes have lost each other: the post is on strike");
}

/* A group of the public interface: wrong settings, and a group of one process, whose calls do nothing. */
static void test_create(void **state)
{
    (void)state;
    static const mep_dist_settings wrong[] = {
        {.rank = 0, .size = 0}, {.rank = -1, .size = 1}, {.rank = 1, .size = 1}, {.rank = 0, .size = 2}};
    mep_dist *group = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(mep_dist_create(&group, &wrong[i]), MEP_ERROR_ARGUMENT);
        assert_null(group);
    }
    assert_non_null(strstr(mep_error_message(), "a group of 2 processes needs a transport"));
    const mep_dist_settings alone = {.size = 1, .host = "alpha"};
    int64_t mine = 7, all = 0;
    int flag = 1;
    assert_int_equal(mep_dist_create(&group, &alone), MEP_OK);
    assert_int_equal(mep_dist_rank(group), 0);
    assert_int_equal(mep_dist_size(group), 1);
    assert_string_equal(mep_dist_host(group), "alpha");
    assert_int_equal(mep_dist_gather(group, &mine, sizeof mine, &all), MEP_OK);
    assert_int_equal(all, 7);
    assert_int_equal(mep_dist_any(group, &flag), MEP_OK);
    assert_int_equal(mep_dist_agree(group, MEP_INTERRUPTED), MEP_INTERRUPTED);
    assert_int_equal(mep_dist_check_same(group, &mine, sizeof mine, "mine"), MEP_OK);
    assert_false(mep_dist_is_settled(group) || mep_dist_is_broken(group));
    mep_dist_destroy(&group);
    assert_null(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_create),  cmocka_unit_test(test_talk),
                                       cmocka_unit_test(test_agree),   cmocka_unit_test(test_same),
                                       cmocka_unit_test(test_notices), cmocka_unit_test(test_broken)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
