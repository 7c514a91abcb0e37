/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `copy`: what memory can do, on the poller's core (compare/bare.h).
 *   what=hot|cold   one 4 KiB copy, over and over, or over memory far beyond the caches
 *   what=load       as the ram medium would for a load: from the offsets of a random or
 *                   sequential read into the client's buffers, one after another; the other way
 *                   round with write=1
 * cpu= bs= depth= range= seq=0|1 write=0|1 ms=
 */
#include <stdio.h>
#include <string.h>

#include "compare/bare.h"
#include "tests/bench/tool.h"

int tool_copy(char **args)
{
	bool hot = !strcmp(arg_text(args, "what", "load"), "hot");
	uint64_t bs_b = arg_num(args, "bs", 4096);
	struct client_load load = {
		.read_pct = arg_num(args, "write", 0) ? 0 : 100,
		.bs_b = (uint32_t)bs_b,
		.depth = hot ? 1 : (uint16_t)arg_num(args, "depth", 32),
		.sequential = arg_num(args, "seq", 0),
		.range_b = hot ? bs_b : arg_num(args, "range", 512 * MIB),
		.run_ns = arg_num(args, "ms", 1000) * NS_PER_MS,
	};
	struct client_bench_result r;

	pin_thread((unsigned)arg_num(args, "cpu", 0));
	int rc = bare_copy(&load, &r);

	if (rc)
		die(r.step, rc);
	printf("{\"ns\": %.1f, \"iops\": %.0f}\n", 1e9 / r.iops, r.iops);
	return 0;
}
