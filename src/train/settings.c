/* SPDX-License-Identifier: MIT */
/*
 * Training settings: recipes, checks, and the learning rate schedule.
 */
#include <math.h>
#include <string.h>

#include "base/device_memory.h"
#include "base/error.h"
#include "base/memory.h"
#include "eval/data_mix.h"
#include "mep/train.h"
#include "train/run_data.h"

/* The initial weights of the small models are sqrt(2 / (5 hidden_size)), as proposed by Nguyen and Salazar,
 * "Transformers without Tears" (arXiv:1910.05895); those of the paper's models stay at 0.02, which is about the same
 * there. */
static const struct {
    const char *name;
    int64_t length, micro_batch_size, steps;
    double learning_rate, warmup, initializer_range;
} RECIPES[] = {
    {.name = "nano",
     .length = 128,
     .micro_batch_size = 32,
     .steps = 1000,
     .learning_rate = 2e-3,
     .warmup = 0.1,
     .initializer_range = 0.056},
    {.name = "micro",
     .length = 256,
     .micro_batch_size = 32,
     .steps = 5000,
     .learning_rate = 1e-3,
     .warmup = 0.05,
     .initializer_range = 0.04},
    {.name = "mini",
     .length = 512,
     .micro_batch_size = 16,
     .steps = 10000,
     .learning_rate = 1e-3,
     .warmup = 0.02,
     .initializer_range = 0.028},
    {.name = "small",
     .length = 512,
     .micro_batch_size = 8,
     .steps = 50000,
     .learning_rate = 6e-4,
     .warmup = 0.01,
     .initializer_range = 0.02},
    {.name = "medium",
     .length = 512,
     .micro_batch_size = 4,
     .steps = 50000,
     .learning_rate = 3e-4,
     .warmup = 0.01,
     .initializer_range = 0.02},
};

mep_status mep_train_preset(const char *name, mep_train_settings *s)
{
    MEP_REQUIRE_AS("name, settings", name, s);
    mep_model_config model;
    MEP_TRY(mep_model_preset(name, &model));
    for (size_t i = 0; i < sizeof RECIPES / sizeof *RECIPES; i++) {
        size_t length = strlen(RECIPES[i].name);
        if (strncmp(RECIPES[i].name, name, length) != 0 || (name[length] != '\0' && name[length] != '-')) continue;
        *s = (mep_train_settings){.model = model,
                                  .length = RECIPES[i].length,
                                  .batch_size = 32,
                                  .micro_batch_size = RECIPES[i].micro_batch_size,
                                  .steps = RECIPES[i].steps,
                                  .learning_rate = RECIPES[i].learning_rate,
                                  .warmup = RECIPES[i].warmup,
                                  .beta1 = 0.9,
                                  .beta2 = 0.999,
                                  .eps = 1e-8,
                                  .max_grad_norm = 1,
                                  .seed = 1235,
                                  .dtype = mep_dtype_auto(MEP_DEVICE_CPU),
                                  .save_every = 1000,
                                  .keep = 2,
                                  .valid_tokens = 1 << 16};
        s->model.max_position_embeddings = s->length;
        s->model.initializer_range = RECIPES[i].initializer_range;
        return MEP_OK;
    }
    return mep_fail(MEP_ERROR_ARGUMENT, "no recipe for the preset \"%s\"", name);
}

static mep_status check_count(const char *name, int64_t value, int64_t low, int64_t high)
{
    if (value >= low && value <= high) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "%s must be from %lld to %lld, found %lld", name, (long long)low,
                    (long long)high, (long long)value);
}

static mep_status check_real(const char *name, double value, double low, double high)
{
    if (value >= low && value <= high) return MEP_OK;
    return mep_fail(MEP_ERROR_ARGUMENT, "%s must be from %g to %g, found %g", name, low, high, value);
}

const char *mep_on_nan_name(mep_on_nan on_nan)
{
    static const char *const names[] = {"stop", "skip", "dump"};
    return (size_t)on_nan < sizeof names / sizeof *names ? names[on_nan] : NULL;
}

/* Check the names, weights and split of the data. */
static mep_status check_data(const mep_train_settings *s)
{
    int64_t bounds[4] = {0};
    mep_data_mix *mix = NULL;
    if (s->split[0] != '\0') MEP_TRY(mep_split_documents(s->split, 1, bounds));
    MEP_TRY(mep_data_mix_parse(&mix, s->valid[0] != '\0' ? s->valid : "none"));
    mep_data_mix_close(&mix);
    MEP_TRY(mep_data_mix_parse(&mix, s->data));
    mep_data_mix_close(&mix);
    return MEP_OK;
}

mep_status mep_train_check(const mep_train_settings *s)
{
    MEP_REQUIRE_AS("settings", s);
    const int64_t most = (int64_t)1 << 30;
    MEP_TRY(mep_model_config_check(&s->model));
    MEP_TRY(check_count("length", s->length, 1, most));
    MEP_TRY(check_count("batch_size", s->batch_size, 1, most));
    MEP_TRY(check_count("micro_batch_size", s->micro_batch_size, 0, s->batch_size));
    if (s->micro_batch_size > 0 && s->batch_size % s->micro_batch_size != 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "batch_size %lld is not a multiple of micro_batch_size %lld",
                        (long long)s->batch_size, (long long)s->micro_batch_size);
    MEP_TRY(check_count("gradient_parts", s->gradient_parts, 0, s->batch_size));
    if (s->gradient_parts > 0 && s->batch_size % s->gradient_parts != 0)
        return mep_fail(MEP_ERROR_ARGUMENT, "batch_size %lld is not a multiple of gradient_parts %lld",
                        (long long)s->batch_size, (long long)s->gradient_parts);
    MEP_TRY(check_count("steps", s->steps, 1, (int64_t)1 << 40));
    int64_t tokens = 0;
    if (mep_multiply(s->steps, s->batch_size, s->length, &tokens) != MEP_OK)
        return mep_fail(MEP_ERROR_ARGUMENT,
                        "%lld steps of %lld x %lld tokens are more than 64 bits can count; use fewer or smaller ones",
                        (long long)s->steps, (long long)s->batch_size, (long long)s->length);
    MEP_TRY(check_real("learning_rate", s->learning_rate, 0, 100));
    MEP_TRY(check_real("min_learning_rate", s->min_learning_rate, 0, s->learning_rate));
    MEP_TRY(check_real("warmup", s->warmup, 0, 1));
    MEP_TRY(check_real("beta1", s->beta1, 0, 0.9999999));
    MEP_TRY(check_real("beta2", s->beta2, 0, 0.9999999));
    MEP_TRY(check_real("eps", s->eps, 1e-30, 1));
    MEP_TRY(check_real("weight_decay", s->weight_decay, 0, 1000));
    MEP_TRY(check_real("max_grad_norm", s->max_grad_norm, 0, 1e30));
    MEP_TRY(check_count("save_every", s->save_every, 0, INT64_MAX));
    MEP_TRY(check_count("keep", s->keep, 0, INT64_MAX));
    MEP_TRY(check_count("valid_every", s->valid_every, 0, INT64_MAX));
    MEP_TRY(check_count("valid_tokens", s->valid_tokens, 0, INT64_MAX));
    if (mep_on_nan_name(s->on_nan) == NULL)
        return mep_fail(MEP_ERROR_ARGUMENT, "on_nan must be stop, skip or dump, found %d", (int)s->on_nan);
    MEP_TRY(check_data(s));
    if (mep_train_has_valid(s) && s->valid_tokens > 0 && s->valid_tokens < s->length)
        return mep_fail(MEP_ERROR_ARGUMENT, "valid_tokens %lld is less than one sequence of length %lld; 0 takes all",
                        (long long)s->valid_tokens, (long long)s->length);
    if (s->dtype != MEP_FLOAT32 && s->dtype != MEP_BFLOAT16)
        return mep_fail(MEP_ERROR_ARGUMENT, "training computes in float32 or bfloat16, found %s",
                        mep_dtype_name(s->dtype));
    return mep_device_check_dtype(s->device, s->dtype);
}

double mep_train_learning_rate(const mep_train_settings *s, int64_t step)
{
    if (s == NULL) return 0;
    double warm = ceil(s->warmup * (double)s->steps);
    if ((double)step < warm) return s->learning_rate * ((double)step + 1) / warm;
    double left = (double)s->steps - warm, done = left > 0 ? ((double)step - warm) / left : 1;
    return s->min_learning_rate +
           (s->learning_rate - s->min_learning_rate) * 0.5 * (1 + cos(3.14159265358979323846 * done));
}
