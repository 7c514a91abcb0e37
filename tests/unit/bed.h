/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk on a poller that has no thread, for tests of media and functions: requests
 * are made by hand, the poller is turned by hand, and what came back is looked at.
 * One bed at a time, one thread.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "disk/disk.h"

#define BED_NOT_DONE 255
#define BED_LIMIT_NS (120 * NS_PER_S) /* for what takes milliseconds on a quiet machine */

struct bed {
	struct poller *poller;
	struct disk *disk;
	struct lane *lane;
	struct req_owner owner;
	unsigned done; /* completions seen */
};

/* A request of the bed: what came of it is in status. */
struct bed_req {
	struct req *r;
	struct bed *bed;
	unsigned status;
	unsigned order; /* it was the nth to complete, from 1 */
};

static inline void bed_complete(struct req *const *reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct bed_req *q = (struct bed_req *)(uintptr_t)reqs[i]->front[0];

		q->status = reqs[i]->status;
		q->order = ++q->bed->done;
		slab_put(&q->bed->poller->slab, reqs[i]);
		q->r = NULL;
	}
}

static inline void bed_open_conf(struct bed *b, const struct disk_conf *c)
{
	struct disk_error e;

	*b = (struct bed){ .owner.complete = bed_complete };
	assert_int_equal(poller_open("bed", &b->poller), 0);
	assert_int_equal(disk_open(c, &b->disk, &e), 0);
	assert_int_equal(slab_reserve(&b->poller->slab, 1024), 0);
	assert_int_equal(disk_lane_get(b->disk, b->poller, &b->lane), 0);
}

static inline void bed_open_chain(struct bed *b, struct media *m, struct function *const *f,
				  unsigned nf, uint64_t size_b)
{
	bed_open_conf(b, &(struct disk_conf){ .name = "bed", .media = m, .function = f,
					      .nfunction = nf, .size_b = size_b });
}

static inline void bed_open_gate(struct bed *b, struct media *m, struct function *gate,
				 uint64_t size_b)
{
	bed_open_conf(b, &(struct disk_conf){ .name = "bed", .media = m, .gate = gate,
					      .size_b = size_b });
}

static inline void bed_open(struct bed *b, struct media *m)
{
	bed_open_chain(b, m, NULL, 0, 0);
}

static inline void bed_close(struct bed *b)
{
	disk_lane_put(b->disk, b->lane);
	disk_close(b->disk);
	slab_unreserve(&b->poller->slab, 1024);
	poller_close(b->poller);
}

/* A request with one segment, or none where @host is NULL. */
static inline struct req *bed_req(struct bed *b, struct bed_req *q, enum req_op op, uint64_t off_b,
				  uint64_t len_b, void *host)
{
	struct req *r = slab_get(&b->poller->slab);

	*q = (struct bed_req){ .r = r, .bed = b, .status = BED_NOT_DONE };
	req_init(r, host ? 1 : 0, 0);
	r->lane = b->lane;
	r->op = (uint8_t)op;
	r->off_b = off_b;
	r->len_b = len_b;
	r->seg[0] = (struct seg){ host, (uint32_t)len_b, NULL };
	r->taken_ticks = b->poller->now_ticks;
	r->owner = &b->owner;
	r->front[0] = (uintptr_t)q;
	return r;
}

static inline void bed_submit(struct bed *b, struct bed_req *q, unsigned n)
{
	struct req *r[POLLER_BATCH];

	assert_true(n <= POLLER_BATCH);
	for (unsigned i = 0; i < n; i++)
		r[i] = q[i].r;
	disk_submit(b->lane, r, n);
}

/* Turns the poller until @n completions have been seen in all, sleeping as a poller's thread
 * would: a wake-up that is lost fails the test here. */
static inline void bed_run(struct bed *b, unsigned n)
{
	uint64_t end_ns = clock_ns() + BED_LIMIT_NS;

	while (b->done < n) {
		if (!poller_turn(b->poller))
			poller_sleep(b->poller, BED_LIMIT_NS);
		if (clock_ns() > end_ns)
			fail_msg("%u of %u requests came back", b->done, n);
	}
}

/* Lets the poller's clock show @ns, runs what is due then, and what that lets go. For functions:
 * time in such a test is what the test says. */
static inline void bed_at(struct bed *b, uint64_t ns)
{
	b->poller->now_ticks = clock_ns_to_ticks(b->poller->scale, ns);
	lane_timer(b->lane, poller_now_ns(b->poller));
	chain_continue(&b->poller->resumed);
}

/* One request from beginning to end. Return: its status. */
static inline unsigned bed_do(struct bed *b, enum req_op op, unsigned flags, uint64_t off_b,
			      uint64_t len_b, void *host)
{
	struct bed_req q;

	poller_tick(b->poller);
	bed_req(b, &q, op, off_b, len_b, host)->flags = (uint8_t)flags;
	bed_submit(b, &q, 1);
	bed_run(b, b->done + (q.status == BED_NOT_DONE));
	return q.status;
}
