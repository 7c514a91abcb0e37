/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard: what stands between a lane and its medium while requests may be answered
 * with an error before the medium has ended them (on_timeout=error).
 *
 * A medium cannot be made to let go: a read that the kernel has begun will write into
 * its buffer one day, and a write will read from it and land. So the medium never gets
 * the guest's memory: each request goes to it as another one, the slot's, on a buffer
 * of the lane's own, piece by piece. When its deadline passes, the guest's request ends
 * with REQ_TIMEOUT and the slot's stays behind, an orphan, until the medium ends it:
 * a late read ends in a buffer that nobody looks at, and a late write carries what the
 * guest had asked for.
 *
 * A late write may still land on top of a newer one. The fence, one for all lanes of a
 * disk, has the ranges of orphans that change data; a request that overlaps one of them
 * is not given to the medium before the orphan has ended, and times out in its turn.
 *
 * What it costs: a copy of everything, and at most GUARD_SLOTS requests of a lane in
 * the medium at once. Context: the poller's thread, unless said otherwise.
 */
#pragma once

#include <semaphore.h>

#include "core/lane.h"

#define GUARD_SLOTS 64
#define GUARD_BUF_B (256u * 1024)
#define FENCE_MAX 256

/* Ranges that orphans of a disk may still change. Any poller of the disk.
 *
 * An orphan's range is here before its guest's request completes, and the guest asks for something
 * new only after that: whoever takes that request reads what was written before it (the ring's
 * acquire and release carry it over), so relaxed loads see the range. A range that is read while it
 * goes, or while another takes its place, belongs to an orphan that has ended or to a request that
 * nobody has been told of yet: either answer is right. */
struct fence {
	unsigned n; /* taken; relaxed atomic */
	struct {
		uint64_t off_b, len_b; /* relaxed atomics */
		unsigned taken;	       /* atomic: 0, or claimed by compare-and-swap */
	} range[FENCE_MAX];
};

/* Whether [@off_b, @off_b + @len_b) overlaps a range of @f. */
bool fence_overlaps(const struct fence *f, uint64_t off_b, uint64_t len_b);

static inline bool fence_empty(const struct fence *f)
{
	return !__atomic_load_n(&f->n, __ATOMIC_RELAXED);
}

struct guard_slot {
	struct req sub;	   /* what the medium gets; REQ_F_AGAIN: has not got just now */
	struct req *orig;  /* whom it is for; NULL: an orphan */
	struct seg seg;
	uint64_t done_b;   /* of orig, all pieces before this one */
	uint64_t since_ticks; /* as orig's */
	void *buf;
	int range;	   /* in the fence, -1: none */
	bool busy;
};

struct guard {
	struct lane inner; /* the slots' requests' */
	struct req_owner owner;
	struct lane *outer;
	struct fence *fence;
	void *mem;
	bool armed; /* requests are copied, and may be expired */
	unsigned nfree, norphan;
	uint8_t free[GUARD_SLOTS];
	struct list waiting; /* for a slot; through req.hold */
	struct list fenced;  /* for orphans to end */
	sem_t *settled;	     /* who waits for the last orphan; NULL: nobody */
	struct guard_slot slot[GUARD_SLOTS];
};

/* Return: an unarmed guard for @l, or NULL without memory, which it maps and does not touch.
 * Context: control thread. */
struct guard *guard_new(struct lane *l, struct fence *fence);
/* Nothing is in flight. Context: control thread. NULL is fine. */
void guard_free(struct guard *g);

/* Lets @n requests on to the medium, each as it is or as its slot's in its place in @reqs; those
 * that have to wait are kept. Return: how many are left. */
unsigned guard_pass(struct guard *g, struct req **reqs, unsigned n);

/* Ends with REQ_TIMEOUT what the medium has had since before @since_ticks. */
void guard_expire(struct guard *g, uint64_t since_ticks);

/* Looks whether what the fence holds up may go on. Return: when to look again, NEVER_NS. */
uint64_t guard_timer(struct guard *g, uint64_t now_ns);

/* When the medium got the oldest orphan, UINT64_MAX: there is none. */
uint64_t guard_oldest(const struct guard *g);
