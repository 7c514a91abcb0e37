/* SPDX-License-Identifier: Apache-2.0 */
/* What the wire tests share: a connection that is fresh, or set up, and rules for bad messages. */
#pragma once

#include "tests/fake/guest.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

/* Connected, nothing said. */
static inline struct fake *wire_fresh(void)
{
	struct fake *g = fake_open_disk(&(struct fake_conf){ .queues = 2 });

	fake_connect(g);
	return g;
}

/* Negotiated, with memory, no queue running. */
static inline struct fake *wire_ready(void)
{
	struct fake *g = wire_fresh();

	fake_negotiate(g);
	assert_int_equal(fake_share_mem(g), 0);
	return g;
}

/* Sends @len bytes of anything as the payload of @request, with @nfd descriptors; no header rule
 * is kept but the size. Return: what the front makes of it. */
static inline int wire_send(struct fake *g, uint32_t request, const void *payload, uint32_t len,
			    const int *fds, unsigned nfd)
{
	static const uint8_t zero[VHOST_USER_PAYLOAD_MAX_B];

	assert_int_equal(vu_send(g->sock, request, 0, payload ? payload : zero, len, fds, nfd), 0);
	return fake_handle(g);
}

/* That @request of every size but those from @min_b to @max_b closes the connection. */
static inline void wire_refuses_other_sizes(uint32_t request, uint32_t min_b, uint32_t max_b)
{
	static const uint32_t size[] = { 0, 1, 4, 7, 8, 9, 11, 12, 15, 16, 17, 20, 24, 32, 39, 40,
					 41, 264, 265, 268 };

	for (unsigned i = 0; i < ARRAY_SIZE(size); i++) {
		if (size[i] >= min_b && size[i] <= max_b)
			continue;
		struct fake *g = wire_ready();

		assert_int_equal(wire_send(g, request, NULL, size[i], NULL, 0), -EPROTO);
		assert_non_null(strstr(g->why, "wrong size"));
		fake_close(g);
	}
}

/* That @request of @len bytes with more than @max_fd descriptors closes the connection, and that
 * no descriptor is kept. */
static inline void wire_refuses_more_fds(uint32_t request, uint32_t len, unsigned max_fd)
{
	int fd[VHOST_USER_FDS_MAX + 1];

	for (unsigned n = max_fd + 1; n <= VHOST_USER_FDS_MAX + 1; n++) {
		struct fake *g = wire_ready();

		for (unsigned i = 0; i < n; i++)
			fd[i] = eventfd(0, EFD_CLOEXEC);
		int before = dup(0);

		fd_close(before);
		assert_int_not_equal(wire_send(g, request, NULL, len, fd, n), 0);
		int after = dup(0);

		fd_close(after);
		assert_int_equal(before, after);
		for (unsigned i = 0; i < n; i++)
			fd_close(fd[i]);
		fake_close(g);
	}
}

/* That @request, which names a queue in a vring state, refuses one that there is not. */
static inline void wire_refuses_bad_index(uint32_t request, uint32_t num)
{
	static const uint32_t bad[] = { 2, 63, 64, 255, 256, 0x80000000u, UINT32_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vhost_user_vring_state s = { bad[i], num };
		struct fake *g = wire_ready();

		assert_int_equal(wire_send(g, request, &s, sizeof(s), NULL, 0), -EPROTO);
		fake_close(g);
	}
}
