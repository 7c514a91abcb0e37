/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/gauge/tsc.h"

#include <cpuid.h>
#include <string.h>

#include "vm/gauge/machine.h"

#define CPUID_FEATURES 1u
#define CPUID_HYPERVISOR_BIT (1u << 31) /* of ECX */
#define CPUID_TSC 0x15u
#define CPUID_HYPERVISOR 0x40000000u
#define CPUID_HYPERVISOR_TSC 0x40000010u

/* Channel 2 of the interval timer, which only the speaker uses, and its gate. */
#define PIT_HZ 1193182u
#define PIT_DATA 0x42
#define PIT_COMMAND 0x43
#define PIT_MODE 0xb0u /* channel 2, both bytes, counts down once */
#define PIT_LATCH 0x80u
#define PIT_GATE 0x61
#define PIT_GATE_ON 0x01u
#define PIT_SPAN 60000u /* of 65536: 50 ms */
#define PIT_TRIES 8

static struct clock_scale scale;
static uint64_t khz;
static enum tsc_source source;

uint64_t clock_ticks_per_s(void)
{
	return khz * 1000;
}

const struct clock_scale *clock_scale(void)
{
	return &scale;
}

static void set(uint64_t new_khz, enum tsc_source from)
{
	khz = new_khz;
	source = from;
	scale.ns_per_tick_32 = (uint64_t)((1000000ull << 32) / khz);
	scale.ticks_per_ns_32 = (uint64_t)(((unsigned __int128)khz << 32) / 1000000u);
}

static uint64_t hypervisor_leaf_max(uint32_t ret_name[3])
{
	uint32_t a, b, c, d;

	__cpuid(CPUID_FEATURES, a, b, c, d);
	memset(ret_name, 0, 3 * sizeof(*ret_name));
	if (!(c & CPUID_HYPERVISOR_BIT))
		return 0;
	__cpuid(CPUID_HYPERVISOR, a, ret_name[0], ret_name[1], ret_name[2]);
	return a;
}

void tsc_hypervisor(char ret_name[13])
{
	uint32_t name[3];

	hypervisor_leaf_max(name);
	memcpy(ret_name, name, sizeof(name));
	ret_name[sizeof(name)] = 0;
}

/* Return: 0 if nobody says. */
static uint64_t told_khz(void)
{
	uint32_t a, b, c, d, name[3];

	if (hypervisor_leaf_max(name) >= CPUID_HYPERVISOR_TSC) {
		__cpuid(CPUID_HYPERVISOR_TSC, a, b, c, d);
		return a;
	}
	__cpuid(0, a, b, c, d);
	if (a < CPUID_TSC)
		return 0;
	__cpuid(CPUID_TSC, a, b, c, d);
	return a && b ? (uint64_t)c * b / a / 1000 : 0;
}

struct reading {
	uint64_t ticks;
	uint32_t left; /* of the interval timer's count */
};

/* Both at one moment: of several tries the one that took least. */
static struct reading read_both(void)
{
	struct reading best = { 0 };
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < PIT_TRIES; i++) {
		uint64_t before = clock_ticks();

		port_write_8(PIT_COMMAND, PIT_LATCH);
		uint64_t took = clock_ticks() - before;
		uint32_t left = port_read_8(PIT_DATA);

		left |= (uint32_t)port_read_8(PIT_DATA) << 8;
		if (took < least) {
			least = took;
			best = (struct reading){ before + took / 2, left };
		}
	}
	return best;
}

static uint64_t measured_khz(void)
{
	port_write_8(PIT_GATE, PIT_GATE_ON);
	port_write_8(PIT_COMMAND, PIT_MODE);
	port_write_8(PIT_DATA, 0xff);
	port_write_8(PIT_DATA, 0xff);
	struct reading from = read_both(), to;
	uint64_t begin = clock_ticks();

	do {
		to = read_both();
		if (clock_ticks() - begin > 1ull << 34)
			return 0; /* seconds: it does not run */
	} while (from.left - to.left < PIT_SPAN / 2 && to.left <= from.left);
	/* a count that went below zero starts from the top */
	return to.left < from.left ?
	       (to.ticks - from.ticks) * PIT_HZ / (from.left - to.left) / 1000 : 0;
}

const char *tsc_init(void)
{
	uint64_t told = told_khz();
	uint64_t found = told;

	/* a host that has other things to do may keep us away for longer than the timer counts */
	for (unsigned i = 0; !found && i < PIT_TRIES; i++)
		found = measured_khz();
	if (!found)
		return "how fast the TSC runs is told by nobody, and the PIT does not run";
	set(found, told ? TSC_CPUID : TSC_PIT);
	return NULL;
}

void tsc_set_khz(uint64_t new_khz)
{
	set(new_khz, TSC_HOST);
}

uint64_t tsc_khz(void)
{
	return khz;
}

enum tsc_source tsc_source(void)
{
	return source;
}
