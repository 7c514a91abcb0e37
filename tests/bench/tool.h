/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measuring program behind `make bench`: one subcommand a run, arguments as key=value, one
 * line of JSON as its answer. tests/bench/run puts the runs in order and judges them.
 */
#pragma once

#include "tests/bench/args.h"

/* Subcommands, each in its file. Return: exit status. */
int tool_rtt(char **args); /* cache-line round trip between two cores */
int tool_copy(char **args); /* memcpy of 4 KiB, hot and cold; over the offsets of a load */
int tool_ring(char **args); /* a bare ring loop */
int tool_uring(char **args); /* a bare io_uring loop on a file */
int tool_load(char **args); /* the polled client on a socket */
int tool_idle(char **args); /* many connected disks that have done I/O and then rest */
int tool_step(char **args); /* instructions a request, by stepping a thread of the target */
int tool_wake(char **args); /* from a kick to a thread that slept */
int tool_noisy(char **args); /* a quiet disk's latency beside a noisy one */
int tool_function(char **args); /* what a storage function costs */
int tool_handoff(char **args); /* its floor: blocks handed to another thread and back */
int tool_gap(char **args); /* the longest time in which a disk completes nothing */
int tool_start(char **args); /* from exec to an accepting socket */

/* Reads and changes all of a block: what a function does that works on data, with no work of its
 * own. */
static inline void touch_data(void *data, uint64_t len_b)
{
	uint64_t *word = data;

	for (uint64_t i = 0; i < len_b / sizeof(*word); i++)
		word[i] ^= 0x5a5a5a5a5a5a5a5aull;
}

/* Pins the calling thread to @cpu, or ends the program. */
void pin_thread(unsigned cpu);

/* The value that @num / @den of @n values do not exceed, which it sorts; and the median. */
double quantile_of(double *value, unsigned n, unsigned num, unsigned den);
double median(double *value, unsigned n);

/* Ends the program with a line that names what failed. */
_Noreturn void die(const char *what, int err);
