/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a chain of descriptors means to a virtio block device (VIRTIO 1.2, 5.2.6):
 * chain to request, and completed request to status and used entry.
 * Context: the poller's thread.
 */
#pragma once

#include "front/vhost_blk/vq.h"

/* What a request of this front keeps in req.front. */
struct blk_priv {
	uint8_t *status; /* NULL: the chain had no room for one */
	uint64_t status_gpa;
	uint32_t in_b; /* bytes that the device may write, the status among them */
	uint16_t id, slots, track;
	uint8_t gen;
	uint8_t data; /* enum blk_data */
};
static_assert(sizeof(struct blk_priv) <= sizeof(((struct req *)0)->front), "req.front");

static inline struct blk_priv *blk_priv(struct req *r)
{
	return (struct blk_priv *)r->front;
}

/* Begins a request from @c: finds header, data and status, judges nothing yet, so that the
 * headers of a batch are on their way into the cache together.
 * Return: the request; NULL with *ret_err -EAGAIN: out of requests or segment lists, the chain was
 * not taken; -EFAULT: an address outside memory. */
struct req *blk_begin(struct vq *q, const struct vchain *c, int *ret_err);

/* Reads the headers of @n begun requests, refuses what is malformed, and submits the rest. */
void blk_submit(struct vq *q, struct req **reqs, unsigned n);
