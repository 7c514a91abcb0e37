/* SPDX-License-Identifier: Apache-2.0 */
#include "control/server.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"

struct server {
	struct loop *loop;
	struct ctl *ctl;
	struct list conns;
	unsigned nconn;
};

struct conn {
	struct loop_watch watch;
	struct list node;
	struct server *server;
	bool closing; /* after the answer that is on its way */
	size_t in_b;
	char *out; /* the answer being sent; NULL: none */
	size_t out_b, out_len_b;
	char in[RPC_LINE_MAX_B + 1];
};

struct server *server_new(struct loop *loop, struct ctl *ctl)
{
	struct server *s = malloc(sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct server){ .loop = loop, .ctl = ctl };
	list_init(&s->conns);
	return s;
}

static void conn_free(struct conn *c)
{
	loop_del(c->server->loop, &c->watch);
	list_del(&c->node);
	c->server->nconn--;
	fd_close(c->watch.fd);
	free(c->out);
	free(c);
}

void server_free(struct server *s)
{
	if (!s)
		return;
	list_for_each(it, tmp, &s->conns)
		conn_free(list_entry(it, struct conn, node));
	free(s);
}

/* Sends what it can. Return: 1 all sent; 0 the caller does not read; -errno. */
static int conn_send(struct conn *c)
{
	while (c->out && c->out_b < c->out_len_b) {
		ssize_t n = send(c->watch.fd, c->out + c->out_b, c->out_len_b - c->out_b,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			c->out_b += (size_t)n;
	}
	free(c->out);
	c->out = NULL;
	return 1;
}

static void conn_refuse(struct conn *c, const char *id, const char *text)
{
	log_warn(NULL, "control connection closed: %s", text);
	c->out = rpc_refusal(id, text, &c->out_len_b);
	c->out_b = 0;
	c->closing = true;
}

/* Answers the first whole line. Return: whether there was one, or an error to send. */
static bool conn_step(struct conn *c)
{
	char *end = memchr(c->in, '\n', c->in_b);

	if (!end) {
		if (c->in_b < sizeof(c->in))
			return false;
		conn_refuse(c, "line_too_long", "a line may have 65536 bytes");
		return true;
	}
	size_t len = (size_t)(end - c->in);

	if (len) {
		c->out = rpc_line(c->server->ctl, c->in, len, &c->out_len_b);
		c->out_b = 0;
	}
	c->in_b -= len + 1;
	memmove(c->in, end + 1, c->in_b);
	return true;
}

/* Answers all lines at hand as far as the caller reads. Return: whether to go on. */
static bool conn_serve(struct conn *c)
{
	int sent;

	do {
		sent = conn_send(c);
		if (sent < 0 || (sent && c->closing))
			return false;
	} while (sent && conn_step(c));
	loop_mod(c->server->loop, &c->watch, sent ? EPOLLIN : EPOLLOUT);
	return true;
}

static void conn_ready(struct loop_watch *w, uint32_t events)
{
	struct conn *c = container_of(w, struct conn, watch);

	if (!c->out && c->in_b < sizeof(c->in)) {
		ssize_t n = recv(w->fd, c->in + c->in_b, sizeof(c->in) - c->in_b, MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			conn_free(c);
			return;
		}
		if (n > 0)
			c->in_b += (size_t)n;
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		conn_free(c);
		return;
	}
	if (!conn_serve(c))
		conn_free(c);
}

void server_adopt(struct server *s, int fd)
{
	struct conn *c = malloc(sizeof(*c));

	if (!c) {
		log_error(NULL, "control connection refused: out of memory");
		fd_close(fd);
		return;
	}
	c->watch = (struct loop_watch){ fd, conn_ready };
	c->server = s;
	c->closing = false;
	c->in_b = 0;
	c->out = NULL;
	list_add_tail(&s->conns, &c->node);
	s->nconn++;
	int err = loop_add(s->loop, &c->watch, EPOLLIN);

	if (!err && s->nconn > SERVER_CONN_MAX)
		conn_refuse(c, "too_many_connections", "64 control connections are open");
	if (err || !conn_serve(c))
		conn_free(c);
}
