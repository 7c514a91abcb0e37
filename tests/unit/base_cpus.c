/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of CPUs: base/cpus.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/cpus.h"

static void same(const char *text, const char *want)
{
	cpu_set_t set;
	char buf[64];

	assert_int_equal(cpus_parse(text, &set), 0);
	assert_string_equal(cpus_format(&set, buf, sizeof(buf)), want);
}

static void reads_and_writes_lists(void **state)
{
	same("2", "2");
	same("0-3", "0-3");
	same("5,1-2,0", "0-2,5");
	same("3-3", "3");
}

static void refuses_what_is_no_list(void **state)
{
	static const char *const bad[] = { "", ",", "1,", "-1", "3-1", "1-", "a", "1 2", "0x1" };
	cpu_set_t set;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(cpus_parse(bad[i], &set), -EINVAL);
	assert_int_equal(cpus_parse("1024", &set), -ERANGE);
	assert_int_equal(cpus_parse("0-99999999999999999999", &set), -ERANGE);
}

static void cuts_a_list_without_room_between_its_words(void **state)
{
	cpu_set_t set;
	char buf[5];

	assert_int_equal(cpus_parse("1,3,5,7", &set), 0);
	assert_string_equal(cpus_format(&set, buf, sizeof(buf)), "1,3");
}

static void stays_on_one_cpu_and_tells_where_it_was(void **state)
{
	cpu_set_t before, old, now;
	unsigned cpu = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	while (!CPU_ISSET(cpu, &before))
		cpu++;
	assert_int_equal(cpus_pin(cpu, &old), 0);
	assert_true(CPU_EQUAL(&old, &before));
	assert_int_equal(sched_getaffinity(0, sizeof(now), &now), 0);
	assert_int_equal(CPU_COUNT(&now), 1);
	assert_true(CPU_ISSET(cpu, &now));
	assert_int_equal(cpus_pin(CPU_SETSIZE, NULL), -EINVAL);
	assert_int_equal(sched_setaffinity(0, sizeof(old), &old), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes_lists),
		cmocka_unit_test(refuses_what_is_no_list),
		cmocka_unit_test(cuts_a_list_without_room_between_its_words),
		cmocka_unit_test(stays_on_one_cpu_and_tells_where_it_was),
	};

	return cmocka_run_group_tests_name("base_cpus", tests, NULL, NULL);
}
