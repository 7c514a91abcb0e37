/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chain: what happens between a disk and its medium. The common lane has no
 * functions and a medium that takes guest memory as it is; its batch goes through
 * in one call. Everything else is a slower path of the same shape.
 */
#include "core/guard.h"
#include "core/lane.h"

/* From now on some request waits; the lane's timer goes on from there. */
static void watch_deadline(struct lane *l)
{
	if (l->deadline_ticks)
		poller_timer(l->poller, poller_now_ns(l->poller) +
			     clock_ticks_to_ns(l->poller->scale, l->deadline_ticks));
}

/* Hands a batch to the medium. */
static void submit(struct lane *l, struct req **reqs, unsigned n)
{
	struct media_lane *m = l->media;

	m->inflight += n;
	m->ops->submit(m, reqs, n);
	if (m->inflight && !m->on_busy) {
		poller_media_busy(l->poller, m);
		watch_deadline(l);
	}
}

/* Hands requests that came through the chain to the medium, or to who stands before it. */
static void enter(struct lane *l, struct req **reqs, unsigned n)
{
	if (l->guard)
		n = guard_pass(l->guard, reqs, n);
	if (n)
		submit(l, reqs, n);
	/* those that it keeps are in flight too, though the medium may never become busy */
	if (l->guard)
		watch_deadline(l);
}

/* Return: whether @r has a buffer of the pool now; otherwise it waits for one. */
static bool copy(struct lane *l, struct req *r)
{
	if (!bounce_begin(&l->bounce, r))
		return false;
	stat_add(&l->stats->copies, 1);
	stat_add(&l->stats->copied_b, r->len_b);
	return true;
}

/* Return: whether the request may go to the medium now. */
static bool suits_medium(struct lane *l, struct req *r)
{
	if (l->guard && l->guard->armed) /* copies all that there is */
		return true;
	return r->flags & REQ_F_BOUNCED || bounce_unneeded(r, l->align_mask) || copy(l, r);
}

/* Return: whether the request may go to step @s now. */
static bool suits_step(struct lane *l, const struct chain_step *s, struct req *r)
{
	return likely(!s->ops->needs_stable) || r->op != REQ_WRITE ||
	       r->flags & REQ_F_BOUNCED || copy(l, r);
}

/* Return: whether @r came through to the medium's end of the chain. */
static bool descend(struct lane *l, struct req *r)
{
	while (r->step < l->nstep) {
		const struct chain_step *s = &l->step[r->step];

		if (!suits_step(l, s, r))
			return false;
		enum step verdict = s->ops->down ? s->ops->down(s->state, r) : STEP_PASS;

		if (verdict == STEP_HELD)
			return false;
		if (verdict == STEP_DONE) {
			chain_retreat(r);
			return false;
		}
		r->step++;
	}
	return true;
}

void chain_submit(struct lane *l, struct req **reqs, unsigned n)
{
	struct req *go[POLLER_BATCH];
	unsigned k = 0;

	if (likely(l->plain)) {
		submit(l, reqs, n);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		struct req *r = reqs[i];

		r->flags |= REQ_F_STEPS;
		if (descend(l, r) && suits_medium(l, r))
			go[k++] = r;
	}
	/* held ones are in flight too, though the medium may never become busy */
	if (k < n)
		watch_deadline(l);
	if (k)
		enter(l, go, k);
}

/* Lets the pool's first waiter have the buffer that came free. */
static void serve_waiter(struct bounce_pool *p)
{
	struct list *n = p->free ? list_pop(&p->waiting) : NULL;

	if (n)
		chain_resume(list_entry(n, struct req, hold));
}

/* @r is back at the step that it was copied before. Return: whether all of it has been through;
 * otherwise its next piece goes. */
static bool uncopy(struct lane *l, struct req *r)
{
	if (!bounce_advance(&l->bounce, r)) {
		stat_add(&l->stats->copied_b, r->len_b);
		r->flags = (uint8_t)((r->flags & ~REQ_F_UP) | REQ_F_AGAIN);
		chain_resume(r);
		return false;
	}
	serve_waiter(&l->bounce);
	return true;
}

void chain_retreat(struct req *r)
{
	struct lane *l = r->lane;

	r->flags |= REQ_F_UP;
	for (;;) {
		if (r->flags & REQ_F_BOUNCED && r->bounce->step == r->step && !uncopy(l, r))
			return;
		if (!r->step)
			break;
		const struct chain_step *s = &l->step[--r->step];

		if (s->ops->up && s->ops->up(s->state, r) == STEP_HELD)
			return;
	}
	if (likely(r->status == REQ_OK) || !lane_keeps(r))
		lane_end(r);
}

void chain_resume(struct req *r)
{
	list_add_tail(&r->lane->poller->resumed, &r->hold);
}

/* Return: whether @r, which was held, has come through to the medium's end of the chain. */
static bool go_on(struct req *r)
{
	struct lane *l = r->lane;

	if (r->flags & REQ_F_UP) {
		chain_retreat(r);
		return false;
	}
	/* Held by a step: on to the one behind it. Held before it, for a buffer: now to that
	 * one. */
	if (r->flags & REQ_F_AGAIN)
		r->flags &= (uint8_t)~REQ_F_AGAIN;
	else
		r->step++;
	if (!l->plain)
		r->flags |= REQ_F_STEPS;
	return descend(l, r) && suits_medium(l, r);
}

/* Whether the two may go to the medium in one batch; see reqs_done(). */
static bool are_alike(const struct req *a, const struct req *b)
{
	return a->lane == b->lane &&
	       (!a->lane->plain || (a->owner == b->owner && a->taken_ticks == b->taken_ticks));
}

unsigned chain_continue(struct list *resumed)
{
	struct req *go[POLLER_BATCH];
	unsigned n = 0, k = 0;

	for (struct list *it; (it = list_pop(resumed)); n++) {
		struct req *r = list_entry(it, struct req, hold);

		if (!go_on(r))
			continue;
		if (k && (k == POLLER_BATCH || !are_alike(go[0], r))) {
			enter(go[0]->lane, go, k);
			k = 0;
		}
		go[k++] = r;
	}
	if (k)
		enter(go[0]->lane, go, k);
	return n;
}
