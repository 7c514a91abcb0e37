/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A poller's store of request objects and of long segment lists. Bounded: when it
 * is empty the queue that asked waits, nothing fails. Memory is reserved when
 * queues are attached and touched only as deep as the load is; the last one given
 * back is the next one handed out, so a shallow load stays in the first-level cache.
 * Context: the poller's thread; slab_reserve() between turns.
 */
#pragma once

#include "core/req.h"

#define SLAB_MAX_CHUNKS 64
#define SLAB_LONG_LISTS 64

struct slab_chunk {
	struct req *req;
	unsigned n;
};

struct slab {
	struct list *free; /* through req.link.next */
	struct req *fresh, *fresh_end;
	struct slab_chunk chunk[SLAB_MAX_CHUNKS];
	unsigned nchunk, used_chunks;
	unsigned mapped;   /* requests in all chunks */
	unsigned reserved; /* of them promised to queues */
	struct seg *long_list; /* SLAB_LONG_LISTS of REQ_MAX_SEGS */
	uint16_t long_free[SLAB_LONG_LISTS];
	unsigned long_nfree;
};

int slab_init(struct slab *s); /* Return: 0 or -ENOMEM */
void slab_fini(struct slab *s);

/* Makes room for @n more requests. Allocates. Return: 0; -ENOMEM; -ENOSPC beyond all bounds. */
int slab_reserve(struct slab *s, unsigned n);
/* The room of @n requests is no longer needed; a later slab_reserve() uses it. */
void slab_unreserve(struct slab *s, unsigned n);

/* Cold part of slab_get(). */
struct req *slab_get_fresh(struct slab *s);

/* Return: a request with seg set to its inline list, all else as it was; NULL when none is left. */
static inline struct req *slab_get(struct slab *s)
{
	struct list *n = s->free;

	if (unlikely(!n))
		return slab_get_fresh(s);
	s->free = n->next;
	return list_entry(n, struct req, link);
}

/* A list of REQ_MAX_SEGS segments for @r. Return: false when the pool is empty. */
bool slab_long_get(struct slab *s, struct req *r);
void slab_long_put(struct slab *s, struct req *r);

static inline void slab_put(struct slab *s, struct req *r)
{
	if (unlikely(r->seg != r->inl))
		slab_long_put(s, r);
	r->link.next = s->free;
	s->free = &r->link;
}
