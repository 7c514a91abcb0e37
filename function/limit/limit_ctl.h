/* SPDX-License-Identifier: Apache-2.0 */
/* The limit function's entry in the table of functions; see control/kinds.h. */
#pragma once

#include "control/kinds.h"

extern const struct function_kind limit_function_kind;
