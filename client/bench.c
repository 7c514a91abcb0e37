/* SPDX-License-Identifier: Apache-2.0 */
#include "client/bench.h"

#include <time.h>

#include "base/cpus.h"

static uint64_t thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

int client_bench_run(const struct client_bench_conf *conf, struct client_bench_result *ret)
{
	struct client_conf cc = conf->client;
	struct client *c = NULL;
	cpu_set_t old;
	int rc;

	*ret = (struct client_bench_result){ .step = "pin the client" };
	if (conf->cpu >= 0) {
		rc = cpus_pin((unsigned)conf->cpu, &old);
		if (rc)
			return rc;
	}
	cc.buf_b = cc.buf_b ? cc.buf_b : conf->load.bs_b;
	cc.depth = cc.depth ? cc.depth : conf->load.depth;
	rc = client_open(&cc, &c, &ret->step);
	if (!rc) {
		ret->step = "run the load";
		uint64_t cpu_ns = thread_cpu_ns();

		rc = client_load_run(c, &conf->load, ret);
		ret->cpu_ns = thread_cpu_ns() - cpu_ns;
	}
	client_close(c);
	if (conf->cpu >= 0)
		sched_setaffinity(0, sizeof(old), &old);
	return rc;
}
