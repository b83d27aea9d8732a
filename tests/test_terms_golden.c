/* SPDX-License-Identifier: MIT */
/*
 * Every terms_*.safetensors of the folder MEP_GOLDEN2_DIR, by default tests/golden2: the float64 reference to rounding,
 * and the fused kernels at every CPU level to float32's.
 */
#include "terms_problem.h"

#include <dirent.h>

#include "base/error.h"
#include "io/safetensors.h"

static int files, checks;

static const char *golden2_folder(void)
{
    const char *folder = getenv("MEP_GOLDEN2_DIR");
    return folder != NULL && *folder != '\0' ? folder : MEP_GOLDEN_DEFAULT "/../golden2";
}

/* A tensor as float64, NULL where the file has none; its shape goes to `shape` where that is not NULL. */
static double *tensor_of(mep_safetensors *file, const char *name, int64_t shape[4])
{
    const mep_safetensors_entry *entry = mep_safetensors_find(file, name);
    if (entry == NULL) return NULL;
    double *data = new_doubles(entry->size);
    assert_int_equal(mep_safetensors_read(file, name, MEP_FLOAT64, entry->ndim, entry->shape, data), MEP_OK);
    for (int i = 0; shape != NULL && i < entry->ndim; i++) shape[i] = entry->shape[i];
    return data;
}

static double number_of(mep_safetensors *file, const char *key)
{
    const char *text = mep_safetensors_metadata(file, key);
    if (text == NULL) fail_msg("the metadata has no %s", key);
    return strtod(text, NULL);
}

static terms_problem problem_of(mep_safetensors *file)
{
    int64_t q[4] = {0}, k[4] = {0}, r[4] = {0}, bank[4] = {0}, a[4] = {0};
    terms_problem p = {.call = {.q = tensor_of(file, "q", q),
                                .k = tensor_of(file, "k", k),
                                .v = tensor_of(file, "v", NULL),
                                .table = tensor_of(file, "table", NULL),
                                .gate = tensor_of(file, "gate", NULL),
                                .profiles = tensor_of(file, "r", r),
                                .bank = tensor_of(file, "bank", bank),
                                .mixture = tensor_of(file, "a", a),
                                .log_kernels = tensor_of(file, "log_kernels", NULL),
                                .sink = tensor_of(file, "sink", NULL),
                                .scale = number_of(file, "scale"),
                                .window = (int64_t)number_of(file, "window")},
                       .dout = tensor_of(file, "dout", NULL)};
    p.call.batch = q[0], p.call.heads = q[1], p.call.queries = q[2], p.call.head_dim = q[3];
    p.call.kv_heads = k[1], p.call.keys = k[2];
    p.call.rank = r[3], p.call.extent = bank[1], p.call.kernels = a[3];
    assert_int_equal(p.call.kv_heads, (int64_t)number_of(file, "kv_heads"));
    return p;
}

/* Whether values are within `bound` of the file's, relative to the largest. */
static void compare_with(const char *file, const terms_problem *p, double *found[RESULTS], double *golden[RESULTS],
                         double bound)
{
    for (int i = 0; i < RESULTS; i++) {
        double largest = 0, error = 0;
        if (found[i] == NULL) continue;
        if (golden[i] == NULL) fail_msg("%s has no %s", file, result_names[i]);
        for (int64_t n = 0; n < result_size(&p->call, i); n++) {
            double e = fabs(found[i][n] - golden[i][n]);
            largest = fmax(largest, fabs(golden[i][n]));
            if (!(e <= error)) error = e;
        }
        if (!(error <= bound * largest))
            fail_msg("%s: %s is off by %.3g of %.3g at CPU level %d (bound %.3g)", file, result_names[i], error,
                     largest, (int)mep_cpu_level_get(), bound);
        checks++;
    }
}

static void check_file(const char *name)
{
    static const char *const tensors[RESULTS] = {"out",   "lse", "dq",    "dk", "dv",           "dtable",      "dsink",
                                                 "dgate", "dr",  "dbank", "da", "dlog_kernels", "dtable_ahead"};
    char path[4096];
    mep_safetensors *file;
    double *golden[RESULTS];
    snprintf(path, sizeof path, "%s/%s", golden2_folder(), name);
    if (mep_safetensors_open(&file, path) != MEP_OK) fail_msg("%s", mep_error_message());
    terms_problem p = problem_of(file);
    for (int i = 0; i < RESULTS; i++) golden[i] = tensor_of(file, tensors[i], NULL);
    solve_terms(&p);
    compare_with(name, &p, p.expected, golden, 1e-12);
    for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
        double *found[RESULTS];
        assert_int_equal(mep_cpu_level_set((mep_cpu_level)level), level);
        run_terms(&p, &(terms_run){.dtype = MEP_FLOAT32}, found, NULL);
        compare_with(name, &p, found, golden, 1e-5);
        free_results(found);
    }
    free_results(golden);
    free_terms_problem(&p);
    mep_safetensors_close(&file);
    files++;
}

static void test_files(void **state)
{
    (void)state;
    DIR *folder = opendir(golden2_folder());
    if (folder == NULL) fail_msg("cannot open the golden folder %s", golden2_folder());
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        size_t length = strlen(entry->d_name);
        if (length > 12 && strncmp(entry->d_name, "terms_", 6) == 0 &&
            strcmp(entry->d_name + length - 12, ".safetensors") == 0)
            check_file(entry->d_name);
    }
    closedir(folder);
    printf("%d files, %d tensors compared\n", files, checks);
    assert_true(files >= 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
