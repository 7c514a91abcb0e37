/* SPDX-License-Identifier: Apache-2.0 */
#include "bin/worker.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "bin/status.h"
#include "bin/tables.h"
#include "bin/version.h"
#include "control/state.h"
#include "control/server.h"
#include "disk/balance_ctl.h"
#include "disk/disk_ctl.h"
#include "disk/poller_ctl.h"
#include "function/remote/remote_ctl.h"
#include "guest/fault.h"
#include "keeper/hold.h"
#include "keeper/link.h"
#include "keeper/sandbox.h"

/* A predecessor's image locks are gone within this, or after its last requests on that image. */
#define RETRY_FIRST_US 250u
#define RETRY_MAX_US 500000u
#define CLOSE_GRACE_NS (3 * NS_PER_S) /* less than the keeper's own patience */

struct worker {
	const struct options *opt;
	struct link link;
	struct loop loop;
	struct loop_watch events, ended; /* the keeper's; the only front's end */
	struct loop_watch balance;	 /* timer, while there are several pollers */
	struct loop_watch retry;	 /* timer, while disks wait for their media */
	struct loop_watch closed;	 /* a disk that was waited for can be closed */
	unsigned retry_us;
	struct state *state;
	struct ctl *ctl;
	struct server *server;
	struct sandbox_report sandbox;
	unsigned restarts;
	int status;
};

static int ask_open(void *arg, const char *path, int flags, mode_t mode)
{
	return link_open(arg, path, flags, mode);
}

static void ask_ahead(void *arg, const char *path, int flags)
{
	link_open_ahead(arg, path, flags);
}

static int ask_listen(void *arg, const char *path, mode_t mode, const char *group)
{
	return link_listen(arg, path, mode, group);
}

static int ask_unlisten(void *arg, const char *path)
{
	return link_unlisten(arg, path);
}

static int ask_unmake(void *arg)
{
	return link_unmake(arg);
}

static int ask_spawn(void *arg, struct ctl_spawn *s)
{
	struct link_program p;
	const struct link_spawn what = { .adopt = s->adopt, .is_machine = s->is_machine,
					 .name = s->name, .run = s->run,
					 .memory_mib = s->memory_mib, .cpus = s->cpus,
					 .files = s->files, .nfile = s->nfile };
	int err = link_spawn(arg, &what, &p);

	if (err)
		return err;
	s->pid = p.pid;
	s->jail = p.jail;
	s->sock = p.sock;
	s->pidfd = p.pidfd;
	return 0;
}

static bool ask_kill(void *arg, pid_t pid, int *ret_status)
{
	return link_kill(arg, pid, ret_status) == LINK_HAD_ENDED;
}

static int ask_save(void *arg, const char *text, size_t len_b)
{
	return link_save(arg, text, len_b);
}

/* Ownership: @fd, which may be -1, is taken. */
static int load_state(struct worker *w, int fd)
{
	CLEANUP(base_free) char *text = NULL;
	struct ctl_error err;

	if (fd < 0)
		return 0;
	ssize_t n = fd_read_file(fd, KEEPER_STATE_MAX_B, &text);

	fd_close(fd);
	if (n >= 0 && !state_load(w->state, text, (size_t)n, &err))
		return 0;
	log_error(NULL, "%s/state.json: %s", w->opt->state,
		  n < 0 ? strerror((int)-n) : err.text);
	return -EINVAL;
}

static bool has_disk(void *arg, const char *name)
{
	const struct worker *w = arg;

	return w->opt->blk_file || state_get(w->state, "disk", name);
}

static bool has_function(void *arg, const char *name)
{
	const struct worker *w = arg;

	return state_get(w->state, "function", name);
}

/* Takes the keeper's first word, with the state if there is one and what predecessors left. */
static int take_hello(struct worker *w)
{
	struct keeper_event hello;
	int fd = -1, err = link_event(&w->link, &hello, &fd);

	if (err || hello.op != KEEPER_HELLO)
		return err ? err : -EPROTO;
	w->restarts = hello.restarts;
	err = load_state(w, fd);
	if (!err)
		err = link_recall(&w->link, hello.nkept);
	if (err)
		return err;
	/* of those that were being made or removed when a worker died */
	link_forget_others(&w->link, "disk", has_disk, w);
	link_forget_others(&w->link, "function", has_function, w);
	return 0;
}

static void keeper_ready(struct loop_watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, events);
	struct keeper_event ev;
	int fd = -1, err = link_event(&w->link, &ev, &fd);

	if (!err && ev.op == KEEPER_CONN && fd >= 0) {
		link_taken(&w->link);
		server_adopt(w->server, fd);
		return;
	}
	fd_close(fd);
	if (!err && ev.op == KEEPER_COUNT)
		link_healthy(&w->link, status_served());
	if (!err && ev.op == KEEPER_PAST)
		status_past(ev.how, ev.gap_ns);
	if (!err && ev.op == KEEPER_STOP)
		loop_stop(&w->loop);
	if (err) { /* without a keeper there is nothing to go on for */
		w->status = 1;
		loop_stop(&w->loop);
	}
}

/* On a front's thread. */
static void front_ended(void *arg)
{
	struct worker *w = arg;

	eventfd_write(w->ended.fd, 1);
}

static void ended_ready(struct loop_watch *watch, uint32_t events)
{
	loop_stop(&container_of(watch, struct worker, ended)->loop);
}

static void closed_ready(struct loop_watch *watch, uint32_t events)
{
	eventfd_t times;

	if (!eventfd_read(watch->fd, &times))
		disk_ctl_reap(container_of(watch, struct worker, closed)->ctl);
}

/* @waiting disks could not be opened yet, and trying took @took_ns: the next try comes soon, the
 * ones after it later. By a quarter each: how late a lock is noticed is part of what its guest
 * waits. */
static void plan_retry(struct worker *w, unsigned waiting, uint64_t took_ns)
{
	if (!waiting) {
		link_settled(&w->link);
		return;
	}
	uint64_t us = max_u64(w->retry_us + w->retry_us / 4, took_ns / NS_PER_US);

	w->retry_us = (unsigned)min_u64(max_u64(us, RETRY_FIRST_US), RETRY_MAX_US);
	timer_set(w->retry.fd, w->retry_us * NS_PER_US);
}

static void balance_ready(struct loop_watch *watch, uint32_t events)
{
	balance_ctl_tick();
}

static void retry_ready(struct loop_watch *watch, uint32_t events)
{
	struct worker *w = container_of(watch, struct worker, retry);

	if (!timer_take(watch->fd))
		return;
	uint64_t begin_ns = clock_ns();
	unsigned waiting = disk_ctl_retry(w->ctl);

	plan_retry(w, waiting, clock_ns() - begin_ns);
}

/* The one disk of --blk-file. */
static int serve_file(struct worker *w, struct ctl_error *err)
{
	const struct options *o = w->opt;
	json_t *params = json_pack("{s:s, s:{s:s, s:s}, s:{s:s, s:s*}, s:b}", "name", "blk-file",
				   "medium", "kind", "file", "path", o->blk_file, "front", "kind",
				   "vhost-user", "socket", o->fd < 0 ? o->socket_path : "/",
				   "readonly", o->read_only);
	int code = params ? disk_ctl_serve(w->ctl, params, o->fd, front_ended, w, err) :
			    ctl_fail(err, -EINVAL, "bad_value", "path", "it is not UTF-8");

	if (code && !strcmp(err->param, "front.socket"))
		log_error(NULL, "--socket-path: %s", err->text);
	else if (code)
		log_error(NULL, "--blk-file: %s", err->text);
	json_decref(params);
	return code;
}

static int start_disks(struct worker *w)
{
	CLEANUP(base_free) char *dir = w->opt->control ? strdup(w->opt->control) : NULL;
	struct ctl_error err = { 0 };
	int code = poller_ctl_start(w->ctl, w->opt->pollers, w->opt->cpus, &err);

	if (code) {
		log_error(NULL, "--%s: %s", err.param, err.text);
		return code;
	}
	const char *socket_dir = dir ? dirname(dir) : "";

	disk_ctl_set_socket_dir(socket_dir);
	remote_ctl_restore(w->ctl, &w->loop, socket_dir);
	if (w->opt->blk_file)
		return serve_file(w, &err);
	plan_retry(w, disk_ctl_restore(w->ctl), 0);
	balance_ctl_start(w->ctl, w->balance.fd);
	return 0;
}

static int prepare(struct worker *w)
{
	static struct ctl_opener opener = { .open = ask_open,
					    .ahead = ask_ahead,
					    .listen = ask_listen,
					    .unlisten = ask_unlisten,
					    .unmake = ask_unmake,
					    .spawn = ask_spawn,
					    .kill = ask_kill };
	int err = link_init(&w->link, w->opt->worker_link);

	if (err)
		return err;
	opener.arg = &w->link;
	opener.keep = &w->link.keep;
	ctl_set_opener(&opener);
	w->state = state_new(w->opt->state ? ask_save : NULL, &w->link);
	w->ctl = w->state ? ctl_new(&posternd_tables, w->state) : NULL;
	err = loop_init(&w->loop);
	w->server = w->ctl && !err ? server_new(&w->loop, w->ctl) : NULL;
	w->events.fd = w->link.event_fd;
	w->ended.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->retry.fd = timer_open();
	w->balance.fd = timer_open();
	w->closed.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!w->server || w->ended.fd < 0 || w->retry.fd < 0 || w->closed.fd < 0 ||
	    w->balance.fd < 0)
		return err ? err : -ENOMEM;
	disk_ctl_set_wake(w->closed.fd);
	err = loop_add(&w->loop, &w->events, EPOLLIN);
	if (!err)
		err = loop_add(&w->loop, &w->ended, EPOLLIN);
	if (!err)
		err = loop_add(&w->loop, &w->closed, EPOLLIN);
	if (!err)
		err = loop_add(&w->loop, &w->balance, EPOLLIN);
	return err ? err : loop_add(&w->loop, &w->retry, EPOLLIN);
}

static void tear_down(struct worker *w, int status)
{
	server_free(w->server);
	/* what a stalled medium still uses is nothing to wait for; the kernel takes it away */
	if (!disk_ctl_close_all(CLOSE_GRACE_NS))
		_exit(status);
	remote_ctl_close_all();
	poller_ctl_stop();
	ctl_free(w->ctl);
	state_free(w->state);
	loop_fini(&w->loop);
	fd_close(w->ended.fd);
	fd_close(w->retry.fd);
	fd_close(w->balance.fd);
	disk_ctl_set_wake(-1);
	fd_close(w->closed.fd);
	link_fini(&w->link);
}

/* All that can be done before it is this worker's turn, which may be long from now. */
static int stand_by(struct worker *w)
{
	static const struct keeper_intro intro = {
		.op = KEEPER_INTRO,
		.protocol = KEEPER_PROTOCOL,
		.state_min = STATE_VERSION,
		.state_max = STATE_VERSION,
		.kept_min = KEEP_VERSION_MIN,
		.kept_max = KEEP_VERSION,
		.version = POSTERN_VERSION,
		.baton_min = BATON_VERSION,
		.baton_max = BATON_VERSION,
	};
	int err = fault_init();

	if (!err)
		err = crash_init();
	crash_watch_stack();
	fd_make_room(KEPT_ROOM);
	clock_scale(); /* measures for half a millisecond, once */
	prctl(PR_SET_NAME, "postern-worker");
	poller_ctl_look();
	int held = hold_start(fd_steal(&w->link.hold_fd));
	if (held)
		log_warn(NULL, "what guests have touched will delay a successor: %s",
			 strerror(-held));
	sandbox_enter(&w->sandbox);
	return err ? err : link_introduce(&w->link, &intro);
}

int worker_run(const struct options *o)
{
	struct worker w = { .opt = o,
			    .loop.epfd = -1,
			    .events = { -1, keeper_ready },
			    .ended = { -1, ended_ready },
			    .balance = { -1, balance_ready },
			    .retry = { -1, retry_ready },
			    .closed = { -1, closed_ready } };
	int err = prepare(&w);

	if (!err)
		err = stand_by(&w);
	if (err)
		log_error(NULL, "the worker cannot start: %s", strerror(-err));
	if (!err)
		err = take_hello(&w);
	if (!err) {
		status_init(&w.sandbox, w.restarts, o->control, o->state);
		err = start_disks(&w);
	}
	if (!err)
		err = link_ready(&w.link);
	if (!err)
		err = loop_run(&w.loop);
	int status = err ? 1 : w.status;

	tear_down(&w, status);
	return status;
}
