/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path: each request to the ring or to the helpers, and back.
 */
#include "media/file/file.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "core/lane.h"
#include "media/file/lock.h"
#include "media/file/private.h"

#define REAP 64

static struct file_lane *lane_of(struct media_lane *l)
{
	return container_of(l, struct file_lane, lane);
}

static void to_pool(struct file_lane *l, struct req *r)
{
	l->pool_inflight++;
	pool_push(&file_of(l->lane.media)->pool, &l->done, r);
}

/* The ring is of no use any more: what it has not taken goes to the helpers. */
static void give_up_ring(struct file_lane *l)
{
	for (struct req *r; (r = ring_withdraw(&l->ring));) {
		l->ring_inflight--;
		to_pool(l, r);
	}
	for (struct list *n; (n = list_pop(&l->waiting));)
		to_pool(l, list_entry(n, struct req, hold));
	l->ring_usable = false;
}

static inline void submit_ring(struct file_lane *l)
{
	if (unlikely(ring_submit(&l->ring)))
		give_up_ring(l);
}

/* Return: false: the ring has no room. */
static inline bool to_ring(struct file_lane *l, struct req *r)
{
	if (unlikely(l->ring_inflight == RING_CQ))
		return false;
	if (unlikely(!ring_prepare(&l->ring, r))) {
		submit_ring(l);
		if (!l->ring_usable || !ring_prepare(&l->ring, r))
			return false;
	}
	l->ring_inflight++;
	return true;
}

/* Buffered writes make the kernel wait for pages; its workers would do the waiting. */
static inline bool suits_ring(const struct file_lane *l, const struct file *f, const struct req *r)
{
	return l->ring_usable && (r->op == REQ_READ || (r->op == REQ_WRITE && f->direct));
}

static inline void start(struct file_lane *l, const struct file *f, struct req *r)
{
	if (unlikely(!suits_ring(l, f, r)))
		to_pool(l, r);
	else if (unlikely(!to_ring(l, r)))
		list_add_tail(&l->waiting, &r->hold);
}

static void fail_all(struct req **reqs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		req_done(reqs[i], REQ_IOERR);
}

static void file_submit(struct media_lane *ml, struct req **reqs, unsigned n)
{
	struct file_lane *l = lane_of(ml);
	const struct file *f = file_of(ml->media);

	if (unlikely(file_failed(f))) {
		fail_all(reqs, n);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		reqs[i]->medium[0] = 0;
		start(l, f, reqs[i]);
	}
	if (likely(ring_pending(&l->ring)))
		submit_ring(l);
	if (unlikely(!l->ring_usable && !list_empty(&l->waiting)))
		give_up_ring(l);
}

/* A transfer that did not do all at once. Return: whether it has ended. */
static bool went_oddly(struct file_lane *l, struct req *r, int res)
{
	/* could not be started without waiting, or was interrupted */
	if (res == -EAGAIN || res == -EINTR || res == -EOPNOTSUPP) {
		to_pool(l, r);
		return false;
	}
	if (res > 0) {
		r->medium[0] += (uint32_t)res;
		list_add_tail(&l->waiting, &r->hold);
		return false;
	}
	/* 0: the file has become shorter. Zeros are not made up. */
	req_done(r, res ? work_status(res) : REQ_IOERR);
	return true;
}

/* Starts what waited for room in the ring. */
static void start_waiting(struct file_lane *l)
{
	while (!list_empty(&l->waiting)) {
		struct req *r = list_first(&l->waiting, struct req, hold);

		if (!to_ring(l, r))
			break;
		list_del(&r->hold);
	}
	if (!l->ring_usable)
		give_up_ring(l);
}

static unsigned reap_ring(struct file_lane *l)
{
	struct io_uring_cqe *cqe[REAP];
	unsigned n = ring_peek(&l->ring, cqe, REAP), ended = 0;

	if (!n)
		return 0;
	poller_tick(l->lane.poller);
	l->ring_inflight -= n;
	for (unsigned i = 0; i < n; i++) {
		struct req *r = (struct req *)(uintptr_t)cqe[i]->user_data;
		int res = cqe[i]->res;

		if (likely(res > 0 && (uint32_t)res == req_left_b(r))) {
			req_done(r, REQ_OK);
			ended++;
		} else {
			ended += went_oddly(l, r, res);
		}
	}
	ring_seen(&l->ring, n);
	return ended;
}

static unsigned reap_pool(struct file_lane *l)
{
	struct list *n = pool_take_done(&l->done);
	unsigned ended = 0;

	if (n)
		poller_tick(l->lane.poller);
	for (; n; ended++) {
		struct req *r = list_entry(n, struct req, hold);

		n = n->next;
		l->pool_inflight--;
		req_done(r, (enum req_status)r->status);
	}
	return ended;
}

static unsigned file_poll(struct media_lane *ml)
{
	struct file_lane *l = lane_of(ml);
	unsigned ended = 0;

	if (unlikely(l->ring_watched)) {
		l->ring_watched = false;
		epoll_ctl(l->both_fd, EPOLL_CTL_DEL, l->ring.u.ring_fd, NULL);
	}
	if (likely(l->ring_inflight))
		ended += reap_ring(l);
	if (l->pool_inflight)
		ended += reap_pool(l);
	if (unlikely(!list_empty(&l->waiting)))
		start_waiting(l);
	if (unlikely(ring_pending(&l->ring)))
		submit_ring(l);
	return ended;
}

static int file_wake_fd(struct media_lane *ml)
{
	struct file_lane *l = lane_of(ml);
	struct epoll_event ev = { .events = EPOLLIN };

	/* what the kernel would not take must be offered again */
	if (ring_pending(&l->ring))
		return -1;
	if (!l->pool_inflight)
		return l->ring.u.ring_fd;
	if (!pool_arm(&l->done))
		return -1;
	if (!l->ring_inflight)
		return l->done.event_fd;
	if (epoll_ctl(l->both_fd, EPOLL_CTL_ADD, l->ring.u.ring_fd, &ev) && errno != EEXIST)
		return -1;
	l->ring_watched = true;
	return l->both_fd;
}

static void file_lane_close(struct media_lane *ml)
{
	struct file_lane *l = lane_of(ml);

	ring_close(&l->ring);
	pool_done_close(&file_of(ml->media)->pool, &l->done);
	fd_close(l->both_fd);
	free(l);
}

static int open_both_fd(struct file_lane *l)
{
	struct epoll_event ev = { .events = EPOLLIN };

	l->both_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->both_fd < 0 || epoll_ctl(l->both_fd, EPOLL_CTL_ADD, l->done.event_fd, &ev))
		return -errno;
	return 0;
}

static int file_lane_open(struct media *m, struct poller *p, struct media_lane **ret_lane)
{
	struct file *f = file_of(m);
	struct file_lane *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	media_lane_init(&l->lane, m, p);
	list_init(&l->waiting);
	l->both_fd = -1;
	int err = pool_done_open(&f->pool, &l->done);
	if (!err)
		err = open_both_fd(l);
	if (!err && f->uring)
		err = ring_open(&l->ring, f->fd);
	if (err) {
		file_lane_close(&l->lane);
		return err;
	}
	l->ring_usable = l->ring.open;
	*ret_lane = &l->lane;
	return 0;
}

static void file_close(struct media *m)
{
	struct file *f = file_of(m);

	pool_close(&f->pool);
	/* A helper's table of descriptors goes a moment after the thread has been joined; who opens
	 * the image next must not find the lock that it still holds. */
	lock_drop(f->fd);
	fd_close(f->fd);
	free(f);
}

const struct media_ops file_ops = {
	.kind = "file",
	.close = file_close,
	.lane_open = file_lane_open,
	.lane_close = file_lane_close,
	.submit = file_submit,
	.poll = file_poll,
	.wake_fd = file_wake_fd,
};
