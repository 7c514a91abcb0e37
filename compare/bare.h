/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host does without a controller or a guest, for each kind of medium: the floors that
 * `postern compare` and `make bench` hold everything against. Loads and results are the polled
 * client's (client/bench.h), so that a row of one stands beside a row of the other. Each call
 * runs one load on the calling thread, blocks or spins, and allocates before it starts; of
 * @load, verify and max_requests are ignored. Kicks and interrupts stay 0; cpu_ns of the result is
 * this process's while the load was measured, with the kernel's work for it.
 */
#pragma once

#include <time.h>

#include "client/bench.h"

/* CPU time of this process so far. */
static inline uint64_t bare_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* What a loop that has done @n requests in @ns with latencies @lat (ns) answers. */
static inline void bare_fill(struct client_bench_result *r, const struct client_load *load,
			     uint64_t n, uint64_t ns, const struct hist *lat)
{
	r->requests = n;
	r->elapsed_ns = ns;
	r->iops = ns ? (double)n * 1e9 / (double)ns : 0;
	r->p50_ns = (double)hist_quantile(lat, 50, 100);
	r->p99_ns = (double)hist_quantile(lat, 99, 100);
	r->p999_ns = (double)hist_quantile(lat, 999, 1000);
	if (load->hist)
		hist_merge(load->hist, lat);
}

/* A bare io_uring loop on the file @path: O_DIRECT where the file system has it, plain descriptor,
 * COOP_TASKRUN, one submission a batch. With @load->interrupts it sleeps for completions.
 * Return: 0; -EINVAL; -ENOMEM; -errno of set-up or of a request. */
int bare_uring(const char *path, const struct client_load *load, struct client_bench_result *ret);

/* A memcpy loop over the offsets of the load: reads copy from a memory of @load->range_b into
 * depth buffers, loads without reads the other way round. A request counts as waiting for the
 * depth - 1 copies before it. As above. */
int bare_copy(const struct client_load *load, struct client_bench_result *ret);

struct bare_ring_conf {
	int peer; /* CPU of the device's thread; -1: anywhere */
	bool packed, direct; /* direct: descriptors without tables (split only) */
};

/* A ring between this thread and one that judges every address, answers each read with OK and does
 * nothing else: no requests, no statistics, no second queue. Reads of 4096 bytes only; with warm_ns
 * 0 cpu_ns is both threads'. Return: 0; -EINVAL; see client_load_run(). */
int bare_ring(const struct bare_ring_conf *conf, const struct client_load *load,
	      struct client_bench_result *ret);
