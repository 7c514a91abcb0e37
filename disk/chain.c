/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another chain for a disk that is in use. All its lanes change together, when none has a request
 * under way: what one queue has written through the new chain, another must not read through the
 * old one.
 */
#include <string.h>

#include "base/clock.h"
#include "disk/private.h"

#define QUIET_NS (1 * NS_PER_S) /* what requests in flight get to end */

struct change {
	struct disk *d;
	struct function *const *function;
	unsigned n;
	int from[CHAIN_MAX]; /* where it is in the chain there is; -1: nowhere, it is new */
};

static struct change change_to(struct disk *d, struct function *const *function, unsigned n)
{
	struct change c = { .d = d, .function = function, .n = n };

	for (unsigned i = 0; i < n; i++) {
		c.from[i] = -1;
		for (unsigned k = 0; k < d->nfunction; k++)
			if (d->function[k] == function[i])
				c.from[i] = (int)k;
	}
	return c;
}

static bool is_kept(const struct change *c, unsigned place)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->from[i] == (int)place)
			return true;
	return false;
}

/* Guests go by what they have been told of the disk. */
static int judge(const struct change *c, struct disk_error *ret)
{
	const struct disk *d = c->d;
	struct media_caps caps = d->media->caps;

	*ret = (struct disk_error){ DISK_PARAM_NONE, NULL };
	for (unsigned i = c->n; i-- > 0;)
		if (c->function[i]->ops->adjust)
			c->function[i]->ops->adjust(c->function[i], &caps);
	if ((d->caps.discard_gran_b && !caps.discard_gran_b) || (d->caps.zeroes && !caps.zeroes))
		ret->why = "guests have been told of discards or write-zeroes, which it does not do";
	else if (caps.readonly && !d->readonly)
		ret->why = "guests have been told that they may write";
	else if (caps.blk_b > d->blk_b || (caps.size_b && disk_size_b(d) > caps.size_b))
		ret->why = "guests have been told of smaller blocks, or of a larger disk";
	return ret->why ? -EINVAL : 0;
}

/* Takes the lock while no lane is being given back: those have functions that others are ending.
 * Return: whether it has. */
static bool lock(struct disk *d)
{
	uint64_t until_ns = clock_ns() + QUIET_NS, nap_ns = 0;

	for (;;) {
		bool leaving = false;

		pthread_mutex_lock(&d->lock);
		list_for_each(n, tmp, &d->lanes)
			leaving |= list_entry(n, struct disk_lane, link)->leaving;
		if (!leaving)
			return true;
		pthread_mutex_unlock(&d->lock);
		if (clock_ns() > until_ns)
			return false;
		clock_nap(&nap_ns);
	}
}

/* The rest: the lock is held. */

static void each_lane(struct disk *d, void (*on_poller)(void *disk_lane))
{
	list_for_each(n, tmp, &d->lanes) {
		struct disk_lane *l = list_entry(n, struct disk_lane, link);

		poller_call(l->lane.poller, on_poller, l);
	}
}

static void hold(void *arg)
{
	struct disk_lane *l = arg;

	l->was_halted = !l->lane.batch;
	lane_halt(&l->lane);
}

static void look(void *arg)
{
	struct disk_lane *l = arg;

	lane_hurry(&l->lane);
	l->is_quiet = lane_is_quiet(&l->lane);
}

static void look_at_functions(void *arg)
{
	struct disk_lane *l = arg;

	l->is_quiet = lane_functions_quiet(&l->lane);
}

static void swap(void *arg)
{
	struct disk_lane *l = arg;
	struct lane_chain was = { .n = l->lane.nstep };

	memcpy(was.step, l->lane.step, sizeof(was.step));
	lane_set_chain(&l->lane, &l->chain);
	l->chain = was;
}

static void let_go(void *arg)
{
	struct disk_lane *l = arg;

	/* one that has stopped meanwhile stays so */
	if (!l->was_halted && list_empty(&l->lane.failed))
		lane_go_on(&l->lane);
}

/* Return: whether all lanes have become quiet, as @look_at says. */
static bool await_quiet(struct disk *d, void (*look_at)(void *disk_lane))
{
	uint64_t until_ns = clock_ns() + QUIET_NS, nap_ns = 0;

	for (;;) {
		bool quiet = true;

		each_lane(d, look_at);
		list_for_each(n, tmp, &d->lanes)
			quiet &= list_entry(n, struct disk_lane, link)->is_quiet;
		if (quiet || clock_ns() > until_ns)
			return quiet;
		clock_nap(&nap_ns);
	}
}

/* Makes the steps that are new for @l, beside those that it has. */
static int open_steps(const struct change *c, struct disk_lane *l)
{
	int err = 0;

	for (l->chain.n = 0; !err && l->chain.n < c->n; l->chain.n += !err) {
		unsigned i = l->chain.n;

		if (c->from[i] >= 0)
			l->chain.step[i] = l->lane.step[c->from[i]];
		else
			err = lane_open_step(&l->lane, c->function[i], &l->chain.step[i]);
	}
	return err;
}

static void close_steps(const struct change *c, struct disk_lane *l, bool changed)
{
	for (unsigned i = l->chain.n; i-- > 0;)
		if (changed ? !is_kept(c, i) : c->from[i] < 0)
			l->chain.step[i].ops->lane_close(l->chain.step[i].state);
	l->chain.n = 0;
}

/* All lanes at once; they take nothing. */
static int change_lanes(struct disk *d)
{
	if (!await_quiet(d, look))
		return -EBUSY;
	list_for_each(n, tmp, &d->lanes)
		lane_stop_functions(&list_entry(n, struct disk_lane, link)->lane);
	bool quiet = await_quiet(d, look_at_functions);

	if (quiet)
		each_lane(d, swap);
	list_for_each(n, tmp, &d->lanes)
		lane_start(&list_entry(n, struct disk_lane, link)->lane);
	return quiet ? 0 : -EBUSY;
}

static int change(const struct change *c)
{
	struct disk *d = c->d;
	int err = 0;

	list_for_each(n, tmp, &d->lanes)
		err = err ? err : open_steps(c, list_entry(n, struct disk_lane, link));
	if (!err) {
		each_lane(d, hold);
		err = change_lanes(d);
		each_lane(d, let_go);
	}
	list_for_each(n, tmp, &d->lanes)
		close_steps(c, list_entry(n, struct disk_lane, link), !err);
	return err;
}

int disk_set_chain(struct disk *d, struct function *const *function, unsigned n,
		   struct disk_error *ret_error)
{
	struct change c = change_to(d, function, n);
	struct function *gone[CHAIN_MAX];
	unsigned ngone = 0;
	int err = judge(&c, ret_error);

	if (err)
		return err;
	if (!lock(d))
		return -EBUSY;
	err = change(&c);
	for (unsigned i = 0; !err && i < d->nfunction; i++)
		if (!is_kept(&c, i))
			gone[ngone++] = d->function[i];
	if (!err) {
		memcpy(d->function, function, n * sizeof(*function));
		d->nfunction = n;
	}
	pthread_mutex_unlock(&d->lock);
	while (ngone) {
		struct function *f = gone[--ngone];

		f->ops->close(f);
	}
	return err;
}
