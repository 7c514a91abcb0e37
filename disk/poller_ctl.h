/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pollers of this process: where they may run, which of them a disk gets, and
 * the commands `poller list`, `set`, `add` and `remove`. Control thread only.
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

/* @n pollers, of @have as many as there are and then those with the fewest disks; none that is
 * being removed. Return: how many of them are in @ret_pollers; fewer than @n: there are no more. */
unsigned poller_ctl_choose(unsigned n, struct poller *const *have, unsigned nhave,
			   struct poller **ret_pollers);
/* The one with the fewest disks that is not among @but. Return: NULL: none is left. */
struct poller *poller_ctl_least_used(struct poller *const *but, unsigned n);
/* Return: NULL with @err (not_found) naming @param. */
struct poller *poller_ctl_find(const char *name, const char *param, struct ctl_error *err);

/* Whether both have the same single CPU: what the one gives up the other cannot do sooner. */
bool poller_ctl_share_cpu(const struct poller *a, const struct poller *b);
unsigned poller_ctl_count(void);
struct poller *poller_ctl_at(unsigned i); /* the @i-th, below that */

/* What `poller list` answers: a new reference. */
json_t *poller_ctl_list(void);
