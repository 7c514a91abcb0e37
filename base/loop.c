/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/fd.h"

int loop_init(struct loop *l)
{
	*l = (struct loop){ .epfd = epoll_create1(EPOLL_CLOEXEC) };
	return l->epfd < 0 ? -errno : 0;
}

void loop_fini(struct loop *l)
{
	l->epfd = fd_close(l->epfd);
}

static int control(struct loop *l, int op, struct loop_watch *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	return epoll_ctl(l->epfd, op, w->fd, &ev) ? -errno : 0;
}

int loop_add(struct loop *l, struct loop_watch *w, uint32_t events)
{
	return control(l, EPOLL_CTL_ADD, w, events);
}

int loop_mod(struct loop *l, struct loop_watch *w, uint32_t events)
{
	return control(l, EPOLL_CTL_MOD, w, events);
}

void loop_del(struct loop *l, struct loop_watch *w)
{
	control(l, EPOLL_CTL_DEL, w, 0);
}

int timer_open(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

static struct timespec time_of(uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };
}

void timer_set(int fd, uint64_t ns)
{
	struct itimerspec at = { .it_value = time_of(ns) };

	timerfd_settime(fd, 0, &at, NULL);
}

void timer_repeat(int fd, uint64_t ns)
{
	struct itimerspec at = { .it_value = time_of(ns), .it_interval = time_of(ns) };

	timerfd_settime(fd, 0, &at, NULL);
}

bool timer_take(int fd)
{
	uint64_t times;

	return read(fd, &times, sizeof(times)) == sizeof(times);
}

int loop_turn(struct loop *l, int timeout_ms)
{
	/* One event a call: a callback may free any watch, so none may be held across it. */
	struct epoll_event ev;
	int n = epoll_wait(l->epfd, &ev, 1, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (n == 0)
		return 0;
	struct loop_watch *w = ev.data.ptr;

	w->ready(w, ev.events);
	return 1;
}

int loop_run(struct loop *l)
{
	int err = 0;

	while (!l->stopped && err >= 0)
		err = loop_turn(l, -1);
	return err < 0 ? err : 0;
}

void loop_stop(struct loop *l)
{
	l->stopped = true;
}
