/* SPDX-License-Identifier: Apache-2.0 */
/* The vhost-user front's entry in the table of fronts; see control/kinds.h. */
#pragma once

#include "control/kinds.h"

extern const struct front_kind vhost_blk_kind;
