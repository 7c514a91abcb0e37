/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lanes of a disk: made and given back, changed by mail, looked at.
 */
#include <stdlib.h>

#include "disk/private.h"

/* On the lane's poller, between turns. */
struct lane_change {
	struct lane *lane;
	struct guard *guard; /* for a lane that has none; NULL: needs none */
	uint64_t size_b;
	struct disk_care care;
};

static void apply_change(void *arg)
{
	const struct lane_change *c = arg;
	struct lane *l = c->lane;

	l->size_b = c->size_b;
	l->deadline_ticks = clock_ns_to_ticks(l->poller->scale, c->care.timeout_ns);
	l->expires = c->care.expires && c->care.timeout_ns;
	l->stops = c->care.stops;
	if (c->guard)
		l->guard = c->guard;
	if (l->guard)
		l->guard->armed = l->expires;
	lane_judge_plain(l);
	if (!l->stops)
		lane_go_on(l);
	if (!list_empty(&l->inflight))
		poller_timer(l->poller, poller_now_ns(l->poller));
}

/* Context: the lock is held. */
static void change(struct disk *d, struct disk_lane *l, const struct disk_care *care)
{
	struct lane_change c = { &l->lane, l->guard, d->size_b, *care };

	poller_call(l->lane.poller, apply_change, &c);
	l->guard = NULL;
}

/* Makes what @l needs to be changed to @care. Context: the lock is held. Return: 0; -ENOMEM. */
static int prepare(struct disk *d, struct disk_lane *l, const struct disk_care *care)
{
	/* requests may be left behind in the medium, or have been */
	bool needs_guard = !d->media->caps.prompt && (care->expires || !fence_empty(d->fence));

	if (!needs_guard || l->lane.guard)
		return 0;
	l->guard = guard_new(&l->lane, d->fence);
	return l->guard ? 0 : -ENOMEM;
}

void lanes_resize(struct disk *d, uint64_t size_b)
{
	pthread_mutex_lock(&d->lock);
	__atomic_store_n(&d->size_b, size_b, __ATOMIC_RELAXED);
	list_for_each(n, tmp, &d->lanes)
		change(d, list_entry(n, struct disk_lane, link), &d->care);
	pthread_mutex_unlock(&d->lock);
}

int disk_set_care(struct disk *d, const struct disk_care *c)
{
	int err = 0;

	pthread_mutex_lock(&d->lock);
	list_for_each(n, tmp, &d->lanes)
		err = err ? err : prepare(d, list_entry(n, struct disk_lane, link), c);
	list_for_each(n, tmp, &d->lanes) {
		struct disk_lane *l = list_entry(n, struct disk_lane, link);

		if (!err)
			change(d, l, c);
		guard_free(l->guard);
		l->guard = NULL;
	}
	if (!err) {
		d->care = *c;
		d->stopped &= c->stops;
	}
	pthread_mutex_unlock(&d->lock);
	return err;
}

static void halt(void *arg)
{
	lane_halt(arg);
}

static void go_on(void *arg)
{
	lane_go_on(arg);
}

static void call_lanes(struct disk *d, void (*fn)(void *lane), bool stopped)
{
	pthread_mutex_lock(&d->lock);
	d->stopped = stopped;
	list_for_each(n, tmp, &d->lanes) {
		struct lane *l = &list_entry(n, struct disk_lane, link)->lane;

		poller_call(l->poller, fn, l);
	}
	pthread_mutex_unlock(&d->lock);
}

void disk_halt(struct disk *d)
{
	call_lanes(d, halt, true);
}

void disk_go_on(struct disk *d)
{
	call_lanes(d, go_on, false);
}

static void add_stats(struct lane_stats *to, const struct lane_stats *s)
{
	for (unsigned op = 0; op < REQ_OPS; op++) {
		to->op[op].bytes += stat_get(&s->op[op].bytes);
		to->op[op].errors += stat_get(&s->op[op].errors);
		hist_merge(&to->latency[op], &s->latency[op]);
	}
	to->copies += stat_get(&s->copies);
	to->copied_b += stat_get(&s->copied_b);
	to->overdue += stat_get(&s->overdue);
	to->timed_out += stat_get(&s->timed_out);
}

static enum disk_place place_of(const struct lane *l, const struct req *r)
{
	if (r->flags & REQ_F_AGAIN)
		return DISK_AT_DOOR;
	return r->flags & REQ_F_UP || r->step < l->nstep ? DISK_AT_STEP : DISK_AT_MEDIUM;
}

/* The step that has the oldest request of @l, or -1. */
static int oldest_step(const struct lane *l)
{
	const struct req *r;

	if (list_empty(&l->inflight) || (l->guard && l->guard->norphan))
		return -1;
	r = list_first(&l->inflight, struct req, link);
	return place_of(l, r) == DISK_AT_STEP ? r->step : -1;
}

struct lane_look {
	const struct lane *lane;
	struct disk_stats *into;
};

static void look_at_lane(void *arg)
{
	struct lane_look *look = arg;
	const struct lane *l = look->lane;
	struct disk_stats *s = look->into;

	uint64_t oldest_ns = lane_oldest_ns(l);

	if (oldest_ns > s->oldest_ns) {
		s->oldest_ns = oldest_ns;
		s->oldest_step = oldest_step(l);
	}
	list_for_each(n, tmp, &l->inflight)
		s->inflight++;
	list_for_each(n, tmp, &l->waiting)
		s->waiting++;
	list_for_each(n, tmp, &l->failed) {
		s->failed++;
		s->why = (enum req_status)list_entry(n, struct req, hold)->status;
	}
	s->orphans += l->guard ? l->guard->norphan : 0;
	s->stopped |= !l->batch;
	s->overdue |= l->is_overdue;
}

void disk_stats(struct disk *d, struct disk_stats *ret_stats)
{
	*ret_stats = (struct disk_stats){ .oldest_step = -1 };
	pthread_mutex_lock(&d->lock);
	ret_stats->stopped = d->stopped;
	add_stats(&ret_stats->lanes, &d->past);
	list_for_each(n, tmp, &d->lanes) {
		struct lane *l = &list_entry(n, struct disk_lane, link)->lane;
		struct lane_look look = { l, ret_stats };

		poller_call(l->poller, look_at_lane, &look);
		add_stats(&ret_stats->lanes, l->stats);
		ret_stats->nlane++;
	}
	pthread_mutex_unlock(&d->lock);
	ret_stats->inflight += ret_stats->waiting;
}

/* The list that disk_requests() fills in, on one poller after another. */
struct listing {
	const struct lane *lane;
	struct disk_request *into;
	unsigned max, n;
};

static struct disk_request *next_row(struct listing *all, const struct req *r, uint64_t since_ticks)
{
	static struct disk_request beyond; /* counted, and shown to nobody */
	const struct poller *p = all->lane->poller;
	uint64_t now = clock_ticks();
	bool copied = r->flags & REQ_F_BOUNCED;
	struct disk_request *row = all->n < all->max ? &all->into[all->n] : &beyond;

	all->n++;
	*row = (struct disk_request){
		.off_b = copied ? r->bounce->was_off_b : r->off_b,
		.len_b = copied ? r->bounce->was_len_b : r->len_b,
		.age_ns = clock_ticks_to_ns(p->scale, now > since_ticks ? now - since_ticks : 0),
		.poller = p->name,
		.queue = r->owner->index,
		.op = (enum req_op)r->op,
	};
	return row;
}

static void list_one(struct listing *all, const struct req *r)
{
	const struct lane *l = all->lane;
	struct disk_request *row = next_row(all, r, r->taken_ticks);

	row->place = place_of(l, r);
	if (row->place == DISK_AT_STEP)
		row->step = l->step[r->step].ops->kind;
}

static void list_lane(void *arg)
{
	struct listing *all = arg;
	const struct lane *l = all->lane;

	list_for_each(n, tmp, &l->inflight)
		list_one(all, list_entry(n, struct req, link));
	list_for_each(n, tmp, &l->waiting) {
		const struct req *r = list_entry(n, struct req, link);

		next_row(all, r, r->taken_ticks)->place = r->status == REQ_OK ? DISK_AT_LIMIT :
									       DISK_FAILED;
	}
	for (unsigned i = 0; l->guard && i < GUARD_SLOTS; i++) {
		const struct guard_slot *s = &l->guard->slot[i];

		if (s->busy && !s->orig)
			next_row(all, &s->sub, s->since_ticks)->place = DISK_GIVEN_UP;
	}
}

unsigned disk_requests(struct disk *d, struct disk_request *ret_reqs, unsigned max)
{
	struct listing all = { .into = ret_reqs, .max = max };

	pthread_mutex_lock(&d->lock);
	list_for_each(n, tmp, &d->lanes) {
		all.lane = &list_entry(n, struct disk_lane, link)->lane;
		poller_call(all.lane->poller, list_lane, &all);
	}
	pthread_mutex_unlock(&d->lock);
	return all.n;
}

static void lane_attach(void *arg)
{
	struct lane *l = arg;

	list_add_tail(&l->poller->timed, &l->timed);
}

static void lane_detach(void *arg)
{
	struct lane *l = arg;

	list_del_init(&l->timed);
	list_del_init(&l->media->busy); /* quiet since the last turn, perhaps not yet taken off */
	l->media->on_busy = false;
}

static void lane_close(struct disk_lane *l)
{
	lane_fini(&l->lane);
	l->lane.media->ops->lane_close(l->lane.media);
	guard_free(l->guard);
	free(l);
}

/* Gives a fresh lane its functions, and what the disk is. */
static int fit_out(struct disk *d, struct disk_lane *dl)
{
	struct lane *l = &dl->lane;
	int err = 0;

	l->size_b = d->size_b;
	l->blk_mask = d->blk_b - 1;
	l->align_mask = d->media->caps.align_b - 1;
	if (d->media->caps.batch)
		l->max_batch = (uint8_t)min_u32(d->media->caps.batch, POLLER_BATCH);
	l->batch = d->stopped ? 0 : l->max_batch;
	l->readonly = d->readonly;
	l->has_discard = d->caps.discard_gran_b;
	l->has_zeroes = d->caps.zeroes;
	l->news = d->news;
	l->news_arg = d->news_arg;
	for (unsigned i = 0; !err && i < d->nfunction; i++)
		err = lane_add_function(l, d->function[i]);
	if (!err && d->gate)
		err = lane_set_gate(l, d->gate);
	return err ? err : prepare(d, dl, &d->care);
}

static int lane_open(struct disk *d, struct poller *p, struct disk_lane **ret_lane)
{
	struct media_lane *m;
	struct disk_lane *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	int err = d->media->ops->lane_open(d->media, p, &m);
	if (err) {
		free(l);
		return err;
	}
	err = lane_init(&l->lane, p, m, d->name);
	if (err) {
		m->ops->lane_close(m);
		free(l);
		return err;
	}
	err = fit_out(d, l);
	if (err) {
		lane_close(l);
		return err;
	}
	poller_call(p, lane_attach, &l->lane);
	change(d, l, &d->care);
	lane_start(&l->lane);
	*ret_lane = l;
	return 0;
}

int disk_lane_get(struct disk *d, struct poller *p, struct lane **ret_lane)
{
	struct disk_lane *l = NULL;
	int err = 0;

	pthread_mutex_lock(&d->lock);
	list_for_each(n, tmp, &d->lanes) {
		struct disk_lane *have = list_entry(n, struct disk_lane, link);

		if (have->lane.poller == p && !have->leaving)
			l = have;
	}
	if (!l) {
		err = lane_open(d, p, &l);
		if (!err)
			list_add_tail(&d->lanes, &l->link);
	}
	if (!err) {
		l->users++;
		*ret_lane = &l->lane;
	}
	pthread_mutex_unlock(&d->lock);
	return err;
}

static void count_orphans(void *arg)
{
	struct lane_look *look = arg;

	look->into->orphans = look->lane->guard ? look->lane->guard->norphan : 0;
}

bool disk_lane_may_go(struct disk *d, struct lane *lane)
{
	struct disk_stats s = { 0 };
	struct lane_look look = { lane, &s };

	pthread_mutex_lock(&d->lock);
	bool last = container_of(lane, struct disk_lane, lane)->users == 1;
	pthread_mutex_unlock(&d->lock);
	if (last)
		poller_call(lane->poller, count_orphans, &look);
	return !s.orphans;
}

void disk_lane_put(struct disk *d, struct lane *lane)
{
	struct disk_lane *l = container_of(lane, struct disk_lane, lane);

	pthread_mutex_lock(&d->lock);
	bool last = l->leaving = !--l->users;
	pthread_mutex_unlock(&d->lock);
	if (!last)
		return;
	/* what functions have of their own in the medium, or was given up there; others may look at
	 * the disk meanwhile */
	lane_stop(lane);
	pthread_mutex_lock(&d->lock);
	poller_call(lane->poller, lane_detach, lane);
	list_del(&l->link);
	add_stats(&d->past, lane->stats);
	lane_close(l);
	pthread_mutex_unlock(&d->lock);
}
