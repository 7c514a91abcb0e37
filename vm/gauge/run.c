/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/gauge/run.h"

#include <string.h>

#include "client/bench.h"
#include "vm/gauge/disk.h"
#include "vm/gauge/json.h"
#include "vm/gauge/machine.h"
#include "vm/gauge/words.h"

static const char *const rings[] = { "split", "packed", NULL };
/* enum client_kick_when */
static const char *const kicks[] = { "auto", "always", "never", "late", NULL };
static const char *const waits[] = { "poll", "irq", NULL };
static const char *const verifies[] = { "off", "written", "all", NULL }; /* enum client_verify */
static const char *const switches[] = { "off", "on", NULL };

/* What a line asks for, key by key. */
struct ask {
	char id[WORDS_NAME_MAX + 1];
	uint64_t disk, read, bs_b, depth, ms, warm_ms, requests, iops;
	uint64_t start_b, range_b, seed, patience_ms;
	unsigned ring, kick, wait, sequential, verify, event_idx, indirect, hist;
};

#define NUMBER(key, field, low, high)                                                              \
	{ .name = key, .type = WORDS_NUMBER, .min = low, .max = high,                              \
	  .offset = offsetof(struct ask, field) }
#define CHOICE(key, list)                                                                          \
	{ .name = #key, .type = WORDS_CHOICE, .names = list, .offset = offsetof(struct ask, key) }

static const struct words_key keys[] = {
	{ .name = "id", .type = WORDS_NAME, .offset = offsetof(struct ask, id) },
	NUMBER("disk", disk, 0, DISKS_MAX - 1),
	CHOICE(ring, rings),
	CHOICE(kick, kicks),
	CHOICE(wait, waits),
	NUMBER("read", read, 0, 100),
	CHOICE(sequential, switches),
	NUMBER("bs", bs_b, VIRTIO_BLK_SECTOR_B, MIB),
	NUMBER("depth", depth, 1, 256),
	NUMBER("ms", ms, 0, 3600000),
	NUMBER("warm_ms", warm_ms, 0, 60000),
	NUMBER("requests", requests, 0, UINT64_MAX),
	NUMBER("iops", iops, 0, 100000000),
	NUMBER("start", start_b, 0, UINT64_MAX),
	NUMBER("range", range_b, 0, UINT64_MAX),
	CHOICE(verify, verifies),
	NUMBER("seed", seed, 0, UINT64_MAX),
	NUMBER("patience_ms", patience_ms, 1, 60000),
	CHOICE(event_idx, switches),
	CHOICE(indirect, switches),
	CHOICE(hist, switches),
	{ 0 },
};

static struct hist latencies; /* too large for the stack */

static void answer(const char *event, const struct ask *a)
{
	json_begin();
	json_text("event", event);
	json_text("id", a->id);
}

static void refuse(const struct ask *a, const char *why)
{
	answer("refused", a);
	json_text("why", why);
	json_end();
}

static void tell_ask(const struct ask *a)
{
	json_number("disk", a->disk);
	json_text("ring", rings[a->ring]);
	json_text("kick", kicks[a->kick]);
	json_text("wait", waits[a->wait]);
	json_number("read", a->read);
	json_bool("sequential", a->sequential);
	json_number("bs", a->bs_b);
	json_number("depth", a->depth);
	json_number("iops_asked", a->iops);
}

static void tell_result(const struct client_bench_result *r, const struct ask *a)
{
	json_number("requests", r->requests);
	json_number("reads", r->read_b / a->bs_b);
	json_number("writes", r->written_b / a->bs_b);
	json_number("elapsed_ns", r->elapsed_ns);
	json_number("iops", (uint64_t)r->iops);
	json_number("p50_ns", (uint64_t)r->p50_ns);
	json_number("p99_ns", (uint64_t)r->p99_ns);
	json_number("p999_ns", (uint64_t)r->p999_ns);
	json_number("mean_ns", (uint64_t)r->mean_ns);
	json_number("max_ns", (uint64_t)r->max_ns);
	json_number("kicks", r->kicks);
	json_number("interrupts", r->interrupts);
	json_number("errors", r->errors);
	json_number("mismatches", r->mismatches);
	json_number("verified_b", r->verified_b);
	json_hex("features", r->features);
}

static void tell_hist(void)
{
	json_open("hist", '[');
	for (unsigned b = 0; b < HIST_BUCKETS; b++) {
		if (!latencies.count[b])
			continue;
		json_open(NULL, '[');
		json_number(NULL, hist_bucket_max(b));
		json_number(NULL, latencies.count[b]);
		json_close(']');
	}
	json_close(']');
}

static void report(int rc, const struct ask *a, const struct client_bench_result *r)
{
	switch (rc) {
	case 0:
		answer("result", a);
		break;
	case -ETIMEDOUT:
		answer("stuck", a);
		json_text("why", "nothing came back any more");
		break;
	case -EPROTO:
		answer("stuck", a);
		json_text("why", "the disk returned what it never got");
		break;
	case -ENOMEM:
		refuse(a, "range: too large to remember what was written");
		return;
	default:
		refuse(a, "bs, start and range do not fit together or into the disk, or there is "
			  "no end");
		return;
	}
	tell_ask(a);
	tell_result(r, a);
	if (a->hist)
		tell_hist();
	json_end();
}

static struct client_load load_of(const struct ask *a)
{
	return (struct client_load){
		.read_pct = (unsigned)a->read,
		.sequential = a->sequential,
		.interrupts = a->wait,
		.depth = (uint16_t)a->depth,
		.bs_b = (uint32_t)a->bs_b,
		.start_b = a->start_b,
		.range_b = a->range_b,
		.warm_ns = a->warm_ms * NS_PER_MS,
		.run_ns = a->ms * NS_PER_MS,
		.max_requests = a->requests,
		.pace_ns = a->iops ? NS_PER_S / a->iops : 0,
		.seed = a->seed,
		.verify = (enum client_verify)a->verify,
		.silence_ns = a->patience_ms * NS_PER_MS,
		.hist = a->hist ? &latencies : NULL,
	};
}

void run(char *words, unsigned ndisks)
{
	struct ask a = { .read = 100, .bs_b = 4096, .depth = 1, .ms = 500, .warm_ms = 50, .seed = 1,
			 .patience_ms = 10000, .event_idx = true, .indirect = true };
	const char *why = words_read(words, keys, &a);
	struct client *c;

	if (!why && a.disk >= ndisks)
		why = "disk: there are not so many";
	if (why) {
		refuse(&a, why);
		return;
	}
	const struct disk_conf conf = { .packed = a.ring, .indirect = a.indirect,
					.event_idx = a.event_idx,
					.kick = (enum client_kick_when)a.kick,
					.depth = (uint16_t)a.depth, .bs_b = (uint32_t)a.bs_b };

	why = disk_open(disk_get((unsigned)a.disk), &conf, &c);
	if (why) {
		refuse(&a, why);
	} else {
		const struct client_load load = load_of(&a);
		struct client_bench_result r = { 0 };

		memset(&latencies, 0, sizeof(latencies));
		int rc = client_load_run(c, &load, &r);

		disk_close(c);
		report(rc, &a, &r);
	}
	machine_release();
}
