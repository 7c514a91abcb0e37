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

/* Reads the chain whose first descriptor is at *@at and moves *@at, *@wrap behind it.
 * Return: 0; -EINVAL with *ret_reason. */
static int fetch(struct vq *q, uint16_t *at, bool *wrap, struct vchain *c, const char **ret_reason)
{
	uint16_t flags;

	c->n = 0;
	c->slots = 0;
	c->too_long = false;
	do {
		uint64_t w[2];

		read_once_16(&q->pdesc[*at], w);
		flags = (uint16_t)(w[1] >> 48);
		c->id = (uint16_t)(w[1] >> 32); /* the last one's counts */
		if (unlikely(++c->slots + q->slots_inflight > q->size)) {
			*ret_reason = c->slots > q->size ?
					      "descriptor chain longer than the ring" :
					      "more descriptors available than the ring has";
			return -EINVAL;
		}
		if (++*at == q->size) {
			*at = 0;
			*wrap = !*wrap;
		}
		track_packed_desc(q, c, w);
		if (flags & VIRTQ_DESC_F_INDIRECT) {
			if (c->slots > 1 || flags & VIRTQ_DESC_F_NEXT || !q->indirect) {
				*ret_reason = "indirect descriptor where none may be";
				return -EINVAL;
			}
			return vq_fetch_indirect(q, (gpa_t){ w[0] }, (uint32_t)w[1], false, c,
						 ret_reason);
		}
		vchain_add(c, w[0], (uint32_t)w[1], flags);
	} while (flags & VIRTQ_DESC_F_NEXT);
	return 0;
}

/* Takes one chain from the ring, or a predecessor's. Return: the request; NULL with *ret_err
 * -EAGAIN; -EINVAL with *ret_reason. */
static struct req *take(struct vq *q, struct vchain *c, int *ret_err, const char **ret_reason)
{
	uint16_t at = q->avail_idx;
	bool wrap = q->avail_wrap, replaying = q->next_replay < q->nreplay;

	track_packed_begin(q, c);
	*ret_err = replaying ? track_packed_replay(q, c, ret_reason) :
			       fetch(q, &at, &wrap, c, ret_reason);
	if (unlikely(*ret_err))
		return NULL;
	struct req *r = blk_begin(q, c, ret_err);
	if (unlikely(!r)) {
		if (*ret_err == -EFAULT)
			*ret_reason = "address outside memory";
		return NULL;
	}
	q->slots_inflight += c->slots;
	if (unlikely(replaying)) {
		q->next_replay++;
	} else {
		q->avail_idx = at;
		q->avail_wrap = wrap;
		track_packed_take(q, c);
	}
	return r;
}

int packed_turn(struct vq *q)
{
	struct req *reqs[POLLER_BATCH];
	struct vchain c;
	const char *reason;
	bool replaying = q->next_replay < q->nreplay;
	unsigned n = 0;
	int err = 0;

	if (likely(!replaying && !packed_has_work(q)))
		return 0;
	poller_tick(q->pe.poller);
	do {
		reqs[n] = take(q, &c, &err, &reason);
		if (unlikely(!reqs[n])) {
			if (err != -EAGAIN)
				vq_break(q, reason);
			break;
		}
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

void packed_push(struct vq *q, uint16_t id, uint32_t len_b, uint16_t slots, uint16_t track)
{
	struct virtq_packed_desc *d = &q->pdesc[q->used_idx];
	uint16_t flags = used_flags(q);

	track_packed_push(q, track, slots);
	d->id = htole16(id);
	d->len = htole32(len_b);
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
