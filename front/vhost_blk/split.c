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

static void park(struct vq *q)
{
	q->parked = (uint16_t)(q->avail_idx - 1);
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

/* Reads the chain that begins at @head. Return: 0; -EINVAL with *ret_reason. */
static int fetch(struct vq *q, uint16_t head, struct vchain *c, const char **ret_reason)
{
	unsigned i = head;

	c->n = 0;
	c->id = head;
	c->too_long = false;
	for (unsigned steps = 1;; steps++) {
		uint64_t w[2];

		read_once_16(&q->desc[i], w);
		uint16_t flags = (uint16_t)(w[1] >> 32);
		if (flags & VIRTQ_DESC_F_INDIRECT) {
			if (steps > 1 || flags & VIRTQ_DESC_F_NEXT || !q->indirect) {
				*ret_reason = "indirect descriptor where none may be";
				return -EINVAL;
			}
			return vq_fetch_indirect(q, (gpa_t){ w[0] }, (uint32_t)w[1], true, c,
						 ret_reason);
		}
		vchain_add(c, w[0], (uint32_t)w[1], flags);
		if (!(flags & VIRTQ_DESC_F_NEXT))
			return 0;
		i = (unsigned)(w[1] >> 48);
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

/* Takes up to @n chains whose heads are given. Return: how many; the rest stay in the ring. */
static unsigned take(struct vq *q, const uint16_t *head, unsigned n, struct req **reqs, int *ret_err)
{
	struct vchain c;
	const char *reason = "address outside memory";

	for (unsigned i = 0; i < n; i++) {
		if (unlikely(head[i] >= q->size)) {
			vq_break(q, "head beyond the ring");
			return i;
		}
		if (unlikely(fetch(q, head[i], &c, &reason))) {
			vq_break(q, reason);
			return i;
		}
		c.slots = 1;
		reqs[i] = blk_begin(q, &c, ret_err);
		if (unlikely(!reqs[i])) {
			if (*ret_err == -EFAULT)
				vq_break(q, "address outside memory");
			return i;
		}
		track_split_take(q, head[i]);
	}
	return n;
}

/* What a predecessor had taken and not completed goes first. */
static unsigned next_heads(struct vq *q, unsigned n, uint16_t *ret_head)
{
	if (unlikely(q->next_replay < q->nreplay)) {
		n = min_u32(n, q->nreplay - q->next_replay);
		memcpy(ret_head, q->replay + q->next_replay, n * sizeof(*ret_head));
		return n;
	}
	for (unsigned i = 0; i < n; i++) {
		uint16_t at = (uint16_t)(q->avail_idx + i) & (uint16_t)(q->size - 1);

		ret_head[i] = le16toh(__atomic_load_n(&q->avail->ring[at], __ATOMIC_RELAXED));
		__builtin_prefetch(&q->desc[ret_head[i] & (q->size - 1)]);
	}
	return n;
}

int split_turn(struct vq *q)
{
	struct req *reqs[POLLER_BATCH];
	uint16_t head[POLLER_BATCH] = { 0 };
	bool replaying = q->next_replay < q->nreplay;
	uint16_t waiting = (uint16_t)(avail_now(q) - q->avail_idx);
	int err = 0;

	if (likely(!waiting && !replaying))
		return 0;
	if (unlikely(waiting + q->inflight > q->size)) {
		vq_break(q, "available index too far ahead");
		return 0;
	}
	unsigned n = next_heads(q, min_u32(replaying ? UINT32_MAX : waiting, POLLER_BATCH), head);
	poller_tick(q->pe.poller);
	n = take(q, head, n, reqs, &err);
	if (unlikely(replaying))
		q->next_replay += n;
	else
		q->avail_idx = (uint16_t)(q->avail_idx + n);
	if (q->event_idx && (uint16_t)(q->avail_idx - q->parked) > PARK_AGAIN && !q->pe.armed)
		park(q);
	if (likely(n)) {
		stat_add(&q->taken, n);
		blk_submit(q, reqs, n);
		return (int)n;
	}
	return err == -EAGAIN ? err : 0;
}

void split_push(struct vq *q, uint16_t id, uint32_t len_b)
{
	struct virtq_used_elem *e = &q->used->ring[q->used_idx & (q->size - 1)];

	track_split_push(q, id);
	e->id = htole32(id);
	e->len = htole32(len_b);
	q->used_idx++;
	q->npushed++;
}

void split_publish(struct vq *q)
{
	uint16_t before = q->published;
	bool call;

	if (unlikely(q->log))
		vq_log_used(q, (uint64_t)((uint8_t *)&q->used->ring[q->size] - (uint8_t *)q->used));
	/* release: pairs with the driver's acquire of idx; entries, status and data come first */
	__atomic_store_n(&q->used->idx, htole16(q->used_idx), __ATOMIC_RELEASE);
	q->published = q->used_idx;
	track_split_publish(q);
	/* seq_cst: our idx before our look at what the driver wants; pairs with the driver's barrier
	 * between asking for interrupts and looking at idx again (2.7.8.1) */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
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
