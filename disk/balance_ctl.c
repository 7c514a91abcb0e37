/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/balance_ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/parse.h"
#include "control/rpc.h"
#include "core/poller.h"
#include "disk/balance.h"
#include "disk/place_ctl.h"
#include "disk/poller_ctl.h"

#define SET_NOUN "setting"
#define SET_NAME "balance"
#define POLLERS_MAX 64
#define QUEUES_MAX 1024 /* of one poller that are looked at */

/* What is remembered of a poller between two looks. */
static struct watched {
	const struct poller *poller;
	struct poller_stats before;
	struct balance_poller now;
} watched[POLLERS_MAX];
static unsigned nwatched;

/* A queue of a poller with too much to do. */
struct candidate {
	struct entry *e;
	unsigned queue;
	uint64_t taken;
};

/* Counts of a second ago, by disk and queue, while a poller has too much to do. */
static struct seen {
	char disk[DISK_NAME_MAX + 1];
	unsigned queue;
	uint64_t taken;
	uint64_t rest_ns; /* it is not moved before */
} seen[QUEUES_MAX];
static unsigned nseen;

static bool off;
static int timer_fd = -1;
static uint64_t last_ns; /* of the last look */
static unsigned moves, rest; /* looks until the next move is allowed */
static char last_move[200];
static uint64_t last_move_ns;

static void set_timer(void)
{
	bool on = !off && poller_ctl_count() > 1;

	if (timer_fd >= 0)
		timer_repeat(timer_fd, on ? NS_PER_S : 0);
	if (!on)
		nwatched = 0;
}

static struct watched *find_watched(const struct poller *p)
{
	for (unsigned i = 0; i < nwatched; i++)
		if (watched[i].poller == p)
			return &watched[i];
	return NULL;
}

void balance_ctl_changed(void)
{
	unsigned n = 0;

	/* those that have gone are forgotten: another may get their address */
	for (unsigned i = 0; i < nwatched; i++)
		for (unsigned k = 0; k < poller_ctl_count(); k++)
			if (poller_ctl_at(k) == watched[i].poller)
				watched[n++] = watched[i];
	nwatched = n;
	set_timer();
}

static void read_stats(const struct poller *p, struct poller_stats *ret)
{
	*ret = (struct poller_stats){ .turns = stat_get(&p->stats.turns),
				      .busy_turns = stat_get(&p->stats.busy_turns),
				      .idle_ticks = poller_idle_ticks(p) };
}

/* Reads the counters of all pollers, which need not know. */
static void look(uint64_t all_ticks)
{
	for (unsigned i = 0; i < poller_ctl_count(); i++) {
		const struct poller *p = poller_ctl_at(i);
		struct watched *w = find_watched(p);
		struct poller_stats now;

		read_stats(p, &now);
		if (w) {
			struct balance_sample s = {
				.turns = now.turns - w->before.turns,
				.busy_turns = now.busy_turns - w->before.busy_turns,
				.idle_ticks = now.idle_ticks > w->before.idle_ticks ?
						      now.idle_ticks - w->before.idle_ticks : 0,
				.all_ticks = all_ticks,
			};

			balance_note(&w->now, &s);
		} else {
			w = &watched[nwatched++];
			*w = (struct watched){ .poller = p };
		}
		w->before = now;
	}
}

static struct seen *seen_of(const struct entry *e, unsigned queue)
{
	for (unsigned i = 0; i < nseen; i++)
		if (seen[i].queue == queue && !strcmp(seen[i].disk, entry_name(e)))
			return &seen[i];
	if (nseen == QUEUES_MAX) /* most of disks that are gone: all are learnt anew */
		nseen = 0;
	seen[nseen] = (struct seen){ .queue = queue };
	snprintf(seen[nseen].disk, sizeof(seen[nseen].disk), "%s", entry_name(e));
	return &seen[nseen++];
}

/* The queues of @p, with what they took since the last time. Return: how many. */
static unsigned gather(const struct poller *p, struct candidate *ret, struct balance_queue *ret_q)
{
	struct front_info *f = malloc(sizeof(*f));
	unsigned n = 0;

	list_for_each(it, tmp, entry_all()) {
		struct entry *e = list_entry(it, struct entry, node);

		if (!f || !e->disk || e->closing || !place_is_on(e, p))
			continue;
		e->front->ops->info(e->front, f);
		for (unsigned i = 0; i < f->nqueue && n < QUEUES_MAX; i++) {
			const struct front_queue_info *q = &f->queue[i];
			struct seen *s = seen_of(e, q->index);

			if (q->state != FRONT_QUEUE_RUNNING ||
			    e->poller[q->index % e->npoller] != p)
				continue;
			ret[n] = (struct candidate){ e, q->index, q->taken };
			ret_q[n++] = (struct balance_queue){
				.taken = s->taken && q->taken > s->taken ? q->taken - s->taken : 0,
				.fixed = place_is_named(e->conf) || clock_ns() < s->rest_ns,
			};
			s->taken = q->taken;
		}
	}
	free(f);
	return n;
}

static void move(const struct candidate *c, const struct watched *from, struct poller *to)
{
	struct poller *map[FRONT_QUEUES_MAX];
	struct entry *e = c->e;
	unsigned n = place_queues(e);
	struct seen *s = seen_of(e, c->queue);
	struct ctl_error why;

	for (unsigned i = 0; i < n; i++)
		map[i] = i == c->queue ? to : e->poller[i % e->npoller];
	rest = BALANCE_SECONDS;
	int code = place_move(e, map, n, &why);

	s->rest_ns = clock_ns() + (code ? BALANCE_RETRY : BALANCE_REST) * NS_PER_S;
	if (code) {
		log_info(entry_name(e), "queue %u stays on %s: %s", c->queue, from->poller->name,
			 why.text);
		return;
	}
	moves++;
	last_move_ns = clock_ns();
	snprintf(last_move, sizeof(last_move),
		 "moved queue %u of disk '%s' from %s, which had been "
		 "saturated for %u s, to %s", c->queue, entry_name(e), from->poller->name,
		 from->now.saturated, to->name);
	log_info(NULL, "%s", last_move);
}

/* Lets @w, which has too much to do, give up a queue. The first look only counts. */
static void relieve(struct watched *w)
{
	static struct candidate c[QUEUES_MAX];
	static struct balance_queue q[QUEUES_MAX];
	struct balance_poller all[POLLERS_MAX];
	unsigned n = gather(w->poller, c, q);

	if (w->now.saturated < BALANCE_SECONDS || rest)
		return;
	for (unsigned i = 0; i < nwatched; i++) {
		all[i] = watched[i].now;
		all[i].has_room &= !poller_ctl_share_cpu(w->poller, watched[i].poller);
	}
	int queue = balance_choose(q, n), to = balance_target(all, nwatched);

	if (queue >= 0 && to >= 0)
		move(&c[queue], w, (struct poller *)watched[to].poller);
}

void balance_ctl_tick(void)
{
	uint64_t now_ns = clock_ns();

	if (!timer_take(timer_fd) || off)
		return;
	look(clock_ns_to_ticks(clock_scale(), now_ns - last_ns));
	last_ns = now_ns;
	rest -= rest > 0;
	for (unsigned i = 0; i < nwatched; i++)
		if (watched[i].now.saturated >= BALANCE_SECONDS - 1)
			relieve(&watched[i]);
}

void balance_ctl_start(struct ctl *ctl, int fd)
{
	const json_t *kept = state_get(ctl_state(ctl), SET_NOUN, SET_NAME);

	timer_fd = fd;
	off = kept && !ctl_bool(kept, "auto");
	last_ns = clock_ns();
	set_timer();
}

const char *balance_ctl_load(const struct poller *p, char *ret_text, size_t len)
{
	const struct watched *w = find_watched(p);

	if (!w)
		snprintf(ret_text, len, "%s", "not watched");
	else if (w->now.saturated)
		snprintf(ret_text, len, "saturated for %u s", w->now.saturated);
	else
		snprintf(ret_text, len, "%u %%", w->now.busy_pct);
	return ret_text;
}

json_t *balance_ctl_show(void)
{
	json_t *o = json_pack("{s:b, s:I}", "auto", !off, "moves", (json_int_t)moves);
	const char *why = off ? "turned off" :
			  poller_ctl_count() < 2 ? "there is one poller: nowhere to move to" :
			  "a poller that is saturated for 3 s gives a queue to one with room";

	json_object_set_new(o, "because", json_string(why));
	if (moves) {
		json_object_set_new(o, "last", json_string(last_move));
		json_object_set_new(o, "last_ago_ns",
				    json_integer((json_int_t)(clock_ns() - last_move_ns)));
	}
	return o;
}

static int run_balance(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	if (ctl_has(params, "auto")) {
		int code = state_put(ctl_state(ctl), SET_NOUN, SET_NAME, params, err);

		if (code)
			return code;
		off = !ctl_bool(params, "auto");
		last_ns = clock_ns();
		set_timer();
	}
	*ret = balance_ctl_show();
	return 0;
}

static const struct ctl_param balance_params[] = {
	{ .name = "auto", .type = CTL_BOOL, .positional = true,
	  .help = "on: they do; off: none does by itself; not given: only show" },
	{ 0 },
};

const struct ctl_cmd balance_cmds[] = {
	{ .noun = "poller", .verb = "balance", .params = balance_params, .run = run_balance,
	  .help = "Whether queues leave a saturated poller by themselves" },
	{ 0 },
};
