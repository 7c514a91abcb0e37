/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk with the remote function whose program is the test itself: it reads the one
 * ring and writes the other by hand, as well or as badly as it likes.
 */
#pragma once

#include "bed.h"

#include <sys/mman.h>

#include "function/remote/private.h"
#include "tests/fake/media.h"

#define RW ((1u << FN_READ) | (1u << FN_WRITE))
#define DISK_B (4 * MIB)

struct rig {
	struct bed b;
	struct scripted *s;
	struct function *f;
	struct remote_lane *l;
	struct channel c;
	uint32_t to_n, from_n; /* of c.rings, read and written */
	unsigned told;
};

static inline void rig_tell(void *arg)
{
	((struct rig *)arg)->told++;
}

static inline struct fn_rings *rig_rings(void)
{
	struct fn_rings *rings = mmap(NULL, sizeof(*rings), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(rings != MAP_FAILED);
	return rings;
}

/* Transforms: sees writes down, reads up, with data. @above and @below: what else is in the chain,
 * or NULL. */
static inline void rig_open_between(struct rig *g, struct function *above, struct function *below,
				    enum fn_mode mode, enum remote_fail on_fail)
{
	struct remote_conf conf = { .mode = mode, .on_fail = on_fail };
	struct function *f[3];
	unsigned nf = 0;

	memset(g, 0, sizeof(*g));
	g->s = script_new(DISK_B);
	g->s->m.caps.discard_gran_b = 512;
	assert_int_equal(remote_open(&conf, &g->f), 0);
	if (above)
		f[nf++] = above;
	f[nf++] = g->f;
	if (below)
		f[nf++] = below;
	bed_open_chain(&g->b, &g->s->m, f, nf, DISK_B);
	g->l = g->b.lane->step[above ? 1 : 0].state;
	g->l->tell = rig_tell;
	g->l->tell_arg = g;
	g->c = (struct channel){ .kick_fd = -1, .down = 1u << FN_WRITE, .up = 1u << FN_READ,
				 .with_data = RW, .rings = rig_rings() };
	assert_int_equal(buffers_find(g->l, NULL, &g->c.buffers), 0);
}

static inline void rig_open(struct rig *g, enum fn_mode mode, enum remote_fail on_fail)
{
	rig_open_between(g, NULL, NULL, mode, on_fail);
}

/* Gives the lane the program that g->c describes. */
static inline void rig_gain(struct rig *g)
{
	remote_gain(g->l, &g->c);
	poller_turn(g->b.poller);
}

static inline void rig_start(struct rig *g, enum fn_mode mode, enum remote_fail on_fail)
{
	rig_open(g, mode, on_fail);
	rig_gain(g);
}

/* It answers reads and writes. */
static inline void rig_start_server(struct rig *g, enum remote_fail on_fail)
{
	rig_open(g, FN_SERVE, on_fail);
	g->c.down = RW;
	rig_gain(g);
}

/* It sees that there are writes, and not what they write. */
static inline void rig_start_observer(struct rig *g)
{
	rig_open(g, FN_OBSERVE, REMOTE_PAUSE);
	g->c.down = 1u << FN_WRITE;
	g->c.up = g->c.with_data = 0;
	rig_gain(g);
}

/* For a program of the same kind that has seen nothing yet, after remote_lose(). */
static inline void rig_empty_rings(struct rig *g)
{
	memset(g->c.rings, 0, sizeof(*g->c.rings));
	g->to_n = g->from_n = 0;
}

static inline void rig_gain_anew(struct rig *g)
{
	rig_empty_rings(g);
	rig_gain(g);
}

static inline void rig_close(struct rig *g)
{
	bed_close(&g->b);
	munmap(g->c.rings, sizeof(*g->c.rings));
}

/* The next entry for the program. Return: false: there is none. */
static inline bool rig_next(struct rig *g, struct fn_word *ret, struct fn_entry *ret_e)
{
	struct fn_entry *e = &g->c.rings->to[g->to_n % FN_ENTRIES];
	struct fn_word w = fn_unpack(le64toh(e->word));

	*ret = w;
	if (w.lap != fn_lap(g->to_n))
		return false;
	g->to_n++;
	if (ret_e)
		*ret_e = *e;
	return true;
}

static inline struct fn_word rig_take(struct rig *g)
{
	struct fn_word w;

	assert_true(rig_next(g, &w, NULL));
	return w;
}

static inline void rig_put(struct rig *g, struct fn_word w, const struct fn_entry *rest)
{
	struct fn_entry *e = &g->c.rings->from[g->from_n % FN_ENTRIES];

	if (rest)
		*e = *rest;
	w.lap = fn_lap(g->from_n++);
	e->word = htole64(fn_pack(w));
}

static inline void rig_answer(struct rig *g, unsigned slot, enum fn_from kind,
			      enum fn_status status)
{
	rig_put(g, (struct fn_word){ .slot = (uint16_t)slot, .status = (uint8_t)status,
				     .kind = (uint8_t)kind }, NULL);
}

/* What a program puts to make I/O of its own, in the buffer of @slot. */
static inline struct fn_word rig_io(enum fn_op op, unsigned slot)
{
	return (struct fn_word){ .kind = FN_IO, .op = (uint8_t)op, .slot = (uint16_t)slot };
}

static inline uint8_t *rig_buf(struct rig *g, unsigned slot)
{
	return g->l->bufs + (size_t)slot * FN_BUF_B;
}

static inline void rig_turn(struct rig *g)
{
	for (unsigned i = 0; i < 4; i++)
		poller_turn(g->b.poller);
}

/* Lets time go by, in which the lane's timer runs as often as it wants to. */
static inline void rig_wait(struct rig *g, uint64_t ns)
{
	uint64_t begun_ns = poller_now_ns(g->b.poller);
	uint64_t step_ns = clock_ticks_to_ns(clock_scale(), g->l->look_ticks);

	for (uint64_t at = step_ns; at < ns; at += step_ns)
		bed_at(&g->b, begun_ns + at);
	bed_at(&g->b, begun_ns + ns);
}

static inline void rig_ask(struct rig *g, struct bed_req *q, enum req_op op, uint64_t off_b,
			   uint64_t len_b, void *host)
{
	poller_tick(g->b.poller);
	bed_req(&g->b, q, op, off_b, len_b, host);
	bed_submit(&g->b, q, 1);
}
