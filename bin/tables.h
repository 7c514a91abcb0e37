/* SPDX-License-Identifier: Apache-2.0 */
/* What posternd is made of: every medium, function, front and command, in one table. */
#pragma once

#include "control/ctl.h"

extern const struct ctl_tables posternd_tables;
