/* SPDX-License-Identifier: MIT */
/*
 * mep import: a Hugging Face folder becomes one in this library's own form. Commands that read models take such a
 * folder as it is, too; importing saves converting at each start, and can change the position encoding for good.
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
        .summary = "Write a Hugging Face folder of GPT-NeoX (Pythia), BLOOM, MPT or GPT-2 as a model of this program.",
        .notes =
            "MODEL holds config.json and model.safetensors, or shards with model.safetensors.index.json, in float32,\n"
            "bfloat16 or float16; OUT becomes float32, which loses no bit of them. The tokenizer's files are copied. "
            "What\n"
            "of a model cannot be computed here is refused by name. eval, generate and train --init read such folders\n"
            "directly as well.\n\n"
            "  mep import bloom-560m models/bloom\n"
            "  mep import bloom-560m models/bloom-mep --position mep\n",
    };
    return mep_cli_convert(&job, usage, argc, argv);
}
