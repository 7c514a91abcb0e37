/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpus.h"

static const struct {
	const char *name;
	int (*run)(char **args);
} commands[] = {
	{ "rtt", tool_rtt },   { "copy", tool_copy }, { "ring", tool_ring },
	{ "uring", tool_uring }, { "load", tool_load }, { "idle", tool_idle },
	{ "start", tool_start }, { "step", tool_step },
	{ "wake", tool_wake }, { "function", tool_function },
	{ "noisy", tool_noisy }, { "handoff", tool_handoff },
	{ "gap", tool_gap },
};

void die(const char *what, int err)
{
	fprintf(stderr, "bench: %s: %s\n", what, err ? strerror(err < 0 ? -err : err) : "failed");
	exit(1);
}

void pin_thread(unsigned cpu)
{
	int rc = cpus_pin(cpu, NULL);

	if (rc)
		die("pin to a cpu", rc);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double quantile_of(double *value, unsigned n, unsigned num, unsigned den)
{
	qsort(value, n, sizeof(*value), compare);
	return value[(n - 1) * num / den];
}

double median(double *value, unsigned n)
{
	return quantile_of(value, n, 1, 2);
}

int main(int argc, char **argv)
{
	for (unsigned i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argv + 2);
	fprintf(stderr, "usage: bench-tool rtt|copy|ring|uring|load|idle|start|step|wake|noisy|function|handoff|gap "
			"[key=value ...]\n");
	return 2;
}
