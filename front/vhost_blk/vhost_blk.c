/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front's thread: accepts, handles messages, passes on what control tells it.
 */
#include "front/vhost_blk/vhost_blk.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/life.h"
#include "front/vhost_blk/adopt.h"
#include "front/vhost_blk/exchange.h"
#include "front/vhost_blk/message.h"

#define STACK_B (256 * KIB)
/* How long who connects waits when there is no descriptor or memory to be had for it. */
#define ACCEPT_PAUSE_MS 100

static struct vhost_blk *of(struct front *f)
{
	return container_of(f, struct vhost_blk, front);
}

static void set_session(struct vhost_blk *f, struct session *s)
{
	pthread_mutex_lock(&f->lock);
	f->session = s;
	pthread_cond_broadcast(&f->news);
	pthread_mutex_unlock(&f->lock);
}

static void begin(struct vhost_blk *f, int sock)
{
	const char *name = disk_name(f->conf.disk);
	struct session *s;
	int err = session_open(f, sock, &s);

	if (err) {
		log_error(name, "cannot take a connection: %s", strerrordesc_np(-err));
		fd_close(sock);
		return;
	}
	log_info(name, "process %d has connected", (int)s->peer_pid);
	set_session(f, s);
}

/* Goes on with the connection that a predecessor has left, if there is one. */
static void take_over(struct vhost_blk *f)
{
	const char *name = disk_name(f->conf.disk);
	int sock = keep_get(&f->conf.keep, "sock");
	struct session *s;
	char what[128];

	if (sock < 0)
		return;
	int err = adopt_session(f, sock, &s, what, sizeof(what));
	if (err == -ENOENT) {
		begin(f, sock);
	} else if (err) {
		log_error(name, "ends a connection that cannot go on: %s", what);
		shutdown(sock, SHUT_RDWR);
		fd_close(sock);
	} else {
		log_info(name, "goes on with the connection of process %d", (int)s->peer_pid);
		set_session(f, s);
	}
}

static void end(struct vhost_blk *f, const char *why)
{
	struct session *s = f->session;

	if (!s)
		return;
	/* queues first, while front_ops.info() can still see why it takes long */
	session_stop_all(s);
	set_session(f, NULL);
	log_info(disk_name(f->conf.disk), "process %d has gone%s%s", (int)s->peer_pid,
		 why ? ": " : "", why ? why : "");
	session_close(s);
}

/* One VMM at a time: a disk with two writers is a broken disk. */
static void accept_one(struct vhost_blk *f)
{
	int sock = accept4(f->conf.listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (sock < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
			 errno == ENOBUFS)) {
		/* it stays in the backlog, and the listener readable: no reason to spin */
		if (!f->accept_ns)
			log_error(disk_name(f->conf.disk),
				  "cannot take a connection, tries again: %s", strerror(errno));
		f->accept_ns = clock_ns() + ACCEPT_PAUSE_MS * NS_PER_MS;
		return;
	}
	if (sock < 0)
		return;
	f->accept_ns = 0;
	if (!f->session) {
		begin(f, sock);
		return;
	}
	log_warn(disk_name(f->conf.disk), "refused a second connection: process %d has the disk",
		 (int)f->session->peer_pid);
	fd_close(sock);
}

static void set_mode(struct vhost_blk *f)
{
	struct session *s = f->session;

	for (unsigned i = 0; s && i < FRONT_QUEUES_MAX; i++)
		if (s->queue[i] && s->queue[i]->vq.running)
			vq_set_mode(&s->queue[i]->vq, disk_mode(f->conf.disk));
}

/* Return: 0; -ENOTRECOVERABLE: the connection must end, for move_why. */
static int move_queues(struct vhost_blk *f)
{
	char why[sizeof(f->move_why)] = "";

	pthread_mutex_lock(&f->lock);
	unsigned asked = f->moves_asked;
	pthread_mutex_unlock(&f->lock);
	int err = f->session ? session_move(f->session, why, sizeof(why)) : 0;
	pthread_mutex_lock(&f->lock);
	f->moves_done = asked;
	f->move_err = err;
	memcpy(f->move_why, why, sizeof(why));
	pthread_cond_broadcast(&f->news);
	pthread_mutex_unlock(&f->lock);
	return err == -ENOTRECOVERABLE ? err : 0;
}

int vhost_blk_do(struct vhost_blk *f)
{
	uint64_t v;

	(void)!read(f->wake_fd, &v, sizeof(v));
	/* acquire: pairs with the release in tell(), so that what control changed is here */
	unsigned todo = __atomic_fetch_and(&f->todo, VHOST_BLK_STOP, __ATOMIC_ACQUIRE);

	if (todo & FRONT_SIZE && f->session) {
		message_config_changed(f->session);
		session_commit(f->session);
	}
	if (todo & FRONT_MODE)
		set_mode(f);
	return todo & VHOST_BLK_MOVE ? move_queues(f) : 0;
}

/* After a step of a session that gave @err. */
static void end_after(struct vhost_blk *f, int err, const char *what)
{
	if (err == -EPIPE || err == -ECONNRESET)
		end(f, NULL);
	else if (err)
		end(f, err == -ENOTRECOVERABLE ? f->move_why : what);
}

static void handle_message(struct vhost_blk *f)
{
	char what[128];
	int err = exchange_message(f->session, what, sizeof(what));

	end_after(f, err, what);
}

static void handle_backend_reply(struct vhost_blk *f)
{
	message_backend_reply(f->session);
	session_commit(f->session);
}

/* Return: when to come again (CLOCK_MONOTONIC), if nothing happens before. */
static uint64_t go_on(struct vhost_blk *f)
{
	struct session *s = f->session;
	uint64_t at_ns = NEVER_NS;
	char what[128];

	if (s && (s->is_adopted || s->alone))
		end_after(f, adopt_go_on(s, &at_ns, what, sizeof(what)), what);
	return at_ns;
}

/* Until @at_ns; @pause: nothing is accepted, and that is looked at again soon. */
static int timeout_ms(uint64_t at_ns, bool pause)
{
	uint64_t now_ns = clock_ns(), ms = pause ? ACCEPT_PAUSE_MS : INT32_MAX;

	if (at_ns == NEVER_NS)
		return pause ? ACCEPT_PAUSE_MS : -1;
	return (int)min_u64(ms, at_ns > now_ns ? (at_ns - now_ns) / NS_PER_MS + 1 : 0);
}

/* One round of waiting and doing what there is. */
static void serve_once(struct vhost_blk *f)
{
	uint64_t at_ns = go_on(f);
	struct session *s = f->session;
	bool pause = f->accept_ns && clock_ns() < f->accept_ns;
	/* an adopted session is not spoken to before it is whole */
	bool may_talk = s && !s->is_adopted;
	struct pollfd w[] = {
		{ .fd = f->wake_fd, .events = POLLIN },
		{ .fd = pause ? -1 : f->conf.listen_fd, .events = POLLIN },
		{ .fd = may_talk ? s->sock : -1, .events = POLLIN | POLLRDHUP },
		{ .fd = may_talk ? s->backend.fd : -1, .events = POLLIN },
	};

	/* going on may have waited for the front end, and taken the wake-up */
	if (vhost_blk_must_stop(f) || poll(w, ARRAY_SIZE(w), timeout_ms(at_ns, pause)) < 0)
		return;
	if (w[0].revents)
		end_after(f, vhost_blk_do(f), NULL);
	/* a move that failed may have ended the session */
	if (w[3].revents && f->session)
		handle_backend_reply(f);
	if (w[2].revents && f->session)
		handle_message(f);
	/* who has hung up may have messages left to be read; its successor waits for that */
	if (w[1].revents && !(w[2].revents & (POLLRDHUP | POLLHUP) && f->session))
		accept_one(f);
}

static void *serve(void *arg)
{
	struct vhost_blk *f = arg;
	sigset_t sigpipe;

	pthread_setname_np(pthread_self(), "vhost-blk");
	/* splice() to a front end that has gone raises it, and knows no flag against that */
	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &sigpipe, NULL);
	life_hold();
	crash_watch_stack();
	if (f->conf.conn_fd >= 0)
		begin(f, f->conf.conn_fd);
	else
		take_over(f);
	while (!vhost_blk_must_stop(f)) {
		serve_once(f);
		if (f->conf.conn_fd >= 0 && !f->session) {
			if (f->conf.ended)
				f->conf.ended(f->conf.ended_arg);
			break;
		}
	}
	end(f, NULL);
	crash_unwatch_stack();
	life_release();
	pthread_mutex_lock(&f->lock);
	f->has_ended = true;
	pthread_cond_broadcast(&f->news);
	void (*stopped)(void *) = f->stopped;
	void *stopped_arg = f->stopped_arg;
	pthread_mutex_unlock(&f->lock);
	if (stopped)
		stopped(stopped_arg);
	return NULL;
}

static void tell(struct vhost_blk *f, unsigned what)
{
	static const uint64_t one = 1;

	/* release: pairs with the acquire in vhost_blk_do() */
	__atomic_fetch_or(&f->todo, what, __ATOMIC_RELEASE);
	(void)!write(f->wake_fd, &one, sizeof(one));
}

/* Under the lock. Return: whether the thread has done all that was asked for, by @end_ns. */
static bool wait_moved(struct vhost_blk *f, uint64_t end_ns)
{
	struct timespec at = { (time_t)(end_ns / NS_PER_S), (long)(end_ns % NS_PER_S) };
	int err = 0;

	while (f->moves_done != f->moves_asked && !f->has_ended && !err)
		err = pthread_cond_clockwait(&f->news, &f->lock, CLOCK_MONOTONIC, &at);
	return f->moves_done == f->moves_asked || f->has_ended;
}

static int vhost_blk_move(struct front *front, struct poller *const *poller, unsigned n,
			  char *ret_why, size_t room)
{
	struct vhost_blk *f = of(front);
	struct poller *was[FRONT_QUEUES_MAX];
	int err = -EBUSY;

	pthread_mutex_lock(&f->lock);
	memcpy(was, f->poller, sizeof(was));
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++)
		f->poller[i] = poller[i % n];
	f->moves_asked++;
	tell(f, VHOST_BLK_MOVE);
	if (wait_moved(f, clock_ns() + FRONT_MOVE_NS)) {
		err = f->has_ended ? 0 : f->move_err;
		snprintf(ret_why, room, "%s", f->move_why);
	} else {
		snprintf(ret_why, room, "%s",
			 "its front is held up by its guest's VMM, its medium or a function");
	}
	if (err) {
		/* those that have moved return when the thread comes to it */
		memcpy(f->poller, was, sizeof(was));
		f->moves_asked++;
		tell(f, VHOST_BLK_MOVE);
	}
	pthread_mutex_unlock(&f->lock);
	return err;
}

static bool vhost_blk_confirmed(struct front *front, uint64_t until_ns)
{
	struct timespec at = { (time_t)(until_ns / NS_PER_S), (long)(until_ns % NS_PER_S) };
	struct vhost_blk *f = of(front);
	int err = 0;

	pthread_mutex_lock(&f->lock);
	while (f->session && f->session->resize_pending && !err)
		err = pthread_cond_clockwait(&f->news, &f->lock, CLOCK_MONOTONIC, &at);
	bool confirmed = !f->session || !f->session->resize_pending;
	pthread_mutex_unlock(&f->lock);
	return confirmed;
}

static void vhost_blk_changed(struct front *front, unsigned changes)
{
	struct vhost_blk *f = of(front);

	/* from now on, although the thread comes to it later */
	pthread_mutex_lock(&f->lock);
	if (changes & FRONT_SIZE && f->session)
		f->session->resize_pending = true;
	tell(f, changes);
	pthread_mutex_unlock(&f->lock);
}

static void vhost_blk_info(struct front *front, struct front_info *ret_info)
{
	struct vhost_blk *f = of(front);

	*ret_info = (struct front_info){ 0 };
	pthread_mutex_lock(&f->lock);
	struct session *s = f->session;
	if (s) {
		ret_info->connected = true;
		ret_info->peer_pid = s->peer_pid;
		ret_info->since_ns = s->since_ns;
		ret_info->features = s->features;
		ret_info->logging = s->log != NULL;
		ret_info->resize_pending = s->resize_pending;
	}
	for (unsigned i = 0; s && i < FRONT_QUEUES_MAX; i++)
		if (s->queue[i])
			vq_info(&s->queue[i]->vq, &ret_info->queue[ret_info->nqueue++]);
	pthread_mutex_unlock(&f->lock);
}

static void vhost_blk_free(struct vhost_blk *f)
{
	fd_close(f->wake_fd);
	fd_close(f->conf.listen_fd);
	pthread_cond_destroy(&f->news);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static void vhost_blk_stop(struct front *front, void (*stopped)(void *arg), void *arg)
{
	struct vhost_blk *f = of(front);

	pthread_mutex_lock(&f->lock);
	bool has_ended = f->has_ended;
	f->stopped = stopped;
	f->stopped_arg = arg;
	pthread_mutex_unlock(&f->lock);
	if (has_ended) /* by itself: its one connection had ended */
		stopped(arg);
	else
		tell(f, VHOST_BLK_STOP);
}

static void vhost_blk_close(struct front *front)
{
	struct vhost_blk *f = of(front);

	disk_del_front(f->conf.disk, front);
	tell(f, VHOST_BLK_STOP);
	pthread_join(f->thread, NULL);
	vhost_blk_free(f);
}

static const struct front_ops vhost_blk_ops = {
	.kind = "vhost-user",
	.close = vhost_blk_close,
	.stop = vhost_blk_stop,
	.move = vhost_blk_move,
	.confirmed = vhost_blk_confirmed,
	.changed = vhost_blk_changed,
	.info = vhost_blk_info,
};

int vhost_blk_open(const struct vhost_blk_conf *c, struct front **ret_front)
{
	struct vhost_blk *f = calloc(1, sizeof(*f));
	pthread_attr_t attr;

	if (!f)
		return -ENOMEM;
	f->front.ops = &vhost_blk_ops;
	f->conf = *c;
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++)
		f->poller[i] = c->poller[i % c->npoller];
	f->writeback = true;
	list_init(&f->turn);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->news, NULL);
	f->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->wake_fd < 0) {
		int err = -errno;

		f->conf.listen_fd = -1; /* stays the caller's */
		vhost_blk_free(f);
		return err;
	}
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_B);
	int err = pthread_create(&f->thread, &attr, serve, f);
	pthread_attr_destroy(&attr);
	if (err) {
		f->conf.listen_fd = -1;
		vhost_blk_free(f);
		return -err;
	}
	disk_add_front(c->disk, &f->front);
	*ret_front = &f->front;
	return 0;
}
