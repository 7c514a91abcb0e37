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

static size_t long_lists_len_b(void)
{
	return sizeof(struct seg) * REQ_MAX_SEGS * SLAB_LONG_LISTS;
}

int slab_init(struct slab *s)
{
	*s = (struct slab){ 0 };
	s->long_list = map_lazily(long_lists_len_b());
	/* never NULL, so that its top can be spoken of before there is a request */
	s->free = malloc(sizeof(*s->free));
	if (!s->long_list || !s->free)
		return -ENOMEM;
	/* descending, so that the first handed out is the first in memory */
	for (unsigned i = 0; i < SLAB_LONG_LISTS; i++)
		s->long_free[i] = (uint16_t)(SLAB_LONG_LISTS - 1 - i);
	s->long_nfree = SLAB_LONG_LISTS;
	return 0;
}

void slab_fini(struct slab *s)
{
	assert(s->nfree == s->mapped);
	for (unsigned i = 0; i < s->nchunk; i++)
		munmap(s->chunk[i].req, s->chunk[i].n * sizeof(struct req));
	if (s->long_list)
		munmap(s->long_list, long_lists_len_b());
	free(s->free);
	*s = (struct slab){ 0 };
}

static int add_chunk(struct slab *s, unsigned n)
{
	if (s->nchunk == SLAB_MAX_CHUNKS)
		return -ENOSPC;
	struct req **stack = realloc(s->free, (s->mapped + n) * sizeof(struct req *));
	if (!stack)
		return -ENOMEM;
	s->free = stack;
	struct req *r = map_lazily(n * sizeof(*r));
	if (!r)
		return -ENOMEM;
	s->chunk[s->nchunk++] = (struct slab_chunk){ r, n };
	s->mapped += n;
	/* below those that have been used: a shallow load touches no new ones; the lowest on top */
	memmove(stack + n, stack, s->nfree * sizeof(struct req *));
	for (unsigned i = 0; i < n; i++)
		stack[i] = &r[n - 1 - i];
	s->nfree += n;
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

bool slab_long_get(struct slab *s, struct req *r)
{
	if (!s->long_nfree)
		return false;
	r->seg = &s->long_list[s->long_free[--s->long_nfree] * REQ_MAX_SEGS];
	r->flags |= REQ_F_LONG;
	return true;
}

void slab_long_put(struct slab *s, struct req *r)
{
	s->long_free[s->long_nfree++] = (uint16_t)((r->seg - s->long_list) / REQ_MAX_SEGS);
	r->flags &= (uint8_t)~REQ_F_LONG;
}
