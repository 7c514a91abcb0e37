/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a queue should change its poller: what pollers and queues did in the last
 * second comes in, a decision goes out. Pure: no threads, no clock. Bounded and slow
 * on purpose, because a move costs the guest a pause: at most one in BALANCE_SECONDS,
 * a queue at most once in BALANCE_REST, and between "too much to do" and "room for
 * more" lies a wide gap.
 */
#pragma once

#include "base/base.h"

#define BALANCE_SECONDS 3 /* a poller has had too much to do for so long */
#define BALANCE_REST 60	  /* a queue that was moved stays for so long */
#define BALANCE_RETRY 10  /* one that could not be moved is not asked again for so long */

/* Counters of a poller over one second or so. */
struct balance_sample {
	uint64_t turns, busy_turns;
	uint64_t idle_ticks, all_ticks;
};

/* What a poller is like; kept from one second to the next. */
struct balance_poller {
	unsigned busy_pct;  /* of the time */
	unsigned saturated; /* for so many seconds */
	bool has_room;
};

/* Takes in what @p did in the last second. */
void balance_note(struct balance_poller *p, const struct balance_sample *s);

/* A queue of a poller with too much to do. */
struct balance_queue {
	uint64_t taken; /* requests in the last second */
	bool fixed;	/* somebody has said where it is to be, or it was moved not long ago */
};

/* Which of the @n queues of one poller should leave it: the busiest that does not take more than
 * half of the load along, so that both sides have less than the poller has now. Return: its
 * index; -1: none. */
int balance_choose(const struct balance_queue *q, unsigned n);
/* To which of the @n pollers: the idlest of those that have room. Return: its index; -1: none. */
int balance_target(const struct balance_poller *p, unsigned n);
