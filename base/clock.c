/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <pthread.h>
#include <time.h>

/* Long enough that an error of 50 ns is 1 in 10,000; it is part of every start. */
#define MEASURE_NS (500 * NS_PER_US)
#define NAP_MIN_NS (20 * NS_PER_US)
#define NAP_MAX_NS (1 * NS_PER_MS)

static uint64_t ticks_per_s;
static struct clock_scale scale;
static pthread_once_t measured = PTHREAD_ONCE_INIT;

uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void clock_nap(uint64_t *ns)
{
	*ns = *ns ? min_u64(2 * *ns, NAP_MAX_NS) : NAP_MIN_NS;
	nanosleep(&(struct timespec){ .tv_nsec = (long)*ns }, NULL);
}

struct reading {
	uint64_t ns, ticks;
};

/* Both clocks at one moment: of several tries the one that took least, so that an interruption
 * between the two is not taken for time on one of them. */
static struct reading read_both(void)
{
	uint64_t least = UINT64_MAX;
	struct reading best = { 0 };

	for (int i = 0; i < 8; i++) {
		uint64_t before = clock_ticks();
		uint64_t ns = clock_ns();
		uint64_t took = clock_ticks() - before;

		if (took < least) {
			least = took;
			best = (struct reading){ ns, before + took / 2 };
		}
	}
	return best;
}

static void measure(void)
{
	struct reading from = read_both();

	while (clock_ns() - from.ns < MEASURE_NS)
		;
	struct reading to = read_both();
	ticks_per_s = (uint64_t)((unsigned __int128)(to.ticks - from.ticks) * NS_PER_S /
				 (to.ns - from.ns));
	scale.ns_per_tick_32 = (uint64_t)(((unsigned __int128)NS_PER_S << 32) / ticks_per_s);
	scale.ticks_per_ns_32 = (uint64_t)(((unsigned __int128)ticks_per_s << 32) / NS_PER_S);
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
