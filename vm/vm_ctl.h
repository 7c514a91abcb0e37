/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of the noun "vm". They run in the CLI, not in posternd, which does
 * not know machines; their tables are like any other's. One thread.
 */
#pragma once

#include "control/ctl.h"

/* Each run() ignores its @ctl, which may be NULL. */
extern const struct ctl_cmd vm_cmds[];

/* The control socket at which disks are looked up; NULL (as before any call): the default one.
 * @path stays the caller's. */
void vm_ctl_set_control(const char *path);
