/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel tells of a process in /proc/PID/stat, see proc(5). Does not allocate; any thread.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

struct proc {
	char state; /* of its first thread: 'R' runs or would, 'S' sleeps, 'Z' has ended, ... */
	uint64_t start_ticks; /* when it was started, which tells it from others of its number */
	uint64_t memory_b;    /* of its addresses; 0: it has none, as what has ended */
	uint64_t env_start, env_end; /* of its environment; 0: it has none yet, or not for us */
};

/* Return: 0; -ESRCH: there is none, or no more. */
int proc_look(pid_t pid, struct proc *ret);
