/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/balance.h"

/* Too much to do: as good as no idle time, and no less than every fourth turn ends or takes
 * requests. A few idle turns between two busy ones do not show as idle time; a turn that copies a
 * part of a long request does not show as work. */
#define SATURATED_BUSY_PCT 95
#define SATURATED_TURNS_PCT 25
/* Room for more. */
#define ROOM_BUSY_PCT 50

static unsigned percent(uint64_t part, uint64_t whole)
{
	return whole ? (unsigned)min_u64(part * 100 / whole, 100) : 0;
}

void balance_note(struct balance_poller *p, const struct balance_sample *s)
{
	uint64_t idle = min_u64(s->idle_ticks, s->all_ticks);

	p->busy_pct = percent(s->all_ticks - idle, s->all_ticks);
	p->has_room = p->busy_pct <= ROOM_BUSY_PCT;
	if (p->busy_pct >= SATURATED_BUSY_PCT &&
	    percent(s->busy_turns, s->turns) >= SATURATED_TURNS_PCT)
		p->saturated++;
	else
		p->saturated = 0;
}

int balance_choose(const struct balance_queue *q, unsigned n)
{
	uint64_t all = 0;
	int best = -1;

	for (unsigned i = 0; i < n; i++)
		all += q[i].taken;
	for (unsigned i = 0; i < n; i++)
		if (!q[i].fixed && q[i].taken && q[i].taken <= all / 2 &&
		    (best < 0 || q[i].taken > q[best].taken))
			best = (int)i;
	return best;
}

int balance_target(const struct balance_poller *p, unsigned n)
{
	int best = -1;

	for (unsigned i = 0; i < n; i++)
		if (p[i].has_room && (best < 0 || p[i].busy_pct < p[best].busy_pct))
			best = (int)i;
	return best;
}
