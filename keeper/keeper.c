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

#define BACKOFF_FIRST_MS 10u
#define BACKOFF_MAX_MS 5000u
#define STEADY_NS (10 * NS_PER_S) /* a worker this old dies of something new */
#define CALLERS_MAX 16
#define STOP_MS 5000u		  /* what a worker gets to let go of its disks */

struct keeper {
	const struct keeper_config *cfg;
	struct loop loop;
	struct loop_watch control, request, signals, timer;
	struct office office;
	int event_fd;
	struct own_file control_file;
	/* Callers that the worker has not acknowledged, oldest first: if it dies before it has read
	 * the message, its successor gets them. */
	int caller_fd[CALLERS_MAX];
	unsigned ncaller;
	pid_t worker;	/* 0: none */
	unsigned restarts, backoff_ms;
	uint64_t born_ns;
	bool was_ready, stopping;
	int status;
};

static void set_timer(struct keeper *k, unsigned ms)
{
	struct itimerspec at = { .it_value = { ms / 1000, (long)(ms % 1000) * 1000000 } };

	timerfd_settime(k->timer.fd, 0, &at, NULL);
}

/* Return: 0; -errno, which is the worker's trouble: the keeper never waits for it. */
static int tell(struct keeper *k, uint32_t op, int fd)
{
	struct keeper_event ev = { .op = op, .restarts = k->restarts, .nkept = k->office.kept.n };

	return fd_send(k->event_fd, &ev, sizeof(ev), &fd, fd >= 0);
}

static void exec_worker(const struct keeper_config *cfg, int request_fd, int event_fd)
{
	char link[64];
	size_t n = 0;
	sigset_t none;

	while (cfg->argv[n])
		n++;
	char **argv = calloc(n + 2, sizeof(*argv));

	if (!argv)
		_exit(1);
	/* Copies without close-on-exec. */
	snprintf(link, sizeof(link), KEEPER_LINK_ARG "%d,%d", dup(request_fd), dup(event_fd));
	memcpy(argv, cfg->argv, n * sizeof(*argv));
	argv[n] = link;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Ctrl-C reaches the whole process group; the keeper is the one that acts on it. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv(cfg->program, argv);
	log_error(NULL, "cannot start the worker '%s': %s", cfg->program, strerror(errno));
	_exit(1);
}

static int greet_worker(struct keeper *k)
{
	CLEANUP(fd_cleanup) int state_fd = store_read(&k->office.store);

	if (state_fd < 0 && state_fd != -ENOENT)
		return state_fd;
	return tell(k, KEEPER_HELLO, state_fd);
}

/* A pair whose first end, the keeper's, never makes it wait. */
static int make_pair(int pair[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	return fcntl(pair[0], F_SETFL, O_NONBLOCK) ? -errno : 0;
}

static int spawn(struct keeper *k)
{
	int req[2] = { -1, -1 }, event[2] = { -1, -1 };
	int err = make_pair(req);

	if (!err)
		err = make_pair(event);
	if (!err) {
		k->worker = fork();
		err = k->worker < 0 ? -errno : 0;
		if (!k->worker)
			exec_worker(k->cfg, req[1], event[1]);
	}
	fd_close(req[1]);
	fd_close(event[1]);
	if (err) {
		k->worker = 0;
		fd_close(req[0]);
		fd_close(event[0]);
		return err;
	}
	k->request.fd = req[0];
	k->event_fd = event[0];
	k->born_ns = clock_ns();
	office_unclaim(&k->office);
	err = loop_add(&k->loop, &k->request, EPOLLIN);
	if (!err && k->control.fd >= 0)
		err = loop_add(&k->loop, &k->control, EPOLLIN);
	if (!err)
		err = greet_worker(k);
	for (unsigned i = 0; !err && i < k->ncaller; i++)
		err = tell(k, KEEPER_CONN, k->caller_fd[i]);
	return err;
}

static void lose_worker(struct keeper *k)
{
	loop_del(&k->loop, &k->request);
	/* Callers wait in the socket's backlog until there is a worker again. */
	if (k->control.fd >= 0)
		loop_del(&k->loop, &k->control);
	k->request.fd = fd_close(k->request.fd);
	k->event_fd = fd_close(k->event_fd);
	k->worker = 0;
}

static void finish(struct keeper *k, int status)
{
	k->status = status;
	loop_stop(&k->loop);
}

static void plan_successor(struct keeper *k)
{
	if (clock_ns() - k->born_ns > STEADY_NS)
		k->backoff_ms = 0;
	k->backoff_ms = k->backoff_ms ? (unsigned)min_u64(2 * k->backoff_ms, BACKOFF_MAX_MS) :
					BACKOFF_FIRST_MS;
	k->restarts++;
	set_timer(k, k->backoff_ms);
}

static void on_worker_end(struct keeper *k, int status)
{
	bool clean = WIFEXITED(status) && !WEXITSTATUS(status);
	pid_t pid = k->worker;
	char how[48];

	snprintf(how, sizeof(how), WIFSIGNALED(status) ? "was ended by signal %d" :
							 "ended with status %d",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	lose_worker(k);
	if (k->stopping || clean) {
		finish(k, 0);
	} else if (!k->was_ready || k->cfg->one_life) {
		if (WIFSIGNALED(status)) /* otherwise it has said why */
			log_error(NULL, "worker %d %s", pid, how);
		finish(k, 1);
	} else {
		plan_successor(k);
		log_error(NULL, "worker %d %s; the next one starts in %u ms", pid, how,
			  k->backoff_ms);
	}
}

static void on_stop(struct keeper *k)
{
	if (!k->worker) {
		finish(k, 0);
		return;
	}
	/* Asked twice, or a worker that does not listen: no more patience. */
	if (k->stopping || tell(k, KEEPER_STOP, -1))
		kill(k->worker, SIGKILL);
	k->stopping = true;
	notify_send("STOPPING=1");
	set_timer(k, STOP_MS);
}

static void signals_ready(struct loop_watch *w, uint32_t events)
{
	struct keeper *k = container_of(w, struct keeper, signals);
	struct signalfd_siginfo info;
	int status;

	if (read(w->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGCHLD)
		on_stop(k);
	else if (k->worker && waitpid(k->worker, &status, WNOHANG) == k->worker)
		on_worker_end(k, status);
}

static void timer_ready(struct loop_watch *w, uint32_t events)
{
	struct keeper *k = container_of(w, struct keeper, timer);
	uint64_t times;

	if (read(w->fd, &times, sizeof(times)) != sizeof(times))
		return;
	if (k->worker && k->stopping) {
		log_warn(NULL, "the worker does not end: killed");
		kill(k->worker, SIGKILL);
	} else if (!k->worker) {
		int err = spawn(k);

		if (!err)
			return;
		log_error(NULL, "cannot start a worker: %s", strerror(-err));
		if (k->worker)
			kill(k->worker, SIGKILL);
		else
			plan_successor(k);
	}
}

static void on_taken(struct keeper *k)
{
	if (!k->ncaller)
		return;
	fd_close(k->caller_fd[0]);
	memmove(k->caller_fd, k->caller_fd + 1, --k->ncaller * sizeof(k->caller_fd[0]));
	loop_mod(&k->loop, &k->control, EPOLLIN);
}

static void act_on(struct keeper *k, uint32_t op)
{
	if (op == KEEPER_TAKEN)
		on_taken(k);
	if (op == KEEPER_READY && !k->was_ready) {
		k->was_ready = true;
		notify_send("READY=1");
	}
}

static void request_ready(struct loop_watch *w, uint32_t events)
{
	struct keeper *k = container_of(w, struct keeper, request);
	struct keeper_request req;
	struct keeper_answer answer;
	unsigned nfd = 0;
	int got = -1, give = -1;
	bool give_close = false;
	ssize_t n = fd_recv(w->fd, &req, sizeof(req), &got, 1, &nfd);
	CLEANUP(fd_cleanup) int fd = nfd ? got : -1;

	if (n == -EAGAIN)
		return;
	if (n == 0 || n == -ECONNRESET) { /* it is ending; SIGCHLD says the rest */
		loop_del(&k->loop, w);
		return;
	}
	if (n == -EMSGSIZE) { /* one descriptor more than we can have */
		answer.err = -EMFILE;
		fd_send(w->fd, &answer, sizeof(answer), NULL, 0);
		return;
	}
	answer.err = n == sizeof(req) ? office_serve(&k->office, &req, fd, &give, &give_close) :
					-EPROTO;
	if (answer.err == -EPROTO) {
		log_error(NULL, "worker %d asked for what no worker asks for: killed", k->worker);
		kill(k->worker, SIGKILL);
		return;
	}
	act_on(k, req.op);
	if (req.op == KEEPER_LIST)
		office_list(&k->office, req.flags, w->fd);
	else
		fd_send(w->fd, &answer, sizeof(answer), &give, give >= 0);
	if (give_close)
		fd_close(give);
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
	int err = tell(k, KEEPER_CONN, fd);

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
	if (k->signals.fd < 0 || k->timer.fd < 0)
		return -errno;
	int err = loop_add(&k->loop, &k->signals, EPOLLIN);

	return err ? err : loop_add(&k->loop, &k->timer, EPOLLIN);
}

static void tear_down(struct keeper *k)
{
	if (k->worker) {
		kill(k->worker, SIGKILL);
		waitpid(k->worker, NULL, 0);
		lose_worker(k);
	}
	office_fini(&k->office);
	if (k->control.fd >= 0)
		own_file_unlink(k->cfg->control_path, &k->control_file);
	while (k->ncaller)
		fd_close(k->caller_fd[--k->ncaller]);
	fd_close(k->control.fd);
	fd_close(k->signals.fd);
	fd_close(k->timer.fd);
	store_close(&k->office.store);
	loop_fini(&k->loop);
}

int keeper_run(const struct keeper_config *cfg)
{
	struct keeper k = { .cfg = cfg,
			    .loop.epfd = -1,
			    .control = { -1, control_ready },
			    .request = { -1, request_ready },
			    .signals = { -1, signals_ready },
			    .timer = { -1, timer_ready },
			    .office.store = { -1, -1 },
			    .event_fd = -1,
			    .status = 1 };
	int err = loop_init(&k.loop);

	list_init(&k.office.sockets);
	if (!err)
		err = watch_signals(&k);
	if (err)
		log_error(NULL, "cannot start: %s", strerror(-err));
	if (!err)
		err = open_store(&k);
	if (!err)
		err = listen_control(&k);
	if (!err) {
		err = spawn(&k);
		fd_close(cfg->hand_over_fd);
		if (err)
			log_error(NULL, "cannot start a worker: %s", strerror(-err));
	}
	if (!err)
		err = loop_run(&k.loop);
	tear_down(&k);
	return err ? 1 : k.status;
}
