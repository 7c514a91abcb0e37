/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtqueue seen from the driver's side, split or packed, and its verbs: prep a slot, put
 * it in the ring, publish all that were put at once, reap what came back.
 *
 * A slot is a request with memory of its own: one cache line that holds its header and its
 * status byte, a data buffer, and descriptors that are written once and left alone as long as
 * the request keeps its shape. One thread per queue; nothing here blocks or allocates, and
 * only client_publish() makes a system call, when the device wants a kick.
 */
#pragma once

#include "wire/virtio_blk.h"
#include "wire/virtio_ring.h"

#define CLIENT_STATUS_PENDING 0xffu /* no status a device may give */

/* The shared line of a slot. */
struct client_line {
	struct virtio_blk_hdr hdr; /* the driver writes */
	uint8_t status; /* the device writes */
	uint8_t pad[47];
} cacheline_aligned;
static_assert(sizeof(struct client_line) == CACHE_LINE, "one line each");

/* What the driver remembers of a slot. */
struct client_slot {
	uint32_t shape; /* data length, and SHAPE_DEVICE_WRITES */
	uint16_t head; /* split: first descriptor */
	uint8_t ndesc; /* ring entries it takes */
	bool busy;
};

#define CLIENT_SHAPE_DEVICE_WRITES 0x80000000u

enum client_kick_when {
	CLIENT_KICK_WANTED, /* when the device wants it */
	CLIENT_KICK_ALWAYS, /* at every publication, wanted or not */
	CLIENT_KICK_NEVER, /* the device is known to poll */
	CLIENT_KICK_LATE, /* as NEVER, but client_nudge() kicks: it polls most of the time */
};

struct client_queue {
	bool packed, indirect, event_idx;
	bool broken; /* the device returned something it never got */
	uint16_t size, depth;
	uint32_t buf_b;

	union {
		struct virtq_desc *desc;
		struct virtq_packed_desc *ring;
	};
	union {
		struct virtq_avail *avail;
		struct virtq_packed_event *driver_event;
	};
	union {
		struct virtq_used *used;
		struct virtq_packed_event *device_event;
	};
	struct client_line *line;
	void *table; /* indirect tables, 4 entries a slot */
	uint8_t *data;
	struct client_slot *slot;
	uint16_t *slot_of; /* split: descriptor -> slot */
	uint64_t line_guest, table_guest, data_guest;

	/* Split: free-running. Packed: a position below size, and its wrap counter. */
	uint16_t put_idx, published_idx, used_idx;
	bool put_wrap, used_wrap;
	uint16_t first_flags; /* packed: of the first descriptor put since the last publish */
	uint16_t in_flight; /* requests */
	uint16_t unpublished; /* packed: descriptors put since the last publish */

	int kick_fd, call_fd;
	enum client_kick_when kick_when;
	uint64_t kicks, interrupts;
};

static inline uint8_t *client_data(const struct client_queue *q, unsigned slot)
{
	return q->data + (size_t)slot * q->buf_b;
}

static inline uint8_t client_status(const struct client_queue *q, unsigned slot)
{
	return __atomic_load_n(&q->line[slot].status, __ATOMIC_RELAXED);
}

/* Empties the ring and gives every slot its descriptors; the caller has set all that does not
 * change, and the device is not using the ring. Polled afterwards. */
void client_queue_reset(struct client_queue *q);

/* Rewrites the descriptors of @slot for @len_b bytes of data, perhaps none. */
void client_shape(struct client_queue *q, unsigned slot, uint32_t shape);

/* Fills in the header. @len_b is at most q->buf_b and 0 for a flush. */
static inline void client_prep(struct client_queue *q, unsigned slot, uint32_t type,
			       uint64_t sector, uint32_t len_b)
{
	bool device_writes = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	uint32_t shape = len_b | (device_writes ? CLIENT_SHAPE_DEVICE_WRITES : 0);
	struct client_line *l = &q->line[slot];

	if (unlikely(q->slot[slot].shape != shape))
		client_shape(q, slot, shape);
	l->hdr.type = htole32(type);
	l->hdr.sector = htole64(sector);
	l->status = CLIENT_STATUS_PENDING;
}

static inline void client_put_split(struct client_queue *q, unsigned slot)
{
	q->avail->ring[q->put_idx & (q->size - 1)] = htole16(q->slot[slot].head);
	q->put_idx++;
}

/* 2.8.13: all but the first flags of a batch may be written in any order, since the device
 * stops at the first descriptor that is not available. */
void client_put_packed_chain(struct client_queue *q, unsigned slot);

static inline void client_packed_desc(struct client_queue *q, struct virtq_packed_desc d,
				      uint16_t flags)
{
	uint16_t at = q->put_idx;

	flags |= q->put_wrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
	q->ring[at].addr = d.addr;
	q->ring[at].len = d.len;
	q->ring[at].id = d.id;
	if (!q->unpublished)
		q->first_flags = flags;
	else
		__atomic_store_n(&q->ring[at].flags, htole16(flags), __ATOMIC_RELEASE);
	q->unpublished++;
	if (++q->put_idx == q->size) {
		q->put_idx = 0;
		q->put_wrap = !q->put_wrap;
	}
}

static inline void client_put_packed(struct client_queue *q, unsigned slot)
{
	if (unlikely(!q->indirect)) {
		client_put_packed_chain(q, slot);
		return;
	}
	struct virtq_packed_desc d = {
		.addr = htole64(q->table_guest + slot * 64ull),
		.len = htole32(q->slot[slot].shape & ~CLIENT_SHAPE_DEVICE_WRITES ? 48 : 32),
		.id = htole16((uint16_t)slot),
	};

	client_packed_desc(q, d, VIRTQ_DESC_F_INDIRECT);
}

/* Puts a prepared slot into the ring; the device does not see it yet. */
static inline void client_put(struct client_queue *q, unsigned slot)
{
	q->slot[slot].busy = true;
	q->in_flight++;
	if (q->packed)
		client_put_packed(q, slot);
	else
		client_put_split(q, slot);
}

/* 2.7.10: whether an event word lies in [@old, @new), modulo 2^16. */
static inline bool client_passes(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

static inline bool client_wants_kick_split(const struct client_queue *q, uint16_t old)
{
	if (!q->event_idx)
		return !(le16toh(__atomic_load_n(&q->used->flags, __ATOMIC_RELAXED)) &
			 VIRTQ_USED_F_NO_NOTIFY);
	const le16 *event = (const le16 *)&q->used->ring[q->size];

	return client_passes(le16toh(__atomic_load_n(event, __ATOMIC_RELAXED)), q->put_idx, old);
}

/* 2.8.10, and 2.8.21.3.1 for the comparison across the wrap. */
static inline bool client_wants_kick_packed(const struct client_queue *q)
{
	uint16_t flags = le16toh(__atomic_load_n(&q->device_event->flags, __ATOMIC_RELAXED));

	if (flags != VIRTQ_PACKED_EVENT_F_DESC)
		return flags != VIRTQ_PACKED_EVENT_F_DISABLE;
	uint16_t word = le16toh(__atomic_load_n(&q->device_event->desc, __ATOMIC_RELAXED));
	uint16_t event = word & (VIRTQ_PACKED_WRAP - 1u);

	if (!!(word & VIRTQ_PACKED_WRAP) != q->put_wrap)
		event = (uint16_t)(event - q->size);
	return client_passes(event, q->put_idx, (uint16_t)(q->put_idx - q->unpublished));
}

/* Cold: tells the device. The one verb that a program on the host (client.c: an eventfd) and a
 * driver in a guest (vm/gauge: a register of the device) have each their own of. */
void client_kick(struct client_queue *q);
/* Cold: kicks, if that is to be done when the device does or does not want it. */
void client_kick_at(struct client_queue *q, bool wanted);
/* Nothing came back for long: kicks, where a kick may have been due and was left out. */
void client_nudge(struct client_queue *q);

/* Makes all that was put visible, with one store, and kicks when that is to be done.
 * Return: whether the device wants a kick. */
static inline bool client_publish(struct client_queue *q)
{
	uint16_t old = q->published_idx;
	bool kick;

	if (q->packed) {
		if (!q->unpublished)
			return false;
		/* release: the rest of the batch comes first; pairs with the device's acquire */
		__atomic_store_n(&q->ring[old].flags, htole16(q->first_flags), __ATOMIC_RELEASE);
	} else {
		if (old == q->put_idx)
			return false;
		__atomic_store_n(&q->avail->idx, htole16(q->put_idx), __ATOMIC_RELEASE);
	}
	/* Full: the index before the look at the suppression word. Pairs with the device's,
	 * between arming its word and its last look at the index. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	kick = q->packed ? client_wants_kick_packed(q) : client_wants_kick_split(q, old);
	q->published_idx = q->put_idx;
	q->unpublished = 0;
	if (unlikely(kick || q->kick_when))
		client_kick_at(q, kick);
	return kick;
}

/* Cold: keeps used_event behind what was used, so that a polled queue is never interrupted. */
void client_park(struct client_queue *q);

static inline unsigned client_reap_split(struct client_queue *q, uint16_t *slots, unsigned max)
{
	/* acquire: the entries and status bytes come after the index */
	uint16_t idx = le16toh(__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE));
	unsigned n = (uint16_t)(idx - q->used_idx);

	if (!n)
		return 0;
	if (n > max)
		n = max;
	for (unsigned i = 0; i < n; i++) {
		uint32_t id = le32toh(q->used->ring[(q->used_idx + i) & (q->size - 1u)].id);
		uint16_t slot = id < q->size ? q->slot_of[id] : UINT16_MAX;

		if (unlikely(slot >= q->depth || !q->slot[slot].busy)) {
			q->broken = true;
			n = i;
			break;
		}
		__builtin_prefetch(&q->line[slot], 1);
		q->slot[slot].busy = false;
		slots[i] = slot;
	}
	uint16_t before = q->used_idx;

	q->used_idx = (uint16_t)(before + n);
	q->in_flight = (uint16_t)(q->in_flight - n);
	if (unlikely((before ^ q->used_idx) & 0x4000))
		client_park(q);
	return n;
}

static inline unsigned client_reap_packed(struct client_queue *q, uint16_t *slots, unsigned max)
{
	unsigned n = 0;

	while (n < max) {
		struct virtq_packed_desc *d = &q->ring[q->used_idx];
		/* acquire: id and status bytes come after the flags */
		uint16_t flags = le16toh(__atomic_load_n(&d->flags, __ATOMIC_ACQUIRE));
		bool avail = flags & VIRTQ_DESC_F_AVAIL, used = flags & VIRTQ_DESC_F_USED;

		if (avail != used || used != q->used_wrap || n == q->in_flight)
			break;
		uint16_t slot = le16toh(d->id);

		if (unlikely(slot >= q->depth || !q->slot[slot].busy)) {
			q->broken = true;
			break;
		}
		__builtin_prefetch(&q->line[slot], 1);
		q->slot[slot].busy = false;
		slots[n++] = slot;
		q->used_idx = (uint16_t)(q->used_idx + q->slot[slot].ndesc);
		if (q->used_idx >= q->size) {
			q->used_idx = (uint16_t)(q->used_idx - q->size);
			q->used_wrap = !q->used_wrap;
		}
	}
	q->in_flight = (uint16_t)(q->in_flight - n);
	return n;
}

/* At most @max slots that came back, which are the caller's again. A device that returns what
 * it never got sets q->broken. */
static inline unsigned client_reap(struct client_queue *q, uint16_t *slots, unsigned max)
{
	return q->packed ? client_reap_packed(q, slots, max) : client_reap_split(q, slots, max);
}

/* Asks for an interrupt at the next completion. Return: false if one is there already, and
 * then nothing need be waited for. */
bool client_arm(struct client_queue *q);
/* No interrupts: the state of a polled queue, and the one it starts in. */
void client_disarm(struct client_queue *q);
