/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/patience.h"

#include <time.h>

#include "base/clock.h"
#include "base/proc.h"

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
	struct proc p;

	return !proc_look(pid, &p) && p.state == 'R';
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
