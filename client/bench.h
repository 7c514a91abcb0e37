/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads for a vhost-user-blk socket, from one thread: random or sequential, reads and writes,
 * as fast as depth allows or paced, polled or by interrupts, with the data verified or left
 * alone. Answers rates, latencies and what they cost in kicks and interrupts.
 */
#pragma once

#include "base/hist.h"
#include "client/client.h"

enum client_verify {
	CLIENT_VERIFY_OFF,
	CLIENT_VERIFY_WRITTEN, /* writes carry a pattern; reads check what this load wrote */
	CLIENT_VERIFY_ALL, /* the whole range holds the pattern already: reads check every block */
};

struct client_load {
	unsigned read_pct; /* 100: reads only */
	bool sequential;
	bool interrupts; /* sleep for completions instead of polling for them */
	uint16_t depth; /* on each queue; 0: as deep as the client has slots */
	uint32_t bs_b; /* 0: the client's buffer; a multiple of 512 */
	uint64_t start_b, range_b; /* part of the disk; range 0: to its end */
	uint64_t warm_ns; /* runs before measuring */
	uint64_t run_ns; /* 0: until max_requests */
	uint64_t max_requests; /* 0: until run_ns */
	uint64_t pace_ns; /* one request each, evenly; 0: as fast as they come back */
	uint64_t seed; /* of offsets and of the pattern */
	enum client_verify verify;
	uint64_t silence_ns; /* nothing came back for so long: give up; 0: 20 s */
	struct hist *hist; /* latencies in ns are added here; or NULL */
};

struct client_bench_conf {
	struct client_conf client; /* buf_b and depth 0: from load */
	struct client_load load;
	int cpu; /* to pin this thread to meanwhile; -1: none */
};

struct client_bench_result {
	uint64_t requests, read_b, written_b, verified_b;
	uint64_t elapsed_ns;
	uint64_t cpu_ns; /* of this thread, all phases of the load; set by client_bench_run() */
	double iops;
	double p50_ns, p99_ns, p999_ns, max_ns, mean_ns;
	uint64_t kicks, interrupts; /* while measuring */
	uint64_t errors; /* requests that came back with a status other than OK */
	uint64_t mismatches; /* blocks whose data was wrong */
	uint64_t features; /* negotiated */
	uint64_t capacity_b;
	const char *step; /* what was being done, last or when it failed */
};

/* Runs @load on an open client's queues, all of them, from this thread. Context: blocks, or
 * spins; allocates before it starts. Return: 0, also with errors and mismatches counted; -EINVAL
 * (block size, range or depth that do not fit); -ETIMEDOUT (nothing came back in silence_ns);
 * -EPROTO (broken ring); -ENOMEM. */
int client_load_run(struct client *c, const struct client_load *load,
		    struct client_bench_result *ret);

/* Connects, runs, disconnects. Return: see client_open() and client_load_run(). */
int client_bench_run(const struct client_bench_conf *conf, struct client_bench_result *ret);
