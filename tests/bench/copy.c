/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `copy`: what memory can do, on the poller's core.
 *   what=hot|cold   one 4 KiB copy, over and over, or over memory far beyond the caches
 *   what=load       as the ram medium would for a load: from the offsets of a random or
 *                   sequential read into the client's buffers, one after another; the other way
 *                   round with write=1
 * cpu= bs= depth= range= seq=0|1 write=0|1 ms=
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "tests/bench/tool.h"

static uint8_t *shared_memory(uint64_t len_b)
{
	/* Shared and written once, like a ram medium's memfd. */
	uint8_t *m = mmap(NULL, len_b, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (m == MAP_FAILED)
		die("memory", errno);
	memset(m, 0xa5, len_b);
	return m;
}

int tool_copy(char **args)
{
	const char *what = arg_text(args, "what", "load");
	bool hot = !strcmp(what, "hot");
	uint64_t bs = arg_num(args, "bs", 4096);
	uint64_t depth = hot ? 1 : arg_num(args, "depth", 32);
	uint64_t range = hot ? bs : arg_num(args, "range", 512 * MIB);
	bool sequential = arg_num(args, "seq", 0);
	bool write = arg_num(args, "write", 0);
	uint64_t n = range / bs, r = 88172645463325252ull, block = 0, done = 0, slot = 0;

	pin_thread((unsigned)arg_num(args, "cpu", 0));
	uint8_t *disk = shared_memory(range), *buf = shared_memory(depth * bs);
	uint64_t start = clock_ticks(), now = start;
	uint64_t run_ns = arg_num(args, "ms", 1000) * NS_PER_MS;
	uint64_t end = start + clock_ns_to_ticks(clock_scale(), run_ns);

	while (now < end) {
		for (unsigned i = 0; i < 16; i++) {
			r ^= r << 13;
			r ^= r >> 7;
			r ^= r << 17;
			if (sequential)
				block = block + 1 == n ? 0 : block + 1;
			else
				block = (uint64_t)((unsigned __int128)r * n >> 64);
			uint8_t *at = disk + block * bs, *own = buf + slot * bs;

			memcpy(write ? at : own, write ? own : at, bs);
			slot = slot + 1 == depth ? 0 : slot + 1;
			__asm__ volatile("" ::: "memory"); /* the next copy is not this one */
		}
		done += 16;
		now = clock_ticks();
	}
	double ns = (double)clock_ticks_to_ns(clock_scale(), now - start);

	printf("{\"ns\": %.1f, \"iops\": %.0f}\n", ns / (double)done, (double)done * 1e9 / ns);
	return 0;
}
