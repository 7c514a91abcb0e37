/* SPDX-License-Identifier: Apache-2.0 */
/* Which ends of a process are noted as crashes: base/crash.c, and the threads that watch their
 * stacks. */
#include "bed.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/fd.h"
#include "core/poller.h"
#include "function/log/log.h"
#include "media/file/pool.h"
#include "media/null/null.h"

static uint32_t *word;

/* Return: the signal that ends a process that does @fn; *word is whether it was noted. */
static int end_by(void (*fn)(void *arg))
{
	int status = 0;

	word = mmap(NULL, sizeof(*word), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(word, MAP_FAILED);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
		if (crash_init())
			_exit(1);
		crash_watch(word);
		fn(NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static uint32_t noted(void)
{
	uint32_t was = *word;

	munmap(word, sizeof(*word));
	return was;
}

static void be_killed(void *arg)
{
	kill(getpid(), SIGKILL);
}

static void give_up(void *arg)
{
	abort();
}

/* Does not end before its stack does. */
static unsigned dig(volatile const unsigned *above)
{
	volatile unsigned room[256];

	room[0] = *above + 1;
	return *above == UINT32_MAX ? 0 : dig(room) + room[0];
}

static void overflow(void *arg)
{
	dig(&(unsigned){ 0 });
}

static void overflow_a_poller(void *arg)
{
	struct poller *p;

	if (!poller_open("t", &p) && !poller_start(p, NULL))
		poller_call(p, overflow, NULL);
}

static enum req_status run_and_overflow(void *arg, struct req *r)
{
	overflow(NULL);
	return REQ_OK;
}

static void overflow_a_file_helper(void *arg)
{
	struct req r = { .op = REQ_FLUSH };
	struct pool_done d;
	struct pool p;

	pool_init(&p, fd_memory("file", 4096, 0), run_and_overflow, NULL);
	if (pool_done_open(&p, &d))
		return;
	pool_push(&p, &d, &r);
	poll(NULL, 0, -1);
}

static int log_fd = -1;

ssize_t __real_write(int fd, const void *from, size_t n);
ssize_t __wrap_write(int fd, const void *from, size_t n);

ssize_t __wrap_write(int fd, const void *from, size_t n)
{
	if (fd == log_fd)
		overflow(NULL);
	return __real_write(fd, from, n);
}

static void overflow_the_log_s_writer(void *arg)
{
	struct function *f;
	struct media *m;
	struct bed b;

	log_fd = open("/dev/null", O_WRONLY);
	assert_int_equal(null_open(false, &m), 0);
	assert_int_equal(reqlog_open(log_fd, &f), 0);
	bed_open_chain(&b, m, &f, 1, GIB);
	bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL);
	poll(NULL, 0, -1);
}

static void notes_an_abort_and_no_kill(void **state)
{
	assert_int_equal(end_by(give_up), SIGABRT);
	assert_int_equal(noted(), 1);
	assert_int_equal(end_by(be_killed), SIGKILL);
	assert_int_equal(noted(), 0);
}

static void notes_a_poller_whose_stack_overflows(void **state)
{
	assert_int_equal(end_by(overflow_a_poller), SIGSEGV);
	assert_int_equal(noted(), 1);
}

static void notes_helpers_whose_stack_overflows(void **state)
{
	assert_int_equal(end_by(overflow_a_file_helper), SIGSEGV);
	assert_int_equal(noted(), 1);
	assert_int_equal(end_by(overflow_the_log_s_writer), SIGSEGV);
	assert_int_equal(noted(), 1);
}

static void gives_a_stack_back(void **state)
{
	stack_t before, after;

	assert_int_equal(sigaltstack(NULL, &before), 0);
	crash_watch_stack();
	assert_int_equal(sigaltstack(NULL, &after), 0);
	assert_true(!(after.ss_flags & SS_DISABLE) && after.ss_sp != before.ss_sp);
	crash_unwatch_stack();
	crash_unwatch_stack();
	assert_int_equal(sigaltstack(NULL, &after), 0);
	assert_ptr_equal(after.ss_sp, before.ss_sp);
	assert_int_equal(after.ss_flags, before.ss_flags);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(notes_an_abort_and_no_kill),
		cmocka_unit_test(notes_a_poller_whose_stack_overflows),
		cmocka_unit_test(notes_helpers_whose_stack_overflows),
		cmocka_unit_test(gives_a_stack_back),
	};

	return cmocka_run_group_tests_name("base_crash", tests, NULL, NULL);
}
