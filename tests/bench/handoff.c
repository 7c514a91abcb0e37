/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `handoff`: the floor of a storage function: this thread copies blocks of a disk of 1 MiB into
 * slots and hands them to one on another CPU, which hands them back; then it copies them into
 * buffers. Two rings of single words and two copies, and nothing else: no requests, no judgement,
 * no statistics.
 *   cpu= peer= depth= bs= touch=0|1 ms=
 * With touch=1 the other side reads and changes every byte of each.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/hist.h"
#include "tests/bench/tool.h"

#define ENTRIES 256u
#define DEPTH_MAX 128u
#define DISK_B MIB

/* An entry: its lap from 1 on, and a slot. */
struct words {
	uint64_t word[ENTRIES];
	uint32_t n __attribute__((aligned(128))); /* written or read so far: its one user's */
};

static struct {
	struct words to __attribute__((aligned(128))), from __attribute__((aligned(128)));
	uint8_t *disk, *slots, *bufs;
	uint64_t bs_b, next_b;
	unsigned peer;
	bool touch, stop;
} h;

static inline void put(struct words *w, uint32_t *n, unsigned slot)
{
	uint64_t lap = *n / ENTRIES + 1;

	/* release: pairs with get()'s acquire; the slot's bytes are whole */
	__atomic_store_n(&w->word[(*n)++ % ENTRIES], lap << 32 | slot, __ATOMIC_RELEASE);
}

static inline bool get(const struct words *w, uint32_t *n, unsigned *ret)
{
	uint64_t word = __atomic_load_n(&w->word[*n % ENTRIES], __ATOMIC_ACQUIRE);

	if (word >> 32 != *n / ENTRIES + 1)
		return false;
	*ret = (unsigned)word;
	++*n;
	return true;
}

static void *answer(void *arg)
{
	uint32_t taken = 0;
	unsigned slot;

	pin_thread(h.peer);
	while (!__atomic_load_n(&h.stop, __ATOMIC_RELAXED)) {
		while (get(&h.to, &taken, &slot)) {
			if (h.touch)
				touch_data(h.slots + slot * h.bs_b, h.bs_b);
			put(&h.from, &h.from.n, slot);
		}
	}
	return arg;
}

static void give(unsigned slot)
{
	memcpy(h.slots + slot * h.bs_b, h.disk + h.next_b, h.bs_b);
	h.next_b = (h.next_b + h.bs_b) % DISK_B;
	put(&h.to, &h.to.n, slot);
}

static uint64_t run(unsigned depth, uint64_t ns, struct hist *lat)
{
	uint64_t sent[DEPTH_MAX], done = 0, now = clock_ticks();
	uint64_t end = now + clock_ns_to_ticks(clock_scale(), ns);
	static uint32_t taken;
	unsigned slot;

	for (unsigned i = 0; i < depth; i++) {
		sent[i] = now;
		give(i);
	}
	for (; now < end; now = clock_ticks()) {
		while (get(&h.from, &taken, &slot)) {
			memcpy(h.bufs + slot * h.bs_b, h.slots + slot * h.bs_b, h.bs_b);
			uint64_t at = clock_ticks();

			hist_add(lat, at - sent[slot], 1);
			sent[slot] = at;
			done++;
			give(slot);
		}
	}
	for (unsigned left = depth; left;)
		left -= get(&h.from, &taken, &slot);
	return done;
}

static uint8_t *memory(uint64_t len_b)
{
	void *at = mmap(NULL, len_b, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (at == MAP_FAILED)
		die("have memory", errno);
	memset(at, 0x5a, len_b);
	return at;
}

int tool_handoff(char **args)
{
	unsigned depth = (unsigned)min_u64(max_u64(arg_num(args, "depth", 1), 1), DEPTH_MAX);
	uint64_t run_ns = arg_num(args, "ms", 500) * NS_PER_MS;
	static struct hist warm, lat;
	pthread_t t;

	h.bs_b = min_u64(max_u64(arg_num(args, "bs", 4096), 512), 64 * KIB);
	h.touch = arg_num(args, "touch", 0);
	h.peer = (unsigned)arg_num(args, "peer", 0);
	h.disk = memory(DISK_B + h.bs_b);
	h.slots = memory(depth * h.bs_b);
	h.bufs = memory(depth * h.bs_b);
	pin_thread((unsigned)arg_num(args, "cpu", 1));
	if (pthread_create(&t, NULL, answer, NULL))
		die("start a thread", 0);
	run(depth, 100 * NS_PER_MS, &warm);
	uint64_t done = run(depth, run_ns, &lat);

	__atomic_store_n(&h.stop, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	printf("{\"iops\": %.0f, \"p50\": %.1f, \"p99\": %.1f}\n",
	       (double)done * 1e9 / (double)run_ns,
	       (double)clock_ticks_to_ns(clock_scale(), hist_quantile(&lat, 50, 100)),
	       (double)clock_ticks_to_ns(clock_scale(), hist_quantile(&lat, 99, 100)));
	return 0;
}
