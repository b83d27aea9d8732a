/* SPDX-License-Identifier: MIT */
/*
 * mep import: writes a Hugging Face model in this library's own form. Commands that read models also read such folders
 * directly; importing avoids the conversion at each start, and can change the position encoding permanently.
 */
#include <stdio.h>

#include "base/error.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/convert_model.h"

static mep_status save(const mep_model *model, const char *folder, const mep_save_settings *settings, const char **form)
{
    *form = "mep";
    return mep_model_save(model, folder, settings);
}

int mep_cli_import(int argc, char **argv)
{
    mep_convert_job job = {.command = "import", .save = save};
    mep_usage usage = {
        .command = "import",
        .arguments = "MODEL OUT",
        .summary = "Write a Hugging Face model (Llama, Qwen, Mistral, GPT-NeoX, BLOOM and others) as a model of mep.",
        .notes =
            "MODEL is a folder with config.json and model.safetensors, or with shards and "
            "model.safetensors.index.json,\n"
            "in float32, bfloat16 or float16. OUT has float32, which keeps all bits, unless --dtype says otherwise.\n"
            "The files of the tokenizer are copied. Features of a model that mep does not compute are refused by name. "
            "eval, generate and train "
            "--init\n"
            "also read such folders directly.\n\n"
            "  mep import bloom-560m models/bloom\n"
            "  mep import bloom-560m models/bloom-mep --position mep\n",
    };
    return mep_cli_convert(&job, usage, argc, argv);
}
