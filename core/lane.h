/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane: a disk's share of one poller. It is what a request passes through, from
 * disk_submit() down the chain of functions to the medium, and back. All of it
 * belongs to its poller's thread; control changes it between turns by mail, and
 * reads only the statistics (relaxed atomics) directly.
 *
 * Submit only goes right, completion only goes left, and nobody submits from inside
 * a completion: what goes on later goes through chain_resume() and the poller.
 */
#pragma once

#include "base/hist.h"
#include "core/function.h"
#include "core/poller.h"

#define CHAIN_MAX 8

struct chain_step {
	const struct function_ops *ops;
	void *state;
};

/* Written by the poller, read by anyone; relaxed, each number by itself. */
struct lane_stats {
	struct {
		uint64_t done, bytes, errors;
	} op[REQ_OPS];
	uint64_t copies, copied_b;    /* through the pool, see core/bounce.h */
	uint64_t overdue;	      /* times that the oldest request passed its deadline */
	struct hist latency[REQ_OPS]; /* ticks, taken to done */
};

struct lane {
	struct poller *poller;
	struct media_lane *media;
	struct lane_stats *stats;
	const char *name; /* the disk's */

	/* what the disk judges requests by; set by disk/ between turns */
	uint64_t size_b;
	uint32_t blk_mask;   /* block size - 1 */
	uint32_t align_mask; /* of addresses and lengths, for the medium */
	bool readonly;
	bool has_discard, has_zeroes;
	uint8_t nstep;
	bool is_overdue; /* the oldest in flight is past its deadline */

	struct list inflight;	 /* taken and not completed, oldest first */
	uint64_t deadline_ticks; /* a request older than this is overdue; 0: none */
	struct list timed;	 /* on the poller's list of lanes with timers */

	struct chain_step step[CHAIN_MAX];
};

/* @l's storage and @name are the caller's. Context: control thread. Return: 0 or -ENOMEM. */
int lane_init(struct lane *l, struct poller *p, struct media_lane *m, const char *name);
void lane_fini(struct lane *l); /* control thread; nothing in flight, off the poller's lists */

/* Adds a function at the medium's end of the chain. Context: control thread, lane not in use.
 * Return: 0; -ENOSPC beyond CHAIN_MAX; what the function's lane_open() returns. */
int lane_add_function(struct lane *l, struct function *f);

/* Age of the oldest request in flight, 0 if none. Context: the poller's thread. */
uint64_t lane_oldest_ns(const struct lane *l);

/* Runs the timers of @l's functions and looks at its deadline. Context: the poller's thread.
 * Return: when to call again, NEVER_NS. */
uint64_t lane_timer(struct lane *l, uint64_t now_ns);

/* Sends @n judged requests, at most POLLER_BATCH, down the chain. Context: the poller's thread.
 * Each completes exactly once through req.complete, perhaps before this returns. */
void chain_submit(struct lane *l, struct req **reqs, unsigned n);

/* A function, or the buffer pool, lets a held request go on, on the poller's next turn. */
void chain_resume(struct req *r);
/* The poller's: goes on with a resumed request. */
void chain_continue(struct req *r);

/* Cold part of req_done(). */
void chain_retreat(struct req *r);

/* The last thing that happens to a request before its front: it leaves the lane. */
static inline void lane_end(struct req *r)
{
	struct lane *l = r->lane;
	struct lane_stats *s = l->stats;
	unsigned op = r->op;

	list_del(&r->link);
	stat_add(&s->op[op].done, 1);
	stat_add(&s->op[op].bytes, r->len_b);
	if (unlikely(r->status != REQ_OK))
		stat_add(&s->op[op].errors, 1);
	hist_add(&s->latency[op], l->poller->now_ticks - r->taken_ticks, 1);
	r->complete(r);
}

/* A medium is done with @r. Context: the poller's thread, from submit() or poll(). */
static inline void req_done(struct req *r, enum req_status status)
{
	r->status = (uint8_t)status;
	r->lane->media->inflight--;
	if (unlikely(r->flags & (REQ_F_STEPS | REQ_F_BOUNCED)))
		chain_retreat(r);
	else
		lane_end(r);
}
