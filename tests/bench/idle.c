/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `idle`: connects to many sockets, does some I/O on each, and then holds the connections still.
 *   socket=PREFIX (sockets PREFIX0, PREFIX1, ...) count= requests= rest=SECONDS
 * Prints "ready" when the rest begins and "done" when it is over; what the target burns meanwhile
 * is for the caller to look up.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/bench.h"
#include "tests/bench/tool.h"

int tool_idle(char **args)
{
	const char *prefix = arg_text(args, "socket", "");
	unsigned count = (unsigned)arg_num(args, "count", 64);
	struct client_load load = { .read_pct = 100,
				    .max_requests = arg_num(args, "requests", 1000) };
	struct client **c = calloc(count, sizeof(*c));

	for (unsigned i = 0; c && i < count; i++) {
		struct client_conf conf = { .depth = 4 };
		struct client_bench_result r;
		const char *step;
		char path[108];

		snprintf(path, sizeof(path), "%s%u", prefix, i);
		conf.socket = path;
		int rc = client_open(&conf, &c[i], &step);

		if (rc)
			die(step, rc);
		rc = client_load_run(c[i], &load, &r);
		if (rc || r.errors)
			die("idle: I/O", rc);
	}
	printf("ready\n");
	fflush(stdout);
	sleep((unsigned)arg_num(args, "rest", 30));
	printf("done\n");
	fflush(stdout);
	for (unsigned i = 0; c && i < count; i++)
		client_close(c[i]);
	free(c);
	return 0;
}
