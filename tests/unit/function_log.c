/* SPDX-License-Identifier: Apache-2.0 */
#include "bed.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "function/error/error.h"
#include "function/log/log.h"
#include "function/log/log_ctl.h"
#include "media/null/null.h"

#define SIZE_B (1 * GIB)

static void open_logged(struct bed *b, int fd, bool failing, struct function **ret_log)
{
	struct error_conf c = { .ops = 1u << REQ_WRITE, .end_b = UINT64_MAX, .every = 1,
				.status = REQ_IOERR };
	struct function *f[2];
	struct media *m;

	assert_int_equal(null_open(false, &m), 0);
	assert_int_equal(reqlog_open(fd, &f[0]), 0);
	if (failing)
		assert_int_equal(error_open(&c, &f[1]), 0);
	bed_open_chain(b, m, f, failing ? 2 : 1, SIZE_B);
	*ret_log = f[0];
}

static unsigned lines_with(const char *text, const char *what)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, what)); at++)
		n++;
	return n;
}

static void writes_a_line_for_each_request(void **state)
{
	int fd = memfd_create("log", MFD_CLOEXEC), mine = dup(fd);
	CLEANUP(base_free) char *text = NULL;
	struct function *f;
	struct bed b;
	int year, end = 0;

	open_logged(&b, fd, true, &f);
	bed_do(&b, REQ_READ, 0, 1 * MIB, 4096, &b);
	bed_do(&b, REQ_WRITE, 0, 512, 1024, &b);
	bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL);
	bed_close(&b); /* what has ended is written by then */
	lseek(mine, 0, SEEK_SET);
	assert_true(fd_read_file(mine, 64 * KIB, &text) > 0);
	assert_int_equal(lines_with(text, "\n"), 3);
	assert_int_equal(lines_with(text, " disk=bed op=read off=1048576 len=4096 status=ok us="),
			 1);
	assert_int_equal(lines_with(text, " disk=bed op=write off=512 len=1024 status="), 1);
	assert_int_equal(lines_with(text, " disk=bed op=flush off=0 len=0 status=ok us="), 1);
	assert_int_equal(lines_with(text, "status=ok"), 2); /* not the write */
	assert_int_equal(sscanf(text, "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%*6dZ disk=%n", &year, &end),
			 1);
	assert_true(end > 0 && year >= 2024);
	close(mine);
}

static void *read_all(void *arg)
{
	char *text = calloc(1, 8 * MIB);
	size_t n = 0;
	ssize_t got;

	while ((got = read(*(int *)arg, text + n, 8 * MIB - 1 - n)) > 0)
		n += (size_t)got;
	return text;
}

/* Nobody reads the pipe: the writer hangs, the path goes on. */
static void drops_and_counts_when_nobody_takes_the_lines(void **state)
{
	enum { MANY = 20000 };
	struct function *f;
	unsigned dropped = 0;
	pthread_t reader;
	void *text;
	struct bed b;
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	open_logged(&b, fd[1], false, &f);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(bed_do(&b, REQ_READ, 0, 0, 512, &b), REQ_OK);
	pthread_create(&reader, NULL, read_all, &fd[0]);
	/* the lane goes, and the writer still has its records */
	disk_lane_put(b.disk, b.lane);
	assert_int_equal(disk_lane_get(b.disk, b.poller, &b.lane), 0);
	bed_do(&b, REQ_READ, 0, 512, 512, &b);
	bed_close(&b);
	pthread_join(reader, &text);
	close(fd[0]);
	for (char *at = text; (at = strstr(at, "dropped=")); at++)
		dropped += (unsigned)strtoul(at + strlen("dropped="), NULL, 10);
	assert_true(dropped > 0);
	assert_int_equal(lines_with(text, "op=read") + dropped, MANY + 1);
	free(text);
}

static void failed_writes_cost_lines_and_no_requests(void **state)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct reqlog_stats s;
	struct function *f;
	struct bed b;

	assert_true(fd >= 0);
	open_logged(&b, fd, false, &f);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(bed_do(&b, REQ_READ, 0, 0, 512, &b), REQ_OK);
	do
		reqlog_stats(f, &s);
	while (s.dropped < 100);
	assert_int_equal(s.written, 0);
	assert_int_equal(s.error, -ENOSPC);
	bed_close(&b);
}

static void appends_to_the_file_it_is_given(void **state)
{
	char path[] = "./postern-test-log-XXXXXX";
	int fd = mkstemp(path);
	json_t *p = NULL;
	CLEANUP(base_free) char *text = NULL;
	struct ctl_error err;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "before\n", 7), 7);
	char *full = realpath(path, NULL);
	p = json_pack("{s:s}", "path", full);
	for (unsigned i = 0; i < 2; i++) {
		struct function *f;
		struct media *m;
		struct bed b;

		assert_int_equal(log_function_kind.open(p, &f, &err), 0);
		assert_int_equal(null_open(false, &m), 0);
		bed_open_chain(&b, m, &f, 1, SIZE_B);
		bed_do(&b, REQ_READ, 0, 0, 512, &b);
		bed_close(&b);
	}
	lseek(fd, 0, SEEK_SET);
	assert_true(fd_read_file(fd, 4096, &text) > 0);
	assert_int_equal(lines_with(text, "before\n"), 1);
	assert_int_equal(lines_with(text, "op=read"), 2);
	unlink(path);
	close(fd);
	json_object_set_new(p, "path", json_string("/nonexistent/log"));
	struct function *f;
	assert_int_equal(log_function_kind.open(p, &f, &err), -ENOENT);
	assert_string_equal(err.param, "path");
	free(full);
	json_decref(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_a_line_for_each_request),
		cmocka_unit_test(drops_and_counts_when_nobody_takes_the_lines),
		cmocka_unit_test(failed_writes_cost_lines_and_no_requests),
		cmocka_unit_test(appends_to_the_file_it_is_given),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
