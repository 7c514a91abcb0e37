/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request: what a front takes from a ring, the chain passes on, and a medium
 * ends. It belongs to one poller from slab_get() to slab_put(); only that
 * poller's thread touches it. Its segments point into guest memory (or into a
 * buffer of the lane's pool, see core/bounce.h); they are never the request's to free.
 */
#pragma once

#include "base/base.h"
#include "base/list.h"

struct gregion; /* guest/gmem.h */
struct lane;	/* core/lane.h */
struct bounce;	/* core/bounce.h */

/* A run of host memory. @reg tells a medium that registers memory which region it lies in;
 * NULL for memory that is not a guest's. */
struct seg {
	void *host;
	uint32_t len_b;
	struct gregion *reg;
};

struct req;

/* Whom a request goes back to: usually a front's queue, which embeds this. */
struct req_owner {
	/* Called once for each request, on its poller, for one or several of this owner. */
	void (*complete)(struct req *const *reqs, unsigned n);
	/* Takes one back that never completes: its guest hears nothing of it, and it will be done
	 * again when the queue starts anew. NULL, or false: it cannot be, and is to complete. */
	bool (*forget)(struct req *r);
	bool ending;	/* it is being stopped: lane_forget() */
	unsigned index; /* for people: which of its front's queues */
};

enum req_op { REQ_READ, REQ_WRITE, REQ_FLUSH, REQ_DISCARD, REQ_ZEROES, REQ_OPS };

enum req_status {
	REQ_OK,
	REQ_IOERR,   /* the medium could not */
	REQ_NOSPC,   /* a thin medium is full */
	REQ_RANGE,   /* beyond the disk, not a multiple of its block, or malformed */
	REQ_RDONLY,  /* changes a read-only disk */
	REQ_UNSUPP,  /* not an operation of this disk */
	REQ_TIMEOUT, /* its deadline passed */
	REQ_STATUSES,
};

enum req_flag {
	REQ_F_FUA = 1 << 0,	/* write: done only when durable */
	REQ_F_UNMAP = 1 << 1,	/* write-zeroes: may free the space */
	REQ_F_STEPS = 1 << 2,	/* comes back through chain_retreat() */
	REQ_F_BOUNCED = 1 << 3, /* its segments are a pool buffer's for now */
	REQ_F_UP = 1 << 4,	/* on its way back */
	REQ_F_LONG = 1 << 5,	/* its list is one of the slab's long ones */
	/* held before a step: goes on with that one, not the one behind it */
	REQ_F_AGAIN = 1 << 6,
};

#define REQ_INLINE_SEGS 4
/* Segments of the longest list (core/slab.h); a request that needs more is refused. */
#define REQ_MAX_SEGS 256

struct req {
	/* what every step reads */
	struct lane *lane;
	struct seg *seg;
	uint64_t off_b;
	uint64_t len_b; /* below 4 GiB */
	uint64_t taken_ticks;
	const struct req_owner *owner;
	uint64_t since_ticks; /* from when its deadline counts; unless its lane is synchronous */
	uint8_t op, status, flags, step;
	uint16_t nseg;
	uint16_t front_bits; /* the front's */

	/* where it waits, and what its present holder keeps of it */
	struct list link;      /* the lane's requests in flight, oldest first */
	uint64_t front[4];     /* the front's */
	uint64_t medium[2];    /* the medium's */

	struct seg inl[REQ_INLINE_SEGS];
	struct list hold;      /* queue of the function or medium that holds it, or the poller's */
	struct bounce *bounce; /* with REQ_F_BOUNCED */
	uint64_t func;	       /* the holding function's, e.g. when to let it go */
} cacheline_aligned;

static_assert(sizeof(struct req) == 256, "a request is four cache lines");

/* Names for people: "read", "ok". Any thread. */
const char *req_op_name(enum req_op op);
const char *req_status_name(enum req_status status);

/* Clears what a request starts with; the compiler makes one store of it. */
static inline void req_init(struct req *r, uint16_t nseg, uint16_t front_bits)
{
	r->op = 0;
	r->status = 0;
	r->flags = 0;
	r->step = 0;
	r->nseg = nseg;
	r->front_bits = front_bits;
}

/* Copies @len_b bytes between @buf and the segments, from their byte @skip_b on. */
enum segs_way { SEGS_TO_BUF, SEGS_FROM_BUF };
void segs_copy(const struct seg *s, unsigned nseg, uint64_t skip_b, void *buf, uint64_t len_b,
	       enum segs_way way);

/* Moves the NULLs out of @reqs. Return: how many are left. */
unsigned reqs_close_ranks(struct req **reqs, unsigned n);

static inline bool req_changes_data(const struct req *r)
{
	return r->op == REQ_WRITE || r->op == REQ_DISCARD || r->op == REQ_ZEROES;
}
