/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of a medium: where requests end. A medium is opened once, on the
 * control thread, and has a lane on each poller that sends it requests; lanes
 * share nothing but what the medium itself guards.
 *
 * Requests go in by submit() and come back by req_done() (core/lane.h), from
 * submit() itself or from poll(), in any order, each exactly once.
 */
#pragma once

#include "core/req.h"

struct media;
struct media_lane;
struct poller;

/* What a medium can do. Asked once, when the disk is opened. */
struct media_caps {
	uint64_t size_b;	 /* 0: takes any size that the disk is given */
	uint32_t align_b;	 /* of host addresses and segment lengths; 1: any */
	uint32_t blk_b;		 /* of offsets and lengths; at least 512 */
	uint32_t opt_io_b;	 /* preferred transfer, 0: no preference */
	uint32_t discard_gran_b; /* 0: no discard */
	/* Requests to take in one turn; 0: POLLER_BATCH. Less, for a medium that is done when
	 * submit() returns and takes its time: the guest refills the ring while the next ones are
	 * served. */
	uint8_t batch;
	bool zeroes;		 /* has write-zeroes of its own */
	bool volatile_cache;	 /* a completed write needs a flush to be durable */
	bool readonly;
	/* Waits for nobody, so that no request of it can be stuck and nothing need be copied to be
	 * rid of one. */
	bool prompt;
};

struct media_ops {
	const char *kind;

	/* Control thread. Every lane is closed by now. */
	void (*close)(struct media *m);
	/* Control thread. Return: 0 with the lane, begun with media_lane_init(); -errno. */
	int (*lane_open)(struct media *m, struct poller *p, struct media_lane **ret_lane);
	/* Control thread; nothing is in flight and the poller has let the lane go. */
	void (*lane_close)(struct media_lane *l);

	/* The rest: the poller's thread. */

	/* Takes all @n (at most POLLER_BATCH), queueing what it cannot start. May call
	 * req_done(). */
	void (*submit)(struct media_lane *l, struct req **reqs, unsigned n);
	/* Reaps what has ended. Called each turn while the lane has requests in flight. NULL for
	 * a medium whose requests are all done when submit() returns. Return: how many ended. */
	unsigned (*poll)(struct media_lane *l);
	/* A descriptor that is readable when poll() would find something; asked just before the
	 * poller sleeps. NULL, or -1: the poller may not sleep while requests are in flight. */
	int (*wake_fd)(struct media_lane *l);

	/* Guest memory came or goes, for media that register it. Control thread; on del no
	 * request in flight uses it. NULL: not needed. */
	int (*region_add)(struct media *m, struct gregion *g);
	void (*region_del)(struct media *m, struct gregion *g);
};

struct media {
	const struct media_ops *ops;
	struct media_caps caps;
};

struct media_lane {
	const struct media_ops *ops;
	struct media *media;
	struct poller *poller;
	struct list busy;  /* on the poller's list while on_busy */
	unsigned inflight; /* submitted and not done */
	bool on_busy;
};

static inline void media_lane_init(struct media_lane *l, struct media *m, struct poller *p)
{
	*l = (struct media_lane){ .ops = m->ops, .media = m, .poller = p };
	list_init(&l->busy);
}
