/* SPDX-License-Identifier: Apache-2.0 */
/* `postern bench`: the polled client against a disk, or against any vhost-user-blk socket. */
#include <sched.h>
#include <string.h>

#include "bin/cli.h"
#include "client/bench.h"

static json_t *show(const struct client_bench_result *r)
{
	double per = r->requests ? (double)r->requests : 1;

	return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I}",
			 "requests", (json_int_t)r->requests, "iops", r->iops, "p50_ns", r->p50_ns,
			 "p99_ns", r->p99_ns, "p999_ns", r->p999_ns, "max_ns", r->max_ns, "read_b",
			 (json_int_t)r->read_b, "written_b", (json_int_t)r->written_b, "verified_b",
			 (json_int_t)r->verified_b, "kicks", (json_int_t)r->kicks, "interrupts",
			 (json_int_t)r->interrupts, "client_cpu_ns", (double)r->cpu_ns / per,
			 "elapsed_ns", (json_int_t)r->elapsed_ns, "errors", (json_int_t)r->errors,
			 "mismatches", (json_int_t)r->mismatches);
}

static int fail(int code, const struct client_bench_result *r, const char *socket,
		struct ctl_error *err)
{
	const char *step = r->step ? r->step : "start";

	switch (-code) {
	case EINVAL:
		return ctl_fail(err, code, "bad_value", NULL,
				"%s: bs, depth, queues, start and range do not fit together or into "
				"the disk", step);
	case ENOTSUP:
		return ctl_fail(err, code, "not_supported", NULL,
				"%s: packed rings or so many queues are not offered", step);
	case ENOENT:
	case ECONNREFUSED:
		return ctl_fail(err, code, "not_found", "socket", "nobody listens on '%.110s'",
				socket);
	case ETIMEDOUT:
		return ctl_fail(err, code, "timeout", NULL, "%s: nothing came back for 20 s", step);
	default:
		return ctl_fail(err, code, "bench_failed", "socket", "%s: %s", step,
				strerror(-code));
	}
}

static struct client_bench_conf read_conf(const json_t *params, const char *socket)
{
	return (struct client_bench_conf){
		.client = { .socket = socket,
			    .queues = (uint16_t)ctl_u64(params, "queues"),
			    .packed = ctl_bool(params, "packed"),
			    .hugepages = ctl_bool(params, "hugepages") },
		.load = { .read_pct = (unsigned)ctl_u64(params, "read"),
			  .sequential = ctl_bool(params, "sequential"),
			  .interrupts = ctl_bool(params, "interrupts"),
			  .depth = (uint16_t)ctl_u64(params, "depth"),
			  .bs_b = (uint32_t)ctl_u64(params, "bs"),
			  .start_b = ctl_u64(params, "start"),
			  .range_b = ctl_u64(params, "range"),
			  .warm_ns = ctl_u64(params, "warm_ms") * NS_PER_MS,
			  .run_ns = ctl_u64(params, "seconds") * NS_PER_S,
			  .max_requests = ctl_u64(params, "requests"),
			  .pace_ns = ctl_u64(params, "pace_us") * NS_PER_US,
			  .seed = ctl_u64(params, "seed"),
			  .verify = ctl_bool(params, "verify") ? CLIENT_VERIFY_WRITTEN :
								 CLIENT_VERIFY_OFF },
		.cpu = ctl_has(params, "cpu") ? (int)ctl_u64(params, "cpu") : -1,
	};
}

static int run_bench(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	const char *disk = ctl_str(params, "disk"), *socket = ctl_str(params, "socket");
	struct client_bench_result r = { 0 };
	json_t *known = NULL;
	int code = 0;

	if (!disk == !socket)
		return ctl_fail(err, -EINVAL, "missing_param", "disk",
				"one of disk=NAME and socket=PATH is needed");
	if (disk)
		code = cli_disk((const struct cli *)ctl, disk, &known, err);
	if (code)
		return code;
	if (disk)
		socket = ctl_str(json_object_get(known, "front"), "socket");
	struct client_bench_conf conf = read_conf(params, socket);

	code = client_bench_run(&conf, &r);
	if (code)
		fail(code, &r, socket, err);
	else
		*ret = show(&r);
	json_decref(known);
	return code;
}

static const struct ctl_param bench_params[] = {
	{ .name = "disk", .type = CTL_NAME, .help = "A disk of posternd's" },
	{ .name = "socket", .type = CTL_PATH, .max = 107,
	  .help = "Or any vhost-user-blk socket, of whoever's" },
	{ .name = "read", .type = CTL_UINT, .max = 100, .value = "100",
	  .help = "Per cent of reads; the rest are writes, which destroy what is there" },
	{ .name = "bs", .type = CTL_SIZE, .min = 512, .max = 4 * MIB, .value = "4096",
	  .help = "Bytes of each request" },
	{ .name = "depth", .type = CTL_UINT, .min = 1, .max = 1024, .value = "32",
	  .help = "Requests in flight, each queue" },
	{ .name = "queues", .type = CTL_UINT, .min = 1, .max = 64, .value = "1", .help = "Queues" },
	{ .name = "sequential", .type = CTL_BOOL, .value = "off",
	  .help = "In order, not at random" },
	{ .name = "seconds", .type = CTL_UINT, .max = 86400, .value = "3", .help = "How long" },
	{ .name = "requests", .type = CTL_UINT, .value = "0",
	  .help = "Or how many, at most; 0: as many as the time gives" },
	{ .name = "start", .type = CTL_SIZE, .value = "0", .help = "Where on the disk" },
	{ .name = "range", .type = CTL_SIZE, .value = "0",
	  .help = "How much of it; 0: to its end" },
	{ .name = "verify", .type = CTL_BOOL, .value = "off",
	  .help = "Check what is read back of what was written" },
	{ .name = "packed", .type = CTL_BOOL, .value = "off", .help = "Packed rings" },
	{ .name = "interrupts", .type = CTL_BOOL, .value = "off",
	  .help = "Sleep for completions instead of polling" },
	{ .name = "pace_us", .type = CTL_UINT, .max = 1000000, .value = "0",
	  .help = "Microseconds from one request to the next; 0: as fast as they come back" },
	{ .name = "warm_ms", .type = CTL_UINT, .max = 60000, .value = "200",
	  .help = "Milliseconds to run before measuring" },
	{ .name = "hugepages", .type = CTL_BOOL, .value = "off", .help = "Memory of 2 MiB pages" },
	{ .name = "cpu", .type = CTL_UINT, .max = CPU_SETSIZE - 1, .help = "CPU to run on" },
	{ .name = "seed", .type = CTL_UINT, .value = "1", .help = "Another seed, other places" },
	{ 0 },
};

const struct ctl_cmd bench_cmds[] = {
	{ .noun = "bench", .verb = "", .params = bench_params, .run = run_bench,
	  .help = "Load a disk from this host with a polled client, and tell how fast it is" },
	{ 0 },
};
