/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <pthread.h>
#include <time.h>

static uint64_t ticks_per_s;
static struct clock_scale scale;
static pthread_once_t measured = PTHREAD_ONCE_INIT;

uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* The shorter of two readings bounds what an interruption can add. */
static void measure(void)
{
	uint64_t best = 0;

	for (int i = 0; i < 2; i++) {
		uint64_t n0 = clock_ns();
		uint64_t t0 = clock_ticks();
		uint64_t n1;

		do {
			n1 = clock_ns();
		} while (n1 - n0 < NS_PER_MS);
		uint64_t rate = (uint64_t)((unsigned __int128)(clock_ticks() - t0) * NS_PER_S /
					   (n1 - n0));
		if (!best || rate < best)
			best = rate;
	}
	ticks_per_s = best;
	scale.ns_per_tick_32 = (uint64_t)(((unsigned __int128)NS_PER_S << 32) / best);
	scale.ticks_per_ns_32 = (uint64_t)(((unsigned __int128)best << 32) / NS_PER_S);
}

uint64_t clock_ticks_per_s(void)
{
	pthread_once(&measured, measure);
	return ticks_per_s;
}

const struct clock_scale *clock_scale(void)
{
	pthread_once(&measured, measure);
	return &scale;
}
