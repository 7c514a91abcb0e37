/* SPDX-License-Identifier: Apache-2.0 */
#include "client/vu.h"

#include <sys/socket.h>
#include <sys/time.h>

#include "base/fd.h"

int vu_connect(const char *path)
{
	struct timeval limit = { .tv_sec = VU_TIMEOUT_MS / 1000 };
	int sock = fd_connect(path);

	if (sock < 0)
		return sock;
	if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0) {
		fd_close(sock);
		return -errno;
	}
	return sock;
}

int vu_send(int sock, uint32_t request, uint32_t flags, const void *payload, uint32_t len,
	    const int *fds, unsigned nfd)
{
	struct vhost_user_msg msg = {
		.hdr = { .request = request, .flags = VHOST_USER_VERSION | flags, .size = len },
	};

	if (len > sizeof(msg.payload))
		return -EMSGSIZE;
	if (len)
		memcpy(&msg.payload, payload, len);
	return fd_send(sock, &msg, sizeof(msg.hdr) + len, fds, nfd);
}

static int recv_error(ssize_t rc)
{
	if (!rc)
		return -EPIPE;
	return rc == -EAGAIN ? -ETIMEDOUT : (int)rc;
}

static int recv_rest(int sock, uint8_t *to, size_t len)
{
	while (len) {
		ssize_t n = recv(sock, to, len, 0);

		if (n <= 0)
			return recv_error(n < 0 ? -errno : 0);
		to += n;
		len -= (size_t)n;
	}
	return 0;
}

int vu_recv(int sock, struct vhost_user_msg *ret_msg, int *fds, unsigned *nfd)
{
	struct vhost_user_msg msg = { .hdr.size = 0 };
	unsigned got = 0;
	ssize_t n = fd_recv(sock, &msg.hdr, sizeof(msg.hdr), fds, *nfd, &got);
	int rc = n <= 0 ? recv_error(n) : 0;

	if (!rc)
		rc = recv_rest(sock, (uint8_t *)&msg.hdr + n, sizeof(msg.hdr) - (size_t)n);
	if (!rc && ((msg.hdr.flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
		    msg.hdr.size > sizeof(msg.payload)))
		rc = -EPROTO;
	if (!rc)
		rc = recv_rest(sock, (uint8_t *)&msg.payload, msg.hdr.size);
	if (rc) {
		for (unsigned i = 0; i < got; i++)
			fd_close(fds[i]);
		return rc;
	}
	*nfd = got;
	*ret_msg = msg;
	return 0;
}

/* The answer to @request, without descriptors. */
static int recv_answer(int sock, uint32_t request, struct vhost_user_msg *ret_msg)
{
	unsigned nfd = 0;
	int rc = vu_recv(sock, ret_msg, NULL, &nfd);

	if (rc)
		return rc;
	if (ret_msg->hdr.request != request || !(ret_msg->hdr.flags & VHOST_USER_REPLY))
		return -EPROTO;
	return 0;
}

int vu_ask(int sock, uint32_t request, const void *payload, uint32_t len,
	   struct vhost_user_msg *ret_msg)
{
	int rc = vu_send(sock, request, 0, payload, len, NULL, 0);

	return rc ? rc : recv_answer(sock, request, ret_msg);
}

int vu_ask_u64(int sock, uint32_t request, uint64_t *ret_value)
{
	struct vhost_user_msg msg;
	int rc = vu_ask(sock, request, NULL, 0, &msg);

	if (rc)
		return rc;
	if (msg.hdr.size != sizeof(uint64_t))
		return -EPROTO;
	*ret_value = msg.payload.u64;
	return 0;
}

int vu_tell(int sock, bool ack, uint32_t request, const void *payload, uint32_t len, const int *fds,
	    unsigned nfd)
{
	struct vhost_user_msg msg;
	int rc = vu_send(sock, request, ack ? VHOST_USER_NEED_REPLY : 0, payload, len, fds, nfd);

	if (rc || !ack)
		return rc;
	rc = recv_answer(sock, request, &msg);
	if (rc)
		return rc;
	if (msg.hdr.size != sizeof(uint64_t))
		return -EPROTO;
	return msg.payload.u64 ? -EREMOTEIO : 0;
}

int vu_tell_u64(int sock, bool ack, uint32_t request, uint64_t value)
{
	return vu_tell(sock, ack, request, &value, sizeof(value), NULL, 0);
}
