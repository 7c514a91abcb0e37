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
#include "core/bounce.h"
#include "core/function.h"
#include "core/poller.h"

#define CHAIN_MAX 8

struct guard; /* core/guard.h */

struct chain_step {
	const struct function_ops *ops;
	void *state;
};

/* Written by the poller, read by anyone; relaxed, each number by itself. */
struct lane_stats {
	struct {
		uint64_t bytes, errors;
	} op[REQ_OPS];
	uint64_t copies, copied_b;    /* through the pool, see core/bounce.h */
	uint64_t overdue;	      /* times that the oldest request passed its deadline */
	uint64_t timed_out;	      /* requests ended with REQ_TIMEOUT */
	struct hist latency[REQ_OPS]; /* ticks, taken to done; hist_total() is how many were done */
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
	uint8_t batch; /* requests that a queue takes in a turn, at most POLLER_BATCH; 0: stopped */
	uint8_t max_batch; /* batch while not stopped */
	bool is_overdue;  /* the oldest in flight is past its deadline */
	bool synchronous; /* all that the gate lets pass has ended when disk_submit() returns */
	bool plain;	  /* a batch goes to the medium as it is, and back to the front */
	bool expires;	  /* what is past its deadline ends with REQ_TIMEOUT, as far as it can */
	bool stops;	  /* a change that fails is kept, and the lane stops (lane_halt()) */

	/* Taken and not completed, by since_ticks, oldest first; unless synchronous. */
	struct list inflight;
	struct list waiting; /* likewise, but held on purpose, so that they do not grow old */
	struct list failed;  /* of those, changes that have failed, through req.hold */
	uint64_t deadline_ticks; /* a request older than this is overdue; 0: none */
	struct list timed;	 /* on the poller's list of lanes with timers */
	struct bounce_pool bounce;
	struct guard *guard; /* NULL: what is past its deadline waits all the same */
	void (*news)(void *arg); /* something has changed that people hear of; NULL: nobody does */
	void *news_arg;

	struct chain_step gate; /* judges whole batches ahead of the chain; ops NULL: none */
	struct chain_step step[CHAIN_MAX];
};

/* @l's storage and @name are the caller's. Context: control thread. Return: 0 or -ENOMEM. */
int lane_init(struct lane *l, struct poller *p, struct media_lane *m, const char *name);
/* The lane is as it is to be: its functions may make requests. Context: control thread. */
void lane_start(struct lane *l);
/* Lets the functions end what requests they have made of their own. Context: control thread; waits
 * for the medium. No request of a queue is in flight. */
void lane_stop(struct lane *l);
void lane_fini(struct lane *l); /* control thread; nothing in flight, off the poller's lists */

/* Adds a function at the medium's end of the chain. Context: control thread, lane not in use.
 * Return: 0; -ENOSPC beyond CHAIN_MAX; what the function's lane_open() returns. */
int lane_add_function(struct lane *l, struct function *f);

/* What a lane's chain consists of, and functions that it is to consist of. */
struct lane_chain {
	unsigned n;
	struct chain_step step[CHAIN_MAX];
};

/* Opens a function for a lane that is in use, for lane_set_chain(). Context: control thread.
 * Return: 0; what the function's lane_open() returns. */
int lane_open_step(struct lane *l, struct function *f, struct chain_step *ret_step);
/* The functions make no more requests of their own, until lane_start(); when those in flight have
 * ended lane_functions_quiet() says so. Context: control thread; nothing else is in flight. */
void lane_stop_functions(struct lane *l);

/* Puts a function with a gate ahead of the chain. Context: control thread, lane not in use. Return:
 * 0; what the function's lane_open() returns. */
int lane_set_gate(struct lane *l, struct function *f);

/* The rest: the poller's thread. */

/* Sets `plain`; after a change of what it depends on. */
void lane_judge_plain(struct lane *l);

/* @r is held on purpose: it does not grow old, and is no sign of a slow medium. And not any
 * more. */
void lane_hold(struct req *r);
void lane_unhold(struct req *r);

/* Lets go all requests that are held to pace them. Context: the poller's thread. */
void lane_hurry(struct lane *l);

bool lane_functions_quiet(const struct lane *l);
/* Gives the lane, which is quiet, and whose functions have been stopped and are, other
 * functions. */
void lane_set_chain(struct lane *l, const struct lane_chain *c);
/* Whether no request is on its way through the chain. */
bool lane_is_quiet(const struct lane *l);

/* Stops taking requests; those in flight end. */
void lane_halt(struct lane *l);
/* Lets a stopped lane go on; what has failed is done again. */
void lane_go_on(struct lane *l);
/* @r has ended with a status other than REQ_OK. Return: whether the lane keeps it, and stops. */
bool lane_keeps(struct req *r);
/* Gives what the lane keeps of @owner back to it, and what would be kept later: it is to be
 * stopped, until it sets `ending` to false. */
void lane_forget(struct lane *l, struct req_owner *owner);

/* Age of the oldest request in flight, 0 if none. Context: the poller's thread. */
uint64_t lane_oldest_ns(const struct lane *l);

/* Runs the timers of @l's functions and looks at its deadline. Context: the poller's thread.
 * Return: when to call again, NEVER_NS. */
uint64_t lane_timer(struct lane *l, uint64_t now_ns);

/* Sends @n judged requests, at most POLLER_BATCH, down the chain. Context: the poller's thread.
 * Each completes exactly once through its owner, perhaps before this returns. */
void chain_submit(struct lane *l, struct req **reqs, unsigned n);

/* A function, or the buffer pool, lets a held request go on, on the poller's next turn. */
void chain_resume(struct req *r);
/* The poller's: goes on with all of @resumed, which is empty then. Return: how many. */
unsigned chain_continue(struct list *resumed);

/* Cold part of req_done(). */
void chain_retreat(struct req *r);

static inline void lane_count(struct lane_stats *s, unsigned op, uint64_t ticks, uint64_t n,
			      uint64_t bytes)
{
	stat_add(&s->op[op].bytes, bytes);
	hist_add(&s->latency[op], ticks, n);
}

/* The last thing that happens to requests of one lane and owner before their front: they leave
 * the lane. What neighbours have in common is counted once; @alike: taken together, all well. */
static inline __attribute__((always_inline)) void
lane_end_run(struct req *const *reqs, unsigned n, const bool alike)
{
	const struct lane *l = reqs[0]->lane;
	struct lane_stats *s = l->stats;
	uint64_t taken = reqs[0]->taken_ticks, same = 0, bytes = 0;
	unsigned op = reqs[0]->op;

	for (unsigned i = 0; !l->synchronous && i < n; i++)
		list_del(&reqs[i]->link);
	for (unsigned i = 0; i < n; i++) {
		const struct req *r = reqs[i];

		if (unlikely(r->op != op || (!alike && r->taken_ticks != taken))) {
			lane_count(s, op, l->poller->now_ticks - taken, same, bytes);
			op = r->op;
			taken = r->taken_ticks;
			same = bytes = 0;
		}
		same++;
		bytes += r->len_b;
		if (!alike && unlikely(r->status != REQ_OK))
			stat_add(&s->op[r->op].errors, 1);
	}
	lane_count(s, op, l->poller->now_ticks - taken, same, bytes);
	reqs[0]->owner->complete(reqs, n);
}

static inline void lane_end(struct req *r)
{
	lane_end_run(&r, 1, false);
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

/* As req_done() for the @n requests that one submit() brought, from inside it, all done alike. */
static inline void reqs_done(struct req *const *reqs, unsigned n, enum req_status status)
{
	const struct lane *l = reqs[0]->lane;

	/* On a lane without functions or copies a batch is what one queue submitted. */
	if (likely(l->plain)) {
		l->media->inflight -= n;
		if (likely(status == REQ_OK)) {
			lane_end_run(reqs, n, true);
			return;
		}
		for (unsigned i = 0; i < n; i++)
			reqs[i]->status = (uint8_t)status;
		lane_end_run(reqs, n, false);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		req_done(reqs[i], status);
}
