/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel tells of processes: base/proc.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/child.h"
#include "base/proc.h"

/* Return: a child of that name, which sleeps until it is killed. */
static pid_t sleeper(const char *name)
{
	int said[2];
	char word;

	assert_int_equal(pipe(said), 0);
	pid_t pid = child_fork();

	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_NAME, name);
		close(said[0]);
		close(said[1]);
		for (;;)
			pause();
	}
	close(said[1]);
	assert_int_equal(read(said[0], &word, 1), 0);
	close(said[0]);
	return pid;
}

static void kill_and_wait(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void tells_of_a_process_whatever_its_name_holds(void **state)
{
	static const char *const names[] = { "plain", ") R 1", "(a) Z 2 3 4", " ", "\n)", "" };
	struct timespec now;
	struct proc own, p;

	assert_int_equal(proc_look(getpid(), &own), 0);
	assert_int_equal(own.state, 'R');
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		pid_t pid = sleeper(names[i]);

		do /* it may not have come as far */
			assert_int_equal(proc_look(pid, &p), 0);
		while (p.state == 'R');
		assert_int_equal(p.state, 'S');
		clock_gettime(CLOCK_BOOTTIME, &now);
		assert_true(own.start_ticks && p.start_ticks >= own.start_ticks);
		assert_true(p.start_ticks / (uint64_t)sysconf(_SC_CLK_TCK) <= (uint64_t)now.tv_sec);
		assert_true(p.memory_b >= MIB);
		assert_true(p.env_start && p.env_end >= p.env_start);
		assert_int_equal(p.env_start, own.env_start);
		assert_int_equal(p.env_end, own.env_end);
		kill_and_wait(pid);
	}
}

static void tells_what_has_ended_from_what_has_gone(void **state)
{
	pid_t pid = sleeper("gone");
	siginfo_t info;
	struct proc p;

	kill(pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(proc_look(pid, &p), 0);
	assert_int_equal(p.state, 'Z');
	assert_int_equal(p.memory_b, 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	p.state = 'x';
	assert_int_equal(proc_look(pid, &p), -ESRCH);
	assert_int_equal(p.state, 'x');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_of_a_process_whatever_its_name_holds),
		cmocka_unit_test(tells_what_has_ended_from_what_has_gone),
	};

	return cmocka_run_group_tests_name("base_proc", tests, NULL, NULL);
}
