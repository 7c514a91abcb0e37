/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the worker that serves asks for. One request at a time: while a clerk or a program that
 * is being started takes its time, what the worker says next stays in its socket, and the
 * keeper goes on with everything else. Nothing takes longer than PATIENCE or the start of a
 * program.
 */
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/private.h"

/* Of the clerk's own time: on a busy machine it may only wait for a processor. */
#define PATIENCE_NS (2 * NS_PER_S)
/* While some path does not answer: its neighbours will not either, and are many perhaps. */
#define SHORT_NS (100 * NS_PER_MS)
#define START_NS (2 * NS_PER_S) /* until a program is executed */

/* What a worker sends: first who it is, then, while it serves, requests. */
union word {
	struct keeper_intro intro;
	struct keeper_request req;
};

static void on_taken(struct keeper *k)
{
	if (!k->ncaller)
		return;
	fd_close(k->caller_fd[0]);
	memmove(k->caller_fd, k->caller_fd + 1, --k->ncaller * sizeof(k->caller_fd[0]));
	loop_mod(&k->loop, &k->control, EPOLLIN);
}

int worker_answer(int sock, const struct keeper_answer *a, const int *fds, unsigned nfd)
{
	int err = fd_send(sock, a, sizeof(*a), fds, nfd);
	struct keeper_answer refusal = { .err = err };

	if (!err || err == -EPIPE || err == -ECONNRESET) /* it has ended */
		return 0;
	return fd_send(sock, &refusal, sizeof(refusal), NULL, 0) ? -ENOTCONN : err;
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

/* After a request of @w that gave @err. */
static void judge(struct worker *w, int err)
{
	if (err == -EPROTO)
		log_error(NULL, "worker %d asked for what no worker asks for: killed", w->pid);
	else if (err == -ENOTCONN)
		log_error(NULL, "worker %d does not take its answers: killed", w->pid);
	else if (err)
		log_warn(NULL, "worker %d was refused what it asked for: %s", w->pid,
			 strerror(-err));
	if (err == -EPROTO || err == -ENOTCONN) {
		loop_del(&w->keeper->loop, &w->request);
		kill(w->pid, SIGKILL);
	}
}

bool desk_is_busy(const struct keeper *k)
{
	return k->desk.errand.clerk || programs_starting(&k->office.programs);
}

/* What was waited for is over; who asked is told, unless it has ended meanwhile. */
static void end(struct keeper *k, const struct keeper_answer *a, const int *fds, unsigned nfd)
{
	struct worker *asker = k->desk.asker;

	k->desk.asker = NULL;
	timer_set(k->desk.timer.fd, 0);
	if (asker && a)
		judge(asker, worker_answer(asker->request.fd, a, fds, nfd));
	if (k->now && k->now->is_paused) {
		k->now->is_paused = false;
		loop_add(&k->loop, &k->now->request, EPOLLIN);
	}
}

void desk_forget(struct keeper *k, const struct worker *w)
{
	struct desk *d = &k->desk;

	if (d->asker != w)
		return;
	d->asker = NULL;
	/* its successor is not to wait; but for a socket, which it will ask for again */
	if (d->errand.clerk && d->req.op == KEEPER_OPEN &&
	    clerks_give_up(&k->clerks, &d->errand, false))
		end(k, NULL, NULL, 0);
}

static void errand_done(struct errand *e, const struct clerk_report *r, int fd)
{
	struct keeper *k = container_of(e, struct keeper, desk.errand);
	struct worker *asker = k->desk.asker;
	int give = -1;
	struct keeper_answer a = { .err = office_done(&k->office, &k->desk.req, r, fd, &give) };

	if (k->desk.req.op != KEEPER_OPEN || r->told == CLERK_SILENT) {
		end(k, &a, &give, give >= 0);
		return;
	}
	end(k, NULL, NULL, 0); /* it has the clerk's answer */
	if (asker)
		judge(asker, r->told);
}

/* Return: 0; -errno. */
static int send_out(struct worker *w, const struct clerk_order *o)
{
	struct keeper *k = w->keeper;
	struct desk *d = &k->desk;

	d->req = o->req;
	d->errand.done = errand_done;
	int err = clerks_send(&k->clerks, &d->errand, o,
			      o->req.op == KEEPER_OPEN ? w->request.fd : -1);
	if (err)
		return err;
	d->asker = w;
	d->patience_ns = k->clerks.nlate ? SHORT_NS : PATIENCE_NS;
	patience_begin(&d->patience, clerks_pid(&d->errand), clock_ns());
	timer_repeat(d->timer.fd, PATIENCE_LOOK_NS);
	return 0;
}

/* @nfd descriptors of @r have come of a start: tells of it, and ends what nobody knows of. */
static int answer_program(struct worker *w, const struct program_result *r)
{
	int err = worker_answer(w->request.fd, &r->answer, r->fds, r->nfd);

	if (err && r->is_new)
		kill(r->answer.pid, SIGKILL);
	return err;
}

static void start_ready(struct loop_watch *watch, uint32_t events)
{
	struct keeper *k = container_of(watch, struct keeper, desk.start);
	struct program_result r;

	if (programs_hear(&k->office.programs, &r))
		return;
	loop_del(&k->loop, watch);
	struct worker *asker = k->desk.asker;

	end(k, NULL, NULL, 0);
	if (asker)
		judge(asker, answer_program(asker, &r));
	programs_heard(&k->office.programs);
}

static int serve_program(struct worker *w, const struct keeper_request *req, const int *fds,
			 unsigned nfd)
{
	struct keeper *k = w->keeper;
	struct program_result r;
	int ret = programs_serve(&k->office.programs, req, fds, nfd, &r);

	if (ret != PROGRAMS_STARTING)
		return ret ? ret : answer_program(w, &r);
	k->desk.asker = w;
	k->desk.start = (struct loop_watch){ k->office.programs.report_fd, start_ready };
	timer_set(k->desk.timer.fd, START_NS);
	return loop_add(&k->loop, &k->desk.start, EPOLLIN);
}

void desk_timer(struct keeper *k)
{
	struct keeper_answer late = { .err = -ETIMEDOUT };
	struct desk *d = &k->desk;

	if (programs_starting(&k->office.programs)) {
		loop_del(&k->loop, &k->desk.start);
		programs_give_up(&k->office.programs);
		end(k, &late, NULL, 0);
	} else if (d->errand.clerk && patience_spent(&d->patience, clock_ns()) >= d->patience_ns &&
		   clerks_give_up(&k->clerks, &d->errand, true)) {
		end(k, &late, NULL, 0);
	}
}

/* Carries out @req, which came with @nfd descriptors (borrowed), and answers, now or later.
 * Return: 0; -EPROTO: no worker asks for that; -ENOTCONN: it does not read its answers; -errno: it
 * has been refused. */
static int serve(struct worker *w, const struct keeper_request *req, const int *fds, unsigned nfd)
{
	struct keeper *k = w->keeper;
	struct clerk_order order;
	struct keeper_answer a;
	int give = -1;

	if (w != k->now)
		return -EPROTO;
	if (programs_concerns(req->op))
		return serve_program(w, req, fds, nfd);
	a = (struct keeper_answer){ .err = nfd > 1 ? -EPROTO :
						     office_serve(&k->office, req,
								  nfd ? fds[0] : -1, &give,
								  &order) };
	if (a.err == -EPROTO)
		return -EPROTO;
	if (a.err == OFFICE_CLERK) {
		a.err = send_out(w, &order);
		return a.err ? worker_answer(w->request.fd, &a, NULL, 0) : 0;
	}
	if (req->op == KEEPER_LIST)
		return answer_list(w, req->flags);
	if (req->op == KEEPER_TAKEN)
		on_taken(k);
	if (req->op == KEEPER_READY)
		crew_ready(k);
	if (req->op == KEEPER_HEALTHY)
		upgrade_counted(k, req->flags);
	return worker_answer(w->request.fd, &a, &give, give >= 0);
}

void request_ready(struct loop_watch *watch, uint32_t events)
{
	static const struct keeper_answer no_room = { .err = -EMFILE };
	struct worker *w = container_of(watch, struct worker, request);
	union word word;
	unsigned nfd = 0;
	int fds[KEEPER_FILES_MAX], err = -EPROTO;

	if (w == w->keeper->now && desk_is_busy(w->keeper)) {
		w->is_paused = true;
		loop_del(&w->keeper->loop, watch);
		return;
	}
	ssize_t n = fd_recv(watch->fd, &word, sizeof(word), fds, ARRAY_SIZE(fds), &nfd);

	if (n == -EAGAIN)
		return;
	if (n == 0 || n == -ECONNRESET) { /* it is ending; its cells or SIGCHLD say the rest */
		loop_del(&w->keeper->loop, watch);
		return;
	}
	if (n == -EMSGSIZE) { /* one descriptor more than we can have */
		err = worker_answer(watch->fd, &no_room, NULL, 0);
	} else if (n >= (ssize_t)sizeof(word.intro) && word.intro.op == KEEPER_INTRO &&
		   !w->intro.op) {
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
	judge(w, err);
}
