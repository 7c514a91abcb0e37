/* SPDX-License-Identifier: Apache-2.0 */
#include "core/slab.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CHUNK_MIN 1024

static void *map_lazily(size_t len_b)
{
	void *p = mmap(NULL, len_b, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static size_t lists_len_b(unsigned n)
{
	return sizeof(struct seg) * REQ_MAX_SEGS * n;
}

int slab_init(struct slab *s)
{
	*s = (struct slab){ 0 };
	/* never NULL, so that its top can be spoken of before there is a request */
	s->free = malloc(sizeof(*s->free));
	return s->free ? 0 : -ENOMEM;
}

void slab_fini(struct slab *s)
{
	assert(s->nfree == s->mapped);
	for (unsigned i = 0; i < s->nchunk; i++) {
		munmap(s->chunk[i].req, s->chunk[i].n * sizeof(struct req));
		munmap(s->chunk[i].list, lists_len_b(s->chunk[i].n));
	}
	free(s->free);
	free(s->long_free);
	*s = (struct slab){ 0 };
}

/* Room for @n more in both stacks. */
static int grow_stacks(struct slab *s, unsigned n)
{
	struct req **reqs = realloc(s->free, (s->mapped + n) * sizeof(*reqs));

	if (!reqs)
		return -ENOMEM;
	s->free = reqs;
	struct seg **lists = realloc(s->long_free, (s->mapped + n) * sizeof(*lists));
	if (!lists)
		return -ENOMEM;
	s->long_free = lists;
	return 0;
}

static int add_chunk(struct slab *s, unsigned n)
{
	if (s->nchunk == SLAB_MAX_CHUNKS)
		return -ENOSPC;
	int err = grow_stacks(s, n);
	if (err)
		return err;
	struct req *r = map_lazily(n * sizeof(*r));
	if (!r)
		return -ENOMEM;
	struct seg *list = map_lazily(lists_len_b(n));
	if (!list) {
		munmap(r, n * sizeof(*r));
		return -ENOMEM;
	}
	s->chunk[s->nchunk++] = (struct slab_chunk){ r, list, n };
	s->mapped += n;
	/* below those that have been used: a shallow load touches no new ones; the lowest on top */
	memmove(s->free + n, s->free, s->nfree * sizeof(*s->free));
	memmove(s->long_free + n, s->long_free, s->long_nfree * sizeof(*s->long_free));
	for (unsigned i = 0; i < n; i++) {
		s->free[i] = &r[n - 1 - i];
		s->long_free[i] = &list[(n - 1 - i) * REQ_MAX_SEGS];
	}
	s->nfree += n;
	s->long_nfree += n;
	return 0;
}

int slab_reserve(struct slab *s, unsigned n)
{
	unsigned left = s->mapped - s->reserved;

	if (n > left) {
		/* growing by halves keeps the chunks few however many queues come */
		uint64_t more = max_u64(max_u64(n - left, CHUNK_MIN), s->mapped / 2);
		int err = add_chunk(s, (unsigned)more);

		if (err)
			return err;
	}
	s->reserved += n;
	return 0;
}

void slab_unreserve(struct slab *s, unsigned n)
{
	assert(n <= s->reserved);
	s->reserved -= n;
}

void slab_long_get(struct slab *s, struct req *r)
{
	assert(s->long_nfree);
	r->seg = s->long_free[--s->long_nfree];
	r->flags |= REQ_F_LONG;
}

void slab_long_put(struct slab *s, struct req *r)
{
	s->long_free[s->long_nfree++] = r->seg;
	r->flags &= (uint8_t)~REQ_F_LONG;
}
