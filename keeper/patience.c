/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/patience.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/* Return: 0: it has ended. */
static uint64_t cpu_ns_of(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
		return 0;
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Whether its first thread runs, or would if it could. */
static bool wants_cpu(pid_t pid)
{
	char path[32], text[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	/* the name before it may hold anything, and is of 15 bytes at most */
	const char *end = strrchr(text, ')');

	return end && end[1] == ' ' && end[2] == 'R';
}

void patience_begin(struct patience *p, pid_t pid, uint64_t now_ns)
{
	*p = (struct patience){ .pid = pid, .cpu_ns = cpu_ns_of(pid), .look_ns = now_ns };
}

uint64_t patience_spent(struct patience *p, uint64_t now_ns)
{
	uint64_t cpu_ns = cpu_ns_of(p->pid), got_ns = cpu_ns > p->cpu_ns ? cpu_ns - p->cpu_ns : 0;
	uint64_t passed_ns = now_ns - p->look_ns;

	/* its other threads may have had more than has passed */
	p->spent_ns += min_u64(passed_ns, wants_cpu(p->pid) ? got_ns : PATIENCE_LOOK_NS);
	p->cpu_ns = cpu_ns;
	p->look_ns = now_ns;
	return p->spent_ns;
}
