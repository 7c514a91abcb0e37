/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `uring`: the bare io_uring loop on a file (compare/bare.h).
 *   path= cpu= bs= depth= read=PERCENT ms= warm= range= seq=0|1 spin=0|1
 * spin=1 looks at the completion queue without sleeping, as a poller does.
 */
#include <stdio.h>

#include "compare/bare.h"
#include "tests/bench/tool.h"

int tool_uring(char **args)
{
	struct client_load load = {
		.read_pct = (unsigned)arg_num(args, "read", 100),
		.bs_b = (uint32_t)arg_num(args, "bs", 4096),
		.depth = (uint16_t)arg_num(args, "depth", 1),
		.sequential = arg_num(args, "seq", 0),
		.range_b = arg_num(args, "range", 0),
		.warm_ns = arg_num(args, "warm", 100) * NS_PER_MS,
		.run_ns = arg_num(args, "ms", 1000) * NS_PER_MS,
		.interrupts = !arg_num(args, "spin", 1),
	};
	struct client_bench_result r;

	pin_thread((unsigned)arg_num(args, "cpu", 0));
	int rc = bare_uring(arg_text(args, "path", ""), &load, &r);

	if (rc)
		die(r.step, rc);
	printf("{\"iops\": %.0f, \"p50\": %.0f, \"p99\": %.0f}\n", r.iops, r.p50_ns, r.p99_ns);
	return 0;
}
