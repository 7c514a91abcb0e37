/* SPDX-License-Identifier: Apache-2.0 */
/* The log function's entry in the table of functions; see control/kinds.h. */
#pragma once

#include "control/kinds.h"

extern const struct function_kind log_function_kind;
