/* SPDX-License-Identifier: Apache-2.0 */
/* The command `status`: the process pair, its sandbox, pollers and disks. Control thread only. */
#pragma once

#include "control/ctl.h"
#include "keeper/sandbox.h"

extern const struct ctl_cmd status_cmds[];

/* What does not change while the worker runs. @control and @state may be NULL; copied are only the
 * pointers. */
/* Of the worker before this one: how it died, and how long nobody served. */
void status_past(const char *how, uint64_t gap_ns);
/* How many disks are open, and have not failed. */
unsigned status_served(void);
void status_init(const struct sandbox_report *sandbox, unsigned restarts, const char *control,
		 const char *state);
