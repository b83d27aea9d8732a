/* SPDX-License-Identifier: MIT */
/*
 * All of the library's public headers.
 */
#ifndef MEP_MEP_H
#define MEP_MEP_H

#include "mep/attention.h"
#include "mep/bias.h"
#include "mep/data.h"
#include "mep/decoder.h"
#include "mep/device.h"
#include "mep/dist.h"
#include "mep/eval.h"
#include "mep/measure.h"
#include "mep/model.h"
#include "mep/status.h"
#include "mep/study.h"
#include "mep/torch.h"
#include "mep/train.h"
#include "mep/types.h"

#endif
