/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of a function: a step that every request of a disk passes through,
 * down on its way to the medium and up on its way back. A function is opened once,
 * on the control thread; its state is per lane, so that the path takes no lock.
 *
 * A held request is the function's until chain_resume() (core/lane.h), which must
 * be called on the request's own poller, from timer() or from another request's
 * down() or up(). It then goes on in the direction it had.
 */
#pragma once

#include "core/media.h"

struct function;

enum step {
	STEP_PASS, /* on to the next */
	STEP_HELD, /* the function keeps it; chain_resume() later */
	STEP_DONE, /* down only: ends here with req.status as set; earlier steps see it go up */
};

/* When a lane that waits for nothing wants to be called again. */
#define NEVER_NS UINT64_MAX

struct function_ops {
	const char *kind;
	/* It reads a write's data more than once: what it is given is a copy, if no step before it
	 * has made one (core/bounce.h). */
	bool needs_stable;
	/* What it holds on the way down is on a list through req.hold and nowhere else: a request
	 * whose deadline has passed may be taken off that list, and end. */
	bool yields;

	void (*close)(struct function *f); /* control thread; every lane closed */
	/* Control thread. What the next step to the left sees of what is to the right. NULL: the
	 * function changes nothing. */
	void (*adjust)(const struct function *f, struct media_caps *caps);
	/* Control thread. The disk's lanes have another size now. NULL: it does not matter. */
	void (*resized)(struct function *f);
	/* Control thread. The disk goes for good: what it holds until something comes back that may
	 * never ends with an error, from now on. NULL: it holds nothing for that. */
	void (*give_up)(struct function *f);
	/* Control thread. Until lane_start() it makes no request of its own: the lane may not be
	 * complete, or have another chain still. Return: 0 or -errno. */
	int (*lane_open)(struct function *f, struct lane *l, void **ret_state);
	/* Control thread. The lane has its chain, in which this is the @step-th; it may make
	 * requests of its own. NULL, as lane_stop: it never makes any. */
	void (*lane_start)(void *state, unsigned step);
	/* Control thread, before lane_close(), or lane_start() once more; no request is left. It
	 * makes no more of its own; does not wait for those in flight. */
	void (*lane_stop)(void *state);
	void (*lane_close)(void *state); /* control thread; it holds nothing */

	/* The rest: the poller's thread; no allocation, lock or system call. */

	/* Whether no request of its own is in flight. NULL, as lane_stop. */
	bool (*lane_is_quiet)(const void *state);
	enum step (*down)(void *state, struct req *r); /* NULL: pass */
	enum step (*up)(void *state, struct req *r);   /* NULL: pass */
	/* As down(), for @n requests that were taken together, ahead of the chain (struct lane,
	 * gate): moves those that pass to the front of @reqs, in their order, and holds the others
	 * by lane_hold(). Return: how many pass. NULL: it is no gate. */
	unsigned (*gate)(void *state, struct req **reqs, unsigned n);
	/* Lets go what is due at @now_ns (the poller's clock). Return: when to be called again,
	 * NEVER_NS if it holds nothing that waits for time. NULL: never waits. A function that
	 * begins to wait calls poller_timer(). */
	uint64_t (*timer)(void *state, uint64_t now_ns);
	/* A queue that is to move waits for what is in flight: lets go all that is held only to
	 * pace it. NULL: nothing is. */
	void (*hurry)(void *state);
};

struct function {
	const struct function_ops *ops;
};
