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
 */
#pragma once

#include <pthread.h>
#include <semaphore.h>

#include "core/req.h"

#define POOL_MAX 16

enum pool_class { POOL_FLUSH, POOL_TRANSFER, POOL_TRIM, POOL_CLASSES };

struct pool {
	enum req_status (*run)(void *arg, struct req *r);
	void *arg;
	struct list *incoming; /* atomic stack through req.hold.next, newest first */
	sem_t work;
	pthread_mutex_t lock; /* helpers and control; covers the rest */
	struct list queue[POOL_CLASSES];
	bool busy[POOL_CLASSES]; /* of flushes and trims: one is running */
	bool stopping;
	unsigned nthread, idle;
	pthread_t thread[POOL_MAX];
};

/* The way back to one lane. */
struct pool_done {
	struct list *stack;  /* atomic, through req.hold.next; req.status is the outcome */
	bool sleeping;	     /* seq_cst: the poller wants event_fd written */
	unsigned posting;    /* atomic: helpers that are not yet done with this struct */
	int event_fd;
};

/* Starts a pool whose helpers call @run(@arg, request). Context: control thread. Return: 0 or
 * -errno. */
int pool_open(struct pool *p, enum req_status (*run)(void *arg, struct req *r), void *arg);
/* Nothing is in flight. Context: control thread. */
void pool_close(struct pool *p);

/* Hands over @r; it comes back through @done, which is kept in req.medium[1]. Context: a poller's
 * thread; one system call if a helper sleeps. */
void pool_push(struct pool *p, struct pool_done *done, struct req *r);

int pool_done_open(struct pool_done *d); /* Return: 0 or -errno */
/* Nothing is in flight; waits until no helper looks at @d. */
void pool_done_close(struct pool_done *d);

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
