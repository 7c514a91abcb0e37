/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a chain of descriptors means to a virtio block device (VIRTIO 1.2, 5.2.6):
 * chain to request, and completed request to status.
 *
 * Nearly every request has the usual shape, three descriptors for header, one run of
 * data and status. It is recognised as its descriptors are read and begun here, inline;
 * every other shape is gathered into a struct vchain and begun by blk_begin_any().
 * Context: the poller's thread.
 */
#pragma once

#include "base/bytes.h"
#include "front/vhost_blk/vq.h"
#include "wire/virtio_blk.h"

/* Which way a request's data goes, as its descriptors say. */
enum blk_data { BLK_NONE, BLK_IN, BLK_OUT, BLK_BOTH };
static_assert(BLK_IN == VIRTIO_BLK_T_IN + 1 && BLK_OUT == VIRTIO_BLK_T_OUT + 1,
	      "a read or write goes the right way when its data is its type plus one");
static_assert(REQ_READ == VIRTIO_BLK_T_IN && REQ_WRITE == VIRTIO_BLK_T_OUT, "taken as they are");

/* How the ring knows a request: id (split: index of the chain's head; packed: the driver's buffer
 * id), slots (packed: ring entries), track (packed: entry in the in-flight region), memory table.
 * In one word, because every request is given one. */
struct blk_tag {
	uint64_t word;
};

static inline struct blk_tag blk_tag(uint16_t id, uint16_t slots, uint16_t track, uint64_t gen)
{
	return (struct blk_tag){ id | (uint64_t)slots << 16 | (uint64_t)track << 32 | gen };
}

static inline uint16_t blk_tag_id(struct blk_tag t)
{
	return (uint16_t)t.word;
}

static inline uint16_t blk_tag_slots(struct blk_tag t)
{
	return (uint16_t)(t.word >> 16);
}

static inline uint16_t blk_tag_track(struct blk_tag t)
{
	return (uint16_t)(t.word >> 32);
}

static inline uint64_t blk_tag_gen(struct blk_tag t)
{
	return align_down(t.word, VQ_GEN_STEP);
}

/* What a request of this front keeps in req.front. */
struct blk_priv {
	uint8_t *status;
	struct blk_tag tag;
	uint32_t in_b; /* bytes that the device may write, the status among them */
	uint32_t data; /* enum blk_data */
};
static_assert(sizeof(struct blk_priv) <= sizeof(((struct req *)0)->front), "req.front");

/* req.front_bits: medium[0] is the address of the header, which has not been read yet. */
#define BLK_HEADER_AHEAD 1

/* The usual request, as read from its three descriptors. */
struct blk_usual {
	gpa_t hdr, data, status;
	uint32_t data_b;
	uint32_t in; /* 1: the device writes the data; 0: it reads it */
};

#define BLK_HDR_B ((uint32_t)sizeof(struct virtio_blk_hdr))
static_assert(sizeof(struct virtio_blk_hdr) == 16, "gregion_has_16()");

static inline struct blk_priv *blk_priv(struct req *r)
{
	return (struct blk_priv *)r->front;
}

static inline void blk_begin(struct vq *q, struct req *r, struct blk_tag tag, uint64_t now_ticks)
{
	struct blk_priv *b = blk_priv(r);

	r->lane = q->lane;
	r->owner = &q->owner;
	r->taken_ticks = now_ticks;
	b->tag = tag;
}

/* Begins a request of the usual shape: finds header, data and status, and judges nothing yet, so
 * that the headers of a batch are on their way into the cache together. Return: false: not all of
 * it is in the region of the last one; blk_begin_any() knows more. */
static inline bool blk_begin_usual(struct vq *q, struct req *r, const struct blk_usual *u,
				   struct blk_tag tag, uint64_t now_ticks)
{
	struct blk_priv *b = blk_priv(r);
	struct gregion *g = q->view.last;

	if (unlikely(!gregion_has_16(g, u->hdr) || !gregion_has_1(g, u->status) ||
		     !gregion_has(g, u->data, u->data_b)))
		return false;
	uint8_t *hdr = gregion_host(g, u->hdr);
	/* for writing: the status usually shares the header's line */
	__builtin_prefetch(hdr, 1);
	req_init(r, 1, BLK_HEADER_AHEAD);
	r->medium[0] = (uintptr_t)hdr;
	r->inl[0] = (struct seg){ gregion_host(g, u->data), u->data_b, g };
	r->len_b = u->data_b;
	b->status = gregion_host(g, u->status);
	b->in_b = (u->data_b & -u->in) + 1;
	b->data = BLK_OUT - u->in;
	blk_begin(q, r, tag, now_ticks);
	return true;
}

/* Begins a request of any shape. Return: 0; -EFAULT: an address outside memory. */
int blk_begin_any(struct vq *q, struct req *r, const struct vchain *c, struct blk_tag tag);

/* Reads the headers of @n begun requests, refuses what is malformed, and submits the rest. */
void blk_submit(struct vq *q, struct req **reqs, unsigned n);

/* The one place where a status becomes the guest's (5.2.6). */
static inline uint8_t blk_status(unsigned s)
{
	return likely(s == REQ_OK) ? VIRTIO_BLK_S_OK :
	       s == REQ_UNSUPP	   ? VIRTIO_BLK_S_UNSUPP :
				     VIRTIO_BLK_S_IOERR;
}

/* Memory has been changed, or a replay is under way: counts those of old tables. */
void blk_end_old(struct vq *q, struct req *const *reqs, unsigned n);
/* A migration is under way: marks the pages that data and status were written to, after that and
 * before the guest is told. */
void blk_log(struct vq *q, struct req *const *reqs, unsigned n);

static inline struct vq *blk_queue(const struct req *r)
{
	return container_of(r->owner, struct vq, owner);
}
