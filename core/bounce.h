/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies, the exception: a request whose addresses or lengths the medium cannot
 * take goes through a buffer of the lane's bounded pool, one buffer at a time,
 * piece by piece, so that a single buffer is enough for a request of any length
 * and an empty pool means waiting, never failing. Each copy is counted. A write is also
 * copied once before the first function that reads its data more than once
 * (needs_stable), because a guest may change a buffer in flight.
 * Context: the poller's thread.
 */
#pragma once

#include "core/req.h"

#define BOUNCE_BUF_B (256u * 1024)
#define BOUNCE_BUFS 16

struct bounce {
	void *buf;
	struct bounce *next_free;
	struct seg seg;
	/* the request as it was */
	struct seg *was_seg;
	uint64_t was_off_b, was_len_b;
	uint16_t was_nseg;
	uint8_t step; /* of the chain, that it was taken before; the number of steps: the medium */
	uint64_t done_b; /* of was_len_b */
};

struct bounce_pool {
	void *mem;
	struct bounce *free;
	struct list waiting; /* requests, through req.hold */
	struct bounce all[BOUNCE_BUFS];
};

int bounce_pool_init(struct bounce_pool *p); /* Return: 0 or -ENOMEM; touches no memory */
void bounce_pool_fini(struct bounce_pool *p);

/* Whether every segment of @r suits a medium that wants @align_mask. */
static inline bool bounce_unneeded(const struct req *r, uint32_t align_mask)
{
	uintptr_t any = 0;

	for (unsigned i = 0; i < r->nseg; i++)
		any |= (uintptr_t)r->seg[i].host | r->seg[i].len_b;
	return !(any & align_mask);
}

/* Gives @r, which is at its step, a buffer and sets it to its first piece. Return: false: none is
 * free; @r is on the pool's waiting list. */
bool bounce_begin(struct bounce_pool *p, struct req *r);

/* A piece has ended. Return: true: all of @r has, it is as it was before bounce_begin() and the
 * buffer is free again; false: @r is set to its next piece, to be submitted. */
bool bounce_advance(struct bounce_pool *p, struct req *r);
