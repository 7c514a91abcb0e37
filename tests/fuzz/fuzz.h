/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share: an input that is eaten from the front, and what must hold after. */
#pragma once

#include "tests/fake/guest.h"

#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct food {
	const uint8_t *p;
	size_t left;
};

/* Fills @to with the next @len bytes; zeros where the input has ended. */
static inline void food_eat(struct food *f, void *to, size_t len)
{
	size_t n = min_u64(len, f->left);

	memset(to, 0, len);
	if (n)
		memcpy(to, f->p, n);
	f->p += n;
	f->left -= n;
}

static inline uint8_t food_byte(struct food *f)
{
	uint8_t v;

	food_eat(f, &v, 1);
	return v;
}

/* Whatever came in: nothing is left behind. */
static inline void fuzz_assert_quiet(const struct fake *g)
{
	for (unsigned i = 0; i < g->conf.pollers; i++) {
		const struct poller *p = g->poller[i];

		if (fake_requests_out(p) || p->slab.long_nfree != p->slab.mapped ||
		    p->slab.reserved)
			abort();
	}
}
