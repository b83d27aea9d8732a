/* SPDX-License-Identifier: MIT */
/*
 * Quotas of control groups, from files as Linux has them.
 */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cpu_quota.h"
#include "io/files.h"
#include "scratch.h"

static char root[512];

static void put(const char *path, const char *text)
{
    char full[1024];
    snprintf(full, sizeof full, "%s%s", root, path);
    *strrchr(full, '/') = '\0';
    assert_int_equal(mep_make_folder(full, 1), MEP_OK);
    snprintf(full, sizeof full, "%s%s", root, path);
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "%s", scratch_path(""));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return mep_remove_tree(root) == MEP_OK ? 0 : 1;
}

static void expect(double wanted)
{
    double found = mep_cpu_quota(root);
    if (!(found == wanted)) fail_msg("a quota of %g CPUs, not %g", found, wanted);
}

static void test_version_2(void **state)
{
    (void)state;
    expect(INFINITY); /* no /proc */
    put("/proc/self/cgroup", "0::/user.slice/job\n");
    expect(INFINITY);
    put("/sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n");
    expect(INFINITY);
    put("/sys/fs/cgroup/user.slice/job/cpu.max", "150000 100000\n");
    expect(1.5);
    put("/sys/fs/cgroup/user.slice/cpu.max", "100000 100000\n"); /* a group above grants less */
    expect(1);
    put("/sys/fs/cgroup/cpu.max", "20000 100000\n"); /* as a container sees its own */
    expect(0.2);
    put("/proc/self/cgroup", "0::/../../elsewhere\n");
    expect(0.2);
    static const char *const damaged[] = {"", "\n", "-1 100000\n", "nan nan\n", "100000 0\n", "words\n", "5\n"};
    put("/proc/self/cgroup", "0::/damaged\n");
    put("/sys/fs/cgroup/cpu.max", "max 100000\n");
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        put("/sys/fs/cgroup/damaged/cpu.max", damaged[i]);
        expect(INFINITY);
    }
}

static void test_version_1(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "9:name=systemd:/\n4:cpuset:/box\n3:cpu,cpuacct:/docker/box\n0::/\n");
    expect(INFINITY);
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    expect(INFINITY);
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n"); /* the container's; /docker/box is the host's name of it */
    expect(2.5);
    put("/sys/fs/cgroup/cpu/docker/box/cpu.cfs_quota_us", "50000\n");
    put("/sys/fs/cgroup/cpu/docker/box/cpu.cfs_period_us", "100000\n");
    expect(0.5);
    put("/proc/self/cgroup", "3:cpuacct:/docker/box\n::\nx\n");
    expect(INFINITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_version_2, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_version_1, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
