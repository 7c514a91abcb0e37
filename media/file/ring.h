/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane's io_uring: reads and writes that the kernel can start at once. Every
 * request carries RWF_NOWAIT, so that what would have to wait comes back with
 * -EAGAIN (and goes to a helper) instead of to the kernel's workers.
 *
 * The ring starts disabled, is restricted to the four opcodes in use and no flags,
 * and is enabled by the poller's thread, which is then its only issuer. One system
 * call submits a batch; completions are read from memory, with a system call only
 * when the kernel asks for one. Context: the poller's thread, except open and close.
 */
#pragma once

#include <liburing.h>

#include "core/req.h"

#define RING_SQ 64
/* Requests in the kernel at once; further ones wait in the lane. */
#define RING_CQ 512
#define RING_IOV 512

struct ring {
	struct io_uring u;
	int file_fd;
	bool open, enabled;
	unsigned niov;
	struct iovec *iov; /* RING_IOV, of requests not yet submitted */
};

/* Whether this kernel, and who watches over us, gives a ring. Return: 0 or -errno. */
int ring_probe(void);

int ring_open(struct ring *r, int file_fd); /* control thread. Return: 0 or -errno */
void ring_close(struct ring *r);	    /* control thread; nothing in flight */

/* Prepares what is left of @q. Return: false: no room, ring_submit() makes some. */
bool ring_prepare(struct ring *r, const struct req *q);
/* Hands over what is prepared. What the kernel does not take now stays prepared. Return: 0, or
 * -errno: it will never take it, ring_withdraw() gives it back and the ring is not to be used. */
int ring_submit(struct ring *r);
/* Return: a request that was prepared and not taken; NULL: none is left. */
struct req *ring_withdraw(struct ring *r);

/* Whether something is prepared that the kernel has not taken. */
static inline bool ring_pending(const struct ring *r)
{
	return r->open && io_uring_sq_ready(&r->u);
}

/* Completions to be read now, at most @max. They stay valid until ring_seen(). */
unsigned ring_peek(struct ring *r, struct io_uring_cqe **ret_cqe, unsigned max);

static inline void ring_seen(struct ring *r, unsigned n)
{
	io_uring_cq_advance(&r->u, n);
}
