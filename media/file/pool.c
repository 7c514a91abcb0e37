/* SPDX-License-Identifier: Apache-2.0 */
#include "media/file/pool.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/fd.h"

#define STACK_B (128 * KIB)

static struct req *req_of(struct list *n)
{
	return list_entry(n, struct req, hold);
}

static void push(struct list **stack, struct list *n)
{
	struct list *head = __atomic_load_n(stack, __ATOMIC_RELAXED);

	do
		n->next = head;
	/* seq_cst: releases what is in the request to whoever takes it, and comes before the
	 * look at pool_done.sleeping */
	while (!__atomic_compare_exchange_n(stack, &head, n, true, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED));
}

void pool_push(struct pool *p, struct pool_done *done, struct req *r)
{
	r->medium[1] = (uintptr_t)done;
	push(&p->incoming, &r->hold);
	sem_post(&p->work);
}

static enum pool_class class_of(const struct req *r)
{
	switch ((enum req_op)r->op) {
	case REQ_FLUSH:
		return POOL_FLUSH;
	case REQ_DISCARD:
	case REQ_ZEROES:
		return POOL_TRIM;
	case REQ_READ:
	case REQ_WRITE:
	case REQ_OPS:
		break;
	}
	return POOL_TRANSFER;
}

/* Sorts what has come in. Context: the lock is held. */
static void collect(struct pool *p)
{
	/* acquire: pairs with push() */
	struct list *n = __atomic_exchange_n(&p->incoming, NULL, __ATOMIC_ACQUIRE);
	struct list *in_order = NULL;

	while (n) {
		struct list *next = n->next;

		n->next = in_order;
		in_order = n;
		n = next;
	}
	while (in_order) {
		struct list *next = in_order->next;

		list_add_tail(&p->queue[class_of(req_of(in_order))], in_order);
		in_order = next;
	}
}

/* What one helper does next: one request, or all the flushes that are waiting. */
struct job {
	enum pool_class class;
	struct list reqs;
};

/* Context: the lock is held. Return: false: nothing can be begun. */
static bool take(struct pool *p, struct job *job)
{
	collect(p);
	list_init(&job->reqs);
	for (job->class = 0; job->class < POOL_CLASSES; job->class++) {
		struct list *q = &p->queue[job->class];

		if (list_empty(q) || p->busy[job->class])
			continue;
		if (job->class == POOL_FLUSH)
			list_splice_tail(&job->reqs, q);
		else
			list_add_tail(&job->reqs, list_pop(q));
		p->busy[job->class] = job->class != POOL_TRANSFER;
		return true;
	}
	return false;
}

static void give_back(struct req *r)
{
	struct pool_done *d = (struct pool_done *)(uintptr_t)r->medium[1];
	static const uint64_t one = 1;

	/* relaxed: the request in flight keeps @d open until it is pushed, and the push comes
	 * after this (seq_cst) */
	__atomic_fetch_add(&d->posting, 1, __ATOMIC_RELAXED);
	push(&d->stack, &r->hold);
	/* seq_cst: pairs with pool_arm(); one of the two sees the other's store */
	if (__atomic_load_n(&d->sleeping, __ATOMIC_SEQ_CST) &&
	    __atomic_exchange_n(&d->sleeping, false, __ATOMIC_SEQ_CST))
		(void)!write(d->event_fd, &one, sizeof(one));
	/* release: pairs with pool_done_close(); nothing of @d is touched after it */
	__atomic_fetch_sub(&d->posting, 1, __ATOMIC_RELEASE);
}

static void run_job(struct pool *p, struct job *job)
{
	struct req *first = req_of(job->reqs.next);
	enum req_status status = p->run(p->arg, first);

	for (struct list *n; (n = list_pop(&job->reqs));) {
		struct req *r = req_of(n);

		r->status = (uint8_t)status;
		give_back(r);
	}
}

/* Gives this thread a table of its own, for its crew. Where the kernel refuses it keeps the
 * process's, and a stuck disk holds up the others after a crash. Context: the lock is held. */
static void found_table(struct pool *p)
{
	unsigned n = 0, room = 1;

	list_for_each(it, tmp, &p->lanes)
		room++;
	CLEANUP(base_free) int *keep = calloc(room, sizeof(*keep));
	if (!keep)
		return;
	keep[n++] = p->fd;
	list_for_each(it, tmp, &p->lanes)
		keep[n++] = list_entry(it, struct pool_done, link)->event_fd;
	fd_close_but(keep, n);
}

/* Context: the lock is held, and let go meanwhile. */
static void found_crew(struct pool *p)
{
	while (p->leaving)
		pthread_cond_wait(&p->changed, &p->lock);
	found_table(p);
	p->founding = false;
	pthread_cond_broadcast(&p->changed);
}

static void *help(void *arg);

/* Context: the lock is held. Return: 0; -EAGAIN. */
static int start_helper(struct pool *p, bool founds)
{
	struct pool_helper *h = p->helper;
	pthread_attr_t attr;

	while (h < p->helper + POOL_SLOTS && h->state == HELPER_WORKS)
		h++;
	if (h == p->helper + POOL_SLOTS || p->helpers == POOL_MAX)
		return -EAGAIN;
	if (h->state == HELPER_HAS_LEFT)
		pthread_join(h->thread, NULL);
	*h = (struct pool_helper){ .pool = p, .crew = p->crew, .founds = founds };
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_B);
	int err = pthread_create(&h->thread, &attr, help, h);
	if (!err) {
		h->state = HELPER_WORKS;
		p->helpers++;
	}
	pthread_attr_destroy(&attr);
	return -err;
}

/* Does all that it finds. Context: the lock is held, and let go meanwhile. */
static void work(struct pool *p, const struct pool_helper *h)
{
	struct job job;

	while (h->crew == p->crew && take(p, &job)) {
		/* Somebody has to be there for what comes while this one is stuck. One that cannot
		 * be started leaves its work to those there are. */
		if (!p->idle && !p->stopping)
			start_helper(p, false);
		pthread_mutex_unlock(&p->lock);
		run_job(p, &job);
		pthread_mutex_lock(&p->lock);
		p->busy[job.class] = false;
	}
}

static void *help(void *arg)
{
	struct pool_helper *h = arg;
	struct pool *p = h->pool;

	pthread_setname_np(pthread_self(), "file-helper");
	crash_watch_stack();
	pthread_mutex_lock(&p->lock);
	if (h->founds)
		found_crew(p);
	while (!p->stopping && h->crew == p->crew) {
		work(p, h);
		if (h->crew != p->crew)
			break;
		p->idle++;
		pthread_mutex_unlock(&p->lock);
		while (sem_wait(&p->work))
			; /* EINTR */
		pthread_mutex_lock(&p->lock);
		if (h->crew == p->crew)
			p->idle--;
		else if (!--p->leaving)
			pthread_cond_broadcast(&p->changed);
	}
	h->state = HELPER_HAS_LEFT;
	pthread_mutex_unlock(&p->lock);
	/* what woke it may have been meant for its successors */
	sem_post(&p->work);
	crash_unwatch_stack();
	return NULL;
}

void pool_init(struct pool *p, int fd, enum req_status (*run)(void *arg, struct req *r), void *arg)
{
	*p = (struct pool){ .run = run, .arg = arg, .fd = fd };
	for (unsigned i = 0; i < POOL_CLASSES; i++)
		list_init(&p->queue[i]);
	list_init(&p->lanes);
	sem_init(&p->work, 0, 0);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
}

void pool_close(struct pool *p)
{
	bool started[POOL_SLOTS];

	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	for (unsigned i = 0; i < POOL_SLOTS; i++)
		started[i] = p->helper[i].state != HELPER_NONE;
	pthread_mutex_unlock(&p->lock);
	/* no helper is started once stopping is set; each passes the wake-up on */
	sem_post(&p->work);
	for (unsigned i = 0; i < POOL_SLOTS; i++)
		if (started[i])
			pthread_join(p->helper[i].thread, NULL);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	sem_destroy(&p->work);
}

int pool_done_open(struct pool *p, struct pool_done *d)
{
	*d = (struct pool_done){ .event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	list_init(&d->link);
	if (d->event_fd < 0)
		return -errno;
	pthread_mutex_lock(&p->lock);
	list_add_tail(&p->lanes, &d->link);
	unsigned helpers = p->helpers;

	p->crew++;
	p->helpers = 0;
	int err = start_helper(p, true);

	if (!err) {
		/* the former crew leaves: each of them wakes the next */
		p->leaving = p->idle;
		p->idle = 0;
		p->founding = true;
		sem_post(&p->work);
	} else {
		p->crew--; /* those there are go on */
		p->helpers = helpers;
	}
	while (p->leaving || p->founding)
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
	if (err)
		pool_done_close(p, d);
	return err;
}

void pool_done_close(struct pool *p, struct pool_done *d)
{
	if (!d->link.next) /* not open */
		return;
	/* a few instructions at most: what is posted has been taken */
	while (__atomic_load_n(&d->posting, __ATOMIC_ACQUIRE))
		sched_yield();
	pthread_mutex_lock(&p->lock);
	list_del(&d->link);
	pthread_mutex_unlock(&p->lock);
	fd_close(d->event_fd);
	*d = (struct pool_done){ .event_fd = -1 };
}

bool pool_arm(struct pool_done *d)
{
	uint64_t n;

	/* a wake-up of the last sleep that came too late for it */
	(void)!read(d->event_fd, &n, sizeof(n));
	/* seq_cst: pairs with give_back() */
	__atomic_store_n(&d->sleeping, true, __ATOMIC_SEQ_CST);
	return !__atomic_load_n(&d->stack, __ATOMIC_SEQ_CST);
}
