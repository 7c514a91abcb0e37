/* SPDX-License-Identifier: Apache-2.0 */
/* What the measuring guest says, and the bare loops: compare/gauge_line.c, bare_*.c, guard.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compare/bare.h"
#include "compare/guard.h"
#include "compare/machine.h"

static void reads_a_result_into_a_sample(void **state)
{
	static const char line[] =
		"{\"event\": \"result\", \"requests\": 1000, \"iops\": 2000.5, \"p50_ns\": 510, "
		"\"p99_ns\": 900, \"p999_ns\": 4000, \"kicks\": 10, \"interrupts\": 500, \"errors\": 0, "
		"\"mismatches\": 0, \"verified_b\": 4096, \"hist\": [[500, 100], [600, 850], [9000, 50]]}";
	struct compare_sample s;
	char why[MACHINE_WHY];

	assert_int_equal(machine_read_result(line, &s, why), 0);
	assert_int_equal(s.requests, 1000);
	assert_int_equal(s.verified_b, 4096);
	assert_float_equal(s.iops, 2000.5, 1e-9);
	assert_float_equal(s.kicks, 0.01, 1e-9);
	assert_float_equal(s.irqs, 0.5, 1e-9);
	assert_true(s.exits < 0 && s.cpu_ns < 0);
	assert_float_equal(s.mark_ns[0], 500, 1e-9); /* 1 % */
	assert_float_equal(s.mark_ns[4], 600, 1e-9); /* half */
	assert_float_equal(s.mark_ns[COMPARE_MARKS - 1], 9000, 1e-9);
}

static void wrong_data_and_refusals_are_no_results(void **state)
{
	struct compare_sample s;
	char why[MACHINE_WHY];

	assert_int_equal(machine_read_result("{\"event\": \"stuck\", \"why\": \"nothing came\"}",
					     &s, why),
			 -EREMOTEIO);
	assert_non_null(strstr(why, "nothing came"));
	assert_int_equal(machine_read_result("{\"event\": \"result\", \"requests\": 9, \"errors\": 0, "
					     "\"mismatches\": 2}", &s, why), -EREMOTEIO);
	assert_non_null(strstr(why, "2 requests failed or returned other data"));
	assert_int_equal(machine_read_result("{\"event\": \"result\"}", &s, why), -EREMOTEIO);
	assert_int_equal(machine_read_result("{nonsense", &s, why), -EPROTO);
}

static void finds_disks_by_their_slots(void **state)
{
	int pci[2];

	assert_int_equal(machine_read_ready("{\"event\": \"ready\", \"disks\": [{\"pci\": \"00:10.0\"}, "
					    "{\"pci\": \"00:1f.0\"}, {\"pci\": \"00:02.0\"}]}", pci,
					    2), 2);
	assert_int_equal(pci[0], 0x10);
	assert_int_equal(pci[1], 0x1f);
	assert_int_equal(machine_read_ready("{\"event\": \"result\"}", pci, 2), -EPROTO);
	assert_int_equal(machine_read_ready("[1]", pci, 2), -EPROTO);
}

/* A load of 20 ms in which every latency is counted once. */
static void check_bare(int rc, const struct client_bench_result *b, const struct hist *h)
{
	assert_int_equal(rc, 0);
	assert_true(b->requests > 0 && b->iops > 0);
	assert_true(b->p50_ns > 0 && b->p50_ns <= b->p99_ns && b->p99_ns <= b->p999_ns);
	assert_int_equal(hist_total(h), b->requests);
	assert_true(b->cpu_ns > 0);
}

static struct client_load small_load(struct hist *h)
{
	memset(h, 0, sizeof(*h));
	return (struct client_load){ .read_pct = 100, .bs_b = 4096, .depth = 4, .range_b = MIB,
				     .run_ns = 20 * NS_PER_MS, .hist = h };
}

static void bare_loops_count_what_they_do(void **state)
{
	struct bare_ring_conf ring = { .peer = -1 };
	char path[] = "/tmp/postern-bare-XXXXXX";
	struct client_bench_result b;
	static struct hist h;
	struct client_load load = small_load(&h);
	int fd = mkstemp(path);

	assert_int_equal(ftruncate(fd, MIB), 0);
	check_bare(bare_copy(&load, &b), &b, &h);
	load = small_load(&h);
	check_bare(bare_ring(&ring, &load, &b), &b, &h);
	load = small_load(&h);
	int rc = bare_uring(path, &load, &b);

	/* some containers refuse io_uring */
	if (rc != -EPERM && rc != -ENOSYS)
		check_bare(rc, &b, &h);
	load = small_load(&h);
	load.pace_ns = 100 * NS_PER_US;
	load.interrupts = true;
	rc = bare_uring(path, &load, &b);
	if (rc != -EPERM && rc != -ENOSYS) {
		check_bare(rc, &b, &h);
		assert_true(b.requests <= 201); /* paced: no more than the time has room for */
	}
	close(fd);
	unlink(path);
}

/* How many there were; the one that the kernel refuses. */
static unsigned submissions, refused;

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);

int __wrap_io_uring_submit(struct io_uring *ring)
{
	return ++submissions == refused ? -EAGAIN : __real_io_uring_submit(ring);
}

static void a_bare_loop_whose_requests_are_refused_ends(void **state)
{
	char path[] = "/tmp/postern-bare-XXXXXX";
	struct client_bench_result b;
	static struct hist h;
	struct client_load load = small_load(&h);
	int fd = mkstemp(path), rc;

	assert_int_equal(ftruncate(fd, MIB), 0);
	for (unsigned i = 1; i <= 2; i++) {
		submissions = 0;
		refused = i;
		rc = bare_uring(path, &load, &b);
		/* some containers refuse io_uring as a whole */
		if (rc != -EPERM && rc != -ENOSYS)
			assert_int_equal(rc, -EAGAIN);
	}
	refused = 0;
	close(fd);
	unlink(path);
}

static void bare_loops_refuse_what_does_not_fit(void **state)
{
	struct bare_ring_conf ring = { .peer = -1 };
	struct client_bench_result b;
	static struct hist h;
	struct client_load load = small_load(&h);

	load.range_b = 512;
	assert_int_equal(bare_copy(&load, &b), -EINVAL);
	assert_int_equal(bare_uring("/proc/self/exe", &load, &b), -EINVAL);
	assert_int_equal(bare_uring("/tmp/postern-none/none", &load, &b), -ENOENT);
	load.read_pct = 0;
	assert_int_equal(bare_ring(&ring, &load, &b), -EINVAL);
}

/* Whether @pid has ended, or does within 10 s. */
static bool ends(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	bool ended = fd < 0 || poll(&p, 1, 10000) == 1;

	close(fd);
	return ended;
}

/* Starts a guard over a sleeper and a directory with something in it. */
static pid_t guarded(char *dir)
{
	char path[64];
	pid_t pid;

	assert_int_equal(guard_start(), 0);
	assert_int_equal(guard_start(), -EBUSY);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sub", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(guard_dir(dir), 0);
	pid = fork();
	if (!pid) {
		/* another program: a mere copy of this one would hold the guard's pipe open, too */
		execlp("sleep", "sleep", "infinity", NULL);
		_exit(1);
	}
	assert_int_equal(guard_process(pid), 0);
	return pid;
}

static void the_guard_ends_what_was_started_without_a_word(void **state)
{
	char dir[] = "/tmp/postern-guard-XXXXXX", byte;
	int tell[2];
	pid_t told = guarded(dir), pid;

	assert_int_equal(pipe(tell), 0);
	pid = fork();
	if (!pid) {
		/* as what goes to the background does: its parent is not us */
		if (fork())
			_exit(0);
		dup2(tell[1], STDOUT_FILENO);
		close(tell[1]);
		execlp("sh", "sh", "-c", "echo; sleep 1000", NULL);
		_exit(1);
	}
	close(tell[1]);
	assert_int_equal(read(tell[0], &byte, 1), 1); /* it runs, under its new environment */
	guard_end();
	assert_int_equal(read(tell[0], &byte, 1), 0); /* and has ended, with its child */
	assert_int_equal(kill(told, 0), -1);
	close(tell[0]);
}

/* A process that executes another program has no environment to read for a moment: one that does so
 * all the time was overlooked in one round of twenty. */
static void the_guard_ends_what_is_just_starting_another(void **state)
{
	static const char again[] = "exec sh -c \"$0\" \"$0\"";

	for (unsigned i = 0; i < 60; i++) {
		int tell[2];
		char byte;

		assert_int_equal(guard_start(), 0);
		assert_int_equal(pipe(tell), 0);
		if (!fork()) {
			execlp("sh", "sh", "-c", again, again, NULL);
			_exit(1);
		}
		close(tell[1]);
		usleep(1000 * (i % 20));
		guard_end();
		assert_int_equal(read(tell[0], &byte, 1), 0);
		close(tell[0]);
	}
}

static void the_guard_ends_what_it_was_told_of(void **state)
{
	char dir[] = "/tmp/postern-guard-XXXXXX";
	pid_t pid = guarded(dir);

	guard_end();
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(access(dir, F_OK), -1);
}

static void the_guard_acts_when_its_program_is_killed(void **state)
{
	static const int how[] = { SIGKILL, SIGTERM, SIGINT };

	for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
		char dir[] = "/tmp/postern-guard-XXXXXX";
		int tell[2], status;
		pid_t pid = 0;

		assert_int_equal(pipe(tell), 0);
		pid_t program = fork();

		if (!program) {
			pid = guarded(dir);
			if (write(tell[1], &pid, sizeof(pid)) != sizeof(pid) ||
			    write(tell[1], dir, sizeof(dir)) != sizeof(dir))
				_exit(1);
			for (;;)
				pause();
		}
		close(tell[1]);
		assert_int_equal(read(tell[0], &pid, sizeof(pid)), sizeof(pid));
		assert_int_equal(read(tell[0], dir, sizeof(dir)), sizeof(dir));
		kill(program, how[i]);
		assert_int_equal(waitpid(program, &status, 0), program);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == how[i]);
		assert_true(ends(pid));
		/* the guard holds the write end until it is done: it has inherited it */
		assert_int_equal(read(tell[0], &pid, 1), 0);
		assert_int_equal(access(dir, F_OK), -1);
		close(tell[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_a_result_into_a_sample),
		cmocka_unit_test(wrong_data_and_refusals_are_no_results),
		cmocka_unit_test(finds_disks_by_their_slots),
		cmocka_unit_test(bare_loops_count_what_they_do),
		cmocka_unit_test(a_bare_loop_whose_requests_are_refused_ends),
		cmocka_unit_test(bare_loops_refuse_what_does_not_fit),
		cmocka_unit_test(the_guard_ends_what_it_was_told_of),
		cmocka_unit_test(the_guard_ends_what_was_started_without_a_word),
		cmocka_unit_test(the_guard_ends_what_is_just_starting_another),
		cmocka_unit_test(the_guard_acts_when_its_program_is_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
