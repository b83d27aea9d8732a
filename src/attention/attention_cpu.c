/* SPDX-License-Identifier: MIT */
/*
 * The CPU's back end of fused attention: the table of the functions of plan.c, forward.c and backward.c.
 */
#include "attention/attention_backend.h"
#include "attention/plan.h"
#include "attention/terms.h"

static mep_status set_terms(mep_attention_plan *plan, const mep_attention_terms *terms)
{
    return mep_terms_prepare(&plan->terms, terms);
}

static mep_status set_fire(mep_attention_plan *plan, const mep_fire *fire, double *sums)
{
    plan->fire_gradient = sums;
    plan->fire_row = fire->row;
    return mep_terms_prepare_fire(&plan->terms, fire);
}

static double computed_fraction(const mep_attention_plan *plan)
{
    return plan->computed_fraction;
}

static void set_watch(mep_attention_plan *plan, mep_watch *watch)
{
    plan->watch = watch;
}

const mep_attention_backend mep_attention_cpu = {
    .name = "the CPU",
    .all_terms = 1,
    .create = mep_attention_plan_create,
    .destroy = mep_attention_plan_destroy,
    .set_terms = set_terms,
    .set_fire = set_fire,
    .forward = mep_attention_plan_forward,
    .backward = mep_attention_plan_backward,
    .computed_fraction = computed_fraction,
    .set_watch = set_watch,
};
