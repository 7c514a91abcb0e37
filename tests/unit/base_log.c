/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

/* Standard error as a pipe that nobody reads yet. */
static int pipe_up(int *ret_was)
{
	int p[2];

	assert_int_equal(pipe(p), 0);
	*ret_was = dup(STDERR_FILENO);
	dup2(p[1], STDERR_FILENO);
	close(p[1]);
	return p[0];
}

static void put_back(int reader, int was)
{
	dup2(was, STDERR_FILENO);
	close(was);
	close(reader);
}

static void names_the_object_and_keeps_to_one_line(void **state)
{
	int was, reader = pipe_up(&was);
	char got[128] = "";

	log_error("web", "queue %u: %s", 3u, "two\nlines");
	ssize_t n = read(reader, got, sizeof(got) - 1);
	put_back(reader, was);
	assert_int_equal(n, strlen(got));
	assert_string_equal(got, "postern: error: [web] queue 3: two?lines\n");
}

/* A pipe holds 64 KiB; more than that must not wait for its reader. */
static void does_not_wait_for_a_reader(void **state)
{
	int was, reader = pipe_up(&was);
	char got[128];

	for (unsigned i = 0; i < 5000; i++)
		log_error("web", "line %u of a log that nobody reads", i);
	ssize_t n = read(reader, got, sizeof(got));
	put_back(reader, was);
	assert_true(n > 0);
	assert_memory_equal(got, "postern: error: [web] line 0 ", 29);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_the_object_and_keeps_to_one_line),
		cmocka_unit_test(does_not_wait_for_a_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
