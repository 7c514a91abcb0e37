/* SPDX-License-Identifier: Apache-2.0 */
#include "bed.h"

#include "function/limit/limit.h"
#include "function/limit/limit_ctl.h"
#include "media/null/null.h"

#define SIZE_B (1 * GIB)
#define START_NS (10 * NS_PER_S) /* the poller's clock when a test begins */

static void open_limited(struct bed *b, uint64_t iops, uint64_t bytes, uint64_t burst_ns,
			 struct function **ret_f)
{
	struct limit_conf c = { .iops = iops, .bytes = bytes, .burst_ns = burst_ns };
	struct media *m;

	assert_int_equal(null_open(false, &m), 0);
	assert_int_equal(limit_open(&c, ret_f), 0);
	bed_open_chain(b, m, ret_f, 1, SIZE_B);
	bed_at(b, START_NS);
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
	assert_true(list_empty(&b->lane->inflight));
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
	json_t *p = json_pack("{s:i, s:i, s:i}", "iops", 1, "bytes", 0, "burst", 10);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_exact_within_two_percent_over_a_second),
		cmocka_unit_test(lets_go_in_order_and_counts_who_waited),
		cmocka_unit_test(flushes_pass_while_others_wait),
		cmocka_unit_test(a_burst_after_idling_is_bounded),
		cmocka_unit_test(a_large_request_is_paid_off_by_those_behind_it),
		cmocka_unit_test(a_changed_limit_holds_for_those_that_wait),
		cmocka_unit_test(lanes_share_one_limit),
		cmocka_unit_test(works_from_the_first_moment_of_the_clock),
		cmocka_unit_test(is_set_by_its_parameters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
