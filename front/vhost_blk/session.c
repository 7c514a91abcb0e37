/* SPDX-License-Identifier: Apache-2.0 */
#include "front/vhost_blk/session.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "front/vhost_blk/adopt.h"
#include "front/vhost_blk/config.h"
#include "front/vhost_blk/replay.h"
#include "front/vhost_blk/track.h"
#include "wire/virtio_ring.h"

struct session *session_alloc(struct vhost_blk *f, int sock)
{
	struct session *s = calloc(1, sizeof(*s));
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	if (!s)
		return NULL;
	getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	s->f = f;
	s->sock = sock;
	s->backend = NO_KEPT_FD;
	s->since_ns = clock_ns();
	s->peer_pid = peer.pid;
	s->told_b = disk_size_b(f->conf.disk);
	return s;
}

int session_open(struct vhost_blk *f, int sock, struct session **ret_session)
{
	struct session *s = session_alloc(f, sock);
	const int from_start = 0;

	if (!s)
		return -ENOMEM;
	int err = memo_new(&f->conf.keep, disk_name(f->conf.disk), sock, &s->memo);
	/* what is peeked at next counts from here, see exchange.h */
	if (!err && setsockopt(sock, SOL_SOCKET, SO_PEEK_OFF, &from_start, sizeof(from_start)))
		err = -errno;
	if (err) {
		memo_end(s->memo);
		free(s);
		return err;
	}
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
	q->kick = q->call = q->err = NO_KEPT_FD;
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

/* Whether the front end has given @q an in-flight region. */
static bool has_track(const struct session *s, const struct session_queue *q)
{
	return s->track.at && q->vq.index < s->track.queues;
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
	v->call_fd = q->call.fd;
	v->err_fd = q->err.fd;
	v->broken = NULL;
	v->inflight = v->old_inflight = v->slots_inflight = 0;
	v->owner = (struct req_owner){ .complete = v->packed ? packed_complete : split_complete,
				       .forget = vq_forget, .index = v->index };
	v->pe.ops = &vq_pollee_ops;
	v->pe.mode = (uint8_t)disk_mode(s->f->conf.disk);
	v->pe.kick_fd = q->kick.fd;
	v->pe.depth = q->size;
	/* 2.7: a split ring's size is a power of two */
	if (!v->packed && !is_pow2(v->size))
		return -EINVAL;
	int err = vq_place(v, s->mem, &q->at);
	if (err)
		return err;
	v->track_returns = has_track(s, q);
	if (v->track_returns) {
		/* a region laid out before the ring format was settled is too short for the
		 * other */
		if (v->size > s->track.size || v->packed != s->track.packed)
			return -EINVAL;
		track = (uint8_t *)s->track.at + v->index * s->track.each_b;
		v->track_size = s->track.size;
	} else {
		/* mapped for a size and a format that may have been told anew since */
		if (q->own && q->own_len_b < track_region_len_b(v->packed, v->size))
			return -EINVAL;
		track = q->own;
		v->track_size = q->own ? v->size : 0;
	}
	return track_open(v, track, q->base);
}

static void close_own(struct session_queue *q)
{
	if (q->own)
		munmap(q->own, q->own_len_b);
	q->own = NULL;
	q->own_slot = 0;
}

int session_map_own(struct session *s, struct session_queue *q, const struct kept_fd *fd)
{
	uint64_t len_b = track_region_len_b(has_feature(s, VIRTIO_F_RING_PACKED), q->size);
	int seals = fcntl(fd->fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd->fd, &st) ||
	    (uint64_t)st.st_size != len_b)
		return -EPROTO;
	void *at = mmap(NULL, len_b, PROT_READ | PROT_WRITE, MAP_SHARED, fd->fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	q->own = at;
	q->own_len_b = len_b;
	q->own_slot = fd->slot;
	return 0;
}

/* A front end that tracks nothing in flight would find its requests gone with this process. What we
 * track for it, a successor of ours alone will see. Return: 0; -errno. */
static int make_own(struct session *s, struct session_queue *q)
{
	uint64_t len_b = track_region_len_b(has_feature(s, VIRTIO_F_RING_PACKED), q->size);
	struct kept_fd fd = { .fd = fd_memory("postern-inflight", len_b, 0) };

	if (fd.fd < 0)
		return fd.fd;
	fd.slot = memo_put(s->memo, fd.fd);
	int err = session_map_own(s, q, &fd);
	kept_fd_close(&fd);
	return err;
}

/* All of a queue that is not its poller's. Return: 0; -errno. */
static int set_up(struct session *s, struct session_queue *q)
{
	int err = 0;

	if (s->memo->is_kept && !q->own && !has_track(s, q))
		err = make_own(s, q);
	if (err)
		return err;
	/* under the lock: front_ops.info() reads what it fills in */
	pthread_mutex_lock(&s->f->lock);
	err = prepare(s, q);
	pthread_mutex_unlock(&s->f->lock);
	return err;
}

static int attach(struct session *s, struct session_queue *q)
{
	struct vhost_blk *f = s->f;

	pthread_mutex_lock(&f->lock);
	struct poller *p = f->poller[q->vq.index];
	pthread_mutex_unlock(&f->lock);
	int err = disk_lane_get(f->conf.disk, p, &q->lane);

	if (err)
		return err;
	q->vq.lane = q->lane;
	pthread_mutex_lock(&f->lock);
	err = vq_start(&q->vq, p);
	pthread_mutex_unlock(&f->lock);
	return err;
}

static int start(struct session *s, struct session_queue *q)
{
	int err = set_up(s, q);

	if (!err) {
		replay_note(s, &q->vq);
		/* a successor must know of the region before there is anything in it */
		session_commit(s);
		err = attach(s, q);
	}
	if (err) {
		if (q->lane)
			disk_lane_put(s->f->conf.disk, q->lane);
		q->lane = NULL;
		track_close(&q->vq);
		close_own(q);
		replay_forget(s, &q->vq);
	}
	return err;
}

void session_forget_queue(struct session *s, struct session_queue *q)
{
	q->base = vq_base(&q->vq);
	track_close(&q->vq);
	close_own(q);
	replay_forget(s, &q->vq);
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

static const char barred[] = "its requests in flight have ended this process twice";

void session_bar_queue(struct session *s, struct session_queue *q)
{
	static const uint64_t one = 1;

	pthread_mutex_lock(&s->f->lock);
	/* where it stands, by which is_as_barred() knows it again */
	if (s->mem && !prepare(s, q)) {
		q->base = vq_base(&q->vq);
		track_close(&q->vq);
	}
	q->vq.broken = barred;
	pthread_mutex_unlock(&s->f->lock);
	if (q->err.fd >= 0)
		(void)!write(q->err.fd, &one, sizeof(one));
}

/* Whether @q, which could start, would begin with what has ended the process: it stands where it
 * was stopped, as after a pause of the machine. After a reset it stands elsewhere, or has a new
 * region. */
static bool is_as_barred(struct session *s, struct session_queue *q)
{
	struct vq *v = &q->vq;

	pthread_mutex_lock(&s->f->lock);
	int err = prepare(s, q);
	bool same = err == -EFAULT || (!err && v->nreplay && vq_base(v) == q->base);

	if (!err && !same)
		track_void(v);
	if (!err)
		track_close(v);
	if (same)
		v->broken = barred;
	pthread_mutex_unlock(&s->f->lock);
	return same;
}

int session_update_queue(struct session *s, struct session_queue *q)
{
	/* Without protocol features a ring is enabled from the start (vhost-user, "Ring
	 * states"). */
	bool enabled = q->enabled || !has_feature(s, VHOST_USER_F_PROTOCOL_FEATURES);
	bool ready = enabled && q->has_at && q->has_kick && q->size && s->mem;

	if (ready && replay_is_barred(s, &q->vq)) {
		if (is_as_barred(s, q))
			return 0;
		/* the region is void by now, so whoever goes on from here replays nothing */
		close_own(q);
		replay_forget(s, &q->vq);
	}
	if (ready && !q->vq.running)
		return start(s, q);
	if (!ready)
		session_stop_queue(s, q);
	return 0;
}

int session_resume_queue(struct session *s, struct session_queue *q)
{
	static const uint64_t one = 1;

	/* from here and not by its poller, for what this is about has long been published */
	if (q->call.fd >= 0)
		(void)!write(q->call.fd, &one, sizeof(one));
	return session_update_queue(s, q);
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

		/* its ring is gone: it takes nothing more, and is stopped when the front end says
		 * so; stopping it here could wait for a stalled medium */
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

int session_open_region(const struct session *s, const struct gregion_desc *d,
			const struct kept_fd *fd, struct gregion **ret_region)
{
	int err = gregion_open(d, fd->fd, s->f->conf.memory, ret_region);

	if (!err)
		(*ret_region)->slot = fd->slot;
	return err;
}

int session_map_track(const struct session *s, struct session_track *t, const struct kept_fd *fd)
{
	struct statfs fs;
	struct stat st;

	if (!t->queues || t->queues > s->f->conf.nqueue || !t->size || t->size > VIRTQ_SIZE_MAX ||
	    t->off_b % 4096)
		return -EPROTO;
	t->each_b = track_region_len_b(t->packed, t->size);
	if (t->len_b < t->each_b * t->queues || t->len_b > SIZE_MAX / 2)
		return -EPROTO;
	/* ours was sealed when we made it; another that can shrink could kill us */
	int seals = fcntl(fd->fd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd->fd, &st) ||
	    !range_inside(t->off_b, t->len_b, (uint64_t)st.st_size))
		return -EPROTO;
	/* nor may its pages run out: hugepages with a hole punched into them do */
	if (fstatfs(fd->fd, &fs) || fs.f_type != TMPFS_MAGIC)
		return -EPROTO;
	void *at = mmap(NULL, t->len_b, PROT_READ | PROT_WRITE, MAP_SHARED, fd->fd,
			(off_t)t->off_b);
	if (at == MAP_FAILED)
		return -errno;
	t->at = at;
	t->slot = fd->slot;
	return 0;
}

void session_set_track(struct session *s, const struct session_track *t)
{
	if (s->track.at)
		munmap(s->track.at, s->track.len_b);
	s->track = *t;
}

/* An eventfd can be read without waiting; a pipe, a file or a terminal cannot, or gives other
 * amounts. A notification lost here is none: a queue is looked at when it starts. */
bool session_may_read(int fd)
{
	uint64_t v;
	struct iovec iov = { &v, sizeof(v) };
	struct stat st;
	ssize_t n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	return (n == sizeof(v) || (n < 0 && errno == EAGAIN)) && !fstat(fd, &st) &&
	       !(st.st_mode & S_IFMT);
}

bool session_may_write(int fd)
{
	return session_may_read(fd) && !fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
}

void session_commit(struct session *s)
{
	adopt_record(s, memo_draft(s->memo));
	memo_commit(s->memo);
}

void session_update_write_through(struct session *s)
{
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++)
		if (s->queue[i] && s->queue[i]->vq.running)
			vq_set_write_through(&s->queue[i]->vq, writes_through(s));
}

void session_set_resize(struct session *s, bool pending)
{
	pthread_mutex_lock(&s->f->lock);
	/* relaxed: it is set under the lock; a change that it has not been told yet is not
	 * confirmed */
	s->resize_pending = pending || __atomic_load_n(&s->f->todo, __ATOMIC_RELAXED) & FRONT_SIZE;
	pthread_cond_broadcast(&s->f->news);
	pthread_mutex_unlock(&s->f->lock);
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
		kept_fd_close(&q->kick);
		kept_fd_close(&q->call);
		kept_fd_close(&q->err);
		close_own(q);
		free(q);
	}
	if (s->track.at)
		munmap(s->track.at, s->track.len_b);
	kept_fd_close(&s->backend);
	replay_end(s);
	memo_end(s->memo);
	fd_close(s->sock);
	free(s);
}
