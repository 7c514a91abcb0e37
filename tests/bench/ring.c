/* SPDX-License-Identifier: Apache-2.0 */
/* `ring`: the bare ring loop (compare/bare.h). cpu= peer= packed=0|1 direct=0|1 depth= ms= warm= */
#include <stdio.h>

#include "compare/bare.h"
#include "tests/bench/tool.h"

int tool_ring(char **args)
{
	struct bare_ring_conf conf = {
		.peer = (int)arg_num(args, "peer", 0),
		.packed = arg_num(args, "packed", 0),
		.direct = arg_num(args, "direct", 0),
	};
	struct client_load load = { .read_pct = 100, .bs_b = 4096,
				    .depth = (uint16_t)arg_num(args, "depth", 1),
				    .warm_ns = arg_num(args, "warm", 100) * NS_PER_MS,
				    .run_ns = arg_num(args, "ms", 1000) * NS_PER_MS };
	struct client_bench_result r;

	pin_thread((unsigned)arg_num(args, "cpu", 1));
	int rc = bare_ring(&conf, &load, &r);

	if (rc)
		die("bare ring", rc);
	printf("{\"iops\": %.0f, \"p50\": %.1f, \"p99\": %.1f}\n", r.iops, r.p50_ns, r.p99_ns);
	return 0;
}
