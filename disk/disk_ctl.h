/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks as control knows them: created, shown, changed and deleted by name, and
 * made again from the state after a restart. Control thread only.
 */
#pragma once

#include "control/ctl.h"

struct poller;

extern const struct ctl_cmd disk_cmds[];

/* Where a front listens whose caller names no socket: DIR/NAME.sock. @dir is copied. */
void disk_ctl_set_socket_dir(const char *dir);

/* Makes the disks of @ctl's state. One that cannot be opened is kept, failed, with its reason; one
 * whose medium another still has (a dead worker's last requests hold it) waits.
 * Return: how many wait. */
unsigned disk_ctl_restore(struct ctl *ctl);
/* Tries those again. Return: how many still wait. */
unsigned disk_ctl_retry(struct ctl *ctl);

/* A disk that serves the connected @conn_fd (or listens: -1) and is not kept. @params as of
 * `disk create`, unchecked. Return: 0; -errno with @err filled. */
int disk_ctl_serve(struct ctl *ctl, const json_t *params, int conn_fd, void (*ended)(void *arg),
		   void *arg, struct ctl_error *err);

/* An eventfd that is written to, from any thread, when disk_ctl_reap() has something to do. */
void disk_ctl_set_wake(int fd);
/* Ends what `disk delete` and `disk reopen` have begun, of disks that have let go of their media
 * since. */
void disk_ctl_reap(struct ctl *ctl);

/* Closes all of them; what they keep stays. Waits for requests in flight, but no longer than
 * @grace_ns. Return: whether all are closed; the pollers and the media of others are in use. */
bool disk_ctl_close_all(uint64_t grace_ns);

/* What `disk list` answers: a new reference. */
json_t *disk_ctl_list(void);

/* `disk set` and `disk resize`; the former also for commands that change a disk in another way. */
int disk_ctl_set(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err);
int disk_ctl_resize(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err);

/* Which disks make @p poll in @mode (enum poll_mode), as a sentence. */
void disk_ctl_why_mode(const struct poller *p, unsigned mode, char *ret_text, size_t len);
