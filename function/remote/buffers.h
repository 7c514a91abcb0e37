/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of a lane's slots: a memfd of its own, for processes, or an area of the region that a
 * machine shares. Who takes over from a process gets new ones, which that one never sees. A lane
 * keeps what it had while requests are in it; the poller goes from one to the other. Under the
 * host's lock.
 */
#pragma once

#include "base/list.h"
#include "function/remote/region.h"

struct remote_lane;

struct buffers {
	struct list node; /* the lane's */
	uint8_t *at;	  /* FN_ALL_SLOTS of FN_BUF_B */
	struct region *region;
	unsigned area;
	int fd; /* without a region */
};

/* Those of @l for a program with @region, or NULL: what there is, or new ones. Return: 0; -ENOSPC:
 * no lane more has room in @region; -errno. */
int buffers_find(struct remote_lane *l, struct region *region, struct buffers **ret);
/* New ones, in any case. */
int buffers_new(struct remote_lane *l, struct region *region, struct buffers **ret);
/* Frees those that neither the lane nor a channel of its has any more. */
void buffers_sweep(struct remote_lane *l);
/* Frees all; the poller does not know the lane any more. */
void buffers_free(struct remote_lane *l);
