/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `load`: the polled client on a vhost-user-blk socket.
 *   socket= cpu= bs= depth= read=PERCENT seq=0|1 ms= warm= pace=NS range= packed=0|1 direct=0|1
 *   event_idx=0|1 queues= interrupts=0|1 verify=0|1|2 requests= inflight=0|1 log=0|1
 */
#include <stdio.h>

#include "client/bench.h"
#include "tests/bench/tool.h"

int tool_load(char **args)
{
	struct client_bench_conf conf = {
		.client = {
			.socket = arg_text(args, "socket", ""),
			.queues = (uint16_t)arg_num(args, "queues", 1),
			.queue_size = (uint16_t)arg_num(args, "queue_size", 0),
			.packed = arg_num(args, "packed", 0),
			.no_indirect = arg_num(args, "direct", 0),
			.no_event_idx = !arg_num(args, "event_idx", 1),
			.hugepages = arg_num(args, "hugepages", 0),
			.no_inflight = !arg_num(args, "inflight", 1),
			.log = arg_num(args, "log", 0),
		},
		.load = {
			.read_pct = (unsigned)arg_num(args, "read", 100),
			.sequential = arg_num(args, "seq", 0),
			.interrupts = arg_num(args, "interrupts", 0),
			.depth = (uint16_t)arg_num(args, "depth", 1),
			.bs_b = (uint32_t)arg_num(args, "bs", 4096),
			.range_b = arg_num(args, "range", 0),
			.warm_ns = arg_num(args, "warm", 100) * NS_PER_MS,
			.run_ns = arg_num(args, "ms", 1000) * NS_PER_MS,
			.max_requests = arg_num(args, "requests", 0),
			.pace_ns = arg_num(args, "pace", 0),
			.seed = arg_num(args, "seed", 1),
			.verify = (enum client_verify)arg_num(args, "verify", 0),
		},
		.cpu = (int)arg_num(args, "cpu", 1),
	};
	struct client_bench_result r;
	int rc = client_bench_run(&conf, &r);

	if (rc)
		die(r.step, rc);
	printf("{\"iops\": %.0f, \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f, "
	       "\"requests\": %lu, \"elapsed_ns\": %lu, \"kicks\": %lu, \"interrupts\": %lu, "
	       "\"errors\": %lu, \"verified_b\": %lu, \"mismatches\": %lu, \"features\": %lu}\n",
	       r.iops, r.p50_ns, r.p99_ns, r.p999_ns, r.max_ns, r.requests, r.elapsed_ns, r.kicks,
	       r.interrupts, r.errors, r.verified_b, r.mismatches, r.features);
	return r.errors || r.mismatches;
}
