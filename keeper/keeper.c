/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/keeper.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/private.h"

static void signals_ready(struct loop_watch *w, uint32_t events)
{
	struct keeper *k = container_of(w, struct keeper, signals);
	struct signalfd_siginfo info;

	if (read(w->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD)
		crew_reap(k);
	else
		crew_stop(k);
}

static void timer_ready(struct loop_watch *w, uint32_t events)
{
	uint64_t times;

	if (read(w->fd, &times, sizeof(times)) == sizeof(times))
		crew_timer(container_of(w, struct keeper, timer));
}

static void settle_ready(struct loop_watch *w, uint32_t events)
{
	uint64_t times;

	if (read(w->fd, &times, sizeof(times)) == sizeof(times))
		crew_settle(container_of(w, struct keeper, settle));
}

static void on_taken(struct keeper *k)
{
	if (!k->ncaller)
		return;
	fd_close(k->caller_fd[0]);
	memmove(k->caller_fd, k->caller_fd + 1, --k->ncaller * sizeof(k->caller_fd[0]));
	loop_mod(&k->loop, &k->control, EPOLLIN);
}

/* What a worker sends: first who it is, then, while it serves, requests. */
union word {
	struct keeper_intro intro;
	struct keeper_request req;
};

/* A worker waits for each answer, so it gets one: where the kernel does not pass on what belongs to
 * it, what it says of that. Return: 0; -ENOTCONN: it does not read them; -errno: it got a refusal. */
static int answer(struct worker *w, const struct keeper_answer *a, const int *fds, unsigned nfd)
{
	int err = fd_send(w->request.fd, a, sizeof(*a), fds, nfd);
	struct keeper_answer refusal = { .err = err };

	if (!err || err == -EPIPE || err == -ECONNRESET) /* it has ended */
		return 0;
	return fd_send(w->request.fd, &refusal, sizeof(refusal), NULL, 0) ? -ENOTCONN : err;
}

static int answer_list(struct worker *w, unsigned from)
{
	static const struct keeper_list none;
	int err = office_list(&w->keeper->office, from, w->request.fd);

	if (!err || err == -EPIPE || err == -ECONNRESET)
		return 0;
	/* which its reader takes for an error, as it has been told how much there is */
	return fd_send(w->request.fd, &none, sizeof(none.n), NULL, 0) ? -ENOTCONN : err;
}

static int serve_program(struct worker *w, const struct keeper_request *req, const int *fds,
			 unsigned nfd)
{
	struct programs *ps = &w->keeper->office.programs;
	struct keeper_answer a;
	int give[2];
	int err = programs_serve(ps, req, fds, nfd, &a, give);

	if (err)
		return err;
	err = answer(w, &a, give, give[0] >= 0 ? 2 : 0);
	/* nobody speaks to one that its asker knows nothing of */
	if (err && req->op == KEEPER_SPAWN && !a.err)
		kill(a.pid, SIGKILL);
	return err;
}

/* Carries out @req, which came with @nfd descriptors (borrowed), and answers.
 * Return: 0; -EPROTO: no worker asks for that; -ENOTCONN: it does not read its answers; -errno: it
 * has been refused. */
static int serve(struct worker *w, const struct keeper_request *req, const int *fds, unsigned nfd)
{
	struct keeper *k = w->keeper;
	struct keeper_answer a = { 0 };
	bool give_close = false;
	int give = -1;

	if (w != k->now)
		return -EPROTO;
	if (programs_concerns(req->op))
		return serve_program(w, req, fds, nfd);
	a.err = nfd > 1 ? -EPROTO : office_serve(&k->office, req, nfd ? fds[0] : -1, &give,
						 &give_close);
	if (a.err == -EPROTO)
		return -EPROTO;
	if (req->op == KEEPER_TAKEN)
		on_taken(k);
	if (req->op == KEEPER_READY)
		crew_ready(k);
	if (req->op == KEEPER_HEALTHY)
		upgrade_counted(k, req->flags);
	int err = req->op == KEEPER_LIST ? answer_list(w, req->flags) : answer(w, &a, &give, give >= 0);

	if (give_close)
		fd_close(give);
	return err;
}

void request_ready(struct loop_watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, request);
	static const struct keeper_answer no_room = { .err = -EMFILE };
	union word word;
	unsigned nfd = 0;
	int fds[KEEPER_FILES_MAX], err = -EPROTO;
	ssize_t n = fd_recv(watch->fd, &word, sizeof(word), fds, ARRAY_SIZE(fds), &nfd);

	if (n == -EAGAIN)
		return;
	if (n == 0 || n == -ECONNRESET) { /* it is ending; its cells or SIGCHLD say the rest */
		loop_del(&w->keeper->loop, watch);
		return;
	}
	if (n == -EMSGSIZE) { /* one descriptor more than we can have */
		err = answer(w, &no_room, NULL, 0);
	} else if (n >= (ssize_t)sizeof(word.intro) && word.intro.op == KEEPER_INTRO && !w->intro.op) {
		w->intro = word.intro;
		w->intro.version[sizeof(w->intro.version) - 1] = '\0';
		crew_met(w);
		err = 0;
	} else if ((size_t)n >= KEEPER_REQUEST_MIN_B && (size_t)n <= sizeof(word.req) &&
		   w->intro.op) {
		memset((char *)&word + n, 0, sizeof(word) - (size_t)n);
		err = serve(w, &word.req, fds, nfd);
	}
	while (nfd)
		fd_close(fds[--nfd]);
	if (err == -EPROTO)
		log_error(NULL, "worker %d asked for what no worker asks for: killed", w->pid);
	else if (err == -ENOTCONN)
		log_error(NULL, "worker %d does not take its answers: killed", w->pid);
	else if (err)
		log_warn(NULL, "worker %d was refused what it asked for: %s", w->pid, strerror(-err));
	if (err == -EPROTO || err == -ENOTCONN) {
		loop_del(&w->keeper->loop, watch);
		kill(w->pid, SIGKILL);
	}
}

static void control_ready(struct loop_watch *w, uint32_t events)
{
	struct keeper *k = container_of(w, struct keeper, control);

	if (k->ncaller == CALLERS_MAX) {
		loop_mod(&k->loop, w, 0); /* until one is taken; the others wait in the backlog */
		return;
	}
	CLEANUP(fd_cleanup) int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	uid_t uid = 0;

	if (fd < 0)
		return;
	if (peer_check(fd, k->cfg->control_group, &uid)) {
		log_warn(NULL, "control connection of user %u refused", uid);
		return;
	}
	struct keeper_event conn = { .op = KEEPER_CONN };
	int err = worker_tell(k->now, &conn, fd);

	/* The worker acknowledges one caller for each that it was told of. If it is dying its
	 * successor is told of all that are kept here. */
	if (err && err != -EPIPE && err != -ECONNRESET) {
		log_warn(NULL, "control connection dropped, the worker cannot be given it: %s",
			 strerror(-err));
		return;
	}
	k->caller_fd[k->ncaller++] = fd_steal(&fd);
}

static int open_store(struct keeper *k)
{
	const char *dir = k->cfg->state_dir;
	int err = dir ? store_open(&k->office.store, dir) : 0;

	if (err)
		log_error(NULL, "--state: cannot use '%s': %s", dir,
			  err == -EBUSY ? "another posternd has it" : strerror(-err));
	return err;
}

static int open_vault(struct keeper *k)
{
	int err = office_open_vault(&k->office, k->cfg->kept_at);

	if (err)
		log_error(NULL, "--kept-at: '%s' does not answer: %s", k->cfg->kept_at,
			  strerror(-err));
	return err;
}

static int listen_control(struct keeper *k)
{
	const char *path = k->cfg->control_path, *group = k->cfg->control_group;

	if (!path)
		return 0;
	if (strlen(path) > FD_SOCKET_PATH_MAX) {
		log_error(NULL, "--control: a socket path of %zu bytes is too long, at most %d are "
			  "allowed", strlen(path), FD_SOCKET_PATH_MAX);
		return -ENAMETOOLONG;
	}
	int err = make_parents(path, geteuid() ? 0700 : 0755);

	if (!err)
		k->control.fd = listen_for_group(path, group ? 0660 : 0600, group,
						 &k->control_file);
	if (k->control.fd < 0 && !err)
		err = k->control.fd;
	if (err)
		log_error(NULL, "--control: cannot listen on '%s': %s", path,
			  err == -EADDRINUSE ? "another program listens there" :
			  err == -EEXIST     ? "it exists and is no socket" :
			  err == -ESRCH	     ? "there is no such group" :
					       strerror(-err));
	return err;
}

static int watch_signals(struct keeper *k)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file beyond `ulimit -f` is an error of one disk; see EFBIG */
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	k->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	k->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	k->settle.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (k->signals.fd < 0 || k->timer.fd < 0 || k->settle.fd < 0)
		return -errno;
	int err = loop_add(&k->loop, &k->signals, EPOLLIN);

	if (!err)
		err = loop_add(&k->loop, &k->timer, EPOLLIN);
	return err ? err : loop_add(&k->loop, &k->settle, EPOLLIN);
}

static void tear_down(struct keeper *k)
{
	crew_fini(k);
	upgrade_close(k);
	fd_close(k->program_fd);
	office_fini(&k->office);
	if (k->control.fd >= 0)
		own_file_unlink(k->cfg->control_path, &k->control_file);
	while (k->ncaller)
		fd_close(k->caller_fd[--k->ncaller]);
	fd_close(k->control.fd);
	fd_close(k->signals.fd);
	fd_close(k->timer.fd);
	fd_close(k->settle.fd);
	store_close(&k->office.store);
	loop_fini(&k->loop);
}

static int begin(struct keeper *k)
{
	int err = open_store(k);

	if (!err)
		err = open_vault(k);
	if (!err)
		err = listen_control(k);
	if (err)
		return err;
	upgrade_open(k);
	err = crew_start(k);
	fd_close(k->cfg->hand_over_fd);
	if (err)
		log_error(NULL, "cannot start a worker: %s", strerror(-err));
	return err;
}

/* As another program of the same process. */
static int go_on(struct keeper *k)
{
	int err = baton_take(k, k->cfg->baton_fd);

	fd_close(k->cfg->baton_fd);
	if (err) {
		log_error(NULL, "cannot go on with what the keeper has left: %s", strerror(-err));
		return err;
	}
	upgrade_open(k);
	k->office.vault.at = k->cfg->kept_at;
	office_mend_vault(&k->office);
	crew_reap(k); /* who has ended meanwhile */
	return 0;
}

int keeper_run(const struct keeper_config *cfg)
{
	struct keeper k = { .cfg = cfg,
			    .loop.epfd = -1,
			    .control = { -1, control_ready },
			    .signals = { -1, signals_ready },
			    .timer = { -1, timer_ready },
			    .settle = { -1, settle_ready },
			    .upgrade = { .listen.fd = -1, .conn.fd = -1, .timer.fd = -1,
					 .program_fd = -1 },
			    .program_fd = open(cfg->program, O_PATH | O_CLOEXEC),
			    .status = 1 };
	int err = loop_init(&k.loop);

	office_init(&k.office);
	list_init(&k.workers);
	if (!err)
		err = watch_signals(&k);
	if (err)
		log_error(NULL, "cannot start: %s", strerror(-err));
	if (!err)
		err = cfg->baton_fd < 0 ? begin(&k) : go_on(&k);
	if (!err)
		err = loop_run(&k.loop);
	tear_down(&k);
	return err ? 1 : k.status;
}
