/* SPDX-License-Identifier: Apache-2.0 */
#include "core/lane.h"

#include <stdlib.h>
#include <string.h>

#include "core/guard.h"

/* What follows from the chain that there is. */
static void judge_chain(struct lane *l)
{
	/* a function may hold a request */
	l->synchronous = !l->nstep && !l->media->ops->poll && l->media->media->caps.align_b <= 1;
	lane_judge_plain(l);
}

int lane_init(struct lane *l, struct poller *p, struct media_lane *m, const char *name)
{
	*l = (struct lane){ .poller = p, .media = m, .name = name };
	l->batch = l->max_batch = POLLER_BATCH;
	list_init(&l->inflight);
	list_init(&l->waiting);
	list_init(&l->failed);
	list_init(&l->timed);
	l->stats = calloc(1, sizeof(*l->stats));
	if (!l->stats)
		return -ENOMEM;
	int err = bounce_pool_init(&l->bounce);
	if (err)
		free(l->stats);
	judge_chain(l);
	return err;
}

void lane_judge_plain(struct lane *l)
{
	l->plain = !l->nstep && !l->align_mask && !l->guard && !l->stops;
}

/* Who waits for the last orphan of a guard. */
struct settle {
	struct guard *guard;
	sem_t done;
};

static void settle(void *arg)
{
	struct settle *s = arg;

	if (s->guard->norphan)
		s->guard->settled = &s->done;
	else
		sem_post(&s->done);
}

void lane_start(struct lane *l)
{
	for (unsigned i = 0; i < l->nstep; i++)
		if (l->step[i].ops->lane_start)
			l->step[i].ops->lane_start(l->step[i].state, i);
}

void lane_stop_functions(struct lane *l)
{
	for (unsigned i = 0; i < l->nstep; i++)
		if (l->step[i].ops->lane_stop)
			l->step[i].ops->lane_stop(l->step[i].state);
}

bool lane_functions_quiet(const struct lane *l)
{
	bool quiet = true;

	for (unsigned i = 0; i < l->nstep; i++)
		if (l->step[i].ops->lane_is_quiet)
			quiet &= l->step[i].ops->lane_is_quiet(l->step[i].state);
	return quiet;
}

struct look {
	const struct lane *lane;
	bool quiet;
};

static void look(void *arg)
{
	struct look *k = arg;

	k->quiet = lane_functions_quiet(k->lane);
}

static void await_functions(const struct lane *l)
{
	struct look k = { .lane = l, .quiet = true };
	uint64_t nap_ns = 0;

	for (unsigned i = 0; i < l->nstep; i++)
		k.quiet &= !l->step[i].ops->lane_is_quiet;
	while (!k.quiet) {
		poller_call(l->poller, look, &k);
		if (!k.quiet)
			clock_nap(&nap_ns);
	}
}

void lane_stop(struct lane *l)
{
	struct settle s = { .guard = l->guard };

	lane_stop_functions(l);
	await_functions(l);
	if (!l->guard)
		return;
	sem_init(&s.done, 0, 0);
	poller_call(l->poller, settle, &s);
	poller_wait(l->poller, &s.done, NEVER_NS);
	sem_destroy(&s.done);
}

void lane_fini(struct lane *l)
{
	assert(list_empty(&l->inflight) && list_empty(&l->waiting));
	for (unsigned i = l->nstep; i-- > 0;)
		l->step[i].ops->lane_close(l->step[i].state);
	l->nstep = 0;
	if (l->gate.ops)
		l->gate.ops->lane_close(l->gate.state);
	guard_free(l->guard);
	bounce_pool_fini(&l->bounce);
	free(l->stats);
	l->stats = NULL;
}

int lane_open_step(struct lane *l, struct function *f, struct chain_step *ret)
{
	void *state;
	int err = f->ops->lane_open(f, l, &state);

	if (!err)
		*ret = (struct chain_step){ f->ops, state };
	return err;
}

int lane_add_function(struct lane *l, struct function *f)
{
	if (l->nstep == CHAIN_MAX)
		return -ENOSPC;
	int err = lane_open_step(l, f, &l->step[l->nstep]);

	if (err)
		return err;
	l->nstep++;
	judge_chain(l);
	return 0;
}

void lane_set_chain(struct lane *l, const struct lane_chain *c)
{
	memcpy(l->step, c->step, c->n * sizeof(*c->step));
	l->nstep = (uint8_t)c->n;
	judge_chain(l);
}

bool lane_is_quiet(const struct lane *l)
{
	unsigned waiting = 0;

	/* what the gate has let go may be on no list of the lane's */
	list_for_each(n, tmp, &l->poller->resumed)
		if (list_entry(n, struct req, hold)->lane == l)
			return false;
	list_for_each(n, tmp, &l->waiting)
		waiting++;
	/* what has failed is to begin anew, at the first step */
	list_for_each(n, tmp, &l->failed)
		waiting--;
	return !waiting && list_empty(&l->inflight);
}

int lane_set_gate(struct lane *l, struct function *f)
{
	return lane_open_step(l, f, &l->gate);
}

/* Somebody is to look at the lane. */
static void tell(const struct lane *l)
{
	if (l->news)
		l->news(l->news_arg);
}

void lane_hold(struct req *r)
{
	struct lane *l = r->lane;

	if (!l->synchronous)
		list_del(&r->link);
	list_add_tail(&l->waiting, &r->link);
}

void lane_unhold(struct req *r)
{
	struct lane *l = r->lane;

	list_del(&r->link);
	if (l->synchronous)
		return;
	r->since_ticks = l->poller->now_ticks;
	list_add_tail(&l->inflight, &r->link);
	if (l->deadline_ticks)
		poller_timer(l->poller, poller_now_ns(l->poller) +
			     clock_ticks_to_ns(l->poller->scale, l->deadline_ticks));
}

void lane_hurry(struct lane *l)
{
	if (l->gate.ops && l->gate.ops->hurry)
		l->gate.ops->hurry(l->gate.state);
	for (unsigned i = 0; i < l->nstep; i++)
		if (l->step[i].ops->hurry)
			l->step[i].ops->hurry(l->step[i].state);
}

void lane_halt(struct lane *l)
{
	l->batch = 0;
}

void lane_go_on(struct lane *l)
{
	if (l->batch)
		return;
	l->batch = l->max_batch;
	for (struct list *n; (n = list_pop(&l->failed));) {
		struct req *r = list_entry(n, struct req, hold);

		lane_unhold(r);
		r->status = REQ_OK;
		r->step = 0;
		r->flags = (uint8_t)((r->flags & ~REQ_F_UP) | REQ_F_AGAIN);
		chain_resume(r);
	}
	poller_unblock(l->poller);
}

/* Return: whether its owner has taken @r back. */
static bool give_back(struct req *r)
{
	struct lane *l = r->lane;

	if (!r->owner->forget)
		return false;
	if (!l->synchronous)
		list_del(&r->link);
	if (r->owner->forget(r))
		return true;
	if (!l->synchronous)
		list_add_tail(&l->inflight, &r->link);
	return false;
}

bool lane_keeps(struct req *r)
{
	struct lane *l = r->lane;

	if (!l->stops || r->op == REQ_READ)
		return false;
	/* the others are the guest's own mistakes */
	if (r->status != REQ_IOERR && r->status != REQ_NOSPC && r->status != REQ_TIMEOUT)
		return false;
	if (r->owner->ending)
		return give_back(r);
	stat_add(&l->stats->op[r->op].errors, 1);
	lane_hold(r);
	list_add_tail(&l->failed, &r->hold);
	lane_halt(l);
	tell(l);
	return true;
}

void lane_forget(struct lane *l, struct req_owner *owner)
{
	owner->ending = true;
	list_for_each(n, tmp, &l->failed) {
		struct req *r = list_entry(n, struct req, hold);

		if (r->owner != owner)
			continue;
		list_del(n);
		lane_unhold(r);
		if (!give_back(r))
			lane_end(r);
	}
}

static struct req *oldest(const struct lane *l)
{
	return list_empty(&l->inflight) ? NULL : list_first(&l->inflight, struct req, link);
}

/* When the oldest request began to age; UINT64_MAX: there is none. */
static uint64_t oldest_ticks(const struct lane *l)
{
	const struct req *r = oldest(l);
	uint64_t since = r ? r->since_ticks : UINT64_MAX;

	return l->guard ? min_u64(since, guard_oldest(l->guard)) : since;
}

uint64_t lane_oldest_ns(const struct lane *l)
{
	uint64_t since = oldest_ticks(l), now = clock_ticks();

	return since < now ? clock_ticks_to_ns(l->poller->scale, now - since) : 0;
}

/* Takes @r from who holds it. Return: false: its medium has it, or a function that does not
 * yield. */
static bool take_back(struct lane *l, struct req *r)
{
	bool waits = r->flags & REQ_F_AGAIN;

	if (!waits && (r->flags & REQ_F_UP || r->step == l->nstep || !l->step[r->step].ops->yields))
		return false;
	list_del(&r->hold);
	r->flags &= (uint8_t)~REQ_F_AGAIN;
	return true;
}

/* Ends what has been in flight since before @since_ticks, where that can be done. */
static void expire(struct lane *l, uint64_t since_ticks)
{
	if (l->guard)
		guard_expire(l->guard, since_ticks);
	list_for_each(n, tmp, &l->inflight) {
		struct req *r = list_entry(n, struct req, link);

		if (r->since_ticks > since_ticks)
			break;
		if (!take_back(l, r))
			continue;
		stat_add(&l->stats->timed_out, 1);
		r->status = REQ_TIMEOUT;
		chain_retreat(r);
	}
}

/* How long until the next look: until the first that is younger than @patience is not, or, when one
 * is past it and may end at any time, an eighth of it. */
static uint64_t until_next(const struct lane *l, uint64_t now, uint64_t patience, bool past)
{
	uint64_t most = past ? patience / 8 : patience;

	list_for_each(n, tmp, &l->inflight) {
		const struct req *r = list_entry(n, struct req, link);

		if (r->since_ticks + patience > now)
			return min_u64(most, r->since_ticks + patience - now);
	}
	return most;
}

static bool is_past(uint64_t since, uint64_t patience, uint64_t now)
{
	return since != UINT64_MAX && since + patience <= now;
}

/* Return: when to look again, NEVER_NS. */
static uint64_t look_at_deadline(struct lane *l, uint64_t now_ns)
{
	uint64_t now = l->poller->now_ticks, patience = l->deadline_ticks;
	uint64_t since = patience ? oldest_ticks(l) : UINT64_MAX;
	bool was = l->is_overdue, past = is_past(since, patience, now);

	if (past && l->expires) {
		expire(l, now - patience);
		since = oldest_ticks(l);
	}
	l->is_overdue = past;
	if (past && !was)
		stat_add(&l->stats->overdue, 1);
	if (past != was)
		tell(l);
	/* also after the last one has expired: whoever was told of it is told that it is over */
	if (since == UINT64_MAX && !past)
		return NEVER_NS;
	return now_ns + clock_ticks_to_ns(l->poller->scale, until_next(l, now, patience, past));
}

uint64_t lane_timer(struct lane *l, uint64_t now_ns)
{
	uint64_t next = look_at_deadline(l, now_ns);

	if (l->guard)
		next = min_u64(next, guard_timer(l->guard, now_ns));
	if (l->gate.ops && l->gate.ops->timer)
		next = min_u64(next, l->gate.ops->timer(l->gate.state, now_ns));
	for (unsigned i = 0; i < l->nstep; i++)
		if (l->step[i].ops->timer)
			next = min_u64(next, l->step[i].ops->timer(l->step[i].state, now_ns));
	return next;
}
