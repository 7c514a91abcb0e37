/* SPDX-License-Identifier: Apache-2.0 */
#include "bed.h"

#include "function/limit/limit.h"
#include "function/limit/limit_ctl.h"
#include "media/null/null.h"
#include "tests/fake/media.h"

#define SIZE_B (1 * GIB)
#define START_NS (10 * NS_PER_S) /* the poller's clock when a test begins */

/* Whether the limit stands ahead of the chain, as the disk's own, or is a step of it. */
static bool as_gate;

static void open_on(struct bed *b, struct media *m, const struct limit_conf *c,
		    struct function **ret_f)
{
	assert_int_equal(limit_open(c, ret_f), 0);
	if (as_gate)
		bed_open_gate(b, m, *ret_f, m->caps.size_b ? 0 : SIZE_B);
	else
		bed_open_chain(b, m, ret_f, 1, m->caps.size_b ? 0 : SIZE_B);
	bed_at(b, START_NS);
}

static void open_limited(struct bed *b, uint64_t iops, uint64_t bytes, uint64_t burst_ns,
			 struct function **ret_f)
{
	struct limit_conf c = { .iops = iops, .bytes = bytes, .burst_ns = burst_ns };
	struct media *m;

	assert_int_equal(null_open(false, &m), 0);
	open_on(b, m, &c, ret_f);
}

/* Always has requests waiting. */
struct load {
	struct bed_req q[64];
	struct bed *bed;
	uint32_t len_b;
};

static void offer(struct load *l)
{
	for (unsigned i = 0; i < 64; i++) {
		if (l->q[i].r)
			continue;
		bed_req(l->bed, &l->q[i], REQ_READ, 0, l->len_b, l);
		bed_submit(l->bed, &l->q[i], 1);
	}
}

static void drain(struct bed *b, struct function *f, uint64_t at_ns)
{
	limit_set(f, &(struct limit_conf){ 0 });
	bed_at(b, at_ns);
	assert_true(list_empty(&b->lane->inflight) && list_empty(&b->lane->waiting));
}

/* Requests that pass in the second after the burst was used up, looked at every @step_ns. */
static unsigned passed_in_a_second(uint64_t iops, uint64_t bytes, uint32_t len_b, uint64_t step_ns)
{
	struct load l = { .len_b = len_b };
	struct function *f;
	struct bed b;

	open_limited(&b, iops, bytes, 10 * NS_PER_MS, &f);
	l.bed = &b;
	offer(&l);
	uint64_t at_ns = START_NS, end_ns = START_NS + NS_PER_S;
	for (; at_ns < end_ns; at_ns += step_ns) {
		/* within a step, until nothing more may go */
		for (unsigned before = b.done + 1; before != b.done;) {
			before = b.done;
			offer(&l);
			bed_at(&b, at_ns);
		}
	}
	unsigned n = b.done;
	drain(&b, f, end_ns);
	bed_close(&b);
	return n;
}

static void is_exact_within_two_percent_over_a_second(void **state)
{
	static const uint64_t iops[] = { 100, 5000, 99999, 250000 };
	static const uint64_t step_ns[] = { 20 * NS_PER_US, 137 * NS_PER_US, 3 * NS_PER_MS };

	for (unsigned i = 0; i < ARRAY_SIZE(iops); i++)
		for (unsigned k = 0; k < ARRAY_SIZE(step_ns); k++) {
			unsigned n = passed_in_a_second(iops[i], 0, 4096, step_ns[k]);

			assert_in_range(n, iops[i] * 98 / 100, iops[i] * 102 / 100 + 1);
		}
	assert_in_range(passed_in_a_second(0, 100 * MIB, 4096, 100 * NS_PER_US), 25600 * 98 / 100,
			25600 * 102 / 100);
	assert_in_range(passed_in_a_second(0, 100 * MIB, 128 * KIB, 100 * NS_PER_US),
			800 * 98 / 100, 800 * 102 / 100);
	/* the tighter of the two holds */
	assert_in_range(passed_in_a_second(1000, 100 * MIB, 4096, 100 * NS_PER_US), 980, 1021);
}

/* A queue that is to move does not wait for its limit, and gains nothing by that. */
static void lets_all_go_in_a_hurry_and_has_it_paid_later(void **state)
{
	struct bed_req q[8];
	struct function *f;
	struct bed b;

	open_limited(&b, 100, 0, NS_PER_MS, &f);
	for (unsigned i = 0; i < 6; i++)
		bed_submit(&b, (bed_req(&b, &q[i], REQ_READ, 0, 4096, &b), &q[i]), 1);
	assert_int_equal(b.done, 1);
	lane_hurry(b.lane);
	bed_at(&b, START_NS);
	assert_int_equal(b.done, 6);
	assert_true(list_empty(&b.lane->waiting));
	/* five of them ahead of their time, at 10 ms each */
	bed_submit(&b, (bed_req(&b, &q[6], REQ_READ, 0, 4096, &b), &q[6]), 1);
	bed_at(&b, START_NS + 58 * NS_PER_MS);
	assert_int_equal(b.done, 6);
	bed_at(&b, START_NS + 61 * NS_PER_MS);
	assert_int_equal(b.done, 7);
	/* with nothing held there is nothing to hurry */
	lane_hurry(b.lane);
	bed_close(&b);
}

/* Batches of all sizes, of which some pass, some are cut in two and some wait. */
static void is_exact_for_batches_too(void **state)
{
	static struct bed_req q[4096];
	struct function *f;
	struct bed b;
	unsigned sent = 0;

	open_limited(&b, 20000, 0, 10 * NS_PER_MS, &f);
	for (uint64_t at_ns = START_NS; at_ns < START_NS + 100 * NS_PER_MS; at_ns += NS_PER_MS) {
		unsigned n = 1 + (unsigned)(at_ns / NS_PER_MS * 7 % POLLER_BATCH);

		bed_at(&b, at_ns);
		for (unsigned i = 0; i < n; i++)
			bed_req(&b, &q[sent + i], REQ_READ, 0, 4096, &b);
		bed_submit(&b, &q[sent], n);
		sent += n;
		/* 16.5 a millisecond are offered, 20 and a burst of 200 allowed: none waits */
		assert_int_equal(b.done, sent);
	}
	limit_set(f, &(struct limit_conf){ .iops = 10000, .burst_ns = 2 * NS_PER_MS });
	unsigned before = b.done;

	for (uint64_t at_ns = START_NS + 100 * NS_PER_MS; at_ns < START_NS + 200 * NS_PER_MS;
	     at_ns += NS_PER_MS) {
		bed_at(&b, at_ns);
		for (unsigned i = 0; i < 16; i++)
			bed_req(&b, &q[sent + i], REQ_READ, 0, 4096, &b);
		bed_submit(&b, &q[sent], 16);
		sent += 16;
		/* now 10, one on the way, and at first the burst */
		uint64_t ms = (at_ns - START_NS - 100 * NS_PER_MS) / NS_PER_MS;

		assert_true(b.done - before <= 10 * ms + 21);
	}
	assert_in_range(b.done - before, 990, 1021);
	drain(&b, f, START_NS + 300 * NS_PER_MS);
	assert_int_equal(b.done, sent);
	bed_close(&b);
}

static void keeps_what_waits_from_growing_old(void **state)
{
	static uint8_t buf[512];
	struct limit_conf c = { .iops = 1 };
	struct scripted *s = script_new(MIB);
	struct disk_stats stats;
	struct bed_req q[2];
	struct function *f;
	struct bed b;

	open_on(&b, &s->m, &c, &f);
	b.lane->deadline_ticks = clock_ns_to_ticks(b.poller->scale, 100 * NS_PER_MS);
	b.lane->expires = true;
	s->when = SCRIPT_NOW;
	for (unsigned i = 0; i < 2; i++) {
		bed_req(&b, &q[i], REQ_WRITE, 0, 512, buf);
		bed_submit(&b, &q[i], 1);
	}
	assert_int_equal(q[0].status, REQ_OK);
	bed_at(&b, START_NS + 900 * NS_PER_MS);
	assert_int_equal(q[1].status, BED_NOT_DONE);
	assert_false(b.lane->is_overdue);
	s->when = SCRIPT_HELD;
	bed_at(&b, START_NS + 1000 * NS_PER_MS);
	assert_int_equal(s->nseen, 2);
	bed_at(&b, START_NS + 1099 * NS_PER_MS); /* its time begins when it passes */
	assert_false(b.lane->is_overdue);
	bed_at(&b, START_NS + 1101 * NS_PER_MS);
	assert_true(b.lane->is_overdue);
	disk_stats(b.disk, &stats);
	assert_int_equal(stats.waiting, 0);
	script_release_all(s, REQ_OK);
	b.lane->media->ops->poll(b.lane->media);
	bed_close(&b);
}

static void gives_discards_a_budget_of_their_own(void **state)
{
	struct limit_conf c = { .iops = 1000, .discards = 10 };
	struct bed_req trim[20], q[20];
	struct function *f;
	struct media *m;
	struct bed b;

	assert_int_equal(null_open(false, &m), 0);
	open_on(&b, m, &c, &f);
	for (unsigned i = 0; i < ARRAY_SIZE(trim); i++)
		bed_req(&b, &trim[i], i & 1 ? REQ_DISCARD : REQ_ZEROES, 0, MIB, NULL);
	bed_submit(&b, trim, ARRAY_SIZE(trim));
	unsigned trims = b.done;

	assert_in_range(trims, 1, 2);
	/* a storm of them is none of what reads are allowed */
	for (unsigned i = 0; i < ARRAY_SIZE(q); i++) {
		bed_at(&b, START_NS + (2 + i) * NS_PER_MS);
		bed_req(&b, &q[i], REQ_READ, 0, 4096, &b);
		bed_submit(&b, &q[i], 1);
		assert_int_equal(q[i].status, REQ_OK);
	}
	assert_int_equal(b.done, trims + ARRAY_SIZE(q));
	bed_at(&b, START_NS + NS_PER_S);
	assert_in_range(b.done - ARRAY_SIZE(q), 2, 12);
	for (uint64_t at_ns = START_NS; at_ns < START_NS + 3 * NS_PER_S; at_ns += 10 * NS_PER_MS)
		bed_at(&b, at_ns);
	assert_int_equal(b.done, ARRAY_SIZE(trim) + ARRAY_SIZE(q));
	bed_close(&b);
}

static void lets_go_in_order_and_counts_who_waited(void **state)
{
	struct bed_req q[4];
	struct function *f;
	struct bed b;

	open_limited(&b, 1000, 0, LIMIT_BURST_MIN_NS, &f);
	for (unsigned i = 0; i < 4; i++) {
		bed_req(&b, &q[i], i & 1 ? REQ_DISCARD : REQ_WRITE, 0, 4096, &b);
		bed_submit(&b, &q[i], 1);
	}
	/* one from the burst and one that is due; two wait */
	assert_int_equal(b.done, 2);
	assert_int_equal(limit_delayed(f), 2);
	bed_at(&b, START_NS + NS_PER_MS - 1000);
	assert_int_equal(b.done, 2);
	bed_at(&b, START_NS + NS_PER_MS + 1000);
	assert_int_equal(b.done, 3);
	assert_int_equal(q[2].order, 3);
	bed_at(&b, START_NS + 2 * NS_PER_MS + 1000);
	assert_int_equal(q[3].order, 4);
	bed_close(&b);
}

static void flushes_pass_while_others_wait(void **state)
{
	struct bed_req q[3], flush;
	struct function *f;
	struct bed b;

	open_limited(&b, 1, 0, 0, &f);
	for (unsigned i = 0; i < 3; i++) {
		bed_req(&b, &q[i], REQ_WRITE, 0, 4096, &b);
		bed_submit(&b, &q[i], 1);
	}
	bed_req(&b, &flush, REQ_FLUSH, 0, 0, NULL);
	bed_submit(&b, &flush, 1);
	assert_int_equal(flush.status, REQ_OK);
	assert_int_equal(q[2].status, BED_NOT_DONE);
	drain(&b, f, START_NS);
	bed_close(&b);
}

static void a_burst_after_idling_is_bounded(void **state)
{
	struct load l = { .len_b = 4096 };
	struct function *f;
	struct bed b;

	open_limited(&b, 1000, 0, 30 * NS_PER_MS, &f);
	l.bed = &b;
	bed_at(&b, START_NS + 60 * NS_PER_S);
	offer(&l);
	assert_in_range(b.done, 30, 31);
	drain(&b, f, START_NS + 60 * NS_PER_S);
	bed_close(&b);
}

static void a_large_request_is_paid_off_by_those_behind_it(void **state)
{
	struct bed_req large, small;
	struct function *f;
	struct bed b;

	open_limited(&b, 0, 1 * MIB, 0, &f);
	bed_req(&b, &large, REQ_READ, 0, 10 * MIB, &b);
	bed_submit(&b, &large, 1);
	assert_int_equal(large.status, REQ_OK);
	bed_req(&b, &small, REQ_READ, 0, 512, &b);
	bed_submit(&b, &small, 1);
	bed_at(&b, START_NS + 9900 * NS_PER_MS);
	assert_int_equal(small.status, BED_NOT_DONE);
	bed_at(&b, START_NS + 10000 * NS_PER_MS);
	assert_int_equal(small.status, REQ_OK);
	bed_close(&b);
}

static void a_changed_limit_holds_for_those_that_wait(void **state)
{
	struct bed_req q[3];
	struct function *f;
	struct bed b;

	open_limited(&b, 1, 0, 0, &f);
	for (unsigned i = 0; i < 3; i++) {
		bed_req(&b, &q[i], REQ_WRITE, 0, 4096, &b);
		bed_submit(&b, &q[i], 1);
	}
	assert_int_equal(b.done, 1);
	/* the poller looks again within 10 ms, whatever it was told before */
	assert_in_range(lane_timer(b.lane, START_NS), START_NS, START_NS + 10 * NS_PER_MS);
	limit_set(f, &(struct limit_conf){ .iops = 100 });
	bed_at(&b, START_NS + 10 * NS_PER_MS);
	assert_int_equal(b.done, 2);
	bed_at(&b, START_NS + 15 * NS_PER_MS);
	assert_int_equal(b.done, 2);
	limit_set(f, &(struct limit_conf){ 0 });
	bed_at(&b, START_NS + 25 * NS_PER_MS);
	assert_int_equal(b.done, 3);
	assert_int_equal(lane_timer(b.lane, START_NS), NEVER_NS); /* nothing to wake up for */
	bed_close(&b);
}

static void lanes_share_one_limit(void **state)
{
	struct load l = { .len_b = 4096 }, l2 = { .len_b = 4096 };
	struct function *f;
	struct bed b, other;

	open_limited(&b, 10000, 0, 10 * NS_PER_MS, &f);
	other = (struct bed){ .disk = b.disk, .owner = b.owner };
	assert_int_equal(poller_open("other", &other.poller), 0);
	assert_int_equal(slab_reserve(&other.poller->slab, 64), 0);
	assert_int_equal(disk_lane_get(b.disk, other.poller, &other.lane), 0);
	l.bed = &b;
	l2.bed = &other;
	for (uint64_t at_ns = START_NS; at_ns < START_NS + NS_PER_S; at_ns += 100 * NS_PER_US) {
		bed_at(&b, at_ns);
		offer(&l);
		bed_at(&other, at_ns);
		offer(&l2);
	}
	assert_in_range(b.done + other.done, 9800, 10200);
	assert_true(b.done > 0 && other.done > 0);
	drain(&b, f, START_NS + NS_PER_S);
	drain(&other, f, START_NS + NS_PER_S);
	disk_lane_put(b.disk, other.lane);
	slab_unreserve(&other.poller->slab, 64);
	poller_close(other.poller);
	bed_close(&b);
}

static void works_from_the_first_moment_of_the_clock(void **state)
{
	struct bed_req q[2];
	struct function *f;
	struct bed b;

	open_limited(&b, 10, 0, 60 * NS_PER_S, &f);
	bed_at(&b, 1 * NS_PER_MS); /* less than a burst ago there was no time */
	for (unsigned i = 0; i < 2; i++) {
		bed_req(&b, &q[i], REQ_READ, 0, 512, &b);
		bed_submit(&b, &q[i], 1);
	}
	assert_int_equal(q[0].status, REQ_OK);
	bed_at(&b, 101 * NS_PER_MS);
	assert_int_equal(q[1].status, REQ_OK);
	bed_close(&b);
}

static void is_set_by_its_parameters(void **state)
{
	json_t *p = json_pack("{s:i, s:i, s:s}", "iops", 1, "bytes", 0, "burst", "10ms");
	json_t *into = json_object();
	struct bed_req q[2];
	struct ctl_error err;
	struct function *f;
	struct media *m;
	struct bed b;

	assert_int_equal(limit_function_kind.open(p, &f, &err), 0);
	assert_int_equal(null_open(false, &m), 0);
	bed_open_chain(&b, m, &f, 1, SIZE_B);
	bed_at(&b, START_NS);
	for (unsigned i = 0; i < 2; i++) {
		bed_req(&b, &q[i], REQ_READ, 0, 512, &b);
		bed_submit(&b, &q[i], 1);
	}
	assert_int_equal(b.done, 1);
	limit_function_kind.show(f, into);
	assert_int_equal(json_integer_value(json_object_get(into, "delayed")), 1);
	json_object_set_new(p, "iops", json_integer(0));
	assert_int_equal(limit_function_kind.set(f, p, &err), 0);
	bed_at(&b, START_NS);
	assert_int_equal(b.done, 2);
	bed_close(&b);
	json_decref(into);
	json_decref(p);
}

static int use_gate(void **state)
{
	as_gate = true;
	return 0;
}

static int use_step(void **state)
{
	as_gate = false;
	return 0;
}

#define BOTH(f) { "gate_" #f, f, use_gate, NULL, NULL }, { "step_" #f, f, use_step, NULL, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(is_exact_within_two_percent_over_a_second),
		BOTH(lets_all_go_in_a_hurry_and_has_it_paid_later),
		BOTH(is_exact_for_batches_too),
		BOTH(keeps_what_waits_from_growing_old),
		BOTH(gives_discards_a_budget_of_their_own),
		BOTH(lets_go_in_order_and_counts_who_waited),
		BOTH(flushes_pass_while_others_wait),
		BOTH(a_burst_after_idling_is_bounded),
		BOTH(a_large_request_is_paid_off_by_those_behind_it),
		BOTH(a_changed_limit_holds_for_those_that_wait),
		BOTH(lanes_share_one_limit),
		BOTH(works_from_the_first_moment_of_the_clock),
		cmocka_unit_test(is_set_by_its_parameters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
