/* SPDX-License-Identifier: Apache-2.0 */
/* The bare memcpy loop: what the ram medium does for a load, and nothing else. */
#include "compare/bare.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"

#define GROUP 16u /* copies between two looks at the clock */

struct copy {
	const struct client_load *conf;
	uint8_t *disk, *buf;
	uint64_t nblock, block, slot, rng, done;
	struct hist lat; /* ns */
};

/* Shared and written once, like a ram medium's memfd. Return: NULL without memory. */
static uint8_t *shared_memory(uint64_t len_b)
{
	uint8_t *m = mmap(NULL, len_b, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (m == MAP_FAILED)
		return NULL;
	memset(m, 0xa5, len_b);
	return m;
}

static inline void copy_one(struct copy *c)
{
	uint64_t bs_b = c->conf->bs_b;

	c->rng ^= c->rng << 13;
	c->rng ^= c->rng >> 7;
	c->rng ^= c->rng << 17;
	if (c->conf->sequential)
		c->block = c->block + 1 == c->nblock ? 0 : c->block + 1;
	else
		c->block = (uint64_t)((unsigned __int128)c->rng * c->nblock >> 64);
	uint8_t *at = c->disk + c->block * bs_b, *own = c->buf + c->slot * bs_b;

	if (c->conf->read_pct)
		memcpy(own, at, bs_b);
	else
		memcpy(at, own, bs_b);
	c->slot = c->slot + 1 == c->conf->depth ? 0 : c->slot + 1;
	__asm__ volatile("" ::: "memory"); /* the next copy is not this one */
}

static void count(struct copy *c, uint64_t ticks, uint64_t n)
{
	uint64_t ns = clock_ticks_to_ns(clock_scale(), ticks);

	hist_add(&c->lat, c->conf->pace_ns ? ns : ns * c->conf->depth / n, n);
	c->done += n;
}

static void run_full(struct copy *c, uint64_t end)
{
	for (uint64_t now = clock_ticks(); now < end;) {
		uint64_t before = now;

		for (unsigned i = 0; i < GROUP; i++)
			copy_one(c);
		now = clock_ticks();
		count(c, now - before, GROUP);
	}
}

static void run_paced(struct copy *c, uint64_t end)
{
	uint64_t step = clock_ns_to_ticks(clock_scale(), c->conf->pace_ns);

	for (uint64_t now = clock_ticks(), due = now; now < end; now = clock_ticks()) {
		if (now >= due) {
			copy_one(c);
			count(c, clock_ticks() - now, 1);
			due += step;
		} else if (c->conf->interrupts) {
			uint64_t ns = clock_ticks_to_ns(clock_scale(), min_u64(due, end) - now);

			nanosleep(&(struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S),
						      .tv_nsec = (long)(ns % NS_PER_S) }, NULL);
		}
	}
}

static void run_for(struct copy *c, uint64_t ns)
{
	uint64_t end = clock_ticks() + clock_ns_to_ticks(clock_scale(), ns);

	if (c->conf->pace_ns)
		run_paced(c, end);
	else
		run_full(c, end);
}

int bare_copy(const struct client_load *load, struct client_bench_result *ret)
{
	uint64_t depth_b = (uint64_t)load->depth * load->bs_b;
	struct copy c = { .conf = load, .rng = 88172645463325252ull };

	*ret = (struct client_bench_result){ .step = "copy memory" };
	if (!load->bs_b || !load->depth || load->range_b < load->bs_b)
		return -EINVAL;
	c.nblock = load->range_b / load->bs_b;
	c.disk = shared_memory(load->range_b);
	c.buf = c.disk ? shared_memory(depth_b) : NULL;
	if (c.buf) {
		run_for(&c, load->warm_ns);
		memset(&c.lat, 0, sizeof(c.lat));
		c.done = 0;
		uint64_t start = clock_ticks(), cpu_ns = bare_cpu_ns();

		run_for(&c, load->run_ns);
		ret->cpu_ns = bare_cpu_ns() - cpu_ns;
		bare_fill(ret, load, c.done,
			  clock_ticks_to_ns(clock_scale(), clock_ticks() - start), &c.lat);
		munmap(c.buf, depth_b);
	}
	if (c.disk)
		munmap(c.disk, load->range_b);
	return c.buf ? 0 : -ENOMEM;
}
