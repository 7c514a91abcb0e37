/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "client/raw.h"

struct step {
	const char *name;
	int (*run)(struct client *c);
};

static int start_all(struct client *c)
{
	for (unsigned i = 0; i < c->conf.queues; i++) {
		int rc = client_raw_start(c, i);

		if (rc)
			return rc;
	}
	return 0;
}

static int set_inflight(struct client *c)
{
	return c->inflight_fd < 0 ? 0 : client_raw_set_inflight(c);
}

static const struct step first_steps[] = {
	{ "negotiate features", client_raw_negotiate },
	{ "read the configuration", client_raw_get_config },
	{ "share memory", client_raw_share_mem },
	{ "get the in-flight region", client_raw_get_inflight },
	{ "start the queues", start_all },
	{ "log what is written", client_raw_log },
};

/* The device is the one that it was, with the memory that it knew. */
static const struct step later_steps[] = {
	{ "negotiate features", client_raw_negotiate },
	{ "read the configuration", client_raw_get_config },
	{ "share memory", client_raw_share_mem },
	{ "hand back the in-flight region", set_inflight },
	{ "start the queues", start_all },
	{ "log what is written", client_raw_log },
};

static int take_steps(struct client *c, const struct step *step, unsigned n, const char **ret_step)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < n; i++) {
		*ret_step = step[i].name;
		rc = step[i].run(c);
	}
	return rc;
}

int client_open(const struct client_conf *conf, struct client **ret_client, const char **ret_step)
{
	struct client *c = NULL;

	*ret_step = "connect";
	int sock = vu_connect(conf->socket);

	if (sock < 0)
		return sock;
	*ret_step = "allocate memory";
	int rc = client_raw_open(conf, sock, &c);

	if (!rc)
		rc = take_steps(c, first_steps, ARRAY_SIZE(first_steps), ret_step);
	if (rc) {
		client_close(c);
		return rc;
	}
	*ret_client = c;
	return 0;
}

int client_reopen(struct client *c, const char *socket, const char **ret_step)
{
	uint64_t features = c->features;

	*ret_step = "connect";
	c->sock = fd_close(c->sock);
	c->started = 0;
	c->protocol = 0;
	c->sock = vu_connect(socket);
	if (c->sock < 0)
		return c->sock;
	int rc = take_steps(c, later_steps, ARRAY_SIZE(later_steps), ret_step);

	/* what the rings hold was laid out for the first ones */
	if (!rc && c->features != features) {
		*ret_step = "find the features of before";
		rc = -ENOTSUP;
	}
	c->features = features;
	/* what was put meanwhile was announced to nobody */
	for (unsigned i = 0; !rc && i < c->conf.queues; i++)
		client_kick(&c->queue[i]);
	return rc;
}

void client_close(struct client *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->started; i++) {
		uint32_t base;

		if (client_raw_stop(c, i, &base))
			break; /* gone, or mute: closing the socket is what is left */
	}
	fd_close(c->sock);
	fd_close(c->inflight_fd);
	fd_close(c->log_fd);
	for (unsigned i = 0; c->queue && i < c->conf.queues; i++) {
		struct client_queue *q = &c->queue[i];

		fd_close(q->kick_fd);
		fd_close(q->call_fd);
		free(q->slot);
		free(q->slot_of);
	}
	free(c->queue);
	client_mem_fini(&c->mem);
	free(c);
}

const struct virtio_blk_config *client_config(const struct client *c)
{
	return &c->config;
}

uint64_t client_features(const struct client *c)
{
	return c->features;
}

unsigned client_queues(const struct client *c)
{
	return c->conf.queues;
}

struct client_queue *client_queue(struct client *c, unsigned i)
{
	return &c->queue[i];
}

void client_kick(struct client_queue *q)
{
	uint64_t one = 1;

	q->kicks++;
	/* An eventfd takes 2^64-2 kicks before a write could fail. */
	if (q->kick_fd >= 0 && write(q->kick_fd, &one, sizeof(one)) < 0)
		q->broken = true;
}

int client_wait(struct client *c, uint64_t timeout_ns)
{
	struct pollfd p[VHOST_USER_VRING_INDEX_MASK + 1];
	unsigned n = c->conf.queues;

	for (unsigned i = 0; i < n; i++)
		p[i] = (struct pollfd){ .fd = c->queue[i].call_fd, .events = POLLIN };
	struct timespec t = { .tv_sec = (time_t)(timeout_ns / NS_PER_S),
			      .tv_nsec = (long)(timeout_ns % NS_PER_S) };
	int got = ppoll(p, n, &t, NULL);

	if (got <= 0)
		return got < 0 && errno != EINTR ? -errno : 0;
	for (unsigned i = 0; i < n; i++) {
		uint64_t count;

		if (p[i].revents & POLLIN && read(p[i].fd, &count, sizeof(count)) == sizeof(count))
			c->queue[i].interrupts += count;
	}
	return got;
}
