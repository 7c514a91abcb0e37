/* SPDX-License-Identifier: Apache-2.0 */
/* When a queue should leave its poller, and which, and where to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "disk/balance.h"

#define SECOND 1000000ull /* ticks */

static void note(struct balance_poller *p, uint64_t turns, uint64_t busy_turns, uint64_t idle_ticks)
{
	struct balance_sample s = { turns, busy_turns, idle_ticks, SECOND };

	balance_note(p, &s);
}

static void is_saturated_without_idle_time_and_idle_turns(void **state)
{
	struct balance_poller p = { 0 };

	for (unsigned i = 1; i <= 5; i++) {
		note(&p, 1000, 990, SECOND / 100);
		assert_int_equal(p.saturated, i);
		assert_false(p.has_room);
	}
	assert_int_equal(p.busy_pct, 99);
}

/* One breath, and it counts anew. */
static void is_no_longer_saturated_after_a_second_with_idle_time(void **state)
{
	struct balance_poller p = { 0 };

	note(&p, 1000, 1000, 0);
	note(&p, 1000, 1000, 0);
	assert_int_equal(p.saturated, 2);
	note(&p, 1000, 900, SECOND / 10);
	assert_int_equal(p.saturated, 0);
	note(&p, 1000, 1000, 0);
	assert_int_equal(p.saturated, 1);
}

/* A queue at depth 1: the poller is never idle for long, but most of its turns find nothing. */
static void is_not_saturated_by_many_turns_without_work(void **state)
{
	struct balance_poller p = { 0 };

	note(&p, 20000, 1000, 0);
	assert_int_equal(p.saturated, 0);
	assert_false(p.has_room);
}

static void has_room_when_it_slept_or_turned_idly(void **state)
{
	struct balance_poller p = { 0 };

	note(&p, 0, 0, SECOND);
	assert_true(p.has_room);
	assert_int_equal(p.busy_pct, 0);
	note(&p, 1000, 10, SECOND / 2);
	assert_true(p.has_room);
	/* between room and saturated lies a gap, so that nothing goes back and forth */
	note(&p, 1000, 500, SECOND / 2 - SECOND / 50);
	assert_false(p.has_room);
	assert_int_equal(p.saturated, 0);
	/* told more than there is: a sleep that ended counts twice for a moment */
	note(&p, 10, 1, 3 * SECOND);
	assert_int_equal(p.busy_pct, 0);
}

static void one_busy_queue_has_nowhere_better_to_go(void **state)
{
	struct balance_queue q[] = { { 1000, false }, { 0, false } };

	assert_int_equal(balance_choose(q, 1), -1);
	assert_int_equal(balance_choose(q, 2), -1);
	assert_int_equal(balance_choose(q, 0), -1);
}

static void of_equal_queues_one_goes(void **state)
{
	struct balance_queue q[] = { { 1000, false }, { 1000, false } };

	assert_int_equal(balance_choose(q, 2), 0);
}

/* The poller keeps the one that has most of the load; the next goes. */
static void the_busiest_that_is_not_most_of_the_load_goes(void **state)
{
	struct balance_queue q[] = { { 100, false }, { 9000, false }, { 800, false },
				     { 0, false } };

	assert_int_equal(balance_choose(q, 4), 2);
}

static void a_fixed_queue_stays(void **state)
{
	struct balance_queue q[] = { { 1000, true }, { 1000, false }, { 1000, true } };

	assert_int_equal(balance_choose(q, 3), 1);
	q[1].fixed = true;
	assert_int_equal(balance_choose(q, 3), -1);
}

static void goes_to_the_idlest_that_has_room(void **state)
{
	struct balance_poller p[] = { { .busy_pct = 100, .saturated = 9 },
				      { .busy_pct = 40, .has_room = true },
				      { .busy_pct = 10, .has_room = true },
				      { .busy_pct = 70 } };

	assert_int_equal(balance_target(p, 4), 2);
	assert_int_equal(balance_target(p, 2), 1);
	assert_int_equal(balance_target(p, 1), -1);
	assert_int_equal(balance_target(p + 3, 1), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_saturated_without_idle_time_and_idle_turns),
		cmocka_unit_test(is_no_longer_saturated_after_a_second_with_idle_time),
		cmocka_unit_test(is_not_saturated_by_many_turns_without_work),
		cmocka_unit_test(has_room_when_it_slept_or_turned_idly),
		cmocka_unit_test(one_busy_queue_has_nowhere_better_to_go),
		cmocka_unit_test(of_equal_queues_one_goes),
		cmocka_unit_test(the_busiest_that_is_not_most_of_the_load_goes),
		cmocka_unit_test(a_fixed_queue_stays),
		cmocka_unit_test(goes_to_the_idlest_that_has_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
