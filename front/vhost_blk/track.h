/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In-flight tracking (vhost-user, "Inflight I/O tracking"): a region shared with the
 * VMM in which we write down, before acting on it, which requests we have taken, and
 * strike out what we have completed. When the VMM connects again, after we were
 * killed or lost the connection, it hands the region back, and what stands in it is
 * done again.
 *
 * The region comes from the other side of a socket: what is read back is bounded
 * before it is used. A crash stops us between two instructions, never between two
 * stores of one thread as another sees them, so the order is kept against the
 * compiler alone.
 * Context: the queue's poller; track_open() and track_close() the connection's thread.
 */
#pragma once

#include "front/vhost_blk/blk.h"

static inline void track_order(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* What stands in memory that the other side may change at any time: read once, then judged. */
static inline uint16_t track_once(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* An index from the region, where the other side may have written anything. */
static inline uint16_t track_bounded(const struct vq *q, uint16_t entry)
{
	return entry < q->track_size ? entry : 0;
}

/* In the features word that begins every region, unused by the document: the guest has turned its
 * cache off. A successor learns it so; the guest, which has not noticed anything, never flushes. */
#define TRACK_WRITE_THROUGH (1ull << 63)

static inline void track_note_write_through(void *region, bool on)
{
	__atomic_store_n((uint64_t *)region, on ? TRACK_WRITE_THROUGH : 0, __ATOMIC_RELAXED);
}

static inline bool track_is_write_through(const void *region)
{
	return __atomic_load_n((const uint64_t *)region, __ATOMIC_RELAXED) & TRACK_WRITE_THROUGH;
}

/* Bytes of one queue's region, a multiple of 64. */
uint64_t track_region_len_b(bool packed, uint16_t size);
/* Strikes out all that is in flight in the region that @q, which does not run, was opened with:
 * the next to open it begins anew. */
void track_void(struct vq *q);

/* Begins with the region at @at, whose size has been checked, or without one (NULL). Sets the
 * queue's indices: from @base (the front end's SET_VRING_BASE) where the region is new, otherwise
 * from the region and the ring. Queues what is to be done again.
 * Return: 0; -EINVAL: the region is another ring's or makes no sense; -ENOMEM. */
int track_open(struct vq *q, void *at, uint32_t base);
void track_close(struct vq *q);

static inline void track_split_take(struct vhost_user_region_split *t, uint16_t head,
				    uint64_t counter)
{
	t->desc[head].counter = counter;
	track_order();
	t->desc[head].inflight = 1;
}

static inline void track_split_push(struct vhost_user_region_split *t, uint16_t head)
{
	t->desc[head].next = t->last_batch_head;
	t->last_batch_head = head;
	track_order();
}

/* The batch is the guest's: strike it out. Crashing before the end of this leaves used_idx behind,
 * by which a successor knows how many of the last batch are to be struck out. */
static inline void track_split_publish(struct vq *q)
{
	struct vhost_user_region_split *t = q->track_split;

	if (!t)
		return;
	track_order();
	const uint16_t *pushed = q->pushed, *end = pushed + q->npushed;
#pragma GCC unroll 4
	while (pushed < end)
		t->desc[*pushed++].inflight = 0;
	track_order();
	t->used_idx = q->used_idx;
}

/* Packed: descriptors are copied as they are fetched, because the ring's own may be overwritten by
 * used ones before a successor reads them; a chain counts from track_packed_take() on.
 * @n: how many of the chain have been copied before. Return: the entry used. */
static inline uint16_t track_packed_desc(struct vq *q, unsigned n, const uint64_t w[2])
{
	struct vhost_user_region_packed *t = q->track_packed;

	if (!t)
		return 0;
	uint16_t at = track_bounded(q, n ? q->track_next : track_once(&t->free_head));
	struct vhost_user_desc_packed *d = &t->desc[at];

	/* id, flags and len lie in this order here, len, id and flags in the ring */
	uint64_t turned = w[1] >> 32 | w[1] << 32;
	memcpy(&d->id, &turned, sizeof(turned));
	d->addr = w[0];
	q->track_last = at;
	q->track_next = track_once(&d->next);
	return at;
}

static inline void track_packed_take(struct vq *q, uint16_t head, uint16_t slots)
{
	struct vhost_user_region_packed *t = q->track_packed;

	if (!t)
		return;
	struct vhost_user_desc_packed *d = &t->desc[head];

	/* what is pushed is published before the next is taken, so the free list is settled */
	assert(!q->npushed);
	d->num = slots;
	d->last = q->track_last;
	d->counter = q->track_counter++;
	track_order();
	d->inflight = 1;
	track_order();
	t->free_head = q->track_next;
	track_order();
	t->old_free_head = q->track_next;
}

/* After the used index has been moved on. */
static inline void track_packed_push(struct vq *q, uint16_t head)
{
	struct vhost_user_region_packed *t = q->track_packed;

	if (!t)
		return;
	q->pushed[q->npushed] = head;
	t->desc[track_bounded(q, track_once(&t->desc[head].last))].next = t->free_head;
	t->free_head = head;
	t->used_idx = q->used_idx;
	t->used_wrap_counter = q->used_wrap;
	track_order();
}

static inline void track_packed_publish(struct vq *q)
{
	struct vhost_user_region_packed *t = q->track_packed;

	if (!t)
		return;
	track_order();
	const uint16_t *pushed = q->pushed, *end = pushed + q->npushed;
	while (pushed < end)
		t->desc[*pushed++].inflight = 0;
	track_order();
	t->old_free_head = t->free_head;
	t->old_used_idx = t->used_idx;
	t->old_used_wrap_counter = t->used_wrap_counter;
}

/* The next chain to be done again. Return: 0; -EINVAL with *ret_reason. */
int track_packed_replay(struct vq *q, struct vchain *c, struct blk_tag *ret_tag,
			const char **ret_reason);
