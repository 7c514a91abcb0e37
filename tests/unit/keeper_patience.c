/* SPDX-License-Identifier: Apache-2.0 */
/* What counts as the time that a process has had: keeper/patience.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/proc.h"
#include "keeper/patience.h"

static void sleep_on(void)
{
	for (;;)
		pause();
}

static void compute(void)
{
	for (volatile unsigned n = 0;; n++)
		;
}

static char state_of(pid_t pid)
{
	struct proc p;

	assert_int_equal(proc_look(pid, &p), 0);
	return p.state;
}

/* Return: a child that does @fn, when it is in @state. */
static pid_t child_in(char state, void (*fn)(void))
{
	pid_t pid = child_fork();

	assert_true(pid >= 0);
	if (!pid)
		fn();
	while (state_of(pid) != state)
		assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void runs_out_for_one_that_waits(void **state)
{
	uint64_t at_ns = clock_ns();
	pid_t pid = child_in('S', sleep_on);
	struct patience p;

	patience_begin(&p, pid, at_ns);
	for (unsigned i = 0; i < 10; i++)
		patience_spent(&p, at_ns += PATIENCE_LOOK_NS);
	assert_true(p.spent_ns >= 10 * PATIENCE_LOOK_NS);
	/* but not by what passes while nobody looks */
	uint64_t was_ns = p.spent_ns;

	assert_true(patience_spent(&p, at_ns + 3600 * NS_PER_S) - was_ns <= PATIENCE_LOOK_NS);
	end(pid);
}

static void does_not_for_one_that_is_given_no_processor(void **state)
{
	uint64_t at_ns = clock_ns();
	pid_t pid = child_in('R', compute);
	struct patience p;

	patience_begin(&p, pid, at_ns);
	uint64_t began_ns = clock_ns();

	for (unsigned i = 0; i < 10000; i++)
		patience_spent(&p, at_ns += PATIENCE_LOOK_NS);
	/* it cannot have had more than has really passed */
	assert_true(p.spent_ns <= clock_ns() - began_ns + PATIENCE_LOOK_NS);
	end(pid);
}

static void runs_out_for_one_that_computes_without_end(void **state)
{
	pid_t pid = child_in('R', compute);
	struct patience p;

	patience_begin(&p, pid, clock_ns());
	while (patience_spent(&p, clock_ns()) < PATIENCE_LOOK_NS / 5)
		assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	end(pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_out_for_one_that_waits),
		cmocka_unit_test(does_not_for_one_that_is_given_no_processor),
		cmocka_unit_test(runs_out_for_one_that_computes_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
