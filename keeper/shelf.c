/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `posternd --keep`: a process that does nothing but hold descriptors, so that posternd itself can
 * be replaced with its container or host tools. The keeper is to it what a worker is to the keeper,
 * with three words: LIST, which is answered, PUT and DROP, which are not.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "keeper/private.h"

struct shelf {
	struct loop loop;
	struct loop_watch listen, client, signals;
	struct office office; /* its kept only */
	struct own_file file;
};

static void hang_up(struct shelf *s, const char *why)
{
	if (why)
		log_error(NULL, "posternd's keeper %s: its connection is closed", why);
	else
		log_info(NULL, "posternd's keeper has gone; %u descriptors are kept for the next",
			 s->office.kept.n);
	loop_del(&s->loop, &s->client);
	s->client.fd = fd_close(s->client.fd);
	loop_mod(&s->loop, &s->listen, EPOLLIN);
}

static void client_ready(struct loop_watch *w, uint32_t events)
{
	struct shelf *s = container_of(w, struct shelf, client);
	struct keeper_request req = { 0 };
	struct clerk_order none;
	unsigned nfd = 0;
	int got = -1, give, err = -EPROTO;
	ssize_t n = fd_recv(w->fd, &req, sizeof(req), &got, 1, &nfd);
	CLEANUP(fd_cleanup) int fd = nfd ? got : -1;

	if (n == -EAGAIN)
		return;
	if (n == 0 || n == -ECONNRESET) {
		hang_up(s, NULL);
		return;
	}
	if (n < (ssize_t)KEEPER_REQUEST_MIN_B)
		err = n == -EMSGSIZE ? -EMFILE : -EPROTO;
	else if (req.op == KEEPER_LIST)
		err = office_list(&s->office, req.flags, w->fd);
	else if (req.op == KEEPER_PUT || req.op == KEEPER_DROP)
		err = office_serve(&s->office, &req, fd, &give, &none);
	if (err == -EPROTO)
		hang_up(s, "has sent what no keeper sends");
	else if (err)
		log_warn(NULL, "'%.127s' is not kept: %s", req.path, strerror(-err));
}

static void listen_ready(struct loop_watch *w, uint32_t events)
{
	struct shelf *s = container_of(w, struct shelf, listen);
	CLEANUP(fd_cleanup) int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	uid_t uid = 0;

	if (fd < 0)
		return;
	if (peer_check(fd, NULL, &uid)) {
		log_warn(NULL, "connection of user %u refused", uid);
		return;
	}
	s->client.fd = fd_steal(&fd);
	if (loop_add(&s->loop, &s->client, EPOLLIN))
		s->client.fd = fd_close(s->client.fd);
	else
		loop_mod(&s->loop, &s->listen, 0); /* one at a time; the next one waits */
}

static void signals_ready(struct loop_watch *w, uint32_t events)
{
	loop_stop(&container_of(w, struct shelf, signals)->loop);
}

static int prepare(struct shelf *s, const char *path)
{
	struct stat st;
	sigset_t set;
	int err = make_parents(path, geteuid() ? 0700 : 0755);

	if (err)
		return err;
	s->listen.fd = fd_listen_packets(path, 0600);
	if (s->listen.fd < 0)
		return s->listen.fd;
	if (!lstat(path, &st))
		s->file = (struct own_file){ st.st_dev, st.st_ino };
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	err = s->signals.fd < 0 ? -errno : loop_init(&s->loop);
	if (!err)
		err = loop_add(&s->loop, &s->signals, EPOLLIN);
	return err ? err : loop_add(&s->loop, &s->listen, EPOLLIN);
}

int vault_run(const char *path)
{
	struct shelf s = { .loop.epfd = -1,
			   .listen = { -1, listen_ready },
			   .client = { -1, client_ready },
			   .signals = { -1, signals_ready } };
	int err;

	office_init(&s.office);
	err = prepare(&s, path);
	if (err)
		log_error(NULL, "--keep: cannot listen on '%s': %s", path, strerror(-err));
	else
		notify_send("READY=1");
	if (!err)
		err = loop_run(&s.loop);
	own_file_unlink(path, &s.file);
	office_fini(&s.office);
	fd_close(s.listen.fd);
	fd_close(s.client.fd);
	fd_close(s.signals.fd);
	loop_fini(&s.loop);
	return err ? 1 : 0;
}
