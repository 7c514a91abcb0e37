/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `wake`: how long a kick takes to a thread that sleeps on the target's core: from the write of
 * its eventfd to its first store, seen here. The kernel's and the host's part of every first
 * request after idle.
 *   cpu= peer= times= rest=MS
 */
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/bench/tool.h"

#define TIMES_MAX 100u

struct sleeper {
	unsigned cpu, times;
	int kick_fd;
	uint64_t awake __attribute__((aligned(128)));
};

static void *sleeper_run(void *arg)
{
	struct sleeper *s = arg;
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t v;

	pin_thread(s->cpu);
	epoll_ctl(ep, EPOLL_CTL_ADD, s->kick_fd, &ev);
	for (unsigned i = 1; i <= s->times; i++) {
		epoll_wait(ep, &ev, 1, -1);
		__atomic_store_n(&s->awake, i, __ATOMIC_RELEASE);
		if (read(s->kick_fd, &v, sizeof(v)) != sizeof(v))
			break;
	}
	close(ep);
	return NULL;
}

int tool_wake(char **args)
{
	struct sleeper s = { .cpu = (unsigned)arg_num(args, "peer", 0),
			     .times = (unsigned)min_u64(arg_num(args, "times", 10), TIMES_MAX),
			     .kick_fd = eventfd(0, EFD_CLOEXEC) };
	struct timespec rest = { .tv_nsec = (long)arg_num(args, "rest", 200) * 1000000 };
	double us[TIMES_MAX];
	uint64_t one = 1;
	pthread_t t;

	pin_thread((unsigned)arg_num(args, "cpu", 1));
	if (!s.times || s.kick_fd < 0 || pthread_create(&t, NULL, sleeper_run, &s))
		die("start a thread", errno);
	for (unsigned i = 0; i < s.times; i++) {
		uint64_t end = clock_ns() + (uint64_t)rest.tv_nsec;

		while (clock_ns() < end) /* busy, like the client: only the other core sleeps */
			cpu_relax();
		uint64_t start = clock_ns();

		if (write(s.kick_fd, &one, sizeof(one)) != sizeof(one))
			die("kick", errno);
		while (__atomic_load_n(&s.awake, __ATOMIC_ACQUIRE) != i + 1)
			cpu_relax();
		us[i] = (double)(clock_ns() - start) / 1000;
	}
	pthread_join(t, NULL);
	close(s.kick_fd);
	printf("{\"us\": %.1f}\n", median(us, s.times));
	return 0;
}
