/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/qmp.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/* QEMU's longest answers (query-cpus-fast of 255 vCPUs) are some 60 KiB. */
#define LINE_MAX_B (1u << 20)

struct qmp {
	int fd;
	unsigned timeout_ms;
	char *buf; /* LINE_MAX_B */
	size_t have_b;
	char reason[256];
};

/* Waits until the socket has something to read. */
static int wait_readable(const struct qmp *q, uint64_t deadline_ns)
{
	for (;;) {
		uint64_t now_ns = clock_ns();

		if (now_ns >= deadline_ns)
			return -ETIMEDOUT;
		struct pollfd p = { .fd = q->fd, .events = POLLIN };
		int n = poll(&p, 1, (int)((deadline_ns - now_ns) / NS_PER_MS) + 1);

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

/* Takes one line off the stream as JSON. */
static int read_object(struct qmp *q, uint64_t deadline_ns, json_t **ret)
{
	for (;;) {
		char *end = memchr(q->buf, '\n', q->have_b);

		if (end) {
			size_t line_b = (size_t)(end - q->buf) + 1;

			*ret = json_loadb(q->buf, line_b, 0, NULL);
			q->have_b -= line_b;
			memmove(q->buf, q->buf + line_b, q->have_b);
			return *ret ? 0 : -EPROTO;
		}
		if (q->have_b == LINE_MAX_B)
			return -EPROTO;
		int err = wait_readable(q, deadline_ns);

		if (err)
			return err;
		ssize_t n = read(q->fd, q->buf + q->have_b, LINE_MAX_B - q->have_b);

		if (n < 0)
			return errno == ECONNRESET ? -EPIPE : -errno;
		if (n == 0)
			return -EPIPE;
		q->have_b += (size_t)n;
	}
}

static int send_command(struct qmp *q, const char *command, json_t *args)
{
	json_t *msg = args ? json_pack("{s:s, s:o}", "execute", command, "arguments", args)
			   : json_pack("{s:s}", "execute", command);
	char *text = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
	int err = text ? fd_send(q->fd, text, strlen(text), NULL, 0) : -ENOMEM;

	if (!err)
		err = fd_send(q->fd, "\n", 1, NULL, 0);
	free(text);
	json_decref(msg);
	return err;
}

int qmp_call(struct qmp *q, const char *command, json_t *args, json_t **ret_value)
{
	uint64_t deadline_ns = clock_ns() + q->timeout_ms * NS_PER_MS;
	int err = send_command(q, command, args);

	while (!err) {
		json_t *msg;

		err = read_object(q, deadline_ns, &msg);
		if (err)
			break;
		json_t *value = json_object_get(msg, "return");
		json_t *refusal = json_object_get(msg, "error");

		if (refusal) {
			const char *text = json_string_value(json_object_get(refusal, "desc"));

			snprintf(q->reason, sizeof(q->reason), "%s",
				 text ? text : "no reason given");
			err = -EREMOTEIO;
		} else if (value && ret_value) {
			*ret_value = json_incref(value);
		}
		json_decref(msg);
		if (value)
			return 0;
		/* anything else is an event: the answer is still to come */
	}
	return err;
}

int qmp_event(struct qmp *q, unsigned timeout_ms, json_t **ret_event)
{
	uint64_t deadline_ns = clock_ns() + timeout_ms * NS_PER_MS;
	json_t *msg;
	int err;

	while (!(err = read_object(q, deadline_ns, &msg))) {
		if (json_object_get(msg, "event")) {
			*ret_event = msg;
			return 0;
		}
		json_decref(msg);
	}
	return err;
}

static int greet(struct qmp *q)
{
	json_t *msg;
	int err = read_object(q, clock_ns() + q->timeout_ms * NS_PER_MS, &msg);

	if (err)
		return err;
	bool qemu = json_object_get(msg, "QMP");

	json_decref(msg);
	return qemu ? qmp_call(q, "qmp_capabilities", NULL, NULL) : -EPROTO;
}

int qmp_take(int fd, unsigned timeout_ms, struct qmp **ret_qmp)
{
	struct qmp *q = calloc(1, sizeof(*q));

	if (q)
		q->buf = malloc(LINE_MAX_B);
	if (!q || !q->buf) {
		fd_close(fd);
		free(q);
		return -ENOMEM;
	}
	q->fd = fd;
	q->timeout_ms = timeout_ms;
	int err = greet(q);

	if (err) {
		qmp_close(q);
		return err;
	}
	*ret_qmp = q;
	return 0;
}

int qmp_open(const char *path, unsigned timeout_ms, struct qmp **ret_qmp)
{
	int fd = fd_connect(path);

	return fd < 0 ? fd : qmp_take(fd, timeout_ms, ret_qmp);
}

void qmp_close(struct qmp *q)
{
	if (!q)
		return;
	fd_close(q->fd);
	free(q->buf);
	free(q);
}

int qmp_fd(const struct qmp *q)
{
	return q->fd;
}

const char *qmp_reason(const struct qmp *q)
{
	return q->reason;
}
