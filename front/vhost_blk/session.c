/* SPDX-License-Identifier: Apache-2.0 */
#include "front/vhost_blk/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "front/vhost_blk/config.h"
#include "front/vhost_blk/track.h"
#include "wire/virtio_ring.h"

int session_open(struct vhost_blk *f, int sock, struct session **ret_session)
{
	struct session *s = calloc(1, sizeof(*s));
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	if (!s)
		return -ENOMEM;
	getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	s->f = f;
	s->sock = sock;
	s->backend_fd = -1;
	s->since_ns = clock_ns();
	s->peer_pid = peer.pid;
	*ret_session = s;
	return 0;
}

static bool has_feature(const struct session *s, unsigned bit)
{
	return s->features & BIT(bit);
}

struct session_queue *session_queue(struct session *s, uint64_t index)
{
	struct vhost_blk *f = s->f;

	if (index >= f->conf.nqueue)
		return NULL;
	if (s->queue[index])
		return s->queue[index];
	struct session_queue *q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	q->kick_fd = q->call_fd = q->err_fd = -1;
	q->vq.index = (unsigned)index;
	q->vq.disk = f->conf.disk;
	snprintf(q->vq.name, sizeof(q->vq.name), "%s", disk_name(f->conf.disk));
	pthread_mutex_lock(&f->lock);
	s->queue[index] = q;
	pthread_mutex_unlock(&f->lock);
	return q;
}

static bool writes_through(const struct session *s)
{
	return !has_feature(s, VIRTIO_BLK_F_FLUSH) || !s->f->writeback;
}

/* Fills in the poller's half from what the front end has said. Return: 0; -errno. */
static int prepare(struct session *s, struct session_queue *q)
{
	struct vq *v = &q->vq;
	void *track = NULL;

	v->size = q->size;
	v->packed = has_feature(s, VIRTIO_F_RING_PACKED);
	v->event_idx = has_feature(s, VIRTIO_F_EVENT_IDX);
	v->indirect = has_feature(s, VIRTIO_F_INDIRECT_DESC);
	v->write_through = writes_through(s);
	gview_init(&v->view, s->mem);
	v->log = has_feature(s, VHOST_F_LOG_ALL) ? s->log : NULL;
	v->call_fd = q->call_fd;
	v->err_fd = q->err_fd;
	v->broken = NULL;
	v->inflight = v->old_inflight = v->slots_inflight = 0;
	v->owner.complete = v->packed ? packed_complete : split_complete;
	v->pe.ops = &vq_pollee_ops;
	v->pe.mode = (uint8_t)disk_mode(s->f->conf.disk);
	v->pe.kick_fd = q->kick_fd;
	v->pe.depth = q->size;
	/* 2.7: a split ring's size is a power of two */
	if (!v->packed && !is_pow2(v->size))
		return -EINVAL;
	int err = vq_place(v, s->mem, &q->at);
	if (err)
		return err;
	if (s->track && v->index < s->track_queues) {
		/* a region laid out before the ring format was settled is too short for the other */
		if (v->size > s->track_size || v->packed != s->track_packed)
			return -EINVAL;
		track = (uint8_t *)s->track + v->index * s->track_queue_b;
	}
	v->track_size = track ? s->track_size : 0;
	return track_open(v, track, q->base);
}

static int start(struct session *s, struct session_queue *q)
{
	struct vhost_blk *f = s->f;
	/* under the lock: front_ops.info() reads what it fills in */
	pthread_mutex_lock(&f->lock);
	struct poller *p = f->poller[q->vq.index];
	int err = prepare(s, q);
	pthread_mutex_unlock(&f->lock);

	if (err)
		return err;
	err = disk_lane_get(f->conf.disk, p, &q->lane);
	if (!err) {
		q->vq.lane = q->lane;
		pthread_mutex_lock(&f->lock);
		err = vq_start(&q->vq, p);
		pthread_mutex_unlock(&f->lock);
	}
	if (err) {
		if (q->lane)
			disk_lane_put(f->conf.disk, q->lane);
		q->lane = NULL;
		track_close(&q->vq);
	}
	return err;
}

void session_forget_queue(struct session *s, struct session_queue *q)
{
	q->base = vq_base(&q->vq);
	track_close(&q->vq);
	disk_lane_put(s->f->conf.disk, q->lane);
	q->lane = NULL;
}

void session_stop_queue(struct session *s, struct session_queue *q)
{
	if (!q->vq.running)
		return;
	vq_quiesce(&q->vq);
	pthread_mutex_lock(&s->f->lock);
	vq_detach(&q->vq);
	pthread_mutex_unlock(&s->f->lock);
	session_forget_queue(s, q);
}

int session_update_queue(struct session *s, struct session_queue *q)
{
	/* Without protocol features a ring is enabled from the start (vhost-user, "Ring states"). */
	bool enabled = q->enabled || !has_feature(s, VHOST_USER_F_PROTOCOL_FEATURES);
	bool ready = enabled && q->has_at && q->has_kick && q->size && s->mem;

	if (ready && !q->vq.running)
		return start(s, q);
	if (!ready)
		session_stop_queue(s, q);
	return 0;
}

void session_stop_all(struct session *s)
{
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++)
		if (s->queue[i])
			session_stop_queue(s, s->queue[i]);
}

/* Waits for what the old table still has in flight; what does not end in time is cut off from the
 * guest's memory. Return: whether the old table can go. */
static bool let_go(struct session *s, const struct gmem *old)
{
	uint64_t end_ns = clock_ns() + SESSION_MEMORY_WAIT_NS;
	bool idle = true;

	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++) {
		if (!s->queue[i] || !s->queue[i]->vq.running)
			continue;
		uint64_t now_ns = clock_ns();

		idle &= vq_memory_idle(&s->queue[i]->vq, now_ns < end_ns ? end_ns - now_ns : 0);
	}
	for (unsigned i = 0; !idle && i < old->n; i++) {
		struct gregion *g = old->reg[i];

		if (gmem_region(s->mem, (gpa_t){ g->base_b }) != g && gregion_detach(g))
			log_error(disk_name(s->f->conf.disk),
				  "cannot let go of guest memory that a stalled medium uses");
	}
	return idle;
}

static void tell_medium(struct session *s, const struct gmem *mem, const struct gmem *other,
			bool added)
{
	struct media *m = disk_media(s->f->conf.disk);

	for (unsigned i = 0; mem && i < mem->n; i++) {
		struct gregion *g = mem->reg[i];

		if (other && gmem_region(other, (gpa_t){ g->base_b }) == g)
			continue;
		if (added && m->ops->region_add && m->ops->region_add(m, g))
			log_warn(disk_name(s->f->conf.disk), "the medium cannot register memory");
		if (!added && m->ops->region_del)
			m->ops->region_del(m, g);
	}
}

int session_set_memory(struct session *s, struct gmem *mem)
{
	struct gmem *old = s->mem;
	int ret = 0;

	tell_medium(s, mem, old, true);
	s->mem = mem;
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++) {
		struct session_queue *q = s->queue[i];
		int err = q && q->vq.running ? vq_set_memory(&q->vq, mem, &q->at) : 0;

		/* its ring is gone: it takes nothing more, and is stopped when the front end says so;
		 * stopping it here could wait for a stalled medium */
		if (err)
			ret = err;
	}
	if (!old)
		return ret;
	if (let_go(s, old)) {
		tell_medium(s, old, mem, false);
		gmem_free(old);
	} else {
		old->next = s->zombies;
		s->zombies = old;
	}
	return ret;
}

void session_set_log(struct session *s, struct dirty_log *log)
{
	struct dirty_log *old = s->log;

	pthread_mutex_lock(&s->f->lock);
	s->log = log;
	pthread_mutex_unlock(&s->f->lock);
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++)
		if (s->queue[i] && s->queue[i]->vq.running)
			vq_set_log(&s->queue[i]->vq, has_feature(s, VHOST_F_LOG_ALL) ? log : NULL);
	if (old != log)
		dirty_close(old);
}

void session_update_write_through(struct session *s)
{
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++)
		if (s->queue[i] && s->queue[i]->vq.running)
			vq_set_write_through(&s->queue[i]->vq, writes_through(s));
}

void session_close(struct session *s)
{
	session_stop_all(s);
	tell_medium(s, s->mem, NULL, false);
	gmem_free(s->mem);
	while (s->zombies) {
		struct gmem *z = s->zombies;

		s->zombies = z->next;
		gmem_free(z);
	}
	dirty_close(s->log);
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++) {
		struct session_queue *q = s->queue[i];

		if (!q)
			continue;
		fd_close(q->kick_fd);
		fd_close(q->call_fd);
		fd_close(q->err_fd);
		free(q);
	}
	if (s->track)
		munmap(s->track, s->track_len_b);
	fd_close(s->backend_fd);
	fd_close(s->sock);
	free(s);
}
