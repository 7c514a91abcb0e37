/* SPDX-License-Identifier: Apache-2.0 */
#include "client/queue.h"

/* The three parts of a slot's chain. Return: how many. */
static unsigned parts(const struct client_queue *q, unsigned slot, struct virtq_desc d[3])
{
	uint64_t line = q->line_guest + slot * sizeof(struct client_line);
	uint32_t shape = q->slot[slot].shape;
	uint32_t len_b = shape & ~CLIENT_SHAPE_DEVICE_WRITES;
	unsigned n = 0;

	d[n++] = (struct virtq_desc){ .addr = htole64(line),
				      .len = htole32(sizeof(struct virtio_blk_hdr)) };
	if (len_b)
		d[n++] = (struct virtq_desc){
			.addr = htole64(q->data_guest + (uint64_t)slot * q->buf_b),
			.len = htole32(len_b),
			.flags = htole16(shape == len_b ? 0 : VIRTQ_DESC_F_WRITE),
		};
	d[n++] = (struct virtq_desc){
		.addr = htole64(line + offsetof(struct client_line, status)),
		.len = htole32(1),
		.flags = htole16(VIRTQ_DESC_F_WRITE),
	};
	return n;
}

/* Writes a chain whose first descriptor has index @base; the last has no NEXT. */
static void write_split(struct virtq_desc *at, unsigned base, struct virtq_desc *d, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (i + 1 < n) {
			d[i].flags |= htole16(VIRTQ_DESC_F_NEXT);
			d[i].next = htole16((uint16_t)(base + i + 1));
		}
		at[base + i] = d[i];
	}
}

void client_shape(struct client_queue *q, unsigned slot, uint32_t shape)
{
	struct client_slot *s = &q->slot[slot];
	struct virtq_desc d[3];

	s->shape = shape;
	unsigned n = parts(q, slot, d);
	struct virtq_desc *table = (struct virtq_desc *)q->table + slot * 4;

	s->ndesc = (uint8_t)(q->indirect ? 1 : n);
	if (!q->indirect) {
		if (!q->packed)
			write_split(q->desc, s->head, d, n);
		return;
	}
	if (!q->packed) {
		write_split(table, 0, d, n);
		q->desc[s->head] = (struct virtq_desc){
			.addr = htole64(q->table_guest + slot * 64ull),
			.len = htole32((uint32_t)(n * sizeof(struct virtq_desc))),
			.flags = htole16(VIRTQ_DESC_F_INDIRECT),
		};
		return;
	}
	struct virtq_packed_desc *ptable = (struct virtq_packed_desc *)q->table + slot * 4;

	for (unsigned i = 0; i < n; i++) /* 2.8.8: only WRITE means something in here */
		ptable[i] = (struct virtq_packed_desc){ .addr = d[i].addr, .len = d[i].len,
							.flags = d[i].flags };
}

void client_put_packed_chain(struct client_queue *q, unsigned slot)
{
	struct virtq_desc d[3];
	unsigned n = parts(q, slot, d);

	for (unsigned i = 0; i < n; i++) {
		struct virtq_packed_desc p = { .addr = d[i].addr, .len = d[i].len,
					       .id = htole16((uint16_t)slot) };
		uint16_t flags = le16toh(d[i].flags);

		if (i + 1 < n)
			flags |= VIRTQ_DESC_F_NEXT;
		client_packed_desc(q, p, flags);
	}
}

void client_kick_at(struct client_queue *q, bool wanted)
{
	if (q->kick_when == CLIENT_KICK_ALWAYS || (q->kick_when == CLIENT_KICK_WANTED && wanted))
		client_kick(q);
}

void client_nudge(struct client_queue *q)
{
	if (q->kick_when == CLIENT_KICK_LATE && q->in_flight)
		client_kick(q);
}

static le16 *used_event(struct client_queue *q)
{
	return &q->avail->ring[q->size];
}

/* Behind all that the device may have used at once: it looks at this word only after it published
 * those, by when we may have taken them. */
void client_park(struct client_queue *q)
{
	if (!q->packed && q->event_idx)
		__atomic_store_n(used_event(q), htole16((uint16_t)(q->used_idx - q->size - 1)),
				 __ATOMIC_RELAXED);
}

void client_disarm(struct client_queue *q)
{
	if (q->packed)
		__atomic_store_n(&q->driver_event->flags, htole16(VIRTQ_PACKED_EVENT_F_DISABLE),
				 __ATOMIC_RELAXED);
	else if (q->event_idx)
		client_park(q);
	else
		__atomic_store_n(&q->avail->flags, htole16(VIRTQ_AVAIL_F_NO_INTERRUPT),
				 __ATOMIC_RELAXED);
}

static bool pending(const struct client_queue *q)
{
	if (!q->packed)
		return le16toh(__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE)) != q->used_idx;
	uint16_t flags = le16toh(__atomic_load_n(&q->ring[q->used_idx].flags, __ATOMIC_ACQUIRE));
	bool avail = flags & VIRTQ_DESC_F_AVAIL, used = flags & VIRTQ_DESC_F_USED;

	return q->in_flight && avail == used && used == q->used_wrap;
}

bool client_arm(struct client_queue *q)
{
	if (q->packed && q->event_idx) {
		uint16_t wrap = q->used_wrap ? VIRTQ_PACKED_WRAP : 0;

		__atomic_store_n(&q->driver_event->desc, htole16(q->used_idx | wrap),
				 __ATOMIC_RELAXED);
		/* release: the position before the flag that makes it count */
		__atomic_store_n(&q->driver_event->flags, htole16(VIRTQ_PACKED_EVENT_F_DESC),
				 __ATOMIC_RELEASE);
	} else if (q->packed) {
		__atomic_store_n(&q->driver_event->flags, htole16(VIRTQ_PACKED_EVENT_F_ENABLE),
				 __ATOMIC_RELAXED);
	} else if (q->event_idx) {
		__atomic_store_n(used_event(q), htole16(q->used_idx), __ATOMIC_RELAXED);
	} else {
		__atomic_store_n(&q->avail->flags, htole16(0), __ATOMIC_RELAXED);
	}
	/* Full: the word before the last look; pairs with the device's, between publishing and
	 * its look at this word. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !pending(q);
}

void client_queue_reset(struct client_queue *q)
{
	memset(q->desc, 0, VIRTQ_DESC_BYTES(q->size));
	memset(q->avail, 0, VIRTQ_AVAIL_BYTES(q->size));
	memset(q->used, 0, VIRTQ_USED_BYTES(q->size));
	q->put_idx = q->published_idx = q->used_idx = 0;
	q->put_wrap = q->used_wrap = true;
	q->in_flight = q->unpublished = 0;
	q->broken = false;
	for (unsigned s = 0; s < q->depth; s++) {
		q->slot[s] = (struct client_slot){
			.head = (uint16_t)(q->indirect ? s : 3 * s),
		};
		client_shape(q, s, q->buf_b | CLIENT_SHAPE_DEVICE_WRITES);
	}
	memset(q->slot_of, 0xff, q->size * sizeof(*q->slot_of));
	for (unsigned s = 0; s < q->depth; s++)
		if (q->slot[s].head < q->size)
			q->slot_of[q->slot[s].head] = (uint16_t)s;
	client_disarm(q);
}
