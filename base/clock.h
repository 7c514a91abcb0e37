/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time. clock_ns() is CLOCK_MONOTONIC (about 40 ns a call); clock_ticks() is the
 * core's constant-rate counter (about 20 ns), for one stamp per batch. Any thread.
 */
#pragma once

#include "base/base.h"

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t clock_ns(void);

/* Sleeps between two looks at what nobody tells of: 20 us the first time, when *ns is 0, then twice
 * as long each time, at most 1 ms. */
void clock_nap(uint64_t *ns);

#if defined(__x86_64__)
static inline uint64_t clock_ticks(void)
{
	return __builtin_ia32_rdtsc();
}
#else
static inline uint64_t clock_ticks(void)
{
	uint64_t v;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
	return v;
}
#endif

/* Ticks per second; measured once, in half a millisecond, by the first caller. Any thread. */
uint64_t clock_ticks_per_s(void);

/* Fixed-point factors, 32 bits of fraction, so that a conversion is one multiplication. */
struct clock_scale {
	uint64_t ns_per_tick_32;
	uint64_t ticks_per_ns_32;
};
const struct clock_scale *clock_scale(void);

/* Conversions round down and are exact to 1 in 2^30. */
static inline uint64_t clock_ticks_to_ns(const struct clock_scale *s, uint64_t ticks)
{
	return (uint64_t)(((unsigned __int128)ticks * s->ns_per_tick_32) >> 32);
}

static inline uint64_t clock_ns_to_ticks(const struct clock_scale *s, uint64_t ns)
{
	return (uint64_t)(((unsigned __int128)ns * s->ticks_per_ns_32) >> 32);
}
