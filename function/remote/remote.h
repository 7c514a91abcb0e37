/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The remote function: a step of a disk's path in a program of its own, a process or
 * a guest, that shares rings and buffers with the disk's lanes and nothing else
 * (wire/function.h). A disk's part of it is a struct remote; the program is a host's
 * (host.h), which several disks may share. Requests go to the program from down()
 * and up(), which hold them, and go on when its answer is found on the ring.
 */
#pragma once

#include "core/function.h"
#include "wire/function.h"

enum remote_fail { REMOTE_PAUSE, REMOTE_BYPASS, REMOTE_ERROR };

struct host;

struct remote_conf {
	struct host *host; /* outlives it */
	enum fn_mode mode;
	enum remote_fail on_fail;
	unsigned *users; /* counts the open ones; control thread */
};

/* Context: control thread. Ownership: closed by its own close operation. Return: 0 or -ENOMEM. */
int remote_open(const struct remote_conf *c, struct function **ret_function);
/* What happens while there is no program, from now on. Context: control thread. */
void remote_set(struct function *f, enum remote_fail on_fail);

struct host *remote_host(const struct function *f);
enum fn_mode remote_mode(const struct function *f);

/* Of all lanes that the disk ever had. */
struct remote_stats {
	uint64_t requests; /* given to the program, or shown to an observer */
	uint64_t dropped;  /* not shown to an observer that was behind */
	uint64_t own_io;   /* requests of the program's own */
	uint64_t replayed; /* given to it again, or to another */
	uint64_t bypassed, failed; /* while there was none */
	uint64_t pause_ns; /* the longest of the lanes, when the program was replaced last */
	uint64_t wait_p50_ns, wait_p99_ns; /* from given to answered */
	/* lanes that the program which serves does not have: it has refused them, or there was no
	 * room */
	unsigned left_out;
};
void remote_stats(const struct function *f, struct remote_stats *ret_stats);
