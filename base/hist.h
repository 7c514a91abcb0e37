/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log-linear histogram: 16 steps to each power of two, so a value is known to
 * 1 part in 16. One writer; readers on other threads see each count late, never
 * torn (relaxed 64-bit stores). Values are in whatever unit the caller keeps.
 */
#pragma once

#include "base/base.h"

#define HIST_STEP_BITS 4
#define HIST_BUCKETS ((64 - HIST_STEP_BITS + 1) << HIST_STEP_BITS)

struct hist {
	uint64_t count[HIST_BUCKETS];
};

static inline unsigned hist_bucket(uint64_t v)
{
	if (v < (1u << HIST_STEP_BITS))
		return (unsigned)v;
	unsigned shift = 63u - (unsigned)__builtin_clzll(v) - HIST_STEP_BITS;

	return ((shift + 1) << HIST_STEP_BITS) +
	       ((unsigned)(v >> shift) & ((1u << HIST_STEP_BITS) - 1));
}

/* Context: the one writer. */
static inline void hist_add(struct hist *h, uint64_t v, uint64_t times)
{
	uint64_t *c = &h->count[hist_bucket(v)];

	/* relaxed: a reader's sum may miss the newest counts */
	__atomic_store_n(c, *c + times, __ATOMIC_RELAXED);
}

/* The largest value that bucket @b stands for. */
uint64_t hist_bucket_max(unsigned b);
uint64_t hist_total(const struct hist *h);
/* Value at or below which @num / @den of all lie; 0 if empty. */
uint64_t hist_quantile(const struct hist *h, uint64_t num, uint64_t den);
/* Adds @from to @to, which the caller alone reads and writes. */
void hist_merge(struct hist *to, const struct hist *from);
