/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which worker serves. One does; another stands by, started and sandboxed, and waits to be
 * told; those before them are on their way out. A worker's death is known by its cells
 * (death.h) before it can be reaped, and the next one takes over then.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/private.h"

#define BACKOFF_FIRST_MS 10u
#define BACKOFF_MAX_MS 5000u
#define STEADY_NS (250 * NS_PER_MS) /* a worker that has served this long dies of something new */
#define STOP_MS 5000u		    /* what a worker gets to let go of its disks */
#define VAULT_RETRY_MS 1000u
#define SETTLE_MS 100u		    /* from READY to what takes the CPU from guests */

static void set_timer(const struct loop_watch *timer, unsigned ms)
{
	timer_set(timer->fd, ms * NS_PER_MS);
}

void keeper_finish(struct keeper *k, int status)
{
	k->status = status;
	loop_stop(&k->loop);
}

/* Makes @w the one who serves. Return: 0; -errno. */
static int promote(struct keeper *k, struct worker *w)
{
	CLEANUP(fd_cleanup) int state_fd = store_read(&k->office.store);
	struct keeper_event hello = { .op = KEEPER_HELLO, .restarts = k->restarts,
				      .nkept = k->office.kept.n + k->office.nsocket };
	struct keeper_event conn = { .op = KEEPER_CONN };
	int err = state_fd < 0 && state_fd != -ENOENT ? state_fd : 0;

	k->now = w;
	w->has_served = true;
	k->now_ns = clock_ns();
	programs_unclaim(&k->office.programs);
	if (!err)
		err = worker_tell(w, &hello, state_fd);
	for (unsigned i = 0; !err && i < k->ncaller; i++)
		err = worker_tell(w, &conn, k->caller_fd[i]);
	if (!err && k->control.fd >= 0)
		err = loop_add(&k->loop, &k->control, EPOLLIN);
	return err;
}

int crew_start(struct keeper *k)
{
	int err = 0;
	struct worker *w = k->heir ? k->heir : k->standby;

	if (!w)
		w = worker_spawn(k, k->program_fd, &err);
	if (w == k->standby)
		k->standby = NULL;
	k->heir = NULL;
	return w ? promote(k, w) : err;
}

static void plan_next(struct keeper *k);

static void start_next(struct keeper *k)
{
	int err = crew_start(k);

	if (!err)
		return;
	log_error(NULL, "cannot start a worker: %s", strerror(-err));
	if (k->now)
		kill(k->now->pid, SIGKILL);
	else
		plan_next(k);
}

/* Starts the next one: at once, unless the last one died young. */
static void plan_next(struct keeper *k)
{
	if (k->heir || clock_ns() - k->now_ns > STEADY_NS)
		k->backoff_ms = 0;
	unsigned ms = k->backoff_ms;

	k->backoff_ms = ms ? (unsigned)min_u64(2 * ms, BACKOFF_MAX_MS) : BACKOFF_FIRST_MS;
	k->restarts += !k->heir;
	if (ms) {
		log_warn(NULL, "the next worker starts in %u ms", ms);
		set_timer(&k->timer, ms);
	} else {
		start_next(k);
	}
}

static void mark_dead(struct worker *w)
{
	struct keeper *k = w->keeper;

	if (w->is_dead)
		return;
	w->is_dead = true;
	worker_mute(w);
	if (w->pid) /* one that has made itself look dead */
		kill(w->pid, SIGKILL);
	set_timer(&k->settle, SETTLE_MS);
	if (w == k->standby)
		k->standby = NULL;
	if (w == k->heir)
		k->heir = NULL;
	upgrade_lost(k, w);
	if (w != k->now)
		return;
	k->now = NULL;
	k->death_ns = clock_ns();
	/* Callers wait in the socket's backlog until there is a worker again. */
	if (k->control.fd >= 0)
		loop_del(&k->loop, &k->control);
	if (!k->stopping && k->was_ready && !k->cfg->one_life)
		plan_next(k);
}

static void died_ready(struct loop_watch *watch, uint32_t events)
{
	mark_dead(container_of(watch, struct worker, died));
}

void crew_met(struct worker *w)
{
	int err = death_watch(w->death);

	if (!err) {
		w->died = (struct loop_watch){ death_fd(w->death), died_ready };
		err = loop_add(&w->keeper->loop, &w->died, EPOLLIN);
	}
	if (!w->keeper->intro.op)
		w->keeper->intro = w->intro;
	if (!err) {
		upgrade_met(w->keeper, w);
		return;
	}
	log_error(NULL, "worker %d cannot be told from a dead one: killed: %s", w->pid,
		  strerror(-err));
	kill(w->pid, SIGKILL);
}

static void tell_past(struct keeper *k)
{
	k->past.op = KEEPER_PAST;
	if (k->now && k->now->is_ready)
		worker_tell(k->now, &k->past, -1);
}

void crew_ready(struct keeper *k)
{
	if (k->now->is_ready)
		return;
	k->now->is_ready = true;
	set_timer(&k->settle, SETTLE_MS);
	if (k->death_ns) {
		k->past.gap_ns = clock_ns() - k->death_ns;
		log_info(NULL, "worker %d serves %.1f ms after the death of the last one",
			 k->now->pid, (double)k->past.gap_ns / NS_PER_MS);
		tell_past(k);
	}
	if (!k->was_ready)
		notify_send("READY=1");
	k->was_ready = true;
}

static void reaped(struct worker *w, int status)
{
	struct keeper *k = w->keeper;
	bool clean = WIFEXITED(status) && !WEXITSTATUS(status);
	pid_t pid = w->pid;
	char how[64];

	child_how(status, how, sizeof(how));
	w->pid = 0;
	if (w->is_dead) /* what is left of it can go */
		set_timer(&k->settle, SETTLE_MS);
	mark_dead(w);
	if (!k->now && (k->stopping || !k->was_ready || k->cfg->one_life)) {
		/* one that ended by itself has said why */
		if (!k->stopping && WIFSIGNALED(status))
			log_error(NULL, "worker %d %s", pid, how);
		keeper_finish(k, k->stopping || clean ? 0 : 1);
		return;
	}
	if (w->is_replaced)
		snprintf(how, sizeof(how), "was replaced");
	else
		log_error(NULL, "%s %d %s", w->has_served ? "worker" : "standby worker", pid, how);
	if (!w->has_served)
		return;
	memcpy(k->past.how, how, sizeof(how));
	tell_past(k);
}

void crew_reap(struct keeper *k)
{
	int status;

	/* those that hold the memory of dead ones are children, too, and so are programs */
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		programs_reaped(&k->office.programs, pid, status);
		upgrade_reaped(k, pid, status);
		list_for_each(it, tmp, &k->workers) {
			struct worker *w = list_entry(it, struct worker, node);

			if (w->pid == pid) {
				reaped(w, status);
				break;
			}
		}
	}
}

void crew_timer(struct keeper *k)
{
	if (k->stopping && k->now && !k->is_killing) {
		log_warn(NULL, "the worker does not end: killed");
		kill(k->now->pid, SIGKILL);
		k->is_killing = true;
		set_timer(&k->timer, STOP_MS);
	} else if (k->stopping) {
		log_warn(NULL, "the worker is stuck in the kernel, and left to it");
		keeper_finish(k, 1);
	} else if (!k->now && !k->stopping) {
		start_next(k);
	}
}

void crew_mend(struct keeper *k)
{
	const struct vault *v = &k->office.vault;
	bool is_lost = vault_is_lost(v), was_there = k->vault.fd >= 0;

	if (was_there && !is_lost)
		return;
	if (was_there) {
		loop_del(&k->loop, &k->vault);
		k->vault.fd = -1;
		log_warn(NULL, "'%s' has gone: until it is back nothing outlives the keeper",
			 v->at);
	}
	int err = is_lost ? office_mend_vault(&k->office) : 0;

	if (!err && v->sock >= 0) {
		k->vault.fd = v->sock;
		err = loop_add(&k->loop, &k->vault, EPOLLIN); /* it says nothing unasked */
	}
	if (err) {
		k->vault.fd = -1;
		set_timer(&k->settle, VAULT_RETRY_MS);
	}
}

void crew_settle(struct keeper *k)
{
	int err = 0;

	list_for_each(it, tmp, &k->workers) {
		struct worker *w = list_entry(it, struct worker, node);

		if (w->is_dead && !w->pid)
			worker_free(w);
	}
	if (k->now && k->now->is_ready && !k->standby && !k->stopping && !k->cfg->one_life)
		k->standby = worker_spawn(k, k->program_fd, &err);
	if (err)
		log_warn(NULL, "no worker stands by: %s", strerror(-err));
	crew_mend(k);
}

int crew_adopt(struct keeper *k, pid_t pid, const int fds[4], const struct keeper_intro *intro)
{
	struct worker *w = worker_new(k);

	if (!w)
		return -ENOMEM;
	w->pid = pid;
	w->request.fd = fds[0];
	w->event_fd = fds[1];
	w->hold_fd = fds[2];
	w->intro = *intro;
	w->has_served = w->is_ready = k->was_ready = true;
	k->now = w;
	int err = death_adopt(fds[3], &w->death);
	if (!err)
		err = loop_add(&k->loop, &w->request, EPOLLIN);
	if (!err && k->control.fd >= 0)
		err = loop_add(&k->loop, &k->control, EPOLLIN);
	if (!err)
		crew_met(w);
	set_timer(&k->settle, SETTLE_MS);
	return err;
}

void crew_replace(struct keeper *k, struct worker *w)
{
	k->heir = w;
	if (k->now) {
		k->now->is_replaced = true;
		kill(k->now->pid, SIGKILL);
	} else {
		set_timer(&k->timer, 0);
		plan_next(k);
	}
}

void crew_refresh(struct keeper *k)
{
	if (k->standby)
		worker_drop(k->standby);
	k->standby = NULL;
	set_timer(&k->settle, SETTLE_MS);
}

void crew_stop(struct keeper *k)
{
	struct keeper_event stop = { .op = KEEPER_STOP };

	/* Who has a vault leaves everything there for the next keeper, as it is. */
	k->office.stays = k->office.vault.at;
	if (!k->now || k->office.stays) {
		keeper_finish(k, 0);
		return;
	}
	/* Asked twice, or a worker that does not listen: no more patience. */
	if (k->stopping || worker_tell(k->now, &stop, -1))
		kill(k->now->pid, SIGKILL);
	k->stopping = true;
	notify_send("STOPPING=1");
	set_timer(&k->timer, STOP_MS);
}

void crew_fini(struct keeper *k)
{
	list_for_each(it, tmp, &k->workers)
		worker_free(list_entry(it, struct worker, node));
}
