/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pollers of this process: where they may run, which of them a new disk gets,
 * and the commands `poller list` and `poller set`. Control thread only.
 */
#pragma once

#include <sched.h>

#include "control/ctl.h"

struct poller;

extern const struct ctl_cmd poller_cmds[];

/* Sees how many CPUs the host has, for which it reads files: before the sandbox. */
void poller_ctl_look(void);

/* Starts @n pollers. @cpus: where, one CPU each in turn; NULL: anywhere that this process may run
 * but on CPU 0, unless that is the only one. What `poller set` has kept in @ctl's state comes after
 * that. Error ids: bad_value, start_failed. Return: 0; -errno. */
int poller_ctl_start(struct ctl *ctl, unsigned n, const char *cpus, struct ctl_error *err);
void poller_ctl_stop(void); /* no queue is left */

/* The @n pollers with the fewest disks, which are counted as given until poller_ctl_give_back().
 * Return: 0; -ERANGE with @err: there are not so many. */
int poller_ctl_take(unsigned n, struct poller **ret_pollers, struct ctl_error *err);
void poller_ctl_give_back(struct poller *const *pollers, unsigned n);

/* What `poller list` answers: a new reference. */
json_t *poller_ctl_list(void);
