/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues change their poller while they run, one after another: each takes nothing
 * more, lets what it has in flight end where it is, and goes on elsewhere. No request
 * ever moves, and the guest sees a pause as long as its slowest request.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "front/vhost_blk/session.h"

/* What all the queues of a connection get together; control waits longer. */
#define PAUSE_NS NS_PER_S
static_assert(PAUSE_NS < FRONT_MOVE_NS, "who asks hears why not");

static struct poller *wanted(struct vhost_blk *f, unsigned index)
{
	pthread_mutex_lock(&f->lock);
	struct poller *p = f->poller[index];
	pthread_mutex_unlock(&f->lock);
	return p;
}

/* Pauses @q until @end_ns. Return: 0: it is quiet, and its lane can go; -EBUSY: it goes on, the
 * reason is in @why. */
static int quiesce(struct session *s, struct session_queue *q, uint64_t end_ns, char *why,
		   size_t room)
{
	uint64_t now_ns = clock_ns();

	if (!vq_pause(&q->vq, now_ns < end_ns ? end_ns - now_ns : 0)) {
		snprintf(why, room, "queue %u has requests in flight that its medium, or a "
			 "function, does not end", q->vq.index);
		return -EBUSY;
	}
	if (disk_lane_may_go(s->f->conf.disk, q->lane))
		return 0;
	vq_go_on(&q->vq);
	snprintf(why, room, "the medium has not ended what queue %u has given up", q->vq.index);
	return -EBUSY;
}

/* Return: 0; -EBUSY; -ENOTRECOVERABLE; -errno; with the reason in @why. */
static int move(struct session *s, struct session_queue *q, struct poller *to, uint64_t end_ns,
		char *why, size_t room)
{
	struct disk *d = s->f->conf.disk;
	struct lane *lane, *was = q->lane;
	/* before the pause: making a lane may take long */
	int err = disk_lane_get(d, to, &lane);

	if (!err && quiesce(s, q, end_ns, why, room)) {
		disk_lane_put(d, lane);
		return -EBUSY;
	}
	if (!err) {
		/* under the lock: front_ops.info() asks the queue's poller */
		pthread_mutex_lock(&s->f->lock);
		err = vq_move(&q->vq, to, lane);
		pthread_mutex_unlock(&s->f->lock);
		if (!err)
			q->lane = lane;
		disk_lane_put(d, err ? lane : was);
	}
	if (err == -ENOTRECOVERABLE)
		session_forget_queue(s, q);
	if (err)
		snprintf(why, room, "queue %u cannot go to %s: %s", q->vq.index, to->name,
			 err == -ENOTRECOVERABLE ? "nor back, so its guest has to connect again" :
						   strerror(-err));
	return err;
}

int session_move(struct session *s, char *ret_why, size_t room)
{
	uint64_t end_ns = clock_ns() + PAUSE_NS;
	int ret = 0;

	for (unsigned i = 0; i < FRONT_QUEUES_MAX && ret != -ENOTRECOVERABLE; i++) {
		struct session_queue *q = s->queue[i];
		struct poller *to = wanted(s->f, i);

		if (!q || !q->vq.running || q->vq.pe.poller == to)
			continue;
		/* one that cannot does not keep the others: they may be on their way back */
		int err = move(s, q, to, end_ns, ret_why, room);

		if (err)
			ret = err;
		else
			log_debug(disk_name(s->f->conf.disk), "queue %u goes on on %s", i,
				  to->name);
	}
	return ret;
}
