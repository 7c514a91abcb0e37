/* SPDX-License-Identifier: Apache-2.0 */
/* How long a program may keep what it is given, and who is at fault when it does. */
#include "remote_bed.h"

static uint8_t buf[4096];

#define STALL_NS (20 * NS_PER_S) /* the real time that a test takes counts too, and is less */

/* Looks at the lane's program when @ns have passed since now. Return: whether it is lost then. */
static bool is_late(struct rig *g, uint64_t ns)
{
	rig_wait(g, ns + NS_PER_MS); /* ticks are no whole ns */
	poller_tick(g->b.poller);
	return g->l->fault;
}

/* All that is out was sent @ns earlier than it was. */
static void age(struct rig *g, uint64_t ns)
{
	uint64_t ticks = clock_ns_to_ticks(clock_scale(), ns);

	g->l->front_ticks -= ticks;
	list_for_each(n, tmp, &g->l->order)
		list_entry(n, struct slot, order)->sent_ticks -= ticks;
}

static void may_not_keep_a_request_however_many_others_it_answers(void **state)
{
	struct rig g;
	struct bed_req q[3];
	unsigned slot[3];

	rig_start(&g, FN_TRANSFORM, REMOTE_BYPASS);
	remote_set_stall(g.l, STALL_NS);
	for (unsigned i = 0; i < 3; i++) {
		rig_ask(&g, &q[i], REQ_WRITE, 4096 * i, 4096, buf);
		slot[i] = rig_take(&g).slot;
	}
	age(&g, STALL_NS * 3 / 4);
	rig_answer(&g, slot[0], FN_PASS, FN_OK);
	rig_turn(&g);
	/* whoever comes to the front has all its time */
	assert_false(is_late(&g, STALL_NS * 3 / 4));
	age(&g, STALL_NS * 3 / 4);
	rig_answer(&g, slot[2], FN_PASS, FN_OK);
	rig_turn(&g);
	assert_int_equal(g.b.done, 2);
	assert_true(is_late(&g, STALL_NS * 3 / 4));
	assert_string_equal(g.l->fault, "it has kept a request for too long");
	rig_turn(&g);
	assert_int_equal(g.b.done, 3);
	rig_close(&g);
}

/* The host was suspended, or the machine that it is was stopped. */
static void does_not_answer_for_time_in_which_nothing_ran(void **state)
{
	struct bed_req q;
	struct rig g;

	rig_start(&g, FN_TRANSFORM, REMOTE_BYPASS);
	remote_set_stall(g.l, STALL_NS);
	rig_ask(&g, &q, REQ_WRITE, 0, 4096, buf);
	rig_wait(&g, STALL_NS / 4);
	bed_at(&g.b, poller_now_ns(g.b.poller) + 100 * STALL_NS);
	assert_null(g.l->fault);
	rig_wait(&g, STALL_NS / 2);
	assert_null(g.l->fault);
	assert_true(is_late(&g, STALL_NS / 4));
	rig_turn(&g);
	rig_close(&g);
}

/* Its program has @q, and may make I/O of its own, which the medium holds. */
static void open_with_own_io(struct rig *g, struct bed_req *q)
{
	rig_open(g, FN_TRANSFORM, REMOTE_BYPASS);
	g->c.own_io = true;
	g->s->when = SCRIPT_HELD;
	rig_gain(g);
	remote_set_stall(g->l, STALL_NS);
	rig_ask(g, q, REQ_WRITE, 0, 4096, buf);
}

static void waits_for_the_medium_that_its_program_waits_for(void **state)
{
	struct fn_entry e = { .len_b = htole32(512) };
	struct bed_req q;
	struct rig g;

	open_with_own_io(&g, &q);
	rig_put(&g, rig_io(FN_READ, FN_SLOTS), &e);
	rig_turn(&g);
	assert_false(is_late(&g, STALL_NS));
	assert_false(is_late(&g, 100 * STALL_NS));
	script_release_all(g.s, REQ_OK);
	rig_turn(&g);
	assert_false(is_late(&g, STALL_NS / 2));
	assert_true(is_late(&g, STALL_NS));
	rig_turn(&g);
	script_release_all(g.s, REQ_OK);
	rig_turn(&g);
	rig_close(&g);
}

static void may_not_keep_a_request_by_asking_without_end(void **state)
{
	struct fn_entry e = { .len_b = htole32(512) };
	struct bed_req q;
	struct rig g;
	unsigned times = 0;

	open_with_own_io(&g, &q);
	for (;; times++) {
		rig_put(&g, rig_io(FN_READ, FN_SLOTS), &e);
		rig_turn(&g);
		if (is_late(&g, STALL_NS))
			break;
		/* one that it asked for since is not waited for */
		rig_put(&g, rig_io(FN_READ, FN_SLOTS), &e);
		rig_turn(&g);
		script_release(g.s, 0, REQ_OK);
		rig_turn(&g);
		assert_int_equal(g.l->nawaited, 0);
		script_release_all(g.s, REQ_OK);
		rig_turn(&g);
		assert_true(times < 100);
	}
	assert_int_equal(times, 8);
	g.s->when = SCRIPT_NOW;
	script_release_all(g.s, REQ_OK);
	rig_turn(&g);
	assert_int_equal(q.status, REQ_OK);
	rig_close(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(may_not_keep_a_request_however_many_others_it_answers),
		cmocka_unit_test(does_not_answer_for_time_in_which_nothing_ran),
		cmocka_unit_test(waits_for_the_medium_that_its_program_waits_for),
		cmocka_unit_test(may_not_keep_a_request_by_asking_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
