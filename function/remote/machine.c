/* SPDX-License-Identifier: Apache-2.0 */
#include "function/remote/machine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "function/remote/region.h"

#define KEY_MEMORY "memory"
#define KEY_CONNECTION "connection"
#define WORD_MAX 600 /* of the holder's */
#define AGAIN_NS (30 * NS_PER_S) /* for a guest that has booted to start the program again */
#define KILL_NS (20 * NS_PER_S) /* for the holder to end, with what it has to clear away */

/* What it is told, a byte each; as vm/vm.h has them. */
enum wish { WISH_TELL = 't', WISH_END = 'e', WISH_KILL = 'k' };

struct machine {
	struct machine_conf conf;
	struct region *region;
	struct loop_watch door; /* the listening socket */
	int conn_fd;		/* -1: none, or it has ended and was not looked at since */

	/* posternd's own */
	struct machine_holder holder; /* pid 0: none */
	struct loop_watch words, end; /* of it */
	struct loop_watch timer;      /* to the end of patience with its guest */
	bool had_come;		      /* QEMU has connected, since the holder was started */
	bool is_ending;		      /* it has been told to */
	bool has_left;		      /* its program has ended, and the host was not yet told */
	bool has_booted;	      /* there has been a program */
	char why[HOST_WHY_MAX], accel[8], note[HOST_WHY_MAX];
};

static bool is_alive(int sock)
{
	uint8_t byte;
	ssize_t n = recv(sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void hang_up(struct machine *m)
{
	if (m->conn_fd < 0)
		return;
	keep_drop(&m->conf.keep, KEY_CONNECTION);
	fd_close(m->conn_fd);
	m->conn_fd = -1;
}

static void door_ready(struct loop_watch *w, uint32_t events)
{
	struct machine *m = container_of(w, struct machine, door);
	const char *name = host_name(m->conf.host);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (m->is_ending) {
		fd_close(fd);
		return;
	}
	if (m->conn_fd >= 0 && is_alive(m->conn_fd)) {
		log_error(name, "a second machine is turned away");
		fd_close(fd);
		return;
	}
	hang_up(m);
	m->conn_fd = fd;
	m->had_come = true;
	int err = keep_put(&m->conf.keep, KEY_CONNECTION, fd);

	if (err)
		log_error(name, "a restart will cut its machine off for a second: %s",
			  strerror(-err));
	host_retry(m->conf.host, m->conf.spec);
}

/* What the holder says gets into logs and answers. */
static void copy_text(char *to, size_t room, const char *from)
{
	snprintf(to, room, "%.*s", (int)room - 1, from);
	for (; *to; to++)
		if (*to < ' ' || *to > '~')
			*to = ' ';
}

/* Return: whether there was a word. */
static bool take_word(struct machine *m)
{
	char text[WORD_MAX + 1], accel[sizeof(m->accel)] = "";
	ssize_t n = recv(m->holder.sock, text, WORD_MAX, MSG_DONTWAIT);
	int at = 0;

	if (n <= 0)
		return false;
	text[n] = '\0';
	if (!strncmp(text, "down ", 5)) {
		copy_text(m->why, sizeof(m->why), text + 5);
	} else if (sscanf(text, "up %*d %7s %n", accel, &at) == 1 && at) {
		copy_text(m->accel, sizeof(m->accel), accel);
		copy_text(m->note, sizeof(m->note), text + at);
	} else if (!strcmp(text, "left")) {
		m->has_left = true;
	}
	return true;
}

static void words_ready(struct loop_watch *w, uint32_t events)
{
	struct machine *m = container_of(w, struct machine, words);

	/* the end of it is seen by its pidfd */
	if (!take_word(m) && events & (EPOLLHUP | EPOLLRDHUP))
		loop_del(m->conf.loop, w);
	if (!m->has_left)
		return;
	m->has_left = false;
	m->has_booted |= host_is_ready(m->conf.host, m->conf.spec);
	host_program_left(m->conf.host, m->conf.spec); /* perhaps m has gone */
}

static void wish(struct machine *m, enum wish what)
{
	char word = (char)what;

	if (send(m->holder.sock, &word, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
		m->conf.ops->kill(m->holder.pid);
}

static void drop_holder(struct machine *m)
{
	loop_del(m->conf.loop, &m->words);
	loop_del(m->conf.loop, &m->end);
	fd_close(m->holder.sock);
	fd_close(m->holder.pidfd);
	m->holder = (struct machine_holder){ 0, -1, -1 };
	timer_set(m->timer.fd, 0);
}

static void end_ready(struct loop_watch *w, uint32_t events)
{
	struct machine *m = container_of(w, struct machine, end);
	char why[HOST_WHY_MAX];

	while (take_word(m))
		;
	drop_holder(m);
	snprintf(why, sizeof(why), "%s", *m->why ? m->why : "its machine has ended");
	host_machine_ended(m->conf.host, m->conf.spec, m->had_come, why); /* perhaps m has gone */
}

static void timer_ready(struct loop_watch *w, uint32_t events)
{
	struct machine *m = container_of(w, struct machine, timer);

	if (!timer_take(w->fd) || !m->holder.pid)
		return;
	if (m->is_ending) {
		m->conf.ops->kill(m->holder.pid);
		return;
	}
	if (host_is_ready(m->conf.host, m->conf.spec))
		return;
	snprintf(m->why, sizeof(m->why), "its guest has not started the program within %u s; "
		 "`vm console` shows what it does",
		 (unsigned)(m->conf.boot_ns / NS_PER_S));
	char why[HOST_WHY_MAX];

	memcpy(why, m->why, sizeof(why));
	machine_kill(m);
	host_give_up(m->conf.host, m->conf.spec, why); /* perhaps m has gone */
}

/* There is a holder now. Return: 0; -ENOMEM: it is ended. */
static int watch_holder(struct machine *m, const struct machine_holder *holder)
{
	m->holder = *holder;
	m->words = (struct loop_watch){ m->holder.sock, words_ready };
	m->end = (struct loop_watch){ m->holder.pidfd, end_ready };
	m->had_come = m->conn_fd >= 0;
	m->is_ending = m->has_left = m->has_booted = false;
	*m->why = *m->accel = *m->note = '\0';
	int err = loop_add(m->conf.loop, &m->words, EPOLLIN);
	if (!err)
		err = loop_add(m->conf.loop, &m->end, EPOLLIN);
	if (err) {
		m->conf.ops->kill(m->holder.pid);
		drop_holder(m);
		return err;
	}
	timer_set(m->timer.fd, m->conf.boot_ns);
	return 0;
}

static int hold(struct machine *m, char *why)
{
	struct machine_holder holder;
	int err = m->conf.ops->hold(m->conf.spec, m->region->fd, &holder, why);

	return err ? err : watch_holder(m, &holder);
}

static int open_memory(struct machine *m, bool *ret_is_new)
{
	int kept_fd = keep_get(&m->conf.keep, KEY_MEMORY);
	int err = kept_fd < 0 ? -EBADMSG : region_open(kept_fd, &m->region);

	*ret_is_new = err == -EBADMSG; /* or another posternd's, which had it of another size */
	if (err == -EBADMSG)
		err = region_open(-1, &m->region);
	return err || !*ret_is_new ? err : keep_put(&m->conf.keep, KEY_MEMORY, m->region->fd);
}

static int open_door(struct machine *m)
{
	int flags = fcntl(m->door.fd, F_GETFL);

	if (flags < 0 || fcntl(m->door.fd, F_SETFL, flags | O_NONBLOCK))
		return -errno;
	m->timer.fd = timer_open();
	if (m->timer.fd < 0)
		return -errno;
	int err = loop_add(m->conf.loop, &m->door, EPOLLIN);

	return err ? err : loop_add(m->conf.loop, &m->timer, EPOLLIN);
}

int machine_open(const struct machine_conf *conf, struct machine **ret)
{
	struct machine *m = calloc(1, sizeof(*m));
	bool is_new;

	if (!m) {
		fd_close(conf->listen_fd);
		return -ENOMEM;
	}
	*m = (struct machine){ .conf = *conf,
			       .door = { conf->listen_fd, door_ready },
			       .timer = { -1, timer_ready },
			       .conn_fd = -1,
			       .holder = { 0, -1, -1 } };
	int err = open_memory(m, &is_new);

	if (!err)
		err = open_door(m);
	if (err) {
		fd_close(machine_close(m, true));
		return err;
	}
	/* one of another posternd's would have other memory than ours */
	int conn_fd = is_new ? -ENOENT : keep_get(&m->conf.keep, KEY_CONNECTION);

	if (conn_fd >= 0)
		m->conn_fd = conn_fd;
	if (conf->holder.pid && !watch_holder(m, &conf->holder)) /* a predecessor has heard this */
		wish(m, WISH_TELL);
	*ret = m;
	return 0;
}

void machine_forget(const struct keep_scope *keep)
{
	keep_drop(keep, KEY_CONNECTION);
	keep_drop(keep, KEY_MEMORY);
}

int machine_close(struct machine *m, bool forget)
{
	int end_fd = -1;

	if (!m)
		return -1;
	if (m->holder.pid) {
		end_fd = fcntl(m->holder.pidfd, F_DUPFD_CLOEXEC, 0);
		wish(m, WISH_END);
		drop_holder(m);
	}
	loop_del(m->conf.loop, &m->door);
	fd_close(m->door.fd);
	if (m->timer.fd >= 0)
		loop_del(m->conf.loop, &m->timer);
	fd_close(m->timer.fd);
	fd_close(m->conn_fd);
	if (forget)
		machine_forget(&m->conf.keep);
	region_put(m->region);
	free(m);
	return end_fd;
}

int machine_start(struct machine *m, struct host_process *ret, char *why)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	if (m->conn_fd >= 0 && !is_alive(m->conn_fd))
		hang_up(m);
	if (m->conn_fd < 0) {
		int err = m->conf.ops && !m->holder.pid ? hold(m, why) : 0;

		return err ? err : -EAGAIN;
	}
	int sock = fcntl(m->conn_fd, F_DUPFD_CLOEXEC, 0);

	if (sock < 0)
		return -errno;
	getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	if (m->holder.pid && !m->is_ending)
		timer_set(m->timer.fd, m->has_booted ? min_u64(m->conf.boot_ns, AGAIN_NS) :
						       m->conf.boot_ns);
	*ret = (struct host_process){ .pid = peer.pid, .sock = sock, .pidfd = -1,
				      .region = m->region, .is_held = m->holder.pid };
	return 0;
}

void machine_kill(struct machine *m)
{
	if (!m->holder.pid || m->is_ending)
		return;
	wish(m, WISH_KILL);
	m->is_ending = true;
	timer_set(m->timer.fd, KILL_NS);
	hang_up(m);
}

struct region *machine_region(struct machine *m)
{
	return m->region;
}

void machine_memory(const struct machine *m, char *ret_path, size_t size)
{
	snprintf(ret_path, size, "/proc/%d/fd/%d", (int)getpid(), m->region->fd);
}

bool machine_is_booting(const struct machine *m)
{
	return m->holder.pid && !host_is_ready(m->conf.host, m->conf.spec);
}

const char *machine_accel(const struct machine *m)
{
	return m->accel;
}

const char *machine_note(const struct machine *m)
{
	return m->note;
}
