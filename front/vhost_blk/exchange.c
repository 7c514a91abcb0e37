/* SPDX-License-Identifier: Apache-2.0 */
#include "front/vhost_blk/exchange.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "front/vhost_blk/message.h"
#include "front/vhost_blk/replay.h"
#include "front/vhost_blk/session.h"

static int set_peek_off(int sock, int off)
{
	return setsockopt(sock, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) ? -errno : 0;
}

static int peek_off(int sock)
{
	int off;
	socklen_t len = sizeof(off);

	return getsockopt(sock, SOL_SOCKET, SO_PEEK_OFF, &off, &len) ? -errno : off;
}

/* What the front has to do besides, while it waits for the front end. Return: 0; -errno: the
 * connection must end. */
static int look_around(struct session *s, bool is_woken)
{
	uint64_t at_ns;
	int err = is_woken ? vhost_blk_do(s->f) : 0;

	return err || !s->alone ? err : replay_next(s, &at_ns);
}

/* Until when a wait for the front end may go on: other fronts wait for the queue that is replayed
 * alone. */
static int patience_ms(const struct session *s)
{
	uint64_t now_ns = clock_ns();

	if (!s->alone)
		return -1;
	return s->alone_until_ns > now_ns ? (int)((s->alone_until_ns - now_ns) / NS_PER_MS) + 1 : 0;
}

/* What has been peeked at keeps a socket readable, so for more to come one waits on its edge.
 * Return: 0: look again; -EPIPE: the front is to stop; as look_around(); -errno. */
static int wait_more(struct session *s, int *edge)
{
	struct epoll_event sock = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = s->sock };
	struct epoll_event wake = { .events = EPOLLIN, .data.fd = s->f->wake_fd };
	struct epoll_event got[2];

	if (*edge < 0) {
		*edge = epoll_create1(EPOLL_CLOEXEC);
		if (*edge < 0 || epoll_ctl(*edge, EPOLL_CTL_ADD, s->sock, &sock) ||
		    epoll_ctl(*edge, EPOLL_CTL_ADD, s->f->wake_fd, &wake))
			return -errno;
	}
	if (vhost_blk_must_stop(s->f))
		return -EPIPE;
	int n = epoll_wait(*edge, got, ARRAY_SIZE(got), patience_ms(s));
	bool is_woken = false;

	for (int i = 0; i < n; i++)
		is_woken |= got[i].data.fd == s->f->wake_fd;
	return look_around(s, is_woken);
}

/* Return: 0: a reply can be sent; -EPIPE: the front is to stop; as look_around(); -errno. Whoever
 * does not read our answers holds up nobody else. */
static int wait_room(struct session *s)
{
	struct pollfd w[2] = { { .fd = s->sock, .events = POLLOUT },
			       { .fd = s->f->wake_fd, .events = POLLIN } };

	for (;;) {
		if (vhost_blk_must_stop(s->f))
			return -EPIPE;
		if (poll(w, 2, patience_ms(s)) < 0 && errno != EINTR)
			return -errno;
		int err = look_around(s, w[1].revents);

		if (err || w[0].revents)
			return err;
	}
}

/* Peeks at the next @len bytes, and at the @want descriptors that come with them. A peek goes on to
 * the next descriptors in the socket, wherever they are: those of a later message are left alone by
 * asking for no more than belong to this one. */
static int peek(struct session *s, void *buf, size_t len, struct message *m, unsigned want)
{
	CLEANUP(fd_cleanup) int edge = -1;
	uint8_t *p = buf;

	while (len) {
		int fd[VHOST_USER_FDS_MAX];
		unsigned nfd = 0, room = VHOST_USER_FDS_MAX - m->nfd;
		ssize_t n = fd_peek(s->sock, p, len, m->nfd < want ? fd : NULL, room, &nfd);

		for (unsigned i = 0; i < nfd; i++)
			m->fd[m->nfd++] = (struct kept_fd){ .fd = fd[i] };
		if (n == -EAGAIN) {
			int err = wait_more(s, &edge);

			if (err)
				return err;
			continue;
		}
		if (n <= 0)
			return n ? (int)n : -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Header first: what it says is judged before more is waited for. Then all of it, to know how many
 * descriptors belong to it; and these in a look of their own, because each look duplicates them. */
static int peek_message(struct session *s, struct message *m, char *ret_what, size_t room)
{
	int err = peek(s, &m->in.hdr, sizeof(m->in.hdr), m, 0);

	snprintf(ret_what, room, "%s", "descriptors without end, or a broken socket");
	if (err)
		return err;
	const char *why = message_judge(s, m);
	if (why)
		return message_explain(m, why, ret_what, room);
	err = peek(s, &m->in.payload, m->in.hdr.size, m, 0);
	if (err)
		return err;
	unsigned want = message_fds(m);
	if (want) {
		err = set_peek_off(s->sock, 0);
		if (!err)
			err = peek(s, &m->in, sizeof(m->in.hdr) + m->in.hdr.size, m, want);
	}
	if (!err && m->nfd != want)
		err = message_explain(m, "too many descriptors, or too few", ret_what, room);
	return err;
}

/* Takes what has been peeked at, at most @most bytes, or what is left of it, out of the socket.
 * @ret_nfd: how many descriptors went with it. Return: 0; -EPROTO; -EMSGSIZE; -errno. */
static int consume(int sock, size_t most, unsigned *ret_nfd)
{
	struct vhost_user_msg gone;
	int left;

	*ret_nfd = 0;
	while ((left = peek_off(sock)) > 0) {
		int fd[VHOST_USER_FDS_MAX];
		unsigned nfd = 0;

		if ((size_t)left > most)
			return -EPROTO;
		ssize_t n = fd_recv(sock, &gone, (size_t)left, fd, ARRAY_SIZE(fd), &nfd);
		*ret_nfd += nfd;
		while (nfd)
			fd_close(fd[--nfd]);
		if (n <= 0)
			return n ? (int)n : -EPROTO;
	}
	return left;
}

/* The message, which is recorded, leaves the socket. Return: 0; -EPROTO: with more descriptors than
 * belong to it; -errno. */
static int consume_message(struct session *s, const struct message *m, char *ret_what, size_t room)
{
	unsigned nfd;
	int err = consume(s->sock, sizeof(m->in), &nfd);

	if (!err && !message_allows_fds(m, nfd))
		err = -EMSGSIZE;
	return err ? message_explain(m, "too many descriptors, or too few", ret_what, room) : 0;
}

/* Lets the reply in the pipe out. */
static int drain_pipe(struct session *s)
{
	int left, from = s->memo->pipe[0];

	for (;;) {
		if (ioctl(from, FIONREAD, &left))
			return -errno;
		if (!left)
			break;
		/* a writable socket has room for any message of ours */
		int err = wait_room(s);
		if (err)
			return err;
		if (splice(from, NULL, s->sock, NULL, (size_t)left, SPLICE_F_NONBLOCK) < 0 &&
		    errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	memo_step(s->memo, KEPT_IDLE);
	return 0;
}

static int reply(struct session *s, const struct vhost_user_msg *out)
{
	size_t len = sizeof(out->hdr) + out->hdr.size;
	int full;

	if (ioctl(s->memo->pipe[0], FIONREAD, &full))
		return -errno;
	/* full: written by a predecessor that did not live to say so */
	if (!full && write(s->memo->pipe[1], out, len) != (ssize_t)len)
		return -EIO;
	memo_step(s->memo, KEPT_REPLYING);
	return drain_pipe(s);
}

/* Its message had no effect but this, and is handled again if we die before it is sent. */
static int reply_with_fd(struct session *s, const struct message *m)
{
	int err = wait_room(s);

	if (err)
		return err;
	memo_step(s->memo, KEPT_SENDING);
	err = fd_send(s->sock, &m->out, sizeof(m->out.hdr) + m->out.hdr.size, &m->out_fd, 1);
	memo_step(s->memo, KEPT_IDLE);
	return err;
}

/* From a message that is recorded and consumed to its end. */
static int finish(struct session *s, struct message *m, char *ret_what, size_t room)
{
	int err = message_run(s, m, ret_what, room);

	if (err)
		return err;
	if (m->out_fd >= 0) {
		err = reply_with_fd(s, m);
	} else {
		memo_answer(s->memo, m->replies ? &m->out : NULL);
		s->handled = s->memo->page->msg.number;
		session_commit(s);
		if (m->replies)
			err = reply(s, &m->out);
		else
			memo_step(s->memo, KEPT_IDLE);
	}
	return err && err != -EPIPE ? message_explain(m, "cannot reply", ret_what, room) : err;
}

static void close_fds(struct message *m)
{
	for (unsigned i = 0; i < m->nfd; i++)
		kept_fd_close(&m->fd[i]);
	fd_close(m->out_fd);
}

int exchange_message(struct session *s, char *ret_what, size_t room)
{
	struct message m = { .out_fd = -1 };
	int err = peek_message(s, &m, ret_what, room);

	if (!err) {
		for (unsigned i = 0; i < m.nfd; i++)
			m.fd[i].slot = memo_put(s->memo, m.fd[i].fd);
		memo_take(s->memo, &m.in, m.fd, m.nfd);
		err = consume_message(s, &m, ret_what, room);
		if (!err)
			err = finish(s, &m, ret_what, room);
	} else if (err == -EPROTO) {
		/* the front end is to read of the end of the connection, not that it was reset */
		unsigned nfd;

		consume(s->sock, sizeof(m.in), &nfd);
	}
	close_fds(&m);
	return err;
}

/* The message at hand, as the page has it. */
static int recall(struct session *s, struct message *m, char *ret_what, size_t room)
{
	const struct kept_message *k = &s->memo->page->msg;

	m->in = k->in;
	for (; m->nfd < k->nfd; m->nfd++) {
		int fd = memo_get(s->memo, k->slot[m->nfd]);

		if (fd < 0)
			return message_explain(m, "its descriptors are lost", ret_what, room);
		m->fd[m->nfd] = (struct kept_fd){ fd, k->slot[m->nfd] };
	}
	const char *why = message_judge(s, m);
	return why ? message_explain(m, why, ret_what, room) : 0;
}

static int resume_taken(struct session *s, char *ret_what, size_t room)
{
	const struct kept_message *k = &s->memo->page->msg;
	struct message m = { .in = k->in, .out_fd = -1 };
	unsigned nfd; /* some may have gone before */
	int err = consume(s->sock, sizeof(k->in.hdr) + k->in.hdr.size, &nfd);

	if (err)
		return message_explain(&m, "neither here nor in the socket", ret_what, room);
	if (k->number == s->handled) {
		if (k->replies)
			return reply(s, &k->out);
		memo_step(s->memo, KEPT_IDLE);
		return 0;
	}
	err = recall(s, &m, ret_what, room);
	if (!err)
		err = finish(s, &m, ret_what, room);
	close_fds(&m);
	return err;
}

/* Whether the reply of KEPT_SENDING has left for certain: the front end has not read it yet, or has
 * begun its next message, which it does not before it has an answer. Read in this order: what it
 * reads in between, it has been sent. */
static bool has_left(int sock)
{
	int unread, next;

	if (ioctl(sock, SIOCOUTQ, &unread) || ioctl(sock, SIOCINQ, &next))
		return false;
	return unread || next;
}

int exchange_resume(struct session *s, char *ret_what, size_t room)
{
	snprintf(ret_what, room, "%s", "a broken socket");
	switch ((enum kept_step)s->memo->page->msg.step) {
	case KEPT_IDLE:
		break;
	case KEPT_TAKEN:
		return resume_taken(s, ret_what, room);
	case KEPT_REPLYING:
		return drain_pipe(s);
	case KEPT_SENDING:
		if (has_left(s->sock)) {
			memo_step(s->memo, KEPT_IDLE);
			break;
		}
		snprintf(ret_what, room, "%s",
			 "a reply that carries a descriptor was being sent, and may be lost");
		return -EPROTO;
	}
	return set_peek_off(s->sock, 0);
}
