/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker can do no more in the sandbox, and what it can: keeper/sandbox.c, filter.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper/sandbox.h"

static void *do_nothing(void *arg)
{
	return arg;
}

/* Runs @fn in the sandbox. Return: its wait status. */
static int sandboxed(int (*fn)(void))
{
	pid_t pid = fork();

	if (!pid) {
		struct sandbox_report r;

		sandbox_enter(&r);
		if (strncmp(r.seccomp, "on", 2))
			_exit(77);
		_exit(fn());
	}
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int try_forbidden(void)
{
	int fd = open("/dev/null", O_RDONLY);

	if (fd >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0 || fork() >= 0)
		return 1;
	return openat(AT_FDCWD, "/tmp/x", O_CREAT | O_WRONLY, 0600) >= 0;
}

static int try_needed(void)
{
	char params[120] = { 0 };
	pthread_t t;

	if (pthread_create(&t, NULL, do_nothing, NULL) || pthread_join(t, NULL))
		return 1;
	/* io_uring may be refused by a container, but not by this sandbox */
	if (syscall(SYS_io_uring_setup, 8, params) < 0 && errno != ENOSYS && errno != EPERM)
		return 2;
	return syscall(SYS_memfd_create, "x", 0) < 0 || dup(0) < 0 ? 3 : 0;
}

static int try_program(void)
{
	char *argv[] = { "true", NULL };

	execv("/bin/true", argv);
	return 0;
}

static void sandbox_refuses_paths_sockets_and_processes(void **state)
{
	assert_int_equal(sandboxed(try_forbidden), 0);
}

static void sandbox_leaves_what_a_worker_needs(void **state)
{
	assert_int_equal(sandboxed(try_needed), 0);
}

static void sandbox_kills_who_starts_a_program(void **state)
{
	int status = sandboxed(try_program);

	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sandbox_refuses_paths_sockets_and_processes),
		cmocka_unit_test(sandbox_leaves_what_a_worker_needs),
		cmocka_unit_test(sandbox_kills_who_starts_a_program),
	};

	return cmocka_run_group_tests_name("keeper_sandbox", tests, NULL, NULL);
}
