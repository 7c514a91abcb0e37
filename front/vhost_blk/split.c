/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The split ring (VIRTIO 1.2, 2.7), device side.
 */
#include "front/vhost_blk/blk.h"
#include "front/vhost_blk/track.h"

/* With event idx, notifications are off while avail_event stands behind where the driver is. It is
 * moved along before the driver's 16-bit index could come round to it. */
#define PARK_AGAIN 0x4000u

static le16 *avail_event(struct vq *q)
{
	return (le16 *)&q->used->ring[q->size];
}

/* Behind all that a driver may have published at once: it looks at this word only after it
 * published, by when we may have taken that, and parked. */
static void park(struct vq *q)
{
	q->parked = (uint16_t)(q->avail_idx - q->size - 1);
	/* relaxed: a driver that sees it late notifies once too often */
	__atomic_store_n(avail_event(q), htole16(q->parked), __ATOMIC_RELAXED);
}

void split_notify(struct vq *q, enum vq_notify notify)
{
	if (q->event_idx) {
		if (notify == VQ_NOTIFY_OFF)
			park(q);
		else
			__atomic_store_n(avail_event(q), htole16(q->avail_idx), __ATOMIC_RELAXED);
		return;
	}
	uint16_t flags = notify == VQ_NOTIFY_OFF ? VIRTQ_USED_F_NO_NOTIFY : 0;

	__atomic_store_n(&q->used->flags, htole16(flags), __ATOMIC_RELAXED);
}

static uint16_t avail_now(const struct vq *q)
{
	/* acquire: pairs with the driver's release of idx behind the entries (2.7.13.3.1) */
	return le16toh(__atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE));
}

bool split_has_work(const struct vq *q)
{
	return avail_now(q) != q->avail_idx;
}

/* The second word of a descriptor: length, flags, next. */
#define WORD(len, flags, next) ((uint64_t)(len) | (uint64_t)(flags) << 32 | (uint64_t)(next) << 48)
#define WRITE_SHIFT 33

static inline uint32_t len_of(uint64_t w)
{
	return (uint32_t)w;
}

static inline uint16_t flags_of(uint64_t w)
{
	return (uint16_t)(w >> 32);
}

static inline uint16_t next_of(uint64_t w)
{
	return (uint16_t)(w >> 48);
}

/* A word without its next, to be compared with another such. */
static inline uint64_t but_next(uint64_t w)
{
	return w << 16;
}

/* The usual three, one behind the other in an indirect table. Return: false: something else. */
static inline bool read_table(const uint8_t *table, uint64_t d[6])
{
	read_once_16(table, d);
	read_once_16(table + 16, d + 2);
	read_once_16(table + 32, d + 4);
	return likely(d[1] == WORD(BLK_HDR_B, VIRTQ_DESC_F_NEXT, 1) &&
		      (d[3] >> 32 & ~(uint64_t)VIRTQ_DESC_F_WRITE) ==
			      WORD(0, VIRTQ_DESC_F_NEXT, 2) >> 32);
}

/* The usual three, linked in the ring; the first has been read. Return: false: something else. */
static inline bool read_links(const struct vq *q, uint64_t d[6])
{
	uint16_t next = next_of(d[1]);

	if (unlikely(but_next(d[1]) != but_next(WORD(BLK_HDR_B, VIRTQ_DESC_F_NEXT, 0)) ||
		     next >= q->size))
		return false;
	read_once_16(&q->desc[next], d + 2);
	next = next_of(d[3]);
	if (unlikely((flags_of(d[3]) & ~VIRTQ_DESC_F_WRITE) != VIRTQ_DESC_F_NEXT ||
		     next >= q->size))
		return false;
	read_once_16(&q->desc[next], d + 4);
	return true;
}

/* Reads the chain at @head if it is the usual one. Return: false: it may be anything. */
static inline bool fetch_usual(struct vq *q, uint16_t head, struct blk_usual *u)
{
	uint64_t d[6];

	read_once_16(&q->desc[head], d);
	if (but_next(d[1]) == but_next(WORD(3 * sizeof(*q->desc), VIRTQ_DESC_F_INDIRECT, 0))) {
		const uint8_t *table;

		if (unlikely(!q->indirect ||
			     !gview_run(&q->view, (gpa_t){ d[0] }, len_of(d[1]), &table) ||
			     !read_table(table, d)))
			return false;
	} else if (!read_links(q, d)) {
		return false;
	}
	if (unlikely(but_next(d[5]) != but_next(WORD(1, VIRTQ_DESC_F_WRITE, 0))))
		return false;
	*u = (struct blk_usual){ { d[0] }, { d[2] }, { d[4] }, len_of(d[3]),
				 (uint32_t)(d[3] >> WRITE_SHIFT) & 1 };
	return true;
}

/* Reads whatever chain begins at @head. Return: 0; -EINVAL with *ret_reason. */
static int fetch_any(struct vq *q, uint16_t head, struct vchain *c, const char **ret_reason)
{
	unsigned i = head;

	c->n = 0;
	c->too_long = false;
	for (unsigned steps = 1;; steps++) {
		uint64_t w[2];

		read_once_16(&q->desc[i], w);
		uint16_t flags = flags_of(w[1]);
		if (flags & VIRTQ_DESC_F_INDIRECT) {
			if (steps > 1 || flags & VIRTQ_DESC_F_NEXT || !q->indirect) {
				*ret_reason = "indirect descriptor where none may be";
				return -EINVAL;
			}
			return vq_fetch_indirect(q, (gpa_t){ w[0] }, len_of(w[1]), true, c,
						 ret_reason);
		}
		vchain_add(c, w[0], len_of(w[1]), flags);
		if (!(flags & VIRTQ_DESC_F_NEXT))
			return 0;
		i = next_of(w[1]);
		if (unlikely(i >= q->size)) {
			*ret_reason = "next descriptor beyond the ring";
			return -EINVAL;
		}
		if (unlikely(steps == q->size)) {
			*ret_reason = "descriptor chain is a loop";
			return -EINVAL;
		}
	}
}

/* The rest of take_one(), for what is not usual. The descriptors are read anew, and only what is
 * read now counts. */
static __attribute__((noinline)) int take_any(struct vq *q, struct req *r, struct blk_tag tag)
{
	const char *reason = "address outside memory";
	struct vchain c;
	int err = fetch_any(q, blk_tag_id(tag), &c, &reason);

	if (!err)
		err = blk_begin_any(q, r, &c, tag);
	if (err)
		vq_break(q, reason);
	return err;
}

/* Takes the @n chains whose heads are given into @reqs, which are fresh. Return: how many; the rest
 * stay in the ring, which is broken. */
static unsigned take(struct vq *q, const uint16_t *head, unsigned n, struct req **reqs)
{
	struct vhost_user_region_split *track = q->track_split;
	uint64_t counter = q->track_counter, now = q->pe.poller->now_ticks;
	struct blk_usual u;
	unsigned i;

	for (i = 0; i < n; i++) {
		struct blk_tag tag = blk_tag(head[i], 0, 0, q->gen);

		if (unlikely(!fetch_usual(q, head[i], &u) ||
			     !blk_begin_usual(q, reqs[i], &u, tag, now)) &&
		    take_any(q, reqs[i], tag))
			break;
		if (likely(track))
			track_split_take(track, head[i], counter++);
	}
	q->track_counter = counter;
	return i;
}

/* The heads of the next @n chains; what a predecessor had taken and not completed goes first.
 * Return: how many lie in the ring, up to the first that does not. */
static unsigned next_heads(struct vq *q, unsigned n, uint16_t *ret_head)
{
	const struct virtq_desc *desc = q->desc;
	const le16 *ring = q->avail->ring;
	unsigned at = q->avail_idx, size = q->size, mask = size - 1;

	if (unlikely(q->next_replay < q->nreplay)) {
		memcpy(ret_head, q->replay + q->next_replay, n * sizeof(*ret_head));
		return n;
	}
	for (unsigned i = 0; i < n; i++) {
		uint16_t head = le16toh(__atomic_load_n(&ring[at++ & mask], __ATOMIC_RELAXED));

		if (unlikely(head >= size))
			return i;
		ret_head[i] = head;
		__builtin_prefetch(&desc[head]);
	}
	return n;
}

/* What the first descriptors of a batch point to, tables or headers, comes into the cache while
 * they are judged one after another. Nothing read here is used otherwise; wherever an address
 * points, a prefetch cannot fault. */
static void prefetch_behind(struct vq *q, const uint16_t *head, unsigned n)
{
	const struct virtq_desc *desc = q->desc;
	const struct gregion *g = q->view.last;

#pragma GCC unroll 4
	for (unsigned i = 0; i < n; i++) {
		uint64_t at = __atomic_load_n(&desc[head[i]].addr, __ATOMIC_RELAXED);

		__builtin_prefetch(gregion_host(g, (gpa_t){ le64toh(at) }));
	}
}

int split_turn(struct vq *q)
{
	struct req *reqs[POLLER_BATCH];
	uint16_t head[POLLER_BATCH];
	bool replaying = q->next_replay < q->nreplay;
	uint16_t waiting = (uint16_t)(avail_now(q) - q->avail_idx);

	if (likely(!waiting && !replaying))
		return 0;
	if (unlikely(waiting + q->inflight > q->size)) {
		vq_break(q, "available index too far ahead");
		return 0;
	}
	struct slab *slab = &q->pe.poller->slab;
	unsigned want = replaying ? q->nreplay - q->next_replay : waiting;
	unsigned had = slab_get_many(slab, reqs, min_u32(want, q->lane->batch));
	unsigned n = next_heads(q, had, head);
	poller_tick(q->pe.poller);
	if (n > 1)
		prefetch_behind(q, head, n);
	if (unlikely(n < had && !n))
		vq_break(q, "head beyond the ring");
	n = take(q, head, n, reqs);
	if (had > n)
		slab_put_many(slab, reqs + n, had - n);
	if (unlikely(replaying))
		q->next_replay += n;
	else
		q->avail_idx = (uint16_t)(q->avail_idx + n);
	if (q->event_idx && (uint16_t)(q->avail_idx - q->parked) > PARK_AGAIN && !q->pe.armed)
		park(q);
	if (likely(n)) {
		stat_add(&q->taken, n);
		blk_submit(q, reqs, n);
		if (unlikely(replaying))
			vq_replay_taken(q);
		return (int)n;
	}
	return had ? 0 : -EAGAIN;
}

void split_complete(struct req *const *reqs, unsigned n)
{
	struct vq *q = blk_queue(reqs[0]);
	struct slab *slab = &q->pe.poller->slab;
	struct virtq_used_elem *ring = q->used->ring;
	struct vhost_user_region_split *track = q->track_split;
	uint16_t *pushed = q->pushed + q->npushed;
	unsigned at = q->used_idx, mask = q->size - 1u;

	if (unlikely(q->old_inflight))
		blk_end_old(q, reqs, n);
	for (unsigned i = 0; i < n; i++) {
		const struct req *r = reqs[i];
		const struct blk_priv *b = blk_priv(reqs[i]);
		uint16_t id = blk_tag_id(b->tag);

		*b->status = blk_status(r->status);
		struct virtq_used_elem *e = &ring[at++ & mask];

		e->id = htole32(id);
		e->len = htole32(b->in_b);
		*pushed++ = id;
		if (likely(track))
			track_split_push(track, id);
	}
	if (unlikely(q->log))
		blk_log(q, reqs, n);
	q->npushed = (uint16_t)(q->npushed + n);
	slab_put_many(slab, reqs, n);
	q->used_idx = (uint16_t)at;
	q->inflight -= n;
	poller_dirty(q->pe.poller, &q->pe);
}

void split_publish(struct vq *q)
{
	uint16_t before = q->published;
	bool call;

	/* release: pairs with the driver's acquire of idx; entries, status and data come first */
	__atomic_store_n(&q->used->idx, htole16(q->used_idx), __ATOMIC_RELEASE);
	q->published = q->used_idx;
	track_split_publish(q);
	/* seq_cst: our idx before our look at what the driver wants; pairs with the driver's
	 * barrier between asking for interrupts and looking at idx again (2.7.8.1) */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (unlikely(q->log))
		vq_log_used(q);
	if (q->event_idx) {
		const le16 *used_event = &q->avail->ring[q->size];

		call = vq_need_event(le16toh(__atomic_load_n(used_event, __ATOMIC_RELAXED)),
				     q->used_idx, before);
	} else {
		call = !(le16toh(__atomic_load_n(&q->avail->flags, __ATOMIC_RELAXED)) &
			 VIRTQ_AVAIL_F_NO_INTERRUPT);
	}
	if (call)
		vq_call(q);
}
