/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load loop. A turn reaps a batch, takes one timestamp for it, sends every slot off again,
 * publishes once, and only then, while the device works, counts the latencies.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/hist.h"
#include "client/bench.h"

#define BATCH 64
#define SILENCE_NS (20 * NS_PER_S)
#define LAG_NS (10 * NS_PER_MS) /* a paced load makes up for so much */
#define LATE_NS NS_PER_MS /* of silence, before a queue is nudged, and again */
#define POLLS_PER_LOOK (1u << 16) /* empty polls between two looks at the clock */
#define NEVER UINT64_MAX

/* Latencies in ticks: exact to 2 of them up to 8192 (3 us), to 1 in 16 beyond. */
#define FINE_SHIFT 1
#define FINE_MAX 8192u

struct lane {
	struct client_queue *q;
	uint64_t *stamp; /* by slot: ticks at submission */
	uint64_t *block; /* by slot */
	bool *check; /* by slot: a read of a block that holds the pattern */
	uint16_t *idle; /* stack of slots */
	unsigned nidle;
};

struct load {
	const struct client_load *conf;
	struct client *c;
	struct lane *lane;
	unsigned nlane, turn_of; /* turn_of: the lane that a paced load's next request goes to */
	uint32_t bs_b, bs_sectors;
	uint64_t first_sector, nblock, next_block;
	uint64_t rng;
	uint32_t read_below; /* of 2^16 */
	uint64_t left; /* requests that may still be submitted */
	uint64_t *written; /* bitmap of blocks */
	uint64_t last_done, nudged; /* ticks; for the silence limit */
	uint64_t silence_ns;
	int failed;

	uint64_t reads, writes, errors, mismatches, verified;
	uint64_t max_ticks, sum_ticks;
	uint64_t fine[FINE_MAX >> FINE_SHIFT];
	struct hist coarse;
};

static inline uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15ull;
	return x ^ x >> 29;
}

static inline uint64_t next_random(struct load *l)
{
	l->rng ^= l->rng << 13;
	l->rng ^= l->rng >> 7;
	l->rng ^= l->rng << 17;
	return l->rng * 0x2545f4914f6cdd1dull;
}

/* A function of the place on the disk alone, so that loads of any block size agree. */
static uint64_t pattern_start(const struct load *l, uint64_t block)
{
	uint64_t sector = l->first_sector + block * l->bs_sectors;

	return sector * (VIRTIO_BLK_SECTOR_B / 8) + mix(l->conf->seed + 1);
}

static void pattern_fill(const struct load *l, uint8_t *data, uint64_t block)
{
	uint64_t at = pattern_start(l, block);

	for (uint32_t i = 0; i < l->bs_b / 8; i++) {
		uint64_t v = mix(at + i);

		memcpy(data + i * 8ull, &v, 8);
	}
}

static bool pattern_holds(const struct load *l, const uint8_t *data, uint64_t block)
{
	uint64_t at = pattern_start(l, block);

	for (uint32_t i = 0; i < l->bs_b / 8; i++) {
		uint64_t v;

		memcpy(&v, data + i * 8ull, 8);
		if (v != mix(at + i))
			return false;
	}
	return true;
}

/* The part of submission that only verified loads need. */
static void prepare_data(struct load *l, struct lane *n, unsigned slot, uint64_t block, bool read)
{
	bool known = l->conf->verify == CLIENT_VERIFY_ALL ||
		     l->written[block / 64] >> (block % 64) & 1;

	n->check[slot] = read && known;
	if (!read)
		pattern_fill(l, client_data(n->q, slot), block);
}

static void verify_data(struct load *l, struct lane *n, unsigned slot)
{
	uint64_t block = n->block[slot];
	bool read = le32toh(n->q->line[slot].hdr.type) == VIRTIO_BLK_T_IN;

	if (!read)
		l->written[block / 64] |= 1ull << (block % 64);
	if (!n->check[slot])
		return;
	if (pattern_holds(l, client_data(n->q, slot), block))
		l->verified++;
	else
		l->mismatches++;
}

static inline void submit(struct load *l, struct lane *n, unsigned slot, uint64_t now)
{
	uint64_t r = next_random(l), block;
	bool read = (r & 0xffff) < l->read_below;

	if (l->conf->sequential) {
		block = l->next_block;
		l->next_block = block + 1 == l->nblock ? 0 : block + 1;
	} else {
		block = (uint64_t)((unsigned __int128)r * l->nblock >> 64);
	}
	if (l->conf->verify) {
		n->block[slot] = block;
		prepare_data(l, n, slot, block, read);
	}
	l->left--;
	l->reads += read;
	l->writes += !read;
	n->stamp[slot] = now;
	client_prep(n->q, slot, read ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT,
		    l->first_sector + block * l->bs_sectors, l->bs_b);
	client_put(n->q, slot);
}

static inline void done(struct load *l, struct lane *n, unsigned slot)
{
	if (unlikely(client_status(n->q, slot) != VIRTIO_BLK_S_OK))
		l->errors++;
	else if (l->conf->verify)
		verify_data(l, n, slot);
}

static inline void count(struct load *l, uint64_t ticks)
{
	if (ticks < FINE_MAX)
		l->fine[ticks >> FINE_SHIFT]++;
	else
		hist_add(&l->coarse, ticks, 1);
	l->max_ticks = max_u64(l->max_ticks, ticks);
	l->sum_ticks += ticks;
}

/* A load that waits for interrupts asks for one before the device can have anything to tell, as
 * operating systems do: it costs an interrupt even where the answer is there before the wait. */
static inline void send(struct load *l, struct lane *n)
{
	if (l->conf->interrupts)
		client_arm(n->q);
	client_publish(n->q);
}

/* Takes what came back; with @again each goes off again. Return: requests done. */
static inline unsigned turn(struct load *l, struct lane *n, bool again)
{
	uint16_t slots[BATCH];
	uint64_t took[BATCH];
	unsigned got = client_reap(n->q, slots, BATCH);

	if (!got)
		return 0;
	uint64_t now = clock_ticks();

	l->last_done = now;
	for (unsigned i = 0; i < got; i++) {
		unsigned slot = slots[i];

		took[i] = now - n->stamp[slot];
		done(l, n, slot);
		if (again && l->left)
			submit(l, n, slot, now);
		else
			n->idle[n->nidle++] = (uint16_t)slot;
	}
	send(l, n);
	for (unsigned i = 0; i < got; i++)
		count(l, took[i]);
	return got;
}

static unsigned in_flight(const struct load *l)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < l->nlane; i++)
		sum += l->lane[i].q->in_flight;
	return sum;
}

static double ticks_ns(uint64_t ticks)
{
	return (double)ticks * 1e9 / (double)clock_ticks_per_s();
}

/* Sleeps until an interrupt or @until (ticks); completions that are there already end it. */
static void sleep_until(struct load *l, uint64_t until)
{
	bool quiet = true;
	uint64_t now = clock_ticks(), timeout_ns = NS_PER_S;

	if (until != NEVER)
		timeout_ns = min_u64(timeout_ns, until > now ? clock_ticks_to_ns(clock_scale(),
										 until - now) : 0);
	for (unsigned i = 0; i < l->nlane; i++)
		quiet &= client_arm(l->lane[i].q);
	if (quiet && timeout_ns) {
		int rc = client_wait(l->c, timeout_ns);

		if (rc < 0)
			l->failed = rc;
	}
	for (unsigned i = 0; i < l->nlane; i++)
		client_disarm(l->lane[i].q);
}

/* After a turn that brought nothing. Return: whether the load must stop because nothing moves or a
 * ring is broken. */
static bool stuck(struct load *l, uint64_t now)
{
	for (unsigned i = 0; i < l->nlane; i++)
		if (l->lane[i].q->broken)
			l->failed = -EPROTO;
	uint64_t since = max_u64(l->last_done, l->nudged);

	if (!in_flight(l) || now <= since)
		return l->failed;
	if (clock_ticks_to_ns(clock_scale(), now - l->last_done) > l->silence_ns)
		l->failed = -ETIMEDOUT;
	if (clock_ticks_to_ns(clock_scale(), now - since) > LATE_NS) {
		for (unsigned i = 0; i < l->nlane; i++)
			client_nudge(l->lane[i].q);
		l->nudged = now;
	}
	return l->failed;
}

/* Fills up to the depth, then turns until @end or until the last request is submitted. */
static void run_full(struct load *l, uint64_t end)
{
	unsigned quiet = 0;
	uint64_t now = clock_ticks();

	for (unsigned i = 0; i < l->nlane; i++) {
		struct lane *n = &l->lane[i];

		while (n->nidle && l->left)
			submit(l, n, n->idle[--n->nidle], now);
		send(l, n);
	}
	l->last_done = now;
	while (l->last_done < end && l->left) {
		unsigned got = 0;

		for (unsigned i = 0; i < l->nlane; i++)
			got += turn(l, &l->lane[i], true);
		if (likely(got)) {
			quiet = 0;
			continue;
		}
		if (!l->conf->interrupts && ++quiet % POLLS_PER_LOOK)
			continue;
		now = clock_ticks();
		if (now >= end || stuck(l, now))
			break;
		if (l->conf->interrupts)
			sleep_until(l, end);
	}
}

/* Submits what is due by @now, on the queues in turn; what finds no idle slot waits. Return: when
 * the next one is due. */
static uint64_t submit_due(struct load *l, uint64_t due, uint64_t step, uint64_t now)
{
	struct lane *n = &l->lane[l->turn_of];

	if (!in_flight(l))
		l->last_done = now;
	for (; due <= now && n->nidle && l->left; due += step) {
		submit(l, n, n->idle[--n->nidle], now);
		send(l, n);
		l->turn_of = l->turn_of + 1 == l->nlane ? 0 : l->turn_of + 1;
		n = &l->lane[l->turn_of];
	}
	return due;
}

/* So many a second, evenly. What could not be submitted in time is made up for, up to a limit. */
static void run_paced(struct load *l, uint64_t end)
{
	uint64_t step = clock_ns_to_ticks(clock_scale(), l->conf->pace_ns);
	uint64_t lag = clock_ns_to_ticks(clock_scale(), LAG_NS);
	uint64_t now = clock_ticks(), due = now;

	l->last_done = now;
	while (now < end && l->left) {
		uint64_t left = l->left;
		unsigned got = 0;

		for (unsigned i = 0; i < l->nlane; i++)
			got += turn(l, &l->lane[i], false);
		now = clock_ticks();
		if (!got && stuck(l, now))
			break;
		due = submit_due(l, max_u64(due, now - lag), step, now);
		if (!got && left == l->left && l->conf->interrupts) {
			sleep_until(l, due > now ? min_u64(due, end) : end);
			now = clock_ticks();
		}
	}
}

static void drain(struct load *l)
{
	while (in_flight(l)) {
		unsigned got = 0;

		for (unsigned i = 0; i < l->nlane; i++)
			got += turn(l, &l->lane[i], false);
		if (got)
			continue;
		if (stuck(l, clock_ticks()))
			return;
		if (l->conf->interrupts)
			sleep_until(l, NEVER);
	}
}

static void run_for(struct load *l, uint64_t ns)
{
	uint64_t end = ns ? clock_ticks() + clock_ns_to_ticks(clock_scale(), ns) : NEVER;

	if (l->conf->pace_ns)
		run_paced(l, end);
	else
		run_full(l, end);
	if (!l->failed)
		drain(l);
}

/* The latency that @num in @den requests do not exceed, in ticks. */
static uint64_t quantile(const struct load *l, uint64_t num, uint64_t den)
{
	uint64_t fine = 0, coarse = hist_total(&l->coarse), seen = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(l->fine); i++)
		fine += l->fine[i];
	uint64_t rank = (uint64_t)((unsigned __int128)(fine + coarse) * num / den);

	for (unsigned i = 0; i < ARRAY_SIZE(l->fine); i++) {
		seen += l->fine[i];
		if (seen && seen >= rank)
			return ((uint64_t)i << FINE_SHIFT) + 1;
	}
	return coarse ? hist_quantile(&l->coarse, rank > fine ? rank - fine : 1, coarse) : 0;
}

static void free_load(struct load *l)
{
	for (unsigned i = 0; l->lane && i < l->nlane; i++) {
		free(l->lane[i].stamp);
		free(l->lane[i].block);
		free(l->lane[i].check);
		free(l->lane[i].idle);
	}
	free(l->lane);
	free(l->written);
	free(l);
}

static int make_lane(struct lane *n, struct client_queue *q, unsigned depth)
{
	*n = (struct lane){
		.q = q,
		.stamp = calloc(q->depth, sizeof(*n->stamp)),
		.block = calloc(q->depth, sizeof(*n->block)),
		.check = calloc(q->depth, sizeof(*n->check)),
		.idle = calloc(q->depth, sizeof(*n->idle)),
	};
	if (!n->stamp || !n->block || !n->check || !n->idle)
		return -ENOMEM;
	for (unsigned s = 0; s < q->depth; s++)
		if (!q->slot[s].busy && n->nidle < depth)
			n->idle[n->nidle++] = (uint16_t)s;
	return n->nidle == depth ? 0 : -EINVAL;
}

/* Judges @conf against the client's disk and buffers. */
static int set_ranges(struct load *l, const struct client_load *conf)
{
	uint64_t disk_b = le64toh(client_config(l->c)->capacity) * VIRTIO_BLK_SECTOR_B;
	uint32_t bs_b = conf->bs_b ? conf->bs_b : client_queue(l->c, 0)->buf_b;
	uint64_t range_b = conf->range_b;

	if (!range_b && conf->start_b < disk_b)
		range_b = disk_b - conf->start_b;
	if (!bs_b || bs_b % VIRTIO_BLK_SECTOR_B || bs_b > client_queue(l->c, 0)->buf_b ||
	    conf->start_b % VIRTIO_BLK_SECTOR_B || range_b < bs_b ||
	    !range_inside(conf->start_b, range_b, disk_b) || conf->read_pct > 100 ||
	    (!conf->run_ns && !conf->max_requests) || conf->depth > client_queue(l->c, 0)->depth)
		return -EINVAL;
	l->bs_b = bs_b;
	l->bs_sectors = bs_b / VIRTIO_BLK_SECTOR_B;
	l->first_sector = conf->start_b / VIRTIO_BLK_SECTOR_B;
	l->nblock = range_b / bs_b;
	return 0;
}

static int make_load(struct load *l, struct client *c, const struct client_load *conf)
{
	l->conf = conf;
	l->c = c;
	l->nlane = client_queues(c);
	l->silence_ns = conf->silence_ns ? conf->silence_ns : SILENCE_NS;
	l->rng = mix(conf->seed + 0x1234567) | 1;
	l->read_below = conf->read_pct * 65536u / 100;
	int rc = set_ranges(l, conf);

	if (rc)
		return rc;
	l->lane = calloc(l->nlane, sizeof(*l->lane));
	if (conf->verify)
		l->written = calloc(l->nblock / 64 + 1, sizeof(uint64_t));
	if (!l->lane || (conf->verify && !l->written))
		return -ENOMEM;
	for (unsigned i = 0; !rc && i < l->nlane; i++) {
		struct client_queue *q = client_queue(c, i);

		rc = make_lane(&l->lane[i], q, conf->depth ? conf->depth : q->depth);
	}
	return rc;
}

static void clear_counts(struct load *l)
{
	l->reads = l->writes = l->errors = l->mismatches = l->verified = 0;
	l->max_ticks = l->sum_ticks = 0;
	memset(l->fine, 0, sizeof(l->fine));
	memset(&l->coarse, 0, sizeof(l->coarse));
}

static void sum_events(const struct load *l, uint64_t *ret_kicks, uint64_t *ret_interrupts)
{
	*ret_kicks = *ret_interrupts = 0;
	for (unsigned i = 0; i < l->nlane; i++) {
		const struct client_queue *q = client_queue(l->c, i);

		*ret_kicks += q->kicks;
		*ret_interrupts += q->interrupts;
	}
}

/* Adds the latencies to @h, in ns. */
static void tell_hist(const struct load *l, struct hist *h)
{
	const struct clock_scale *scale = clock_scale();

	for (unsigned i = 0; i < ARRAY_SIZE(l->fine); i++)
		hist_add(h, clock_ticks_to_ns(scale, (uint64_t)i << FINE_SHIFT), l->fine[i]);
	for (unsigned b = 0; b < HIST_BUCKETS; b++)
		if (l->coarse.count[b])
			hist_add(h, clock_ticks_to_ns(scale, hist_bucket_max(b)),
				 l->coarse.count[b]);
}

static void fill_result(const struct load *l, uint64_t elapsed_ns, struct client_bench_result *r)
{
	r->requests = l->reads + l->writes;
	r->read_b = l->reads * l->bs_b;
	r->written_b = l->writes * l->bs_b;
	r->verified_b = l->verified * l->bs_b;
	r->elapsed_ns = elapsed_ns;
	r->iops = elapsed_ns ? (double)r->requests * 1e9 / (double)elapsed_ns : 0;
	r->p50_ns = ticks_ns(quantile(l, 50, 100));
	r->p99_ns = ticks_ns(quantile(l, 99, 100));
	r->p999_ns = ticks_ns(quantile(l, 999, 1000));
	r->max_ns = ticks_ns(l->max_ticks);
	r->mean_ns = r->requests ? ticks_ns(l->sum_ticks) / (double)r->requests : 0;
	if (l->conf->hist)
		tell_hist(l, l->conf->hist);
	r->errors = l->errors;
	r->mismatches = l->mismatches;
	r->features = client_features(l->c);
	r->capacity_b = le64toh(client_config(l->c)->capacity) * VIRTIO_BLK_SECTOR_B;
}

int client_load_run(struct client *c, const struct client_load *load,
		    struct client_bench_result *ret)
{
	struct load *l = calloc(1, sizeof(*l));
	uint64_t kicks, interrupts;
	int rc = l ? make_load(l, c, load) : -ENOMEM;

	if (!rc) {
		if (load->warm_ns) {
			l->left = NEVER;
			run_for(l, load->warm_ns);
		}
		clear_counts(l);
		sum_events(l, &kicks, &interrupts);
		l->left = load->max_requests ? load->max_requests : NEVER;
		uint64_t start = clock_ticks();

		if (!l->failed)
			run_for(l, load->run_ns);
		fill_result(l, clock_ticks_to_ns(clock_scale(), clock_ticks() - start), ret);
		sum_events(l, &ret->kicks, &ret->interrupts);
		ret->kicks -= kicks;
		ret->interrupts -= interrupts;
		rc = l->failed;
	}
	if (l)
		free_load(l);
	return rc;
}
