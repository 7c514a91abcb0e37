/* SPDX-License-Identifier: Apache-2.0 */
#include "core/slab.h"

#include <sys/mman.h>

#define CHUNK_MIN 1024

static void *map_lazily(size_t len_b)
{
	void *p = mmap(NULL, len_b, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static size_t long_lists_len_b(void)
{
	return sizeof(struct seg) * REQ_MAX_SEGS * SLAB_LONG_LISTS;
}

int slab_init(struct slab *s)
{
	*s = (struct slab){ 0 };
	s->long_list = map_lazily(long_lists_len_b());
	if (!s->long_list)
		return -ENOMEM;
	/* descending, so that the first handed out is the first in memory */
	for (unsigned i = 0; i < SLAB_LONG_LISTS; i++)
		s->long_free[i] = (uint16_t)(SLAB_LONG_LISTS - 1 - i);
	s->long_nfree = SLAB_LONG_LISTS;
	return 0;
}

void slab_fini(struct slab *s)
{
	for (unsigned i = 0; i < s->nchunk; i++)
		munmap(s->chunk[i].req, s->chunk[i].n * sizeof(struct req));
	if (s->long_list)
		munmap(s->long_list, long_lists_len_b());
	*s = (struct slab){ 0 };
}

int slab_reserve(struct slab *s, unsigned n)
{
	if (n > s->mapped - s->reserved) {
		unsigned more = (unsigned)max_u64(n - (s->mapped - s->reserved), CHUNK_MIN);

		/* growing by halves keeps the number of chunks small however many queues come */
		more = (unsigned)max_u64(more, s->mapped / 2);

		if (s->nchunk == SLAB_MAX_CHUNKS)
			return -ENOSPC;
		struct req *r = map_lazily(more * sizeof(*r));
		if (!r)
			return -ENOMEM;
		s->chunk[s->nchunk++] = (struct slab_chunk){ r, more };
		s->mapped += more;
	}
	s->reserved += n;
	return 0;
}

void slab_unreserve(struct slab *s, unsigned n)
{
	assert(n <= s->reserved);
	s->reserved -= n;
}

struct req *slab_get_fresh(struct slab *s)
{
	if (s->fresh == s->fresh_end) {
		if (s->used_chunks == s->nchunk)
			return NULL;
		const struct slab_chunk *c = &s->chunk[s->used_chunks++];

		s->fresh = c->req;
		s->fresh_end = c->req + c->n;
	}
	struct req *r = s->fresh++;

	r->seg = r->inl;
	return r;
}

bool slab_long_get(struct slab *s, struct req *r)
{
	if (!s->long_nfree)
		return false;
	r->seg = &s->long_list[s->long_free[--s->long_nfree] * REQ_MAX_SEGS];
	return true;
}

void slab_long_put(struct slab *s, struct req *r)
{
	s->long_free[s->long_nfree++] = (uint16_t)((r->seg - s->long_list) / REQ_MAX_SEGS);
	r->seg = r->inl;
}
