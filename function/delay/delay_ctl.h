/* SPDX-License-Identifier: Apache-2.0 */
/* The delay function's entry in the table of functions; see control/kinds.h. */
#pragma once

#include "control/kinds.h"

extern const struct function_kind delay_function_kind;
