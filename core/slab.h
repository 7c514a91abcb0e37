/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A poller's store of request objects and of long segment lists. Bounded: as many
 * requests as the attached queues may have in flight, and a list for each of them, so
 * that what a stalled disk holds is never what another one needs. Memory is reserved
 * when queues are attached and touched only as deep as the load is; the last one given
 * back is the next one handed out, so a shallow load stays in the first-level cache.
 * Context: the poller's thread; slab_reserve() between turns.
 */
#pragma once

#include "core/req.h"

#define SLAB_MAX_CHUNKS 64

struct slab_chunk {
	struct req *req;
	struct seg *list; /* REQ_MAX_SEGS for each request */
	unsigned n;
};

struct slab {
	struct req **free; /* a stack: the one put last is on top */
	unsigned nfree;
	unsigned mapped;   /* requests in all chunks */
	unsigned reserved; /* of them promised to queues */
	struct slab_chunk chunk[SLAB_MAX_CHUNKS];
	unsigned nchunk;
	struct seg **long_free; /* a stack, too */
	unsigned long_nfree;
};

int slab_init(struct slab *s); /* Return: 0 or -ENOMEM */
void slab_fini(struct slab *s);

/* Makes room for @n more requests. Allocates. Return: 0; -ENOMEM; -ENOSPC beyond all bounds. */
int slab_reserve(struct slab *s, unsigned n);
/* The room of @n requests is no longer needed; a later slab_reserve() uses it. */
void slab_unreserve(struct slab *s, unsigned n);

/* Takes up to @n requests, whose seg is their inline list and all else is as it was. Return: how
 * many there were. */
static inline unsigned slab_get_many(struct slab *s, struct req **ret_reqs, unsigned n)
{
	n = min_u32(n, s->nfree);
	struct req **top = s->free + s->nfree;

	for (unsigned i = 0; i < n; i++) {
		struct req *r = *--top;

		r->seg = r->inl;
		ret_reqs[i] = r;
	}
	s->nfree -= n;
	return n;
}

/* Return: one request, or NULL. */
static inline struct req *slab_get(struct slab *s)
{
	struct req *r;

	return slab_get_many(s, &r, 1) ? r : NULL;
}

/* A list of REQ_MAX_SEGS segments for @r, which has none yet. */
void slab_long_get(struct slab *s, struct req *r);
void slab_long_put(struct slab *s, struct req *r);

/* Gives back @n requests that slab_get_many() gave, the first of them to be the next again. */
static inline void slab_put_many(struct slab *s, struct req *const *reqs, unsigned n)
{
	struct req **top = s->free + s->nfree;

	for (unsigned i = 0; unlikely(s->long_nfree < s->mapped) && i < n; i++)
		if (reqs[i]->flags & REQ_F_LONG)
			slab_long_put(s, reqs[i]);
	s->nfree += n;
	while (n--)
		*top++ = reqs[n];
}

static inline void slab_put(struct slab *s, struct req *r)
{
	slab_put_many(s, &r, 1);
}
