/* SPDX-License-Identifier: Apache-2.0 */
#include "front/vhost_blk/track.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/fd.h"

#define REGION_ALIGN_B 64
#define FRESH 0 /* version of a region that nobody has used yet */

uint64_t track_region_len_b(bool packed, uint16_t size)
{
	uint64_t head_b = packed ? sizeof(struct vhost_user_region_packed) :
				   sizeof(struct vhost_user_region_split);
	uint64_t each_b = packed ? sizeof(struct vhost_user_desc_packed) :
				   sizeof(struct vhost_user_desc_split);

	return align_up(head_b + each_b * size, REGION_ALIGN_B);
}

struct left_over {
	uint64_t counter;
	uint16_t entry;
};

static int by_counter(const void *a, const void *b)
{
	const struct left_over *x = a, *y = b;

	return x->counter < y->counter ? -1 : x->counter > y->counter;
}

/* Sorts what a predecessor left into the order in which it was taken. */
static void queue_replay(struct vq *q, struct left_over *left, unsigned n)
{
	qsort(left, n, sizeof(*left), by_counter);
	for (unsigned i = 0; i < n; i++)
		q->replay[i] = left[i].entry;
	q->nreplay = n;
	q->track_counter = n ? left[n - 1].counter + 1 : 0;
}

static int open_split(struct vq *q, uint16_t base, struct left_over *left)
{
	struct vhost_user_region_split *t = q->track_split;
	uint16_t used = le16toh(__atomic_load_n(&q->used->idx, __ATOMIC_RELAXED));
	unsigned n = 0;

	q->used_idx = q->published = used;
	q->avail_idx = base;
	if (!t)
		return 0;
	if (t->version == FRESH) {
		t->desc_num = q->track_size;
		t->used_idx = used;
		/* last: a successor makes something of the rest only then */
		track_order();
		t->version = VHOST_USER_INFLIGHT_VERSION;
		return 0;
	}
	if (t->version != VHOST_USER_INFLIGHT_VERSION || t->desc_num != q->track_size)
		return -EINVAL;
	/* a batch that the guest has, but that was not struck out to its end */
	uint16_t batch = (uint16_t)(used - track_once(&t->used_idx));
	uint16_t head = track_once(&t->last_batch_head);
	if (batch > q->size)
		return -EINVAL;
	for (; batch; batch--) {
		if (head >= q->size)
			return -EINVAL;
		t->desc[head].inflight = 0;
		head = track_once(&t->desc[head].next);
	}
	track_order();
	t->used_idx = used;
	for (uint16_t i = 0; i < q->size; i++)
		if (t->desc[i].inflight)
			left[n++] = (struct left_over){ t->desc[i].counter, i };
	q->avail_idx = (uint16_t)(used + n);
	queue_replay(q, left, n);
	return 0;
}

/* 15 bits of place and one of wrap counter, as SET_VRING_BASE has them. */
static int place_of(const struct vq *q, uint32_t half, uint16_t *ret_idx, bool *ret_wrap)
{
	uint16_t idx = half & (VIRTQ_PACKED_WRAP - 1);

	if (idx >= q->size)
		return -EINVAL;
	*ret_idx = idx;
	*ret_wrap = half & VIRTQ_PACKED_WRAP;
	return 0;
}

static void begin_packed_region(struct vq *q)
{
	struct vhost_user_region_packed *t = q->track_packed;

	t->desc_num = q->track_size;
	for (uint16_t i = 0; i < q->track_size; i++)
		t->desc[i].next = (uint16_t)(i + 1);
	t->free_head = t->old_free_head = 0;
	t->used_idx = t->old_used_idx = q->used_idx;
	t->used_wrap_counter = t->old_used_wrap_counter = q->used_wrap;
	track_order();
	t->version = VHOST_USER_INFLIGHT_VERSION;
}

/* Commits the batch that the guest has seen, or takes back the one it has not; the queue goes on
 * behind what the guest has. Return: 0; -EINVAL. */
static int settle_packed_region(struct vq *q)
{
	struct vhost_user_region_packed *t = q->track_packed;
	uint16_t old = track_once(&t->old_used_idx), used = track_once(&t->used_idx);
	bool old_wrap = t->old_used_wrap_counter, used_wrap = t->used_wrap_counter;

	if (old >= q->size || used >= q->size)
		return -EINVAL;
	if (used != old || used_wrap != old_wrap) {
		uint16_t flags = le16toh(__atomic_load_n(&q->pdesc[old].flags, __ATOMIC_ACQUIRE));
		bool unseen = !!(flags & VIRTQ_DESC_F_AVAIL) == old_wrap &&
			      !!(flags & VIRTQ_DESC_F_USED) != old_wrap;

		if (!unseen) {
			t->old_free_head = track_once(&t->free_head);
			old = used;
			old_wrap = used_wrap;
		}
	}
	t->free_head = t->old_free_head;
	t->used_idx = t->old_used_idx = old;
	t->used_wrap_counter = t->old_used_wrap_counter = old_wrap;
	q->used_idx = q->published = old;
	q->used_wrap = q->published_wrap = old_wrap;
	uint16_t e = track_once(&t->free_head);
	for (unsigned i = 0; i < q->track_size && e < q->track_size; i++) {
		t->desc[e].inflight = 0;
		e = track_once(&t->desc[e].next);
	}
	return 0;
}

/* A batch is published by its first descriptor, the last to be marked used. Of a batch that the
 * guest has not seen, the others may be marked already, and the guest would believe them as soon as
 * it gets there: nothing of the @slots that are in flight is used. */
static void unmark_used(struct vq *q, unsigned slots)
{
	uint16_t idx = q->used_idx;
	bool wrap = q->used_wrap;

	for (; slots; slots--) {
		uint16_t *at = &q->pdesc[idx].flags;
		uint16_t flags = le16toh(__atomic_load_n(at, __ATOMIC_RELAXED));

		if (!!(flags & VIRTQ_DESC_F_AVAIL) == wrap && !!(flags & VIRTQ_DESC_F_USED) == wrap)
			__atomic_store_n(at, htole16(flags ^ VIRTQ_DESC_F_USED), __ATOMIC_RELAXED);
		if (++idx == q->size) {
			idx = 0;
			wrap = !wrap;
		}
	}
}

static int open_packed(struct vq *q, uint32_t base, struct left_over *left)
{
	struct vhost_user_region_packed *t = q->track_packed;
	unsigned n = 0, slots = 0;

	if (!t || t->version == FRESH) {
		if (place_of(q, base & UINT16_MAX, &q->avail_idx, &q->avail_wrap) ||
		    place_of(q, base >> 16, &q->used_idx, &q->used_wrap))
			return -EINVAL;
		if (t)
			begin_packed_region(q);
		q->published = q->used_idx;
		q->published_wrap = q->used_wrap;
		return 0;
	}
	if (t->version != VHOST_USER_INFLIGHT_VERSION || t->desc_num != q->track_size ||
	    settle_packed_region(q))
		return -EINVAL;
	for (uint16_t i = 0; i < q->track_size; i++) {
		if (!t->desc[i].inflight)
			continue;
		left[n++] = (struct left_over){ t->desc[i].counter, i };
		slots += t->desc[i].num;
	}
	if (slots > q->size)
		return -EINVAL;
	unmark_used(q, slots);
	queue_replay(q, left, n);
	/* the ring's own place was not kept, but what lies between is what is in flight */
	q->avail_idx = (uint16_t)((q->used_idx + slots) % q->size);
	q->avail_wrap = q->used_wrap ^ (q->used_idx + slots >= q->size);
	return 0;
}

int track_open(struct vq *q, void *at, uint32_t base)
{
	struct left_over *left = NULL;
	int err = -ENOMEM;

	q->track_split = at;
	q->nreplay = q->next_replay = 0;
	q->npushed = 0;
	q->pushed = calloc(q->size, sizeof(*q->pushed));
	q->replay = calloc(q->track_size ? q->track_size : 1, sizeof(*q->replay));
	left = calloc(q->track_size ? q->track_size : 1, sizeof(*left));
	if (q->pushed && q->replay && left)
		err = q->packed ? open_packed(q, base, left) : open_split(q, (uint16_t)base, left);
	free(left);
	if (err)
		track_close(q);
	return err;
}

void track_void(struct vq *q)
{
	for (uint16_t i = 0; i < q->track_size; i++) {
		if (q->packed)
			q->track_packed->desc[i].inflight = 0;
		else
			q->track_split->desc[i].inflight = 0;
	}
	track_order();
	/* at the same place in both formats */
	if (q->track_split)
		q->track_split->version = FRESH;
}

void track_close(struct vq *q)
{
	free(q->pushed);
	free(q->replay);
	q->pushed = q->replay = NULL;
	q->nreplay = q->next_replay = 0;
	q->track_split = NULL;
}

int track_packed_replay(struct vq *q, struct vchain *c, struct blk_tag *ret_tag,
			const char **ret_reason)
{
	const struct vhost_user_region_packed *t = q->track_packed;
	uint16_t e = q->replay[q->next_replay];
	uint16_t num = track_once(&t->desc[e].num);

	c->n = 0;
	c->too_long = false;
	*ret_tag = blk_tag(0, num, e, q->gen);
	*ret_reason = "in-flight region is damaged";
	if (!num || num > q->size - q->slots_inflight)
		return -EINVAL;
	for (; num; num--) {
		struct vhost_user_desc_packed d = t->desc[e];

		*ret_tag = blk_tag(d.id, blk_tag_slots(*ret_tag), blk_tag_track(*ret_tag), q->gen);
		if (d.flags & VIRTQ_DESC_F_INDIRECT)
			return vq_fetch_indirect(q, (gpa_t){ d.addr }, d.len, false, c, ret_reason);
		vchain_add(c, d.addr, d.len, d.flags);
		e = track_bounded(q, d.next);
	}
	return 0;
}
