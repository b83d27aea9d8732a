/* SPDX-License-Identifier: MIT */
/*
 * The names in a spec that are not kernels.
 */
#include "bias/spec.h"

const mep_named_mixture mep_named_mixtures[] = {
    {"mep", "exp + exp:c=0.5 + gauss", "MEP without parameters"},
    {"mep_param", "gauss + exp + t5 + kerple_log", "MEP with learned parameters"},
    {"alibi", "exp", "ALiBi"},
    {"exp_half", "exp:c=0.5", "ALiBi with half its slopes"},
    {NULL, NULL, NULL},
};

const mep_other_position mep_other_positions[] = {
    {"rotary", MEP_POSITION_ROTARY,
     "rotations of queries and keys (RoPE), with options; default: whole head, base 10000"},
    {"sinusoidal", MEP_POSITION_SINUSOIDAL, "sines and cosines added to the token embeddings, base 10000"},
    {"learned", MEP_POSITION_LEARNED, "a learned table added to the token embeddings; limited to the training length"},
    {"nope", MEP_POSITION_NONE, "no position encoding"},
    {NULL, MEP_POSITION_NONE, NULL},
};

const mep_learn_item mep_learn_items[] = {
    {"weights", MEP_LEARN_WEIGHTS},
    {"slopes", MEP_LEARN_SLOPES},
    {NULL, 0},
};
