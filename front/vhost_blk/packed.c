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
#define STATE_FLAGS (VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED)

static uint16_t available_on(bool wrap)
{
	return wrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
}

bool packed_has_work(const struct vq *q)
{
	return (flags_now(q, q->avail_idx) & STATE_FLAGS) == available_on(q->avail_wrap);
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
#define WORD(len, flags) ((uint64_t)(len) | (uint64_t)(flags) << 48)
#define WRITE_SHIFT 49
/* What of it tells whether a descriptor is the expected one. */
#define IN_RING WORD(UINT32_MAX, UINT16_MAX & ~(STATE_FLAGS | VIRTQ_DESC_F_WRITE))
#define IN_TABLE WORD(UINT32_MAX, VIRTQ_DESC_F_WRITE | VIRTQ_DESC_F_INDIRECT) /* 2.8.8: not NEXT */

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

/* Reads the usual three from an indirect table; Linux makes all its requests so where it may.
 * Return: false: something else. */
static inline bool read_table(const uint8_t *table, struct blk_usual *u)
{
	uint64_t d[6];

	read_once_16(table, d);
	read_once_16(table + 16, d + 2);
	read_once_16(table + 32, d + 4);
	if (unlikely((d[1] & IN_TABLE) != WORD(BLK_HDR_B, 0) ||
		     d[3] & WORD(0, VIRTQ_DESC_F_INDIRECT) ||
		     (d[5] & IN_TABLE) != WORD(1, VIRTQ_DESC_F_WRITE)))
		return false;
	*u = (struct blk_usual){ { d[0] }, { d[2] }, { d[4] }, len_of(d[3]),
				 (uint32_t)(d[3] >> WRITE_SHIFT) & 1 };
	return true;
}

/* Takes the one-descriptor chain in @w if it is a usual request. Return: false: it may be
 * anything. */
static inline bool take_usual(struct vq *q, struct req *r, const uint64_t w[2])
{
	const uint8_t *table;
	struct blk_usual u;

	if (unlikely((w[1] & IN_RING) != WORD(3 * sizeof(*q->pdesc), VIRTQ_DESC_F_INDIRECT) ||
		     !q->indirect || q->slots_inflight == q->size ||
		     !gview_run(&q->view, (gpa_t){ w[0] }, len_of(w[1]), &table) ||
		     !read_table(table, &u)))
		return false;
	uint16_t track = track_packed_desc(q, 0, w);
	return blk_begin_usual(q, r, &u, blk_tag(id_of(w[1]), 1, track, q->gen),
			       q->pe.poller->now_ticks);
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

/* Takes the chain at q->avail_idx, whatever it is, or that a predecessor left. Return: 0;
 * -EINVAL, -EFAULT: the ring is broken now. */
static __attribute__((noinline)) int take_any(struct vq *q, struct req *r, bool replay)
{
	struct place at = { q->avail_idx, q->avail_wrap };
	const char *reason;
	struct blk_tag tag;
	struct vchain c;
	int err = replay ? track_packed_replay(q, &c, &tag, &reason) :
			   fetch_any(q, &at, &c, &tag, &reason);

	if (!err) {
		err = blk_begin_any(q, r, &c, tag);
		reason = "address outside memory";
	}
	if (err) {
		vq_break(q, reason);
		return err;
	}
	q->slots_inflight += blk_tag_slots(tag);
	q->avail_idx = at.idx;
	q->avail_wrap = at.wrap;
	if (replay)
		q->next_replay++;
	else
		track_packed_take(q, blk_tag_track(tag), blk_tag_slots(tag));
	return 0;
}

/* Takes the chain at q->avail_idx, whose first descriptor has been read. Return: as take_any(). */
static inline int take(struct vq *q, struct req *r, const uint64_t w[2])
{
	if (unlikely(!take_usual(q, r, w)))
		return take_any(q, r, false);
	q->slots_inflight++;
	struct place at = { q->avail_idx, q->avail_wrap };
	step(q, &at);
	q->avail_idx = at.idx;
	q->avail_wrap = at.wrap;
	track_packed_take(q, blk_tag_track(blk_priv(r)->tag), 1);
	return 0;
}

/* Reads the descriptors that are available one behind another, and has what they point to brought
 * into the cache. They may be parts of longer chains. Return: how many, at most a batch. */
static unsigned look_ahead(struct vq *q, uint64_t (*ret_w)[2])
{
	struct place at = { q->avail_idx, q->avail_wrap };
	const struct gregion *g = q->view.last;
	unsigned n = 0;

	while (n < q->lane->batch &&
	       (flags_now(q, at.idx) & STATE_FLAGS) == available_on(at.wrap)) {
		read_once_16(&q->pdesc[at.idx], ret_w[n]);
		__builtin_prefetch(gregion_host(g, (gpa_t){ ret_w[n][0] }));
		step(q, &at);
		n++;
	}
	return n;
}

/* Takes the chains that begin in the @n descriptors @w. Return: how many requests. */
static unsigned take_many(struct vq *q, uint64_t (*w)[2], unsigned n, struct req **reqs)
{
	unsigned taken = 0;

	for (unsigned at = 0; at < n; taken++) {
		if (unlikely(take(q, reqs[taken], w[at])))
			break;
		at += blk_tag_slots(blk_priv(reqs[taken])->tag);
	}
	return taken;
}

/* Takes @n chains that a predecessor left. Return: how many requests. */
static unsigned replay_many(struct vq *q, unsigned n, struct req **reqs)
{
	for (unsigned i = 0; i < n; i++)
		if (take_any(q, reqs[i], true))
			return i;
	return n;
}

int packed_turn(struct vq *q)
{
	bool replay = q->next_replay < q->nreplay;
	struct slab *slab = &q->pe.poller->slab;
	struct req *reqs[POLLER_BATCH];
	uint64_t w[POLLER_BATCH][2];

	if (likely(!replay && !packed_has_work(q)))
		return 0;
	poller_tick(q->pe.poller);
	unsigned want = unlikely(replay) ? min_u32(q->nreplay - q->next_replay, q->lane->batch) :
					   look_ahead(q, w);
	unsigned had = slab_get_many(slab, reqs, want);
	unsigned n = unlikely(replay) ? replay_many(q, had, reqs) :
					take_many(q, w, had, reqs);
	if (had > n)
		slab_put_many(slab, reqs + n, had - n);
	if (likely(n)) {
		stat_add(&q->taken, n);
		blk_submit(q, reqs, n);
		if (unlikely(replay))
			vq_replay_taken(q);
		return (int)n;
	}
	return had ? 0 : -EAGAIN;
}

/* 2.8.1: used when AVAIL and USED are both the wrap counter. Something was written: the status. */
static uint16_t used_flags(const struct vq *q)
{
	return htole16((uint16_t)(q->used_wrap ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED |
							 VIRTQ_DESC_F_WRITE :
						 VIRTQ_DESC_F_WRITE));
}

static inline void push(struct vq *q, struct blk_tag tag, uint32_t in_b)
{
	struct virtq_packed_desc *d = &q->pdesc[q->used_idx];
	uint16_t slots = blk_tag_slots(tag);
	uint16_t flags = used_flags(q);

	d->id = htole16(blk_tag_id(tag));
	d->len = htole32(in_b);
	/* The driver looks at the first of a batch first, so its flags are stored last, by
	 * packed_publish(). release: flags behind id and length. */
	if (q->npushed)
		__atomic_store_n(&d->flags, flags, __ATOMIC_RELEASE);
	else
		q->first_flags = flags;
	q->slots_inflight -= slots;
	q->used_idx = (uint16_t)(q->used_idx + slots);
	if (q->used_idx >= q->size) {
		q->used_idx = (uint16_t)(q->used_idx - q->size);
		q->used_wrap = !q->used_wrap;
	}
	track_packed_push(q, blk_tag_track(tag));
	q->npushed++;
}

void packed_complete(struct req *const *reqs, unsigned n)
{
	struct vq *q = blk_queue(reqs[0]);

	if (unlikely(q->old_inflight))
		blk_end_old(q, reqs, n);
	for (unsigned i = 0; i < n; i++) {
		const struct blk_priv *b = blk_priv(reqs[i]);

		*b->status = blk_status(reqs[i]->status);
		push(q, b->tag, b->in_b);
	}
	if (unlikely(q->log))
		blk_log(q, reqs, n);
	slab_put_many(&q->pe.poller->slab, reqs, n);
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
	/* release: pairs with the driver's acquire of flags; everything of the batch comes first */
	__atomic_store_n(&q->pdesc[q->published].flags, q->first_flags, __ATOMIC_RELEASE);
	/* seq_cst: used flags before our look at what the driver wants; pairs with the driver's
	 * barrier between enabling interrupts and looking at the ring again (2.8.21.3.1) */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (unlikely(q->log))
		vq_log_used(q);
	bool call = wants_call(q);

	track_packed_publish(q);
	q->published = q->used_idx;
	q->published_wrap = q->used_wrap;
	if (call)
		vq_call(q);
}
