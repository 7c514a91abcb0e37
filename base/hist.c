/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hist.h"

static uint64_t count_of(const struct hist *h, unsigned b)
{
	return __atomic_load_n(&h->count[b], __ATOMIC_RELAXED);
}

uint64_t hist_bucket_max(unsigned b)
{
	unsigned row = b >> HIST_STEP_BITS;
	uint64_t step = b & ((1u << HIST_STEP_BITS) - 1);

	if (!row)
		return step;
	unsigned shift = row - 1;

	return (((1ull << HIST_STEP_BITS) + step) << shift) + ((1ull << shift) - 1);
}

uint64_t hist_total(const struct hist *h)
{
	uint64_t n = 0;

	for (unsigned b = 0; b < HIST_BUCKETS; b++)
		n += count_of(h, b);
	return n;
}

uint64_t hist_quantile(const struct hist *h, uint64_t num, uint64_t den)
{
	uint64_t total = hist_total(h), seen = 0;
	uint64_t want = (uint64_t)((unsigned __int128)total * num / den);

	for (unsigned b = 0; total && b < HIST_BUCKETS; b++) {
		seen += count_of(h, b);
		if (seen && seen >= want)
			return hist_bucket_max(b);
	}
	return 0;
}

void hist_merge(struct hist *to, const struct hist *from)
{
	for (unsigned b = 0; b < HIST_BUCKETS; b++)
		to->count[b] += count_of(from, b);
}
