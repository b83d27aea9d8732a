/* SPDX-License-Identifier: MIT */
/*
 * mep export: writes a model as a folder that Hugging Face's transformers loads.
 */
#include <stdio.h>

#include "base/error.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/convert_model.h"

int mep_cli_export(int argc, char **argv)
{
    mep_convert_job job = {.command = "export", .save = mep_model_export, .for_transformers = 1};
    mep_usage usage = {
        .command = "export",
        .arguments = "MODEL OUT",
        .summary = "Write a run, a checkpoint or another model as a folder that Hugging Face's transformers loads.",
        .notes =
            "The model_type is gpt_neox, bloom, mpt, gpt2, llama, mistral, qwen2, qwen3, smollm3 or olmo2 if such a\n"
            "model computes the same, otherwise mep: encodings that transformers does not have. A folder of type mep\n"
            "contains modeling_mep.py, for which Python needs trust_remote_code=True. The tokenizer is written so\n"
            "that AutoTokenizer gives the same ids. OUT gets all files or, after a failure, none.\n\n"
            "  mep export runs/mep hf/mep\n"
            "  AutoModelForCausalLM.from_pretrained(\"hf/mep\", trust_remote_code=True)\n\n"
            "  mep export runs/mep hf/half --dtype bfloat16 --shard-size 5GB\n",
    };
    return mep_cli_convert(&job, usage, argc, argv);
}
