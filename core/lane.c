/* SPDX-License-Identifier: Apache-2.0 */
#include "core/lane.h"

#include <stdlib.h>

int lane_init(struct lane *l, struct poller *p, struct media_lane *m, const char *name)
{
	*l = (struct lane){ .poller = p, .media = m, .name = name, .batch = POLLER_BATCH };
	list_init(&l->inflight);
	list_init(&l->timed);
	l->synchronous = !m->ops->poll && m->media->caps.align_b <= 1;
	int err = bounce_pool_init(&l->bounce);
	if (err)
		return err;
	l->stats = calloc(1, sizeof(*l->stats));
	if (!l->stats) {
		bounce_pool_fini(&l->bounce);
		return -ENOMEM;
	}
	return 0;
}

void lane_stop(struct lane *l)
{
	for (unsigned i = 0; i < l->nstep; i++)
		if (l->step[i].ops->lane_stop)
			l->step[i].ops->lane_stop(l->step[i].state);
}

void lane_fini(struct lane *l)
{
	assert(list_empty(&l->inflight));
	for (unsigned i = l->nstep; i-- > 0;)
		l->step[i].ops->lane_close(l->step[i].state);
	l->nstep = 0;
	bounce_pool_fini(&l->bounce);
	free(l->stats);
	l->stats = NULL;
}

int lane_add_function(struct lane *l, struct function *f)
{
	void *state;

	if (l->nstep == CHAIN_MAX)
		return -ENOSPC;
	int err = f->ops->lane_open(f, l, &state);
	if (err)
		return err;
	l->step[l->nstep++] = (struct chain_step){ f->ops, state };
	l->synchronous = false; /* a function may hold a request */
	return 0;
}

static struct req *oldest(const struct lane *l)
{
	return list_empty(&l->inflight) ? NULL : list_first(&l->inflight, struct req, link);
}

uint64_t lane_oldest_ns(const struct lane *l)
{
	const struct req *r = oldest(l);

	return r ? clock_ticks_to_ns(l->poller->scale, clock_ticks() - r->taken_ticks) : 0;
}

/* Return: when the oldest request passes its deadline, NEVER_NS. */
static uint64_t look_at_deadline(struct lane *l, uint64_t now_ns)
{
	const struct req *r = oldest(l);

	if (!r || !l->deadline_ticks) {
		l->is_overdue = false;
		return NEVER_NS;
	}
	const struct clock_scale *s = l->poller->scale;
	uint64_t due_ns = clock_ticks_to_ns(s, r->taken_ticks + l->deadline_ticks);
	if (now_ns < due_ns) {
		l->is_overdue = false;
		return due_ns;
	}
	if (!l->is_overdue)
		stat_add(&l->stats->overdue, 1);
	l->is_overdue = true;
	return now_ns + clock_ticks_to_ns(s, l->deadline_ticks);
}

uint64_t lane_timer(struct lane *l, uint64_t now_ns)
{
	uint64_t next = look_at_deadline(l, now_ns);

	for (unsigned i = 0; i < l->nstep; i++)
		if (l->step[i].ops->timer)
			next = min_u64(next, l->step[i].ops->timer(l->step[i].state, now_ns));
	return next;
}
