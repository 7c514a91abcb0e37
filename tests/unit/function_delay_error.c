/* SPDX-License-Identifier: Apache-2.0 */
/* The two functions that make a good disk behave like a bad one. */
#include "bed.h"

#include "base/parse.h"
#include "function/delay/delay.h"
#include "function/delay/delay_ctl.h"
#include "function/error/error.h"
#include "function/error/error_ctl.h"
#include "media/null/null.h"

#define SIZE_B (1 * GIB)
#define START_NS (10 * NS_PER_S)
#define SLACK_NS 1000

static void open_with(struct bed *b, struct function *f)
{
	struct media *m;

	assert_int_equal(null_open(false, &m), 0);
	bed_open_chain(b, m, &f, 1, SIZE_B);
	bed_at(b, START_NS);
}

static void delays_each_kind_of_request_by_its_own_time(void **state)
{
	struct delay_conf c = { .read_ns = 2 * NS_PER_MS, .flush_ns = 5 * NS_PER_MS };
	struct bed_req read, write, flush;
	struct function *f;
	struct bed b;

	assert_int_equal(delay_open(&c, &f), 0);
	open_with(&b, f);
	bed_req(&b, &read, REQ_READ, 0, 512, &b);
	bed_submit(&b, &read, 1);
	bed_req(&b, &write, REQ_WRITE, 0, 512, &b);
	bed_submit(&b, &write, 1);
	bed_req(&b, &flush, REQ_FLUSH, 0, 0, NULL);
	bed_submit(&b, &flush, 1);
	assert_int_equal(write.order, 1);
	assert_in_range(lane_timer(b.lane, START_NS), START_NS + 2 * NS_PER_MS - SLACK_NS,
			START_NS + 2 * NS_PER_MS + SLACK_NS);
	bed_at(&b, START_NS + 2 * NS_PER_MS - SLACK_NS);
	assert_int_equal(b.done, 1);
	bed_at(&b, START_NS + 2 * NS_PER_MS + SLACK_NS);
	assert_int_equal(read.order, 2);
	bed_at(&b, START_NS + 5 * NS_PER_MS + SLACK_NS);
	assert_int_equal(flush.order, 3);
	assert_int_equal(lane_timer(b.lane, START_NS), NEVER_NS);
	bed_close(&b);
}

static void a_changed_delay_holds_for_what_comes_later(void **state)
{
	struct delay_conf c = { .write_ns = 10 * NS_PER_MS };
	struct bed_req q[2];
	struct function *f;
	struct bed b;

	assert_int_equal(delay_open(&c, &f), 0);
	open_with(&b, f);
	bed_req(&b, &q[0], REQ_ZEROES, 0, 512, NULL);
	bed_submit(&b, &q[0], 1);
	delay_set(f, &(struct delay_conf){ 0 });
	bed_req(&b, &q[1], REQ_DISCARD, 0, 512, NULL);
	bed_submit(&b, &q[1], 1);
	assert_int_equal(q[1].order, 1);
	bed_at(&b, START_NS + 10 * NS_PER_MS + SLACK_NS);
	assert_int_equal(q[0].order, 2);
	bed_close(&b);
}

/* The clock's scale is rounded: over months that is milliseconds, which a timer must not notice. */
static void timers_are_exact_after_months_of_uptime(void **state)
{
	struct delay_conf c = { .read_ns = 2 * NS_PER_MS };
	uint64_t months_ns = 90 * 86400 * NS_PER_S, asked;
	struct bed_req q;
	struct function *f;
	struct bed b;

	assert_int_equal(delay_open(&c, &f), 0);
	open_with(&b, f);
	bed_at(&b, months_ns);
	bed_req(&b, &q, REQ_READ, 0, 512, &b);
	bed_submit(&b, &q, 1);
	asked = clock_ticks_to_ns(b.poller->scale, b.poller->timer_ticks - b.poller->now_ticks);
	assert_in_range(asked, 2 * NS_PER_MS - 2, 2 * NS_PER_MS + 2);
	b.poller->now_ticks = b.poller->timer_ticks;
	assert_true(lane_timer(b.lane, poller_now_ns(b.poller) + 1) == NEVER_NS);
	assert_false(list_empty(&b.poller->resumed));
	bed_at(&b, months_ns + 3 * NS_PER_MS);
	assert_int_equal(q.status, REQ_OK);
	bed_close(&b);
}

static void is_set_by_its_parameters(void **state)
{
	json_t *p = json_pack("{s:s, s:s, s:s}", "read", "2ms", "write", "0", "flush", "1s");
	struct bed_req q[2];
	struct ctl_error err;
	struct function *f;
	struct media *m;
	struct bed b;

	assert_int_equal(delay_function_kind.open(p, &f, &err), 0);
	assert_int_equal(null_open(false, &m), 0);
	bed_open_chain(&b, m, &f, 1, MIB);
	bed_at(&b, NS_PER_S);
	bed_req(&b, &q[0], REQ_READ, 0, 512, &b);
	bed_req(&b, &q[1], REQ_WRITE, 0, 512, &b);
	bed_submit(&b, q, 2);
	assert_int_equal(b.done, 1);
	bed_at(&b, NS_PER_S + 2 * NS_PER_MS + SLACK_NS);
	assert_int_equal(q[0].status, REQ_OK);
	bed_close(&b);
	json_decref(p);
}

static void reads_times_as_people_write_them(void **state)
{
	static const struct { const char *text; uint64_t ns; } good[] = {
		{ "0", 0 }, { "7ns", 7 }, { "500us", 500000 }, { "2ms", 2000000 },
		{ "1s", NS_PER_S },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		uint64_t ns = 1;

		assert_int_equal(parse_ns(good[i].text, &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
}

static struct error_conf all_fail(void)
{
	return (struct error_conf){ .ops = (1u << REQ_OPS) - 1, .end_b = UINT64_MAX, .every = 1,
				    .status = REQ_IOERR };
}

static void open_failing(struct bed *b, const struct error_conf *c, struct function **ret_f)
{
	assert_int_equal(error_open(c, ret_f), 0);
	open_with(b, *ret_f);
}

static void fails_the_chosen_operation_only(void **state)
{
	struct error_conf c = all_fail();
	struct function *f;
	struct bed b;

	c.ops = 1u << REQ_WRITE;
	c.status = REQ_NOSPC;
	open_failing(&b, &c, &f);
	for (unsigned op = 0; op < REQ_OPS; op++)
		assert_int_equal(bed_do(&b, (enum req_op)op, 0, 0, op == REQ_FLUSH ? 0 : 512, &b),
				 op == REQ_WRITE ? REQ_NOSPC : REQ_OK);
	assert_int_equal(error_injected(f), 1);
	assert_int_equal(stat_get(&b.lane->stats->op[REQ_WRITE].errors), 1);
	bed_close(&b);
}

static void fails_what_touches_the_range(void **state)
{
	static const struct { uint64_t off_b, len_b; bool fails; } t[] = {
		{ 0, 4096, false }, { 0, 4608, true }, { 4096, 512, true }, { 7680, 512, true },
		{ 8192, 512, false }, { 3584, 8192, true }, { 12288, 4096, false },
	};
	struct error_conf c = all_fail();
	struct function *f;
	struct bed b;

	c.first_b = 4096;
	c.end_b = 8192;
	open_failing(&b, &c, &f);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++)
		assert_int_equal(bed_do(&b, REQ_READ, 0, t[i].off_b, t[i].len_b, &b),
				 t[i].fails ? REQ_IOERR : REQ_OK);
	assert_int_equal(bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL), REQ_OK); /* it has no place */
	bed_close(&b);
}

static void fails_each_nth_and_stops_after_count(void **state)
{
	struct error_conf c = all_fail();
	struct function *f;
	struct bed b;

	c.every = 3;
	c.count = 2;
	open_failing(&b, &c, &f);
	for (unsigned i = 1; i <= 12; i++)
		assert_int_equal(bed_do(&b, REQ_READ, 0, 0, 512, &b),
				 i == 3 || i == 6 ? REQ_IOERR : REQ_OK);
	assert_int_equal(error_injected(f), 2);
	bed_close(&b);
}

static void understands_its_parameters(void **state)
{
	json_t *p = json_pack("{s:s, s:i, s:i, s:i, s:i, s:s}", "op", "discard", "sector", 8,
			      "sectors", 8, "every", 1, "count", 0, "status", "no_space");
	struct ctl_error err;
	struct function *f;
	struct bed b;

	assert_int_equal(error_function_kind.open(p, &f, &err), 0);
	open_with(&b, f);
	assert_int_equal(bed_do(&b, REQ_DISCARD, 0, 4096, 512, NULL), REQ_NOSPC);
	assert_int_equal(bed_do(&b, REQ_DISCARD, 0, 8192, 512, NULL), REQ_OK);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 4096, 512, &b), REQ_OK);
	bed_close(&b);
	/* a range that ends beyond all bounds, and none at all */
	json_object_set_new(p, "sectors", json_integer(INT64_MAX / 256));
	json_object_set_new(p, "op", json_string("all"));
	assert_int_equal(error_function_kind.open(p, &f, &err), 0);
	open_with(&b, f);
	assert_int_equal(bed_do(&b, REQ_READ, 0, SIZE_B - 512, 512, &b), REQ_NOSPC);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 0, 4096, &b), REQ_OK);
	bed_close(&b);
	json_object_del(p, "sector");
	assert_int_equal(error_function_kind.open(p, &f, &err), 0);
	open_with(&b, f);
	assert_int_equal(bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL), REQ_NOSPC);
	bed_close(&b);
	json_decref(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delays_each_kind_of_request_by_its_own_time),
		cmocka_unit_test(a_changed_delay_holds_for_what_comes_later),
		cmocka_unit_test(timers_are_exact_after_months_of_uptime),
		cmocka_unit_test(is_set_by_its_parameters),
		cmocka_unit_test(reads_times_as_people_write_them),
		cmocka_unit_test(fails_the_chosen_operation_only),
		cmocka_unit_test(fails_what_touches_the_range),
		cmocka_unit_test(fails_each_nth_and_stops_after_count),
		cmocka_unit_test(understands_its_parameters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
