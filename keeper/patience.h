/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a process has had, in its own time: while it wants a processor, what it gets of one
 * counts; while it waits for anything else, the clock does. So one that hangs, or computes without
 * end, is found out after the time that it is given, however busy the machine is, and one that
 * is only not given a processor is not. One thread.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

struct patience {
	pid_t pid;
	uint64_t cpu_ns; /* that it had at the last look */
	uint64_t look_ns;
	uint64_t spent_ns;
};

/* From now on, @now_ns. */
void patience_begin(struct patience *p, pid_t pid, uint64_t now_ns);
/* To be asked every PATIENCE_LOOK_NS at least: of a longer time between nobody knows. Does not
 * wait. Return: what it has had, in ns. */
uint64_t patience_spent(struct patience *p, uint64_t now_ns);

#define PATIENCE_LOOK_NS (100 * NS_PER_MS)
