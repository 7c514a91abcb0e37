/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Helper threads of one file medium: requests go in from any of its lanes, are run
 * to their end with system calls that may block, and come back to their lane.
 *
 * Pollers take no lock: they push onto an atomic stack and post a semaphore, and
 * take what is done off another atomic stack. Among themselves the helpers use a
 * mutex. There is one to begin with; the last idle one starts another before it goes
 * to work, up to POOL_MAX, so that a stuck request leaves somebody to serve the next.
 *
 * Of flushes one runs at a time, for all that were waiting when it began; of
 * discards and write-zeroes also one, so that a storm of them (each waits for the
 * file's direct I/O) leaves threads for reads and writes.
 *
 * Helpers share a table of descriptors among themselves that holds nothing but this
 * medium. A thread that is stuck in the kernel holds on to its table even when the
 * process has been killed, and with it to every image lock in it: so a stuck flush keeps a
 * successor from its own disk, and from no other. A table cannot be added to from
 * outside: for each lane that opens there is a new crew of helpers, and those of the
 * former one leave when they have nothing at hand. The new one starts when the idle have
 * left, whose wake-ups it would take otherwise.
 */
#pragma once

#include <pthread.h>
#include <semaphore.h>

#include "core/req.h"

#define POOL_MAX 16 /* helpers of a crew */
#define POOL_SLOTS (2 * POOL_MAX) /* a crew's, and those of former ones that have not left yet */

enum pool_class { POOL_FLUSH, POOL_TRANSFER, POOL_TRIM, POOL_CLASSES };

struct pool;

struct pool_helper {
	struct pool *pool;
	pthread_t thread;
	enum { HELPER_NONE, HELPER_WORKS, HELPER_HAS_LEFT } state;
	unsigned crew;
	bool founds; /* the first of its crew, who makes the table */
};

struct pool {
	enum req_status (*run)(void *arg, struct req *r);
	void *arg;
	int fd; /* the medium's, which helpers keep */
	struct list *incoming; /* atomic stack through req.hold.next, newest first */
	sem_t work;
	pthread_mutex_t lock; /* helpers and control; covers the rest */
	struct list queue[POOL_CLASSES];
	bool busy[POOL_CLASSES]; /* of flushes and trims: one is running */
	bool stopping;
	unsigned crew; /* of now */
	unsigned idle, helpers; /* of this crew */
	unsigned leaving; /* of former crews: were idle, and have not woken up yet */
	bool founding; /* the first of this crew has no table yet */
	pthread_cond_t changed; /* one of these two */
	struct list lanes; /* pool_done.link */
	struct pool_helper helper[POOL_SLOTS];
};

/* The way back to one lane. */
struct pool_done {
	struct list *stack;  /* atomic, through req.hold.next; req.status is the outcome */
	bool sleeping;	     /* seq_cst: the poller wants event_fd written */
	unsigned posting;    /* atomic: helpers that are not yet done with this struct */
	int event_fd;
	struct list link;
};

/* A pool whose helpers call @run(@arg, request), which uses no descriptor but @fd. */
void pool_init(struct pool *p, int fd, enum req_status (*run)(void *arg, struct req *r), void *arg);
/* Nothing is in flight, no lane is open. Context: control thread. */
void pool_close(struct pool *p);

/* Hands over @r; it comes back through @done, which is kept in req.medium[1]. Context: a poller's
 * thread; one system call if a helper sleeps. */
void pool_push(struct pool *p, struct pool_done *done, struct req *r);

/* Opens the way back to a lane, with a helper who knows it. Context: control thread; waits until
 * idle helpers that do not know it have left. Return: 0;
 * -EAGAIN: no thread can be started; -errno. */
int pool_done_open(struct pool *p, struct pool_done *d);
/* Nothing is in flight; waits until no helper looks at @d. Does nothing if it was not opened. */
void pool_done_close(struct pool *p, struct pool_done *d);

/* What has come back, linked through req.hold.next. Context: the lane's poller. */
static inline struct list *pool_take_done(struct pool_done *d)
{
	/* relaxed: only a hint */
	if (!__atomic_load_n(&d->stack, __ATOMIC_RELAXED))
		return NULL;
	/* acquire: pairs with the release in the helper's push */
	return __atomic_exchange_n(&d->stack, NULL, __ATOMIC_ACQUIRE);
}

/* The poller is about to sleep on event_fd. Return: false: it must not, something has come. */
bool pool_arm(struct pool_done *d);
