/* SPDX-License-Identifier: MIT */
/*
 * Every attention_*.safetensors of the golden folder: the float64 reference, the bias and its gradients to 1e-10, and
 * the fused kernels at every CPU level to float32's rounding. Sizes, kernels, weights and scale come from the files.
 */
#include "attention_problem.h"

#include "golden_list.h"
#include "io/safetensors.h"

/* A tensor of a golden file as float64, of `size` values (-1: any). */
static double *golden_tensor(mep_safetensors *file, const char *name, int64_t size, mep_safetensors_entry *info)
{
    const mep_safetensors_entry *entry = mep_safetensors_find(file, name);
    if (entry == NULL) fail_msg("the golden file has no tensor %s", name);
    if (size >= 0) assert_int_equal(entry->size, size);
    double *data = doubles(entry->size);
    assert_int_equal(mep_safetensors_read(file, name, MEP_FLOAT64, entry->ndim, entry->shape, data), MEP_OK);
    if (info != NULL) *info = *entry;
    return data;
}

static void golden_copy(mep_safetensors *file, const char *name, int64_t size, double *to)
{
    double *data = golden_tensor(file, name, size, NULL);
    memcpy(to, data, (size_t)size * sizeof *data);
    free(data);
}

/* float64 against float64: to the rounding of sums, relative to the largest value or, where terms cancel, to `terms`.
 */
static void golden_close(const char *file, const char *what, const double *found, const double *expected, int64_t n,
                         double terms)
{
    double bound = 1e-12 * (largest(expected, n) + terms) * sqrt((double)n);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(found[i] - expected[i]) <= bound))
            fail_msg("%s: %s[%lld] is %.17g, expected %.17g (bound %.2g)", file, what, (long long)i, found[i],
                     expected[i], bound);
    checks += n;
}

/* The metadata's kernels as a spec, "exp+exp_half+gauss", with its weights, "0.5,0.3,0.2", where it has them. */
static void golden_spec(mep_safetensors *file, const char *path, char *spec, size_t size)
{
    const char *kernels = mep_safetensors_metadata(file, "kernels"),
               *weights = mep_safetensors_metadata(file, "weights");
    if (kernels == NULL) fail_msg("%s: its metadata names no kernels", path);
    size_t used = 0;
    for (const char *k = kernels; *k != '\0';) {
        size_t length = strcspn(k, "+");
        double weight = 1;
        if (weights != NULL) {
            char *end;
            weight = strtod(weights, &end);
            if (end == weights) fail_msg("%s: too few weights for %s", path, kernels);
            weights = end + strspn(end, ", ");
        }
        used +=
            (size_t)snprintf(spec + used, size - used, "%s%.17g*%.*s", used > 0 ? " + " : "", weight, (int)length, k);
        assert_true(used < size);
        k += length + (k[length] == '+');
    }
    if (strcmp(kernels, "none") == 0) spec[0] = '\0';
}

/* The bias of the file's parameters, and dparam.* from the reference's dbias, through the bias room. */
static void check_golden_params(mep_safetensors *file, const char *path, const char *spec, const problem *p)
{
    mep_bias *bias;
    if (mep_bias_create(&bias, spec, p->heads, p->head_dim) != MEP_OK) fail_msg("%s: %s", path, mep_error_message());
    int64_t n = mep_bias_param_values(bias), table_size = p->heads * p->keys, listed = 0;
    double *values = doubles(n), *gradient = doubles(n), *table = doubles(table_size);
    for (int64_t i = 0; i < mep_safetensors_count(file); i++)
        listed += strncmp(mep_safetensors_get(file, i)->name, "param.", 6) == 0;
    assert_int_equal(listed, mep_bias_param_count(bias)); /* no parameter of the file is left aside */
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < mep_bias_param_count(bias); i++) {
            mep_bias_param info;
            char name[128];
            assert_int_equal(mep_bias_get_param(bias, i, &info), MEP_OK);
            snprintf(name, sizeof name, "%sparam.%s", pass == 0 ? "" : "d", info.name);
            double *data = golden_tensor(file, name, info.size, NULL);
            if (pass == 0)
                memcpy(values + info.offset, data, (size_t)info.size * sizeof *data);
            else
                golden_close(path, name, gradient + info.offset, data, info.size,
                             largest(p->dbias, table_size) * (double)p->keys);
            free(data);
        }
        if (pass == 1) break;
        int64_t *distances = calloc((size_t)p->keys, sizeof *distances);
        for (int64_t d = 0; d < p->keys; d++) distances[d] = d;
        assert_int_equal(mep_bias_set_params(bias, values, n), MEP_OK);
        assert_int_equal(mep_bias_at(bias, distances, p->keys, table), MEP_OK);
        golden_close(path, "bias", table, p->bias, table_size, 1);
        assert_int_equal(mep_bias_table_backward(bias, p->keys, p->dbias, gradient), MEP_OK);
        free(distances);
    }
    free(values);
    free(gradient);
    free(table);
    mep_bias_destroy(&bias);
}

/* The problem of a file. */
static problem golden_problem(mep_safetensors *file, const char *path, int has_bias)
{
    mep_safetensors_entry q, k;
    free(golden_tensor(file, "q", -1, &q));
    free(golden_tensor(file, "k", -1, &k));
    if (q.ndim != 4 || k.ndim != 4) fail_msg("%s: q and k must be [B,H,L,D]", path);
    problem p = allocate_problem(q.shape[0], q.shape[1], q.shape[2], k.shape[2], q.shape[3]);
    golden_copy(file, "q", query_values(&p), p.q);
    golden_copy(file, "k", key_values(&p), p.k);
    golden_copy(file, "v", key_values(&p), p.v);
    golden_copy(file, "dout", query_values(&p), p.dout);
    if (has_bias || mep_safetensors_find(file, "bias") != NULL) golden_copy(file, "bias", p.heads * p.keys, p.bias);
    const char *scale = mep_safetensors_metadata(file, "scale");
    if (scale != NULL) p.scale = strtod(scale, NULL);
    return p;
}

static void check_golden(const char *name)
{
    mep_safetensors *file;
    char relative[GOLDEN_NAME + 64], path[4096], spec[MEP_TENSOR_NAME * 8];
    snprintf(relative, sizeof relative, "attention_%s.safetensors", name);
    snprintf(path, sizeof path, "%s", golden_path(relative));
    if (mep_safetensors_open(&file, path) != MEP_OK) fail_msg("%s", mep_error_message());
    golden_spec(file, path, spec, sizeof spec);
    problem p = golden_problem(file, path, spec[0] != '\0');
    int64_t nq = query_values(&p), nk = key_values(&p), before = checks;
    solve(&p);
    bounds b = bounds_of(&p, MEP_FLOAT32);
    struct {
        const char *name;
        double *found;
        int64_t size;
        double terms;
    } outputs[] = {{"out", p.out, nq, largest(p.v, nk)},
                   {"lse", p.lse, p.batch * p.heads * p.queries, 1},
                   {"dq", p.dq, nq, b.scale * b.k * b.score_gradient},
                   {"dk", p.dk, nk, b.scale * b.q * b.score_gradient},
                   {"dv", p.dv, nk, largest(p.dout, nq)}};
    for (int i = 0; i < 5; i++) {
        double *expected = golden_tensor(file, outputs[i].name, outputs[i].size, NULL);
        golden_close(path, outputs[i].name, outputs[i].found, expected, outputs[i].size, outputs[i].terms);
        memcpy(outputs[i].found, expected, (size_t)outputs[i].size * sizeof *expected);
        free(expected);
    }
    assert_int_equal(checks - before, 2 * nq + 2 * nk + p.batch * p.heads * p.queries);
    if (spec[0] != '\0') check_golden_params(file, path, spec, &p);
    for (int level = 0; level <= (int)mep_cpu_level_detected(); level++) {
        set_level(level);
        result r = run(&p, MEP_FLOAT32, 1, 0);
        compare_result(&p, &r, MEP_FLOAT32);
        free_result(&r);
    }
    free_problem(&p);
    mep_safetensors_close(&file);
}

static void test_golden(void **state)
{
    (void)state;
    static const char *const known[] = {"none",      "alibi",      "kerple_power",    "t5", "mep",
                                        "mep_param", "mep_decode", "mep_param_chunk", NULL};
    static golden_list list;
    golden_find("attention_", ".safetensors", known, &list);
    for (int i = 0; i < list.count; i++) check_golden(list.names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
