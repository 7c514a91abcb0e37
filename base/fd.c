/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FD_MSG_MAX 253 /* the kernel's SCM_MAX_FD */

void base_free(void *p)
{
	free(*(void **)p);
}

int fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return -1;
}

void fd_cleanup(int *fd)
{
	*fd = fd_close(*fd);
}

int fd_steal(int *fd)
{
	int got = *fd;

	*fd = -1;
	return got;
}

void fd_make_room(unsigned n)
{
	struct rlimit l;

	if (!getrlimit(RLIMIT_NOFILE, &l) && n > l.rlim_cur)
		n = (unsigned)l.rlim_cur;
	if (n)
		fd_close(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, (int)n - 1));
}

int fd_write_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int fd_read_all(int fd, void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (!n)
			return -EPIPE;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

ssize_t fd_read_file(int fd, size_t max_b, char **ret_text)
{
	size_t have = 0, room = 4096;
	char *text = malloc(room + 1);

	for (;;) {
		if (!text)
			return -ENOMEM;
		ssize_t n = read(fd, text + have, room - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || have + (size_t)n > max_b) {
			int err = n < 0 ? errno : EFBIG;
			free(text);
			return -err;
		}
		if (!n)
			break;
		have += (size_t)n;
		if (have < room)
			continue;
		room *= 2;
		char *more = realloc(text, room + 1);
		if (!more)
			free(text);
		text = more;
	}
	text[have] = 0;
	*ret_text = text;
	return (ssize_t)have;
}

#define MEMORY_SEALS (F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

int fd_memory(const char *name, uint64_t len_b, unsigned flags)
{
	CLEANUP(fd_cleanup) int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0 || ftruncate(fd, (off_t)len_b) || fcntl(fd, F_ADD_SEALS, MEMORY_SEALS))
		return -errno;
	return fd_steal(&fd);
}

bool fd_is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & MEMORY_SEALS) == MEMORY_SEALS;
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

int fd_close_but(int *keep, unsigned n)
{
	int from = STDERR_FILENO + 1;

	qsort(keep, n, sizeof(*keep), by_number);
	int behind = n && keep[n - 1] >= from ? keep[n - 1] + 1 : from;

	/* the one call that parts from a shared table, too: nothing is closed in that */
	if (close_range((unsigned)behind, ~0u, CLOSE_RANGE_UNSHARE))
		return -errno;
	for (unsigned i = 0; i < n; i++) {
		if (keep[i] > from)
			close_range((unsigned)from, (unsigned)keep[i] - 1, 0);
		if (keep[i] >= from)
			from = keep[i] + 1;
	}
	return 0;
}

static int unix_address(const char *path, struct sockaddr_un *ret_at)
{
	if (strlen(path) > FD_SOCKET_PATH_MAX)
		return -ENAMETOOLONG;
	*ret_at = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(ret_at->sun_path, path, strlen(path) + 1);
	return 0;
}

static int connect_to(const char *path, int type)
{
	struct sockaddr_un at;
	int err = unix_address(path, &at);

	if (err)
		return err;
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&at, sizeof(at))) {
		err = -errno;
		fd_close(fd);
		return err;
	}
	return fd;
}

int fd_connect(const char *path)
{
	return connect_to(path, SOCK_STREAM);
}

int fd_connect_packets(const char *path)
{
	return connect_to(path, SOCK_SEQPACKET);
}

/* Removes a socket file that nobody listens on, and only that. */
static int remove_dead_socket(const char *path, int type)
{
	struct stat st;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	int probe = connect_to(path, type);
	if (probe >= 0) {
		fd_close(probe);
		return -EADDRINUSE;
	}
	if (probe != -ECONNREFUSED)
		return probe;
	return unlink(path) && errno != ENOENT ? -errno : 0;
}

static int listen_at(const char *path, mode_t mode, int type)
{
	struct sockaddr_un at;
	int err = unix_address(path, &at);

	if (!err)
		err = remove_dead_socket(path, type);
	if (err)
		return err;
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* fchmod before bind gives the file its mode from the start, but for what the umask takes:
	 * no window. chmod may wait for the file system's journal; who sees the file can connect
	 * by then. */
	if (fchmod(fd, mode) || bind(fd, (struct sockaddr *)&at, sizeof(at)) ||
	    listen(fd, SOMAXCONN) || chmod(path, mode)) {
		err = -errno;
		fd_close(fd);
		return err;
	}
	return fd;
}

int fd_listen(const char *path, mode_t mode)
{
	return listen_at(path, mode, SOCK_STREAM);
}

int fd_listen_packets(const char *path, mode_t mode)
{
	return listen_at(path, mode, SOCK_SEQPACKET);
}

static int send_flags(int sock, const void *buf, size_t len, const int *fds, unsigned nfd,
		      int flags)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(FD_MSG_MAX * sizeof(int))];
	} ctl = { 0 };
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nfd > FD_MSG_MAX)
		return -EINVAL;
	if (nfd) {
		m.msg_control = ctl.room;
		m.msg_controllen = CMSG_SPACE(nfd * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfd * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfd * sizeof(int));
	}
	for (;;) {
		ssize_t n = sendmsg(sock, &m, MSG_NOSIGNAL | flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		/* The descriptors travel with the first byte; the rest is plain. */
		m.msg_control = NULL;
		m.msg_controllen = 0;
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
		if (!iov.iov_len)
			return 0;
	}
}

int fd_send(int sock, const void *buf, size_t len, const int *fds, unsigned nfd)
{
	return send_flags(sock, buf, len, fds, nfd, 0);
}

int fd_send_now(int sock, const void *buf, size_t len, const int *fds, unsigned nfd)
{
	return send_flags(sock, buf, len, fds, nfd, MSG_DONTWAIT);
}

static unsigned take_fds(struct msghdr *m, int *all, unsigned max)
{
	unsigned n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		unsigned k = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < k && n < max; i++)
			memcpy(&all[n++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
	return n;
}

static ssize_t receive(int sock, void *buf, size_t len, int flags, int *ret_fds, unsigned max_fd,
		       unsigned *ret_nfd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(FD_MSG_MAX * sizeof(int))];
	} ctl;
	int all[FD_MSG_MAX];
	struct iovec iov = { buf, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.room,
			    .msg_controllen = sizeof(ctl.room) };
	ssize_t n;

	do {
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC | flags);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	unsigned nfd = take_fds(&m, all, FD_MSG_MAX);
	if (nfd > max_fd || (m.msg_flags & MSG_CTRUNC)) {
		for (unsigned i = 0; i < nfd; i++)
			fd_close(all[i]);
		return -EMSGSIZE;
	}
	if (nfd)
		memcpy(ret_fds, all, nfd * sizeof(int));
	*ret_nfd = nfd;
	return n;
}

ssize_t fd_recv(int sock, void *buf, size_t len, int *ret_fds, unsigned max_fd, unsigned *ret_nfd)
{
	return receive(sock, buf, len, 0, ret_fds, max_fd, ret_nfd);
}

ssize_t fd_peek(int sock, void *buf, size_t len, int *ret_fds, unsigned max_fd, unsigned *ret_nfd)
{
	const int flags = MSG_PEEK | MSG_DONTWAIT;

	if (ret_fds)
		return receive(sock, buf, len, flags, ret_fds, max_fd, ret_nfd);
	ssize_t n = recv(sock, buf, len, flags);

	return n < 0 ? -errno : n;
}
