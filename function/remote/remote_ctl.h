/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands `function ...`, and the remote function's entry in the table of
 * functions. Control thread only.
 */
#pragma once

#include "control/kinds.h"

struct loop;

extern const struct ctl_cmd remote_cmds[];
extern const struct function_kind remote_function_kind;

/* Makes the functions of @ctl's state, adopting the programs that still run; before the disks.
 * Functions in machines listen in @socket_dir, which is copied, as NAME.function; "": they must be
 * told where. */
void remote_ctl_restore(struct ctl *ctl, struct loop *loop, const char *socket_dir);
/* Ends all programs. No disk is open. */
void remote_ctl_close_all(void);
