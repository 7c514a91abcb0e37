/* SPDX-License-Identifier: Apache-2.0 */
/* The file medium's entry in the table of media; see control/kinds.h. */
#pragma once

#include "control/kinds.h"

extern const struct media_kind file_kind;
