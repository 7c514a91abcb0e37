/* SPDX-License-Identifier: Apache-2.0 */
/* The front as it runs: its own thread, pollers with threads, a medium in memory, and clients on a
 * real socket. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "client/client.h"
#include "client/vu.h"
#include "front/vhost_blk/vhost_blk.h"
#include "media/ram/ram.h"

#define HOUSE_POLLERS 3

struct house {
	struct poller *poller[HOUSE_POLLERS];
	struct disk *disk;
	struct front *front;
	char dir[64], path[108];
};

/* @c says which queues on how many pollers, and what connection it is given, -1 for the socket. */
static inline void house_open(struct house *h, uint64_t disk_b, struct vhost_blk_conf c)
{
	struct disk_error e;
	struct media *m;

	snprintf(h->dir, sizeof(h->dir), "/tmp/postern-test-XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	snprintf(h->path, sizeof(h->path), "%s/socket", h->dir);
	for (unsigned i = 0; i < HOUSE_POLLERS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "poller%u", i);
		assert_int_equal(poller_open(name, &h->poller[i]), 0);
		assert_int_equal(poller_start(h->poller[i], NULL), 0);
	}
	assert_int_equal(ram_open(&(struct ram_conf){ .size_b = disk_b }, &m), 0);
	struct disk_conf d = { .name = "house", .media = m, .mode = POLL_ADAPTIVE };

	assert_int_equal(disk_open(&d, &h->disk, &e), 0);
	c.disk = h->disk;
	c.poller = h->poller;
	c.listen_fd = c.conn_fd < 0 ? fd_listen(h->path, 0600) : -1;
	assert_true(c.conn_fd >= 0 || c.listen_fd >= 0);
	assert_int_equal(vhost_blk_open(&c, &h->front), 0);
}

static inline void house_close(struct house *h)
{
	h->front->ops->close(h->front);
	disk_close(h->disk);
	for (unsigned i = 0; i < HOUSE_POLLERS; i++)
		poller_close(h->poller[i]);
	unlink(h->path);
	rmdir(h->dir);
}

/* Return: whether the front talks to @sock. */
static inline bool house_serves(int sock)
{
	uint64_t v;

	return !vu_ask_u64(sock, VHOST_USER_GET_FEATURES, &v);
}

/* @depth: of each queue; 0: the client's own. */
static inline struct client *house_join(struct house *h, bool packed, uint16_t queues,
					uint16_t depth)
{
	struct client_conf c = { .socket = h->path, .packed = packed, .queues = queues,
				 .depth = depth };
	struct client *client;
	const char *step;
	int err = client_open(&c, &client, &step);

	if (err)
		fail_msg("%s: %s", step, strerror(-err));
	return client;
}
