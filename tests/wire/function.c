/* SPDX-License-Identifier: Apache-2.0 */
/* How a program with libpostern-function and a posternd agree on a version, and how the program
 * refuses one with which it cannot, or a disk for which it has no room. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "wire/function.h"

#define FILES 64 /* more than what a test is started with */

static char fake[PATH_MAX];

/* A program, and the two ends through which the test speaks to it and hears its complaints. */
struct started {
	pid_t pid;
	int sock, err;
};

/* @files: the most descriptors that it may have; 0: as many as we. */
static struct started start(unsigned files)
{
	struct rlimit most = { files, files };
	int pair[2], pipe_fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(pipe_fd), 0);
	pid_t pid = fork();

	if (!pid) {
		dup2(pair[1], FN_SOCKET);
		dup2(pipe_fd[1], STDERR_FILENO);
		if (files)
			setrlimit(RLIMIT_NOFILE, &most);
		execl(fake, fake, "nothing", (char *)NULL);
		_exit(127);
	}
	close(pair[1]);
	close(pipe_fd[1]);
	return (struct started){ pid, pair[0], pipe_fd[0] };
}

static void greet(const struct started *s, unsigned oldest, unsigned newest, struct fn_msg *ret)
{
	struct fn_msg hello = { .magic = htole32(FN_MAGIC), .kind = htole16(FN_HELLO),
				.abi = htole16((uint16_t)newest),
				.abi_oldest = htole16((uint16_t)oldest),
				.channel = htole32(newest + 100) };

	assert_int_equal(send(s->sock, &hello, sizeof(hello), 0), sizeof(hello));
	assert_int_equal(recv(s->sock, ret, sizeof(*ret), 0), sizeof(*ret));
	assert_int_equal(le16toh(ret->kind), FN_READY);
	assert_int_equal(le32toh(ret->channel), newest + 100);
}

/* Return: the program's exit status, with what it has said on standard error. */
static int end(const struct started *s, char *ret, size_t room)
{
	size_t n = 0;
	int status;

	for (ssize_t got; (got = read(s->err, ret + n, room - 1 - n)) > 0;)
		n += (size_t)got;
	ret[n] = '\0';
	close(s->sock);
	close(s->err);
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void chooses_the_newest_that_both_speak(void **state)
{
	static const uint16_t most[] = { FN_ABI_NEWEST, FN_ABI_NEWEST + 1, UINT16_MAX };
	struct started s = start(0);
	struct fn_msg m, stop = { .magic = htole32(FN_MAGIC), .kind = htole16(FN_STOP) };
	char text[256];

	/* one posternd after another */
	for (unsigned i = 0; i < ARRAY_SIZE(most); i++) {
		greet(&s, FN_ABI_OLDEST, most[i], &m);
		assert_int_equal(le16toh(m.abi), FN_ABI_NEWEST);
	}
	for (unsigned v = FN_ABI_OLDEST; v <= FN_ABI_NEWEST; v++) {
		greet(&s, v, v, &m);
		assert_int_equal(le16toh(m.abi), v);
	}
	assert_int_equal(send(s.sock, &stop, sizeof(stop), 0), sizeof(stop));
	assert_int_equal(end(&s, text, sizeof(text)), 0);
	assert_string_equal(text, "");
}

/* It says what it speaks, so that posternd can say why it is not taken, and ends. */
static void refuses_a_posternd_without_its_versions(void **state)
{
	static const struct {
		uint16_t oldest, newest;
	} other[] = { { 0, FN_ABI_OLDEST - 1 }, { FN_ABI_NEWEST + 1, FN_ABI_NEWEST + 1 },
		      { FN_ABI_NEWEST + 1, UINT16_MAX } };

	for (unsigned i = 0; i < ARRAY_SIZE(other); i++) {
		struct started s = start(0);
		struct fn_msg m;
		char text[256];

		greet(&s, other[i].oldest, other[i].newest, &m);
		assert_int_equal(le16toh(m.abi), FN_ABI_NEWEST);
		assert_int_equal(end(&s, text, sizeof(text)), 1);
		assert_non_null(strstr(text, "version 1 of storage functions"));
	}
}

/* Offers a disk by the number @channel. Return: what the program says of it: 0, or an errno. */
static int offer(const struct started *s, unsigned channel)
{
	struct fn_msg m = { .magic = htole32(FN_MAGIC), .kind = htole16(FN_DISK),
			    .channel = htole32(channel), .blk_b = htole32(512),
			    .size_b = htole64(MIB), .below_b = htole64(MIB), .name = "web" };
	int fds[] = { fd_memory("rings", sizeof(struct fn_rings), 0),
		      fd_memory("buffers", FN_BUFS_B, 0), eventfd(0, EFD_CLOEXEC) };

	assert_int_equal(fd_send_now(s->sock, &m, sizeof(m), fds, ARRAY_SIZE(fds)), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	assert_int_equal(recv(s->sock, &m, sizeof(m), 0), sizeof(m));
	assert_int_equal(le16toh(m.kind), FN_DISK_READY);
	assert_int_equal(le32toh(m.channel), channel);
	return (int)le32toh(m.status);
}

/* The disks that it has it keeps: one too many is not their end. */
static void refuses_a_disk_for_which_it_has_no_room(void **state)
{
	struct fn_msg m, gone = { .magic = htole32(FN_MAGIC), .kind = htole16(FN_DISK_GONE) };
	struct started s = start(FILES);
	unsigned n = 0;
	char text[256];
	int err;

	greet(&s, FN_ABI_OLDEST, FN_ABI_NEWEST, &m);
	while (!(err = offer(&s, n)) && n < FILES)
		n++;
	assert_int_equal(err, EMFILE);
	assert_in_range(n, 1, FILES - 1);
	assert_int_equal(offer(&s, n), EMFILE);
	assert_int_equal(send(s.sock, &gone, sizeof(gone), 0), sizeof(gone));
	assert_int_equal(offer(&s, n), 0);
	gone.kind = htole16(FN_STOP);
	assert_int_equal(send(s.sock, &gone, sizeof(gone), 0), sizeof(gone));
	assert_int_equal(end(&s, text, sizeof(text)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chooses_the_newest_that_both_speak),
		cmocka_unit_test(refuses_a_posternd_without_its_versions),
		cmocka_unit_test(refuses_a_disk_for_which_it_has_no_room),
	};
	char self[PATH_MAX] = "";

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	snprintf(fake, sizeof(fake), "%.4000s/../fake/fake-function", dirname(self));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
