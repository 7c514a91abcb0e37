/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a poller sleeps, and on what.
 *
 * Kicks and mail are in one epoll set for as long as the queue is attached; that
 * costs nothing while we poll. A medium's descriptor is waited for only while the
 * medium has requests in flight and we sleep, so that a busy one wakes nobody.
 *
 * No wake-up is lost: a queue is armed and then looked at once more (arm()), mail
 * makes mail_fd readable after it is pushed, and level-triggered descriptors stay
 * readable until they are read.
 */
#include "core/poller_sleep.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "core/lane.h"

/* The spin window adapts between these. A wake-up costs 15-50 us, so spinning for much less
 * than that saves nobody anything, and spinning longer than the upper bound pays only for
 * arrivals that are rarer than one in 4,000 a second. */
#define WINDOW_MIN_NS (8 * NS_PER_US)
#define WINDOW_START_NS (64 * NS_PER_US)
#define WINDOW_MAX_NS (256 * NS_PER_US)

/* Between two looks at a queue that cannot notify, on the host's only CPU. */
#define LOOK_AGAIN_NS (500 * NS_PER_US)

#define WAIT_EVENTS 64
/* Media waited for by descriptor at once; with more in flight the poller spins. */
#define WAIT_MEDIA 128

int poller_sleep_init(struct poller *p)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = NULL };

	p->window_ticks = clock_ns_to_ticks(p->scale, WINDOW_START_NS);
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	p->mail_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->epoll_fd < 0 || p->mail_fd < 0 ||
	    epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->mail_fd, &ev))
		return -errno;
	return 0;
}

void poller_sleep_fini(struct poller *p)
{
	fd_close(p->epoll_fd);
	fd_close(p->mail_fd);
}

int poller_watch(struct poller *p, struct pollee *q)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = q };

	if (q->kick_fd < 0)
		return 0;
	return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, q->kick_fd, &ev) ? -errno : 0;
}

void poller_unwatch(struct poller *p, struct pollee *q)
{
	if (q->kick_fd < 0)
		return;
	poller_drain_kick(q);
	epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, q->kick_fd, NULL);
}

void poller_drain_kick(struct pollee *q)
{
	uint64_t n;
	struct iovec iov = { &n, sizeof(n) };

	/* the descriptor is the VMM's too: whether reading it blocks is not ours to say */
	if (q->kick_fd >= 0 && preadv2(q->kick_fd, &iov, 1, -1, RWF_NOWAIT) == sizeof(n))
		stat_add(&q->kicks, n);
}

/* Whether there is a reason to go on polling. Fills in what to wait for beside the epoll set, and
 * shortens *max_ns if something must be looked at without being told. */
static bool must_poll(struct poller *p, struct pollfd *media, unsigned *ret_n, uint64_t *max_ns)
{
	struct pollee_set *cold = &p->set[POLLEE_COLD];
	unsigned n = 0;

	if (p->set[POLLEE_HOT].n || (p->always && p->may_spin) || !list_empty(&p->resumed) ||
	    p->now_ticks - p->work_ticks < (poller_mode(p) == POLL_NEVER ? 0 : p->window_ticks))
		return true;
	for (unsigned i = 0; i < cold->n; i++) {
		if (cold->q[i]->armed)
			continue;
		/* a front end that gave no descriptor asks to be polled, but not for the only
		 * CPU */
		if (p->may_spin)
			return true;
		*max_ns = min_u64(*max_ns, LOOK_AGAIN_NS);
	}
	list_for_each(it, tmp, &p->busy_media) {
		struct media_lane *m = list_entry(it, struct media_lane, busy);
		int fd = m->ops->wake_fd ? m->ops->wake_fd(m) : -1;

		if (fd < 0 || n == WAIT_MEDIA)
			return true;
		media[n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
	}
	*ret_n = n;
	return false;
}

/* How long the wait may be. Return: @ret, or NULL for without end. */
static struct timespec *wait_limit(const struct poller *p, uint64_t max_ns, struct timespec *ret)
{
	if (p->timer_ticks != UINT64_MAX) {
		uint64_t left = p->timer_ticks > p->now_ticks ? p->timer_ticks - p->now_ticks : 0;

		max_ns = min_u64(max_ns, clock_ticks_to_ns(p->scale, left));
	}
	if (max_ns == NEVER_NS)
		return NULL;
	ret->tv_sec = (time_t)(max_ns / NS_PER_S);
	ret->tv_nsec = (long)(max_ns % NS_PER_S);
	return ret;
}

static void collect_kicks(struct poller *p)
{
	struct epoll_event ev[WAIT_EVENTS];
	int n = epoll_wait(p->epoll_fd, ev, WAIT_EVENTS, 0);
	uint64_t v;

	for (int i = 0; i < n; i++) {
		struct pollee *q = ev[i].data.ptr;

		if (!q) {
			(void)!read(p->mail_fd, &v, sizeof(v));
			continue;
		}
		poller_drain_kick(q);
		poller_heat(q);
	}
}

/* A sleep that a longer spin would have spared lengthens the window; a long one halves it. */
static void tune_window(struct poller *p, uint64_t slept_ticks)
{
	uint64_t min = clock_ns_to_ticks(p->scale, WINDOW_MIN_NS);
	uint64_t max = clock_ns_to_ticks(p->scale, WINDOW_MAX_NS);

	if (slept_ticks < max)
		p->window_ticks = min_u64(2 * p->window_ticks, max);
	else
		p->window_ticks = max_u64(p->window_ticks / 2, min);
}

uint64_t poller_idle_ticks(const struct poller *p)
{
	uint64_t asleep = stat_get(&p->stats.asleep), now = clock_ticks();

	return stat_get(&p->stats.idle_ticks) + (asleep && now > asleep ? now - asleep : 0);
}

bool poller_sleep(struct poller *p, uint64_t max_ns)
{
	struct pollfd wait[1 + WAIT_MEDIA]; /* filled in as far as it is used */
	struct timespec limit;
	unsigned n;

	if (must_poll(p, wait + 1, &n, &max_ns))
		return false;
	wait[0] = (struct pollfd){ .fd = p->epoll_fd, .events = POLLIN };
	uint64_t before = poller_tick(p);
	stat_add(&p->stats.sleeps, 1);
	__atomic_store_n(&p->stats.asleep, before, __ATOMIC_RELAXED);
	ppoll(wait, 1 + n, wait_limit(p, max_ns, &limit), NULL);
	poller_tick(p);
	stat_add(&p->stats.idle_ticks, p->now_ticks - before);
	__atomic_store_n(&p->stats.asleep, 0, __ATOMIC_RELAXED);
	tune_window(p, p->now_ticks - before);
	if (wait[0].revents)
		collect_kicks(p);
	return true;
}
