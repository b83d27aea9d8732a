/* SPDX-License-Identifier: MIT */
/*
 * Memory does not grow with the number of steps: a tiny run with checkpoints and validation is measured after a
 * twentieth of its steps and later. 2,000 steps here; MEP_LONG_STEPS=20000 (make long-run) for more.
 */
#define _GNU_SOURCE
#include "small_data.h"

#include <malloc.h>
#include <unistd.h>

enum { SHORT = 2000, SHARE = 20, HEAP_SLACK = 1 << 16, RESIDENT_SLACK = 1 << 20 };

/* The resident and the allocated bytes of this process. */
typedef struct memory {
    int64_t resident, heap;
} memory;

static memory measure(void)
{
    long long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lld %lld", &total, &resident) != 2) skip();
    fclose(file);
    return (memory){resident * sysconf(_SC_PAGESIZE), (int64_t)mallinfo2().uordblks};
}

typedef struct watch {
    int64_t steps;
    memory early, late;
} watch;

static int look(void *context, const mep_train_progress *p)
{
    watch *w = context;
    if (p->step == p->steps / SHARE) w->early = measure();
    if (p->step == p->steps - 1) w->late = measure();
    w->steps = p->step;
    return 0;
}

static void test_memory(void **state)
{
    (void)state;
#ifdef MEP_SANITIZED
    skip(); /* sanitizers keep freed memory */
#endif
    const char *wanted = getenv("MEP_LONG_STEPS");
    watch w = {0};
    char run[600];
    mep_train_settings s = settings_for("mep_param");
    s.steps = wanted != NULL ? atoll(wanted) : SHORT;
    s.save_every = s.steps / 40, s.valid_every = s.steps / 40, s.valid_tokens = 256, s.model.num_hidden_layers = 1;
    s.batch_size = 2, s.micro_batch_size = 1;
    snprintf(s.valid, sizeof s.valid, "%s", data_path);
    snprintf(run, sizeof run, "%s/run", folder);
    if (mep_train_start(run, &s, look, &w) != MEP_OK) fail_msg("%s", mep_error_message());
    assert_int_equal(w.steps, s.steps);
    printf("%lld steps: from step %lld on the memory grew by %lld bytes, allocations by %lld\n", (long long)s.steps,
           (long long)(s.steps / SHARE), (long long)(w.late.resident - w.early.resident),
           (long long)(w.late.heap - w.early.heap));
    assert_true(w.early.resident > 0 && w.late.resident - w.early.resident < RESIDENT_SLACK);
    assert_true(w.late.heap - w.early.heap < HEAP_SLACK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
