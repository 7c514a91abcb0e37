/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which poller serves which queue: chosen when a disk is opened, changed while it
 * runs, by hand or because a poller goes. Commands `queue list` and `queue move`.
 * Control thread only.
 */
#pragma once

#include "disk/entry_ctl.h"

extern const struct ctl_cmd queue_cmds[];

/* Where the queues of @e belong by @conf: on the pollers that it names, otherwise on so many of the
 * least used, those that it has first. A named one that is not there counts as not named, with a
 * line in the log, unless the caller wants to @insist. Return: 0; -ENOENT, -ERANGE with @err. */
int place_choose(const struct entry *e, const json_t *conf, bool insist,
		 struct poller **ret_poller, unsigned *ret_n, struct ctl_error *err);
/* Brings the queues of the open @e to @poller[i % @n]. Waits at most FRONT_MOVE_NS. Error ids:
 * busy, no_memory. Return: 0; -EBUSY, -errno: it is as it was. */
int place_move(struct entry *e, struct poller *const *poller, unsigned n, struct ctl_error *err);
/* What a change of the open @e to @conf asks for, if its pollers are part of that. As
 * place_move(). */
int place_apply(struct entry *e, const json_t *conf, struct ctl_error *err);
/* Whether @conf names its pollers: nobody else moves its queues then. */
bool place_is_named(const json_t *conf);
/* Whether a queue of @e is on @p, or would be if a guest started it. */
bool place_is_on(const struct entry *e, const struct poller *p);
/* How many queues the front of @e offers. */
unsigned place_queues(const struct entry *e);

/* How many disks have queues on @p, or would if a guest started them. */
unsigned place_ctl_users(const struct poller *p);
/* Brings every queue that is on @p, or would be, to another poller; when it returns 0 no disk has
 * anything to do with @p. Error ids: busy (a disk names @p; a medium does not end what is in
 * flight). */
int place_ctl_leave(const struct poller *p, struct ctl_error *err);
