/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <termios.h>
#include <unistd.h>
#include <fcntl.h>

#include "base/fd.h"
#include "vm/machine.h"

#define ESCAPE 0x1d /* Ctrl-] */

/* What the user types, up to Ctrl-]. Return: > 0 to go on; 0 at the end; -errno. */
static int pump_in(int in_fd, int sock)
{
	char buf[512];
	ssize_t n = read(in_fd, buf, sizeof(buf));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : -errno;
	char *escape = memchr(buf, ESCAPE, (size_t)n);
	size_t len = escape ? (size_t)(escape - buf) : (size_t)n;
	int err = fd_write_all(sock, buf, len);

	if (err)
		return err;
	return !escape && n > 0;
}

static int pump_out(int sock, int out_fd)
{
	char buf[4096];
	ssize_t n = read(sock, buf, sizeof(buf));

	if (n < 0)
		return errno == EINTR ? 1 : errno == ECONNRESET ? 0 : -errno;
	int err = fd_write_all(out_fd, buf, (size_t)n);

	return err ? err : n > 0;
}

static int pump(int sock, int in_fd, int out_fd)
{
	for (;;) {
		struct pollfd p[2] = { { .fd = sock, .events = POLLIN },
				       { .fd = in_fd, .events = POLLIN } };
		int n = poll(p, ARRAY_SIZE(p), -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			continue;
		/* the guest's words first: its last ones are still shown when it ends */
		int go = p[0].revents ? pump_out(sock, out_fd) : 1;

		if (go > 0 && p[1].revents)
			go = pump_in(in_fd, sock);
		if (go <= 0)
			return go;
	}
}

int vm_console(const char *state_dir, const char *name, int in_fd, int out_fd)
{
	char path[FD_SOCKET_PATH_MAX + 1], dir[PATH_MAX];
	struct termios old, raw;

	if (vm_name_check(name, NULL) ||
	    vm_path(path, sizeof(path), state_dir, name, VM_FILE_CONSOLE) ||
	    vm_path(dir, sizeof(dir), state_dir, name, NULL))
		return -ENOENT;
	/* QEMU would let a second client wait without a word */
	CLEANUP(fd_cleanup) int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (lock < 0)
		return -ENOENT;
	if (flock(lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
		return -EBUSY;
	CLEANUP(fd_cleanup) int sock = fd_connect(path);

	if (sock < 0)
		return sock == -ECONNREFUSED ? -ENOENT : sock;
	bool terminal = !tcgetattr(in_fd, &old);

	if (terminal) {
		raw = old;
		cfmakeraw(&raw);
		tcsetattr(in_fd, TCSADRAIN, &raw);
	}
	int err = pump(sock, in_fd, out_fd);

	if (terminal)
		tcsetattr(in_fd, TCSADRAIN, &old);
	return err;
}
