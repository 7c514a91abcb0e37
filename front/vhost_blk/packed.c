/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packed ring (VIRTIO 1.2, 2.8), device side.
 */
#include "front/vhost_blk/blk.h"
#include "front/vhost_blk/track.h"

static uint16_t flags_now(const struct vq *q, unsigned i)
{
	/* acquire: pairs with the driver's release of flags behind the rest (2.8.21.1) */
	return le16toh(__atomic_load_n(&q->pdesc[i].flags, __ATOMIC_ACQUIRE));
}

/* 2.8.1: available when AVAIL is the wrap counter and USED is not. */
static bool is_available(uint16_t flags, bool wrap)
{
	return !!(flags & VIRTQ_DESC_F_AVAIL) == wrap && !!(flags & VIRTQ_DESC_F_USED) != wrap;
}

bool packed_has_work(const struct vq *q)
{
	return is_available(flags_now(q, q->avail_idx), q->avail_wrap);
}

void packed_notify(struct vq *q, enum vq_notify notify)
{
	uint16_t flags = VIRTQ_PACKED_EVENT_F_DISABLE;

	if (notify == VQ_NOTIFY_ON && q->event_idx) {
		uint16_t at = (uint16_t)(q->avail_idx | (q->avail_wrap ? VIRTQ_PACKED_WRAP : 0));

		__atomic_store_n(&q->device_event->desc, htole16(at), __ATOMIC_RELAXED);
		flags = VIRTQ_PACKED_EVENT_F_DESC;
	} else if (notify == VQ_NOTIFY_ON) {
		flags = VIRTQ_PACKED_EVENT_F_ENABLE;
	}
	/* release: the place before the word that says it counts; pairs with the driver's barrier
	 * before it reads them (2.8.21.3.1) */
	__atomic_store_n(&q->device_event->flags, htole16(flags), __ATOMIC_RELEASE);
}

/* The second word of a descriptor: length, id, flags. */
#define WRITE_SHIFT 49

static inline uint32_t len_of(uint64_t w)
{
	return (uint32_t)w;
}

static inline uint16_t id_of(uint64_t w)
{
	return (uint16_t)(w >> 32);
}

static inline uint16_t flags_of(uint64_t w)
{
	return (uint16_t)(w >> 48);
}

/* A place in the ring, and the lap that it is on. */
struct place {
	uint16_t idx;
	bool wrap;
};

static inline void step(const struct vq *q, struct place *at)
{
	if (++at->idx == q->size) {
		at->idx = 0;
		at->wrap = !at->wrap;
	}
}

/* Whether the descriptors in @d, of an indirect table, are the usual three. */
static inline bool usual_of(const uint64_t d[6], struct blk_usual *u)
{
	const uint16_t judged = VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_INDIRECT; /* 2.8.8: not NEXT */

	if (unlikely(len_of(d[1]) != BLK_HDR_B || flags_of(d[1]) & judged ||
		     flags_of(d[3]) & VIRTQ_DESC_F_INDIRECT || len_of(d[5]) != 1 ||
		     (flags_of(d[5]) & judged) != VIRTQ_DESC_F_WRITE))
		return false;
	*u = (struct blk_usual){ { d[0] }, { d[2] }, { d[4] }, len_of(d[3]),
				 (uint32_t)(d[3] >> WRITE_SHIFT) & 1 };
	return true;
}

/* Reads the chain at *@at if it is the usual one, in an indirect table; the driver of Linux makes
 * all of its requests so where it may. Return: false: it may be anything, *@at is as it was. */
static inline bool fetch_usual(struct vq *q, struct place *at, struct blk_usual *u,
			       struct blk_tag *ret_tag)
{
	uint64_t w[2], d[6];

	read_once_16(&q->pdesc[at->idx], w);
	const uint8_t *table;
	uint16_t flags = flags_of(w[1]);
	if (unlikely(!(flags & VIRTQ_DESC_F_INDIRECT) || flags & VIRTQ_DESC_F_NEXT ||
		     len_of(w[1]) != 3 * sizeof(struct virtq_packed_desc) || !q->indirect ||
		     q->slots_inflight == q->size ||
		     !gview_run(&q->view, (gpa_t){ w[0] }, len_of(w[1]), &table)))
		return false;
	read_once_16(table, d);
	read_once_16(table + 16, d + 2);
	read_once_16(table + 32, d + 4);
	if (unlikely(!usual_of(d, u)))
		return false;
	*ret_tag = blk_tag(id_of(w[1]), 1, track_packed_desc(q, 0, w), q->gen);
	step(q, at);
	return true;
}

/* Reads whatever chain begins at *@at and moves *@at behind it. Return: 0; -EINVAL with
 * *ret_reason. */
static int fetch_any(struct vq *q, struct place *at, struct vchain *c, struct blk_tag *ret_tag,
		     const char **ret_reason)
{
	uint16_t flags, slots = 0, head = 0;

	c->n = 0;
	c->too_long = false;
	do {
		uint64_t w[2];

		if (unlikely(slots + q->slots_inflight >= q->size)) {
			*ret_reason = slots == q->size ?
					      "descriptor chain longer than the ring" :
					      "more descriptors available than the ring has";
			return -EINVAL;
		}
		read_once_16(&q->pdesc[at->idx], w);
		flags = flags_of(w[1]);
		uint16_t track = track_packed_desc(q, slots, w);
		if (!slots++)
			head = track;
		*ret_tag = blk_tag(id_of(w[1]), slots, head, q->gen); /* the last one's id counts */
		step(q, at);
		if (flags & VIRTQ_DESC_F_INDIRECT) {
			if (slots > 1 || flags & VIRTQ_DESC_F_NEXT || !q->indirect) {
				*ret_reason = "indirect descriptor where none may be";
				return -EINVAL;
			}
			return vq_fetch_indirect(q, (gpa_t){ w[0] }, len_of(w[1]), false, c,
						 ret_reason);
		}
		vchain_add(c, w[0], len_of(w[1]), flags);
	} while (flags & VIRTQ_DESC_F_NEXT);
	return 0;
}

/* Takes a chain that is not usual, or that a predecessor left. Return: 0; -EAGAIN; -EINVAL, -EFAULT:
 * the ring is broken now. */
static __attribute__((noinline)) int take_any(struct vq *q, struct req *r, struct place *at,
					      struct blk_tag *tag)
{
	bool replaying = q->next_replay < q->nreplay;
	const char *reason;
	struct vchain c;
	int err = replaying ? track_packed_replay(q, &c, tag, &reason) :
			      fetch_any(q, at, &c, tag, &reason);

	if (!err) {
		err = blk_begin_any(q, r, &c, *tag);
		reason = "address outside memory";
	}
	if (err && err != -EAGAIN)
		vq_break(q, reason);
	if (!err && replaying)
		q->next_replay++;
	return err;
}

/* Takes the next chain. Return: the request; NULL with *ret_err: -EAGAIN, out of requests or lists,
 * it stays in the ring; otherwise the ring is broken. */
static inline struct req *take_one(struct vq *q, int *ret_err)
{
	struct slab *slab = &q->pe.poller->slab;
	struct place at = { q->avail_idx, q->avail_wrap };
	struct blk_tag tag = { 0 };
	struct req *r = slab_get(slab);
	struct blk_usual u;
	bool replaying = q->next_replay < q->nreplay;

	if (unlikely(!r)) {
		*ret_err = -EAGAIN;
		return NULL;
	}
	if (unlikely(replaying || !fetch_usual(q, &at, &u, &tag) ||
		     !blk_begin_usual(q, r, &u, tag))) {
		at = (struct place){ q->avail_idx, q->avail_wrap };
		*ret_err = take_any(q, r, &at, &tag);
		if (*ret_err) {
			slab_put(slab, r);
			return NULL;
		}
	}
	q->slots_inflight += blk_tag_slots(tag);
	q->avail_idx = at.idx;
	q->avail_wrap = at.wrap;
	if (likely(!replaying))
		track_packed_take(q, blk_tag_track(tag), blk_tag_slots(tag));
	return r;
}

int packed_turn(struct vq *q)
{
	struct req *reqs[POLLER_BATCH];
	bool replaying = q->next_replay < q->nreplay;
	unsigned n = 0;
	int err = 0;

	if (likely(!replaying && !packed_has_work(q)))
		return 0;
	poller_tick(q->pe.poller);
	do {
		reqs[n] = take_one(q, &err);
		if (unlikely(!reqs[n]))
			break;
		n++;
	} while (n < POLLER_BATCH &&
		 (unlikely(replaying) ? q->next_replay < q->nreplay : packed_has_work(q)));
	if (likely(n)) {
		stat_add(&q->taken, n);
		blk_submit(q, reqs, n);
		return (int)n;
	}
	return err == -EAGAIN ? err : 0;
}

/* 2.8.1: used when AVAIL and USED are both the wrap counter. Something was written: the status. */
static uint16_t used_flags(const struct vq *q)
{
	return htole16((uint16_t)(q->used_wrap ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED |
							 VIRTQ_DESC_F_WRITE :
						 VIRTQ_DESC_F_WRITE));
}

static void push(struct vq *q, struct blk_tag tag, uint32_t in_b)
{
	struct virtq_packed_desc *d = &q->pdesc[q->used_idx];
	uint16_t slots = blk_tag_slots(tag);
	uint16_t flags = used_flags(q);

	track_packed_push(q, blk_tag_track(tag), slots);
	d->id = htole16(blk_tag_id(tag));
	d->len = htole32(in_b);
	/* The driver looks at the first of a batch first, so its flags are stored last, by
	 * packed_publish(). release: flags behind id and length. */
	if (q->npushed++)
		__atomic_store_n(&d->flags, flags, __ATOMIC_RELEASE);
	else
		q->first_flags = flags;
	q->slots_inflight -= slots;
	q->used_idx = (uint16_t)(q->used_idx + slots);
	if (q->used_idx >= q->size) {
		q->used_idx = (uint16_t)(q->used_idx - q->size);
		q->used_wrap = !q->used_wrap;
	}
}

void packed_complete(struct req *const *reqs, unsigned n)
{
	struct vq *q = blk_queue(reqs[0]);
	struct slab *slab = &q->pe.poller->slab;

	if (unlikely(q->log || q->old_inflight))
		blk_end_unusual(q, reqs, n);
	for (unsigned i = 0; i < n; i++) {
		struct req *r = reqs[i];
		const struct blk_priv *b = blk_priv(r);

		*b->status = blk_status(r->status);
		push(q, b->tag, b->in_b);
		slab_put(slab, r);
	}
	q->inflight -= n;
	poller_dirty(q->pe.poller, &q->pe);
}

/* Whether the driver asked to hear of what lies in [published, used_idx). */
static bool wants_call(const struct vq *q)
{
	uint16_t flags = le16toh(__atomic_load_n(&q->driver_event->flags, __ATOMIC_RELAXED));

	if (flags != VIRTQ_PACKED_EVENT_F_DESC || !q->event_idx)
		return flags != VIRTQ_PACKED_EVENT_F_DISABLE;
	uint16_t at = le16toh(__atomic_load_n(&q->driver_event->desc, __ATOMIC_RELAXED));
	int event = at & (VIRTQ_PACKED_WRAP - 1);
	int before = q->published;

	/* all on the scale of the current round of used_idx */
	if (!!(at & VIRTQ_PACKED_WRAP) != q->used_wrap)
		event -= q->size;
	if (q->published_wrap != q->used_wrap)
		before -= q->size;
	return vq_need_event((uint16_t)event, q->used_idx, (uint16_t)before);
}

void packed_publish(struct vq *q)
{
	if (unlikely(q->log))
		vq_log_used(q, q->size * sizeof(struct virtq_packed_desc));
	/* release: pairs with the driver's acquire of flags; everything of the batch comes first */
	__atomic_store_n(&q->pdesc[q->published].flags, q->first_flags, __ATOMIC_RELEASE);
	/* seq_cst: used flags before our look at what the driver wants; pairs with the driver's
	 * barrier between enabling interrupts and looking at the ring again (2.8.21.3.1) */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	bool call = wants_call(q);

	track_packed_publish(q);
	q->published = q->used_idx;
	q->published_wrap = q->used_wrap;
	if (call)
		vq_call(q);
}
