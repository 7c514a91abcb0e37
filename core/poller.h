/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A poller: a thread that owns queues and polls them. It runs turns: mail, queues,
 * media, what was resumed, publish. When nothing has had work for a while (how long
 * depends on the mode, see enum poll_mode) it sleeps, in one place, on everything at
 * once: kicks, mail, media and the next timer.
 *
 * In tests a poller is opened and never started: whoever waits for it turns it.
 */
#pragma once

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#include "base/clock.h"
#include "core/media.h"
#include "core/slab.h"

/* The most that one queue gives in a turn, and that one submit carries. */
#define POLLER_BATCH 32

enum poll_mode {
	POLL_NEVER,    /* armed as soon as it is empty: interrupt-driven */
	POLL_ADAPTIVE, /* polled for a bounded, self-tuned time, then armed */
	POLL_ALWAYS,   /* never armed: the dedicated core */
};

struct pollee;

struct pollee_ops {
	/* Takes up to a batch and submits it. Return: how many; -EAGAIN: it has work but the poller
	 * is out of requests or buffers, and wants another turn when some come back. */
	int (*turn)(struct pollee *q);
	/* Makes completions visible to the guest, with at most one interrupt. */
	void (*publish)(struct pollee *q);
	/* Lets the guest notify, and looks once more. Return: true: there is work after all, and
	 * notifications are off again. */
	bool (*arm)(struct pollee *q);
	void (*disarm)(struct pollee *q);
};

/* Where the poller keeps a queue. */
enum pollee_state {
	POLLEE_DETACHED,
	POLLEE_HOT,	/* polled each turn */
	POLLEE_COLD,	/* idle: one cold queue is polled each turn */
	POLLEE_BLOCKED, /* waits for requests to come back */
	POLLEE_STATES,
};

/* A queue as the poller sees it; embedded in the front's own. The front sets ops, mode,
 * kick_fd and depth before poller_attach(). */
struct pollee {
	const struct pollee_ops *ops;
	struct poller *poller;
	uint64_t work_ticks; /* when it last gave work */
	unsigned at;	     /* index in the set of its state */
	uint8_t state;
	uint8_t mode;
	bool armed;
	bool dirty;	     /* on the poller's list of queues to publish */
	struct list publish;
	int kick_fd;	     /* eventfd; -1: none, the queue must be polled */
	unsigned depth;	     /* requests that it may have in flight */
	uint64_t kicks;	     /* notifications received; relaxed atomic */
};

/* Runs once, on the poller's thread, between turns. The sender owns it until then. */
struct mail {
	struct mail *next;
	void (*run)(struct mail *m);
};

/* Written by the poller, read by anyone; relaxed. */
struct poller_stats {
	uint64_t turns, busy_turns, sleeps, taken;
	uint64_t idle_ticks; /* has slept, or turned for the 17th time and more without work */
	uint64_t asleep;     /* sleeps since then (ticks); 0: it is awake */
};

/* The single writer's addition; relaxed, because readers want a number, not an order. */
static inline void stat_add(uint64_t *s, uint64_t n)
{
	__atomic_store_n(s, *s + n, __ATOMIC_RELAXED);
}

static inline uint64_t stat_get(const uint64_t *s)
{
	return __atomic_load_n(s, __ATOMIC_RELAXED);
}

struct pollee_set {
	struct pollee **q;
	unsigned n, room;
};

struct poller {
	/* every turn */
	uint64_t now_ticks;
	uint64_t timer_ticks; /* the earliest timer; UINT64_MAX: none */
	struct mail *mailbox; /* newest first; pushed by any thread */
	struct pollee_set set[POLLEE_STATES];
	unsigned cold_next;
	unsigned idle_turns;
	struct list publish, resumed, busy_media, timed;
	struct poller_stats stats;

	struct slab slab;

	/* sleeping */
	const struct clock_scale *scale;
	uint64_t work_ticks, window_ticks;
	unsigned always; /* attached queues in POLL_ALWAYS */
	bool may_spin;	 /* false: its CPU is not its own alone, so "always" means adaptive */
	bool stopping;
	int epoll_fd, mail_fd;

	bool threaded;
	pthread_t thread;
	int tid; /* 0 until it runs; relaxed atomic */
	char name[16];
};

/* Opens a poller without a thread. Context: control thread. Return: 0 or -errno. */
int poller_open(const char *name, struct poller **ret_poller);
/* Gives it a thread, kept to @cpus unless NULL. Context: control thread. Return: 0 or -errno. */
int poller_start(struct poller *p, const cpu_set_t *cpus);
void poller_close(struct poller *p); /* stops the thread; nothing is attached; NULL is fine */

/* Moves the running thread to @cpus. Context: control thread. Return: 0 or -errno. */
int poller_set_cpus(struct poller *p, const cpu_set_t *cpus);

/* Posts @m. Context: any thread. Never blocks. */
void poller_post(struct poller *p, struct mail *m);
/* Runs @fn(@arg) on the poller between turns and returns when it has. Context: any thread but
 * a poller's. A poller without a thread is turned by the caller. */
void poller_call(struct poller *p, void (*fn)(void *arg), void *arg);
/* Waits until @s is posted, at most @timeout_ns (NEVER_NS: no end); turns a poller without a
 * thread. Context: any thread but a poller's. Return: true if it was. */
bool poller_wait(struct poller *p, sem_t *s, uint64_t timeout_ns);

/* The rest: the poller's thread (or, for one without, its only user). */

/* Return: 0; -ENOMEM; -ENOSPC; -errno of epoll. */
int poller_attach(struct poller *p, struct pollee *q);
void poller_detach(struct poller *p, struct pollee *q);
void poller_set_mode(struct pollee *q, enum poll_mode mode);
/* Counts the kicks that have come since the last time, without waiting. */
void poller_drain_kick(struct pollee *q);
/* A queue that gave -EAGAIN, or that can take again, is to be looked at next turn. */
void poller_heat(struct pollee *q);
/* Requests came back: the queues that waited for them may try again. */
void poller_unblock(struct poller *p);
/* The strongest mode of its queues. */
enum poll_mode poller_mode(const struct poller *p);

/* How long it has been idle so far, also while it sleeps. A number to look at: while it wakes up it
 * may be told too large by the last sleep. Any thread. */
uint64_t poller_idle_ticks(const struct poller *p);

/* One turn. Return: how much work it found. */
unsigned poller_turn(struct poller *p);
/* Arms what must be, and sleeps until something happens, at most @max_ns, unless there is a
 * reason not to. Return: whether it slept. */
bool poller_sleep(struct poller *p, uint64_t max_ns);

/* Puts @q on the list to publish at the end of this turn. */
static inline void poller_dirty(struct poller *p, struct pollee *q)
{
	if (!q->dirty) {
		q->dirty = true;
		list_add_tail(&p->publish, &q->publish);
	}
}

/* Reads the clock; once per batch. */
static inline uint64_t poller_tick(struct poller *p)
{
	return p->now_ticks = clock_ticks();
}

static inline uint64_t poller_now_ns(const struct poller *p)
{
	return clock_ticks_to_ns(p->scale, p->now_ticks);
}

/* Asks for the timers of the poller's lanes to run no later than @at_ns. */
void poller_timer(struct poller *p, uint64_t at_ns);

/* A medium's lane has requests in flight. */
void poller_media_busy(struct poller *p, struct media_lane *m);
