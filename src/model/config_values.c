/* SPDX-License-Identifier: MIT */
/*
 * The number of parameters of a configuration.
 */
#include "base/error.h"
#include "model/model.h"

mep_status mep_model_config_values(const mep_model_config *config, int64_t *values)
{
    MEP_REQUIRE(config, values);
    mep_model *model = NULL;
    MEP_TRY(mep_model_describe(&model, config));
    *values = mep_model_parameter_values(model);
    mep_model_destroy(&model);
    return MEP_OK;
}
