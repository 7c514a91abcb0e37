/* SPDX-License-Identifier: Apache-2.0 */
/* Children that end with who started them: base/child.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"

static bool is_held; /* the child runs only when its parent has ended */

pid_t __real_fork(void);
pid_t __wrap_fork(void);

pid_t __wrap_fork(void)
{
	pid_t parent = getpid(), pid = __real_fork();

	while (!pid && is_held && getppid() == parent)
		sched_yield();
	return pid;
}

/* A parent whose child says in a pipe that it runs, and stays. Return: what was read until nobody
 * was left who could write. */
static ssize_t hear_of_child(bool hold)
{
	int out[2], in[2];
	char word;

	assert_int_equal(pipe(out) | pipe(in), 0);
	is_held = false;
	pid_t parent = fork();

	if (!parent) {
		is_held = hold;
		close(out[0]);
		close(in[1]);
		if (!child_fork()) {
			(void)!write(out[1], "c", 1);
			for (;;)
				pause();
		}
		if (!hold)
			(void)!read(in[0], &word, 1); /* until the child has been heard */
		_exit(0);
	}
	close(out[1]);
	close(in[0]);
	ssize_t n = read(out[0], &word, 1);

	close(in[1]);
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	if (n)
		assert_int_equal(read(out[0], &word, 1), 0);
	close(out[0]);
	return n;
}

static void a_child_ends_with_its_parent(void **state)
{
	assert_int_equal(hear_of_child(false), 1);
}

static void one_whose_parent_ended_before_it_ran_does_nothing(void **state)
{
	assert_int_equal(hear_of_child(true), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_ends_with_its_parent),
		cmocka_unit_test(one_whose_parent_ended_before_it_ran_does_nothing),
	};

	return cmocka_run_group_tests_name("base_child", tests, NULL, NULL);
}
