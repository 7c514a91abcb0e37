/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that the keeper starts for workers, and what it refuses: keeper/programs.c, jail.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/fd.h"
#include "keeper/jail.h"
#include "keeper/programs.h"

static struct programs programs;

static int setup(void **state)
{
	programs_init(&programs);
	return 0;
}

static int teardown(void **state)
{
	programs_fini(&programs);
	return 0;
}

static struct keeper_request request(uint32_t op, const char *run)
{
	/* no bound: a sanitizer's own memory counts until the program is executed */
	struct keeper_request r = { .op = op, .group = "name", .memory_mib = UINT32_MAX };

	strcpy(r.path, run);
	return r;
}

/* Return: the answer's err; copies of what came with it in @ret_fds. */
static int serve(const struct keeper_request *r, const int *fds, unsigned nfd,
		 struct keeper_answer *ret, int ret_fds[2])
{
	struct program_result result;
	int err = programs_serve(&programs, r, fds, nfd, &result);

	bool is_starting = err == PROGRAMS_STARTING;

	if (is_starting) {
		struct pollfd w = { .fd = programs.report_fd, .events = POLLIN };

		do {
			assert_int_equal(poll(&w, 1, 20000), 1);
		} while (programs_hear(&programs, &result));
		err = 0;
	}
	if (err)
		return err;
	*ret = result.answer;
	assert_int_equal(result.nfd, ret->err || r->op == KEEPER_KILL ? 0 : 2);
	assert_int_equal(result.is_new, r->op == KEEPER_SPAWN && !ret->err);
	for (unsigned i = 0; i < result.nfd; i++)
		ret_fds[i] = fcntl(result.fds[i], F_DUPFD_CLOEXEC, 0);
	if (is_starting)
		programs_heard(&programs);
	return ret->err;
}

static void await_end(int pidfd)
{
	struct pollfd w = { .fd = pidfd, .events = POLLIN };

	assert_int_equal(poll(&w, 1, 20000), 1);
}

/* As the keeper does at SIGCHLD. */
static void reap(void)
{
	int status;

	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		programs_reaped(&programs, pid, status);
}

static void starts_a_program_with_its_descriptors(void **state)
{
	/* cat: from what it is given to what it is given */
	struct keeper_request r = request(KEEPER_SPAWN,
					  "sh -c 'read -r line <&4; printf \"got %s\" \"$line\" >&5'");
	struct keeper_answer answer;
	int in[2], out[2], fds[2];
	char text[32] = "";

	assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(write(in[1], "this\n", 5), 5);
	assert_int_equal(serve(&r, (int[]){ in[0], out[1] }, 2, &answer, fds), 0);
	assert_true(answer.pid > 0);
	assert_true(answer.jail & 1u << KEEPER_JAIL_PRIVS);
	assert_true(answer.jail & 1u << KEEPER_JAIL_CALLS);
	assert_int_equal(read(out[0], text, sizeof(text) - 1), 8);
	assert_string_equal(text, "got this");
	await_end(fds[1]);
	reap();
	assert_int_equal(programs.n, 0);
	for (unsigned i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
		close(fds[i]);
	}
}

static void says_why_a_program_cannot_be_started(void **state)
{
	static const struct {
		const char *run;
		int err;
	} cases[] = {
		{ "/nonexistent/program", -ENOENT },
		{ "no-such-program-in-path", -ENOENT },
		{ "relative/path", -ENOENT },
		{ "/etc/passwd", -EACCES },
		{ "   ", -EINVAL },
		{ "true 'without end", -EINVAL },
	};
	struct keeper_answer answer;
	int fds[2];

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct keeper_request r = request(KEEPER_SPAWN, cases[i].run);

		assert_int_equal(serve(&r, NULL, 0, &answer, fds), cases[i].err);
	}
	assert_int_equal(programs.n, 0);
}

static void refuses_what_no_worker_asks_for(void **state)
{
	struct keeper_request r[5];
	struct keeper_answer answer;
	int fds[2];

	for (unsigned i = 0; i < ARRAY_SIZE(r); i++)
		r[i] = request(i & 1 ? KEEPER_ADOPT : KEEPER_SPAWN, "true");
	memset(r[0].path, 'a', sizeof(r[0].path));
	memset(r[1].group, 'a', sizeof(r[1].group));
	memset(r[2].cpus, '1', sizeof(r[2].cpus));
	r[3].group[0] = '\0';
	r[4].memory_mib = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(r); i++)
		assert_int_equal(serve(&r[i], NULL, 0, &answer, fds), -EPROTO);
}

static void kills_only_what_it_has_started(void **state)
{
	struct keeper_request spawn = request(KEEPER_SPAWN, "sleep 1000"),
				      end = request(KEEPER_KILL, "");
	struct keeper_answer answer;
	int fds[2], none[2];

	end.flags = (uint32_t)getpid();
	assert_int_equal(serve(&end, NULL, 0, &answer, none), -ESRCH);
	assert_int_equal(serve(&spawn, NULL, 0, &answer, fds), 0);
	end.flags = (uint32_t)answer.pid;
	assert_int_equal(serve(&end, NULL, 0, &answer, none), 0);
	await_end(fds[1]);
	reap();
	assert_int_equal(serve(&end, NULL, 0, &answer, none), -ESRCH);
	close(fds[0]);
	close(fds[1]);
}

/* How the keeper says that @run ended, by signal @sig if that is not 0; @is_reaped: it has heard of
 * that before it is asked. */
static int end_of(const char *run, int sig, bool is_reaped)
{
	struct keeper_request spawn = request(KEEPER_SPAWN, run), end = request(KEEPER_KILL, "");
	struct keeper_answer answer;
	int fds[2];

	assert_int_equal(serve(&spawn, NULL, 0, &answer, fds), 0);
	pid_t pid = answer.pid;

	if (sig)
		assert_int_equal(kill(pid, sig), 0);
	await_end(fds[1]);
	if (is_reaped)
		reap();
	end.flags = (uint32_t)pid;
	assert_int_equal(serve(&end, NULL, 0, &answer, fds), -ESRCH);
	assert_int_equal(answer.pid, pid);
	assert_int_equal(programs.n, 0);
	close(fds[0]);
	close(fds[1]);
	return (int)answer.jail;
}

/* It was executed, so it was started; its socket and the keeper tell of its end. */
static void starts_one_that_ended_before_that_is_heard(void **state)
{
	struct keeper_request spawn = request(KEEPER_SPAWN, "sh -c 'exit 3'"),
			      end = request(KEEPER_KILL, "");
	struct program_result result;
	struct keeper_answer answer;
	char how[64];
	int fds[2];

	assert_int_equal(programs_serve(&programs, &spawn, NULL, 0, &result), PROGRAMS_STARTING);
	await_end(programs.starting->pidfd);
	reap();
	assert_int_equal(programs_hear(&programs, &result), 0);
	assert_int_equal(result.answer.err, 0);
	assert_int_equal(result.nfd, 2);
	assert_false(result.is_new); /* nobody is to kill what has its number now */
	assert_int_equal(recv(result.fds[0], how, sizeof(how), 0), 0);
	await_end(result.fds[1]);
	programs_heard(&programs);
	assert_int_equal(programs.n, 0);
	end.flags = (uint32_t)result.answer.pid;
	assert_int_equal(serve(&end, NULL, 0, &answer, fds), -ESRCH);
	assert_int_equal(answer.pid, result.answer.pid);
	child_how((int)answer.jail, how, sizeof(how));
	assert_string_equal(how, "exited with status 3");
}

static void says_how_a_program_has_ended(void **state)
{
	char how[64];

	for (unsigned is_reaped = 0; is_reaped < 2; is_reaped++) {
		child_how(end_of("sh -c 'exit 3'", 0, is_reaped), how, sizeof(how));
		assert_string_equal(how, "exited with status 3");
		child_how(end_of("sleep 1000", SIGSEGV, is_reaped), how, sizeof(how));
		assert_string_equal(how, "was killed by SIGSEGV");
	}
	/* of those that were last */
	for (unsigned i = 0; i < PROGRAMS_ENDED + 1; i++)
		end_of("true", 0, true);
	child_how(SIGRTMAX, how, sizeof(how));
	assert_non_null(strstr(how, "was killed by signal "));
}

static void keeps_programs_for_the_next_worker(void **state)
{
	struct keeper_request spawn = request(KEEPER_SPAWN, "sleep 1000");
	struct keeper_request adopt = request(KEEPER_ADOPT, "sleep 1000");
	struct keeper_request other = request(KEEPER_ADOPT, "sleep 1001");
	struct keeper_answer first, second;
	int fds[2], again[2], none[2];

	assert_int_equal(serve(&spawn, NULL, 0, &first, fds), 0);
	assert_int_equal(serve(&adopt, NULL, 0, &second, none), -ENOENT); /* it is somebody's */
	programs_unclaim(&programs);
	assert_int_equal(serve(&other, NULL, 0, &second, none), -ENOENT);
	assert_int_equal(serve(&adopt, NULL, 0, &second, again), 0);
	assert_int_equal(first.pid, second.pid);
	programs_sweep(&programs);
	assert_int_equal(kill(first.pid, 0), 0);
	/* one that nobody wants ends */
	programs_unclaim(&programs);
	programs_sweep(&programs);
	await_end(fds[1]);
	reap();
	assert_int_equal(programs.n, 0);
	for (unsigned i = 0; i < 2; i++) {
		close(fds[i]);
		close(again[i]);
	}
}

/* The worker may read /may/read, write /may/write and has the socket /own/socket. */
static int may_have(struct programs *ps, enum machine_part part, const char *path)
{
	static const char *const may[] = { [MACHINE_READS] = "/may/read",
					   [MACHINE_WRITES] = "/may/write",
					   [MACHINE_CONNECTS] = "/own/socket" };

	return strcmp(path, may[part]) ? -EACCES : 0;
}

/* A tool that says its words, a line each, on the first descriptor that it is given. */
static void make_tool(char *path)
{
	static const char text[] = "#!/bin/sh\nfor word; do echo \"$word\" >&4; done\n";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	assert_int_equal(fchmod(fd, 0700), 0);
	close(fd);
}

static void starts_a_machine_by_words_that_are_judged(void **state)
{
	struct keeper_request r = request(KEEPER_SPAWN, "fn.2\nimage=/may/read\nfile=/may/write\n"
					  "append=quiet a=b 'c\nfunction_socket=/own/socket");
	char tool[] = "/tmp/postern-test-tool-XXXXXX", text[512] = "";
	struct keeper_answer answer;
	size_t have = 0;
	int out[2], fds[2];

	make_tool(tool);
	programs.tool = tool;
	programs.may_have = may_have;
	r.mode = KEEPER_MACHINE;
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(serve(&r, &out[1], 1, &answer, fds), 0);
	assert_int_equal(answer.jail, 1u << KEEPER_JAIL_PRIVS);
	close(out[1]);
	for (ssize_t n; (n = read(out[0], text + have, sizeof(text) - 1 - have)) > 0;)
		have += (size_t)n;
	assert_string_equal(text, "vm\nrun\nfn.2\nforeground=on\nfunction_port=postern.function\n"
			    "function_memory=/dev/fd/4\nimage=/may/read\nfile=/may/write\n"
			    "append=quiet a=b 'c\nfunction_socket=/own/socket\n");
	await_end(fds[1]);
	reap();
	unlink(tool);
	close(out[0]);
	close(fds[0]);
	close(fds[1]);
}

static void gives_a_machine_nothing_that_its_worker_may_not_have(void **state)
{
	static const struct {
		const char *text;
		int err;
	} cases[] = {
		{ "", -EINVAL },
		{ "-h", -EINVAL },
		{ "key=value", -EINVAL },
		{ "fn\n-h", -EACCES },
		{ "fn\nqemu=-chardev", -EACCES },
		{ "fn\nnetwork=on", -EACCES },
		{ "fn\nfunction_port=x", -EACCES },
		{ "fn\nfunction_memory=/dev/fd/5", -EACCES },
		{ "fn\nimag=/may/read", -EACCES },
		{ "fn\nimage=may/read", -EACCES },
		{ "fn\nimage=", -EACCES },
		{ "fn\nimage=/else", -EACCES },
		{ "fn\nread=/may/write", -EACCES },
		{ "fn\nfile=/may/read", -EACCES },
		{ "fn\nfile=/may/write\nfunction_socket=/run/other", -EACCES },
	};
	struct keeper_answer answer;
	int fds[2];

	programs.tool = "/bin/true";
	programs.may_have = may_have;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct keeper_request r = request(KEEPER_SPAWN, cases[i].text);

		r.mode = KEEPER_MACHINE;
		assert_int_equal(serve(&r, NULL, 0, &answer, fds), cases[i].err);
	}
	struct keeper_request r = request(KEEPER_SPAWN, "fn");

	r.mode = KEEPER_MACHINE + 1;
	assert_int_equal(serve(&r, NULL, 0, &answer, fds), -EPROTO);
	assert_int_equal(programs.n, 0);
}

static void splits_words_as_people_quote_them(void **state)
{
	CLEANUP(base_free) char **argv = NULL;

	assert_int_equal(jail_split("  /bin/x  a=\"b c\" 'd \"e'\tf\"\" ", &argv), 0);
	assert_string_equal(argv[0], "/bin/x");
	assert_string_equal(argv[1], "a=b c");
	assert_string_equal(argv[2], "d \"e");
	assert_string_equal(argv[3], "f");
	assert_null(argv[4]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(starts_a_program_with_its_descriptors, setup,
						teardown),
		cmocka_unit_test_setup_teardown(says_why_a_program_cannot_be_started, setup,
						teardown),
		cmocka_unit_test_setup_teardown(refuses_what_no_worker_asks_for, setup, teardown),
		cmocka_unit_test_setup_teardown(kills_only_what_it_has_started, setup, teardown),
		cmocka_unit_test_setup_teardown(says_how_a_program_has_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(starts_one_that_ended_before_that_is_heard,
						setup, teardown),
		cmocka_unit_test_setup_teardown(keeps_programs_for_the_next_worker, setup,
						teardown),
		cmocka_unit_test_setup_teardown(starts_a_machine_by_words_that_are_judged, setup,
						teardown),
		cmocka_unit_test_setup_teardown(gives_a_machine_nothing_that_its_worker_may_not_have,
						setup, teardown),
		cmocka_unit_test(splits_words_as_people_quote_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
