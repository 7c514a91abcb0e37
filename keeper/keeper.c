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
	if (timer_take(w->fd))
		crew_timer(container_of(w, struct keeper, timer));
}

static void settle_ready(struct loop_watch *w, uint32_t events)
{
	if (timer_take(w->fd))
		crew_settle(container_of(w, struct keeper, settle));
}

static void vault_ready(struct loop_watch *w, uint32_t events)
{
	crew_mend(container_of(w, struct keeper, vault));
}

static void patience_ready(struct loop_watch *w, uint32_t events)
{
	if (timer_take(w->fd))
		desk_timer(container_of(w, struct keeper, desk.timer));
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
	k->timer.fd = timer_open();
	k->settle.fd = timer_open();
	k->desk.timer.fd = timer_open();
	if (k->signals.fd < 0 || k->timer.fd < 0 || k->settle.fd < 0 || k->desk.timer.fd < 0)
		return -errno;
	int err = loop_add(&k->loop, &k->signals, EPOLLIN);

	if (!err)
		err = loop_add(&k->loop, &k->timer, EPOLLIN);
	if (!err)
		err = loop_add(&k->loop, &k->desk.timer, EPOLLIN);
	return err ? err : loop_add(&k->loop, &k->settle, EPOLLIN);
}

static void tear_down(struct keeper *k)
{
	crew_fini(k);
	upgrade_close(k);
	clerks_fini(&k->clerks);
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
	fd_close(k->desk.timer.fd);
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
	crew_mend(k);
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
	crew_mend(k);
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
			    .vault = { -1, vault_ready },
			    .desk.timer = { -1, patience_ready },
			    .upgrade = { .listen.fd = -1, .conn.fd = -1, .timer.fd = -1,
					 .program_fd = -1 },
			    .program_fd = open(cfg->program, O_PATH | O_CLOEXEC),
			    .status = 1 };
	int err = loop_init(&k.loop);

	office_init(&k.office);
	k.office.images = cfg->images;
	clerks_init(&k.clerks, &k.loop, &k.office);
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
