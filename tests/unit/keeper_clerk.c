/* SPDX-License-Identifier: Apache-2.0 */
/* Clerks that end, or do not: keeper/clerk.c. Files below a directory "hung" are never opened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "keeper/private.h"

static struct office office;
static struct loop loop;
static struct clerks clerks;
static pid_t last; /* clerk that was started */
static int asker[2];

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
pid_t __real_fork(void);
pid_t __wrap_fork(void);

int __wrap_open64(const char *path, int flags, ...)
{
	while (strstr(path, "/hung/"))
		pause();
	return __real_open64(path, flags, 0600);
}

pid_t __wrap_fork(void)
{
	last = __real_fork();
	return last;
}

static int setup(void **state)
{
	log_set_level(LOG_ERROR);
	office_init(&office);
	clerks_init(&clerks, &loop, &office);
	return loop_init(&loop) || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, asker);
}

static int teardown(void **state)
{
	clerks_fini(&clerks);
	loop_fini(&loop);
	fd_close(asker[0]);
	fd_close(asker[1]);
	return 0;
}

static struct {
	struct errand errand;
	struct clerk_report report;
	unsigned ended;
} job;

static void done(struct errand *e, const struct clerk_report *r, int fd)
{
	assert_int_equal(fd, -1);
	job.report = *r;
	job.ended++;
}

static int send_for(const char *path)
{
	struct clerk_order o = { .req.op = KEEPER_OPEN, .req.flags = O_RDONLY };

	snprintf(o.req.path, sizeof(o.req.path), "%s", path);
	job.errand.done = done;
	job.ended = 0;
	return clerks_send(&clerks, &job.errand, &o, asker[0]);
}

static void await(void)
{
	while (!job.ended)
		assert_true(loop_turn(&loop, 20000) >= 0);
}

/* Return: what the asker was answered. */
static int answered(void)
{
	struct keeper_answer a;
	unsigned nfd = 0;
	int fd = -1;

	assert_int_equal(fd_recv(asker[1], &a, sizeof(a), &fd, 1, &nfd), sizeof(a));
	fd_close(fd);
	return a.err;
}

static void opens(const char *path)
{
	assert_int_equal(send_for(path), 0);
	await();
	assert_int_equal(job.report.err | job.report.told, 0);
	assert_int_equal(answered(), 0);
}

static void end_last(void)
{
	kill(last, SIGKILL);
	assert_int_equal(waitpid(last, NULL, 0), last);
}

static void one_that_is_killed_has_told_nobody(void **state)
{
	assert_int_equal(send_for("/hung/file"), 0);
	end_last();
	await();
	assert_int_equal(job.report.err, -EIO);
	assert_int_equal(job.report.told, CLERK_SILENT);
	assert_int_equal(clerks.n, 0);
	opens("/etc/passwd");
}

static void another_does_what_one_that_was_killed_cannot(void **state)
{
	opens("/etc/passwd");
	pid_t first = last;

	end_last();
	opens("/etc/passwd");
	assert_int_not_equal(last, first);
}

static void only_so_many_are_left_to_what_they_are_stuck_in(void **state)
{
	unsigned stuck = 0;
	char path[32];
	int err = 0;

	for (; !err && stuck < 100; stuck++) {
		snprintf(path, sizeof(path), "/hung/%u", stuck);
		err = send_for(path);
		if (!err)
			assert_true(clerks_give_up(&clerks, &job.errand, true));
		/* what somebody is stuck in is not tried again */
		assert_int_equal(send_for("/hung/0"), -ETIMEDOUT);
	}
	assert_int_equal(err, -ETIMEDOUT);
	assert_int_equal(stuck - 1, 16);
	assert_int_equal(clerks.nlate, 16);
	end_last();
	while (clerks.n == 16)
		assert_true(loop_turn(&loop, 20000) >= 0);
	assert_int_equal(clerks.nlate, 15);
	opens("/etc/passwd");
}

int main(void)
{
#define CLERKS(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CLERKS(one_that_is_killed_has_told_nobody),
		CLERKS(another_does_what_one_that_was_killed_cannot),
		CLERKS(only_so_many_are_left_to_what_they_are_stuck_in),
	};

	return cmocka_run_group_tests_name("keeper_clerk", tests, NULL, NULL);
}
