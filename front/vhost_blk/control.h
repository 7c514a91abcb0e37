/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting, changing and stopping a queue from the connection's thread. Each call
 * sends the poller mail and returns when the change is in force; only those that say
 * so wait for the medium.
 */
#pragma once

#include "front/vhost_blk/vq.h"

/* Who waits for a queue's requests to end; on the waiter's stack. */
struct vq_drain {
	sem_t done;
	enum vq_drain_what { VQ_DRAIN_ALL, VQ_DRAIN_OLD_MEMORY } what;
};

/* Puts a prepared @q on its poller. Return: 0; -errno of poller_attach(). */
int vq_start(struct vq *q, struct poller *p);

/* Takes nothing more, and waits until what is in flight has ended. Waits for the medium. */
void vq_quiesce(struct vq *q);
/* Takes a quiet @q off its poller. */
void vq_detach(struct vq *q);
/* Takes nothing more and waits, at most @timeout_ns, until what is in flight has ended; what a
 * limit holds is let go at once. Return: whether it has; if not, @q goes on as if nothing had
 * been. */
bool vq_pause(struct vq *q, uint64_t timeout_ns);
/* Lets a paused @q go on where it is. */
void vq_go_on(struct vq *q);
/* Brings a paused @q to @p, where its requests pass through @lane, and lets it go on. What it has
 * in ring, in-flight region and notifications is as it was.
 * Return: 0; -errno: it goes on where it was; -ENOTRECOVERABLE: nobody serves it any more. */
int vq_move(struct vq *q, struct poller *p, struct lane *lane);
/* Where a stopped @q would go on, in the form of GET_VRING_BASE. */
uint32_t vq_base(const struct vq *q);

/* Lets @q use @mem, in which it lies @at. What it has in flight goes on with the old table.
 * Return: 0; -EFAULT, -EINVAL: the ring is not in @mem, @q takes nothing more. */
int vq_set_memory(struct vq *q, const struct gmem *mem, const struct vq_ring *at);
/* Waits, at most @timeout_ns, until nothing is in flight that was taken under an older table than
 * the present one. Return: whether that is so. */
bool vq_memory_idle(struct vq *q, uint64_t timeout_ns);

void vq_set_log(struct vq *q, struct dirty_log *log);
/* -1: none. The old descriptor is no longer used when this returns. */
void vq_set_call(struct vq *q, int call_fd);
void vq_set_err(struct vq *q, int err_fd);
void vq_set_write_through(struct vq *q, bool on);
void vq_set_mode(struct vq *q, enum poll_mode mode);
/* For people. Any thread, with @q not started or detached meanwhile. */
void vq_info(struct vq *q, struct front_queue_info *ret_info);

/* The poller's: after a publish, with someone waiting. */
void vq_drain_check(struct vq *q);
