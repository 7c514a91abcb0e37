/* SPDX-License-Identifier: Apache-2.0 */
/* A process that posternd has started: a socket, and memory that comes over it. */
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sdk/private.h"

#define FDS 3

static bool process_found(void)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return !getsockopt(FN_SOCKET, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_SEQPACKET;
}

static int process_open(struct pfn *p)
{
	p->fd = FN_SOCKET;
	return 0;
}

static void process_close(struct pfn *p)
{
	close(p->fd);
}

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

/* Return: bytes; descriptors in @fds. */
static ssize_t receive(int sock, struct fn_msg *m, int *fds, unsigned *ret_n)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int) * FDS)];
	} c;
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.room,
			    .msg_controllen = sizeof(c.room) };
	ssize_t n = recvmsg(sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*ret_n = 0;
	if (n < 0)
		return -errno;
	for (struct cmsghdr *at = CMSG_FIRSTHDR(&h); at; at = CMSG_NXTHDR(&h, at)) {
		if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
			continue;
		*ret_n = (unsigned)((at->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(at), *ret_n * sizeof(int));
	}
	return n;
}

static void *map(int fd, size_t len_b, int flags)
{
	void *at = mmap(NULL, len_b, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

static void process_unmap(struct fn_rings *rings, uint8_t *bufs, int wake_fd)
{
	if (rings)
		munmap(rings, sizeof(*rings));
	if (bufs)
		munmap(bufs, FN_BUFS_B);
	close(wake_fd);
}

/* Return: 0; an errno. */
static int map_disk(struct arrival *a, const int *fds)
{
	a->rings = map(fds[0], sizeof(struct fn_rings), MAP_POPULATE);
	a->bufs = map(fds[1], FN_BUFS_B, 0);
	a->wake_fd = fds[2];
	close(fds[0]);
	close(fds[1]);
	if (a->rings && a->bufs)
		return 0;
	process_unmap(a->rings, a->bufs, a->wake_fd);
	return ENOMEM;
}

static int process_take(struct pfn *p, struct arrival *ret)
{
	int fds[FDS];
	unsigned nfd;
	ssize_t n = receive(p->fd, &ret->m, fds, &nfd);

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0)
		return n ? (int)n : -ESHUTDOWN;
	if (n < (ssize_t)sizeof(ret->m) || le32toh(ret->m.magic) != FN_MAGIC) {
		close_all(fds, nfd);
		ret->m.kind = htole16(FN_KICK);
		return 1;
	}
	bool is_disk = le16toh(ret->m.kind) == FN_DISK;

	if (is_disk && nfd == FDS) {
		ret->err = map_disk(ret, fds);
		return 1;
	}
	close_all(fds, nfd);
	if (is_disk)
		ret->err = EMFILE; /* descriptors for which a program has no room do not come */
	return 1;
}

static int process_say(struct pfn *p, const struct fn_msg *m)
{
	return send(p->fd, m, sizeof(*m), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void process_wake(struct chan *c)
{
	static const uint64_t one = 1;

	(void)!write(c->wake_fd, &one, sizeof(one));
}

static void process_wait(struct pfn *p, int timeout_ms)
{
	struct pollfd w = { .fd = p->fd, .events = POLLIN };

	poll(&w, 1, timeout_ms);
}

const struct transport postern_fn_process = {
	.found = process_found,
	.open = process_open,
	.close = process_close,
	.take = process_take,
	.say = process_say,
	.unmap = process_unmap,
	.wake = process_wake,
	.wait = process_wait,
};
