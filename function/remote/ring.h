/* SPDX-License-Identifier: Apache-2.0 */
/*
 * posternd's ends of a channel's two rings (wire/function.h). The other side is
 * hostile: each word of it is read once, and nothing of ours is kept in shared memory.
 * Context: the lane's poller.
 */
#pragma once

#include "wire/function.h"

struct ring {
	struct fn_rings *shared; /* NULL: no program */
	uint32_t to_n, from_n;	 /* entries ever written, read */
	uint32_t told_n;	 /* of to_n: whether its sleep was looked at since */
	uint32_t taken_n;	 /* of to_n, as the program said last */
	uint32_t woken;		 /* the value of its sleeps that it was woken for */
	uint32_t sleeps;	 /* our own */
};

static inline struct ring ring_on(struct fn_rings *shared)
{
	return (struct ring){ .shared = shared };
}

/* There is room; see wire/function.h for why. */
static inline void ring_put(struct ring *g, struct fn_word w, uint64_t off_b, uint32_t len_b,
			    uint64_t arg)
{
	struct fn_entry *e = &g->shared->to[g->to_n % FN_ENTRIES];

	w.lap = fn_lap(g->to_n++);
	e->off_b = htole64(off_b);
	e->len_b = htole32(len_b);
	e->arg = htole64(arg);
	/* release: pairs with the program's acquire of the word; what it reads then is whole */
	__atomic_store_n(&e->word, htole64(fn_pack(w)), __ATOMIC_RELEASE);
}

static inline bool ring_has(const struct ring *g)
{
	const struct fn_entry *e = &g->shared->from[g->from_n % FN_ENTRIES];

	return (uint16_t)le64toh(__atomic_load_n(&e->word, __ATOMIC_ACQUIRE)) == fn_lap(g->from_n);
}

/* Takes the next entry's first word. Return: whether there was one; ring_rest() reads the rest. */
static inline bool ring_get(struct ring *g, struct fn_word *ret)
{
	const struct fn_entry *e = &g->shared->from[g->from_n % FN_ENTRIES];
	/* acquire: pairs with the program's release of it */
	struct fn_word w = fn_unpack(le64toh(__atomic_load_n(&e->word, __ATOMIC_ACQUIRE)));

	if (w.lap != fn_lap(g->from_n))
		return false;
	g->from_n++;
	*ret = w;
	return true;
}

/* The other words of what ring_get() took last; each read once. */
static inline struct fn_entry ring_rest(const struct ring *g)
{
	const struct fn_entry *e = &g->shared->from[(g->from_n - 1) % FN_ENTRIES];

	return (struct fn_entry){
		.off_b = le64toh(__atomic_load_n(&e->off_b, __ATOMIC_RELAXED)),
		.len_b = le32toh(__atomic_load_n(&e->len_b, __ATOMIC_RELAXED)),
		.buf_off_b = le32toh(__atomic_load_n(&e->buf_off_b, __ATOMIC_RELAXED)),
		.arg = le64toh(__atomic_load_n(&e->arg, __ATOMIC_RELAXED)),
	};
}

/* Whether an event without a slot may be put. Return: 1; 0: not now; -1: the program says that it
 * has taken what was never put. */
static inline int ring_room(struct ring *g)
{
	if (likely(g->to_n - g->taken_n < FN_ENTRIES))
		return 1;
	/* acquire: it has read what is about to be written over */
	g->taken_n = le32toh(__atomic_load_n(&g->shared->program.taken, __ATOMIC_ACQUIRE));
	if (g->to_n - g->taken_n > FN_ENTRIES)
		return -1;
	return g->to_n - g->taken_n < FN_ENTRIES;
}

/* Whether the program sleeps on what was put since the last call and must be woken. */
static inline bool ring_must_wake(struct ring *g)
{
	if (likely(g->told_n == g->to_n))
		return false;
	g->told_n = g->to_n;
	/* seq_cst: pairs with the program's between its sleeps and its last look at the ring */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	uint32_t sleeps = le32toh(__atomic_load_n(&g->shared->program.sleeps, __ATOMIC_RELAXED));

	if (likely(!(sleeps & 1) || sleeps == g->woken))
		return false;
	g->woken = sleeps;
	return true;
}

/* We are about to sleep. Return: false: there is something to read after all. */
static inline bool ring_sleep(struct ring *g)
{
	g->sleeps |= 1;
	/* seq_cst: pairs with the program's, between what it puts and its look at this */
	__atomic_store_n(&g->shared->postern.sleeps, htole32(g->sleeps), __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !ring_has(g);
}

static inline bool ring_sleeps(const struct ring *g)
{
	return g->sleeps & 1;
}

static inline void ring_wake(struct ring *g)
{
	g->sleeps++;
	__atomic_store_n(&g->shared->postern.sleeps, htole32(g->sleeps), __ATOMIC_RELAXED);
}
