/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns, and the life of a poller. When to sleep, and on what, is poller_sleep.c.
 */
#include "core/poller.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/crash.h"
#include "core/lane.h"
#include "core/life.h"
#include "core/poller_sleep.h"

/* Idle turns between two looks at the clock, which costs more than a turn. */
#define IDLE_TURNS_PER_TICK 16

static void set_remove(struct pollee_set *s, struct pollee *q)
{
	struct pollee *last = s->q[--s->n];

	s->q[q->at] = last;
	last->at = q->at;
}

/* The sets have room for every queue since poller_attach(). */
static void move_to(struct poller *p, struct pollee *q, enum pollee_state state)
{
	struct pollee_set *to = &p->set[state];

	set_remove(&p->set[q->state], q);
	q->state = (uint8_t)state;
	q->at = to->n;
	to->q[to->n++] = q;
}

void poller_heat(struct pollee *q)
{
	if (q->state == POLLEE_HOT)
		return;
	if (q->armed) {
		q->armed = false;
		q->ops->disarm(q);
	}
	q->work_ticks = q->poller->now_ticks;
	move_to(q->poller, q, POLLEE_HOT);
}

static void cool(struct poller *p, struct pollee *q)
{
	move_to(p, q, POLLEE_COLD);
	/* Without a descriptor to wake us there is nothing to arm: it stays polled. */
	if (q->mode == POLL_ALWAYS && p->may_spin)
		return;
	if (q->kick_fd < 0)
		return;
	if (q->ops->arm(q))
		poller_heat(q);
	else
		q->armed = true;
}

static uint64_t window_of(const struct poller *p, const struct pollee *q)
{
	return q->mode == POLL_NEVER ? 0 : p->window_ticks;
}

/* Return: requests taken. */
static unsigned turn_queue(struct poller *p, struct pollee *q)
{
	int n = q->ops->turn(q);

	if (likely(n > 0)) {
		stat_add(&p->stats.taken, (uint64_t)n);
		q->work_ticks = p->now_ticks;
		if (unlikely(q->state != POLLEE_HOT))
			poller_heat(q);
		return (unsigned)n;
	}
	if (n < 0 && q->state != POLLEE_BLOCKED)
		move_to(p, q, POLLEE_BLOCKED);
	return 0;
}

static unsigned turn_queues(struct poller *p)
{
	struct pollee_set *hot = &p->set[POLLEE_HOT], *cold = &p->set[POLLEE_COLD];
	unsigned work = 0;

	/* backwards: a queue that leaves is replaced by one that had its turn */
	for (unsigned i = hot->n; i-- > 0;)
		work += turn_queue(p, hot->q[i]);
	if (cold->n) {
		if (p->cold_next >= cold->n)
			p->cold_next = 0;
		work += turn_queue(p, cold->q[p->cold_next++]);
	}
	return work;
}

void poller_unblock(struct poller *p)
{
	struct pollee_set *blocked = &p->set[POLLEE_BLOCKED];

	while (blocked->n)
		poller_heat(blocked->q[0]);
}

static unsigned turn_media(struct poller *p)
{
	unsigned work = 0;

	list_for_each(n, tmp, &p->busy_media) {
		struct media_lane *m = list_entry(n, struct media_lane, busy);

		work += m->ops->poll(m);
		if (!m->inflight) {
			list_del_init(&m->busy);
			m->on_busy = false;
		}
	}
	return work;
}

void poller_media_busy(struct poller *p, struct media_lane *m)
{
	m->on_busy = true;
	list_add_tail(&p->busy_media, &m->busy);
}

static unsigned turn_resumed(struct poller *p)
{
	struct list now;

	/* only those there are: what they resume in turn waits for the next one */
	list_init(&now);
	list_splice_tail(&now, &p->resumed);
	return chain_continue(&now);
}

static void turn_publish(struct poller *p)
{
	for (struct list *n; (n = list_pop(&p->publish));) {
		struct pollee *q = list_entry(n, struct pollee, publish);

		q->dirty = false;
		q->ops->publish(q);
	}
	if (unlikely(p->set[POLLEE_BLOCKED].n))
		poller_unblock(p);
}

static unsigned turn_mail(struct poller *p)
{
	/* acquire: pairs with the release in poller_post(), so that what the sender wrote is
	 * here */
	struct mail *m = __atomic_exchange_n(&p->mailbox, NULL, __ATOMIC_ACQUIRE);
	struct mail *in_order = NULL;
	unsigned work = 0;

	while (m) {
		struct mail *next = m->next;

		m->next = in_order;
		in_order = m;
		m = next;
	}
	for (; in_order; work++) {
		m = in_order;
		in_order = m->next;
		m->run(m);
	}
	return work;
}

static unsigned turn_timers(struct poller *p)
{
	uint64_t now_ns = poller_now_ns(p);

	p->timer_ticks = UINT64_MAX;
	list_for_each(n, tmp, &p->timed) {
		uint64_t next = lane_timer(list_entry(n, struct lane, timed), now_ns);

		if (next != NEVER_NS)
			poller_timer(p, next);
	}
	return !list_empty(&p->resumed);
}

void poller_timer(struct poller *p, uint64_t at_ns)
{
	uint64_t now_ns = poller_now_ns(p), wait_ticks = 0;

	/* The difference is converted: the scale's rounding over a month of uptime is milliseconds,
	 * and a timer that comes early finds nothing due and asks again. One tick late is right. */
	if (at_ns > now_ns)
		wait_ticks = clock_ns_to_ticks(p->scale, at_ns - now_ns) + 1;
	p->timer_ticks = min_u64(p->timer_ticks, p->now_ticks + wait_ticks);
}

/* Queues that have been idle for their window leave the hot set. */
static void cool_idle_queues(struct poller *p)
{
	struct pollee_set *hot = &p->set[POLLEE_HOT];

	for (unsigned i = hot->n; i-- > 0;)
		if (p->now_ticks - hot->q[i]->work_ticks > window_of(p, hot->q[i]))
			cool(p, hot->q[i]);
}

/* Between two looks nothing had work; before the first of them something had. */
static void look_at_clock(struct poller *p)
{
	uint64_t before = p->now_ticks;

	poller_tick(p);
	if (p->idle_turns > 1)
		stat_add(&p->stats.idle_ticks, p->now_ticks - before);
	cool_idle_queues(p);
}

unsigned poller_turn(struct poller *p)
{
	unsigned work = 0;

	/* relaxed: only a hint; turn_mail() acquires */
	if (unlikely(__atomic_load_n(&p->mailbox, __ATOMIC_RELAXED)))
		work += turn_mail(p);
	work += turn_queues(p);
	if (!list_empty(&p->busy_media))
		work += turn_media(p);
	if (unlikely(p->now_ticks >= p->timer_ticks))
		work += turn_timers(p);
	if (unlikely(!list_empty(&p->resumed)))
		work += turn_resumed(p);
	if (!list_empty(&p->publish))
		turn_publish(p);
	stat_add(&p->stats.turns, 1);
	if (likely(work)) {
		stat_add(&p->stats.busy_turns, 1);
		p->work_ticks = p->now_ticks;
		p->idle_turns = 0;
		return work;
	}
	if (p->idle_turns++ % IDLE_TURNS_PER_TICK == 0)
		look_at_clock(p);
	return 0;
}

void poller_post(struct poller *p, struct mail *m)
{
	static const uint64_t one = 1;
	struct mail *head = __atomic_load_n(&p->mailbox, __ATOMIC_RELAXED);

	do {
		m->next = head;
		/* release: pairs with the acquire in turn_mail() */
	} while (!__atomic_compare_exchange_n(&p->mailbox, &head, m, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	(void)!write(p->mail_fd, &one, sizeof(one));
}

struct call {
	struct mail mail;
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static void run_call(struct mail *m)
{
	struct call *c = container_of(m, struct call, mail);

	c->fn(c->arg);
	sem_post(&c->done);
}

bool poller_wait(struct poller *p, sem_t *s, uint64_t timeout_ns)
{
	uint64_t end_ns = timeout_ns == NEVER_NS ? NEVER_NS : clock_ns() + timeout_ns;

	if (p->threaded && end_ns == NEVER_NS) {
		while (sem_wait(s))
			;
		return true;
	}
	if (p->threaded) {
		struct timespec t = { (time_t)(end_ns / NS_PER_S), (long)(end_ns % NS_PER_S) };
		int err;

		while ((err = sem_clockwait(s, CLOCK_MONOTONIC, &t)) && errno == EINTR)
			;
		return !err;
	}
	while (sem_trywait(s)) {
		if (clock_ns() > end_ns)
			return false;
		poller_turn(p);
	}
	return true;
}

void poller_call(struct poller *p, void (*fn)(void *arg), void *arg)
{
	struct call c = { .mail.run = run_call, .fn = fn, .arg = arg };

	sem_init(&c.done, 0, 0);
	poller_post(p, &c.mail);
	poller_wait(p, &c.done, NEVER_NS);
	sem_destroy(&c.done);
}

static int make_room(struct pollee_set *s, unsigned n)
{
	if (n <= s->room)
		return 0;
	unsigned room = n + 16;
	struct pollee **q = realloc(s->q, room * sizeof(struct pollee *));
	if (!q)
		return -ENOMEM;
	s->q = q;
	s->room = room;
	return 0;
}

int poller_attach(struct poller *p, struct pollee *q)
{
	unsigned n = 1;
	int err = 0;

	for (unsigned i = 0; i < POLLEE_STATES; i++)
		n += p->set[i].n;
	for (unsigned i = 0; i < POLLEE_STATES && !err; i++)
		err = make_room(&p->set[i], n);
	if (!err)
		err = slab_reserve(&p->slab, q->depth);
	if (err)
		return err;
	err = poller_watch(p, q);
	if (err) {
		slab_unreserve(&p->slab, q->depth);
		return err;
	}
	struct pollee_set *hot = &p->set[POLLEE_HOT];
	q->poller = p;
	q->armed = q->dirty = false;
	q->state = POLLEE_HOT;
	q->at = hot->n;
	hot->q[hot->n++] = q;
	q->work_ticks = poller_tick(p);
	p->always += q->mode == POLL_ALWAYS;
	q->ops->disarm(q);
	return 0;
}

void poller_detach(struct poller *p, struct pollee *q)
{
	set_remove(&p->set[q->state], q);
	q->state = POLLEE_DETACHED;
	if (q->dirty) {
		list_del(&q->publish);
		q->dirty = false;
		q->ops->publish(q);
	}
	p->always -= q->mode == POLL_ALWAYS;
	poller_unwatch(p, q);
	slab_unreserve(&p->slab, q->depth);
}

void poller_set_mode(struct pollee *q, enum poll_mode mode)
{
	struct poller *p = q->poller;

	p->always -= q->mode == POLL_ALWAYS;
	q->mode = (uint8_t)mode;
	p->always += q->mode == POLL_ALWAYS;
	poller_heat(q); /* it cools by the new rule */
}

enum poll_mode poller_mode(const struct poller *p)
{
	enum poll_mode mode = POLL_NEVER;

	for (unsigned s = 0; s < POLLEE_STATES; s++)
		for (unsigned i = 0; i < p->set[s].n; i++)
			if (p->set[s].q[i]->mode > mode)
				mode = (enum poll_mode)p->set[s].q[i]->mode;
	return mode == POLL_ALWAYS && !p->may_spin ? POLL_ADAPTIVE : mode;
}

int poller_open(const char *name, struct poller **ret_poller)
{
	struct poller *p = aligned_alloc(CACHE_LINE, align_up(sizeof(*p), CACHE_LINE));

	if (!p)
		return -ENOMEM;
	memset(p, 0, sizeof(*p));
	snprintf(p->name, sizeof(p->name), "%s", name);
	list_init(&p->publish);
	list_init(&p->resumed);
	list_init(&p->busy_media);
	list_init(&p->timed);
	p->timer_ticks = UINT64_MAX;
	p->scale = clock_scale();
	p->may_spin = true;
	p->epoll_fd = p->mail_fd = -1;
	int err = slab_init(&p->slab);
	if (!err)
		err = poller_sleep_init(p);
	if (err) {
		poller_close(p);
		return err;
	}
	poller_tick(p);
	*ret_poller = p;
	return 0;
}

static void *run(void *arg)
{
	struct poller *p = arg;

	pthread_setname_np(pthread_self(), p->name);
	life_hold();
	crash_watch_stack();
	__atomic_store_n(&p->tid, (int)syscall(SYS_gettid), __ATOMIC_RELAXED);
	while (!p->stopping)
		if (!poller_turn(p) && !p->set[POLLEE_HOT].n)
			poller_sleep(p, NEVER_NS);
	crash_unwatch_stack();
	life_release();
	return NULL;
}

int poller_start(struct poller *p, const cpu_set_t *cpus)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * KIB);
	if (cpus)
		pthread_attr_setaffinity_np(&attr, sizeof(*cpus), cpus);
	p->threaded = true;
	int err = pthread_create(&p->thread, &attr, run, p);
	if (err)
		p->threaded = false;
	pthread_attr_destroy(&attr);
	return -err;
}

int poller_set_cpus(struct poller *p, const cpu_set_t *cpus)
{
	return -pthread_setaffinity_np(p->thread, sizeof(*cpus), cpus);
}

static void stop(void *arg)
{
	((struct poller *)arg)->stopping = true;
}

void poller_close(struct poller *p)
{
	if (!p)
		return;
	if (p->threaded) {
		poller_call(p, stop, p);
		pthread_join(p->thread, NULL);
	}
	poller_sleep_fini(p);
	slab_fini(&p->slab);
	for (unsigned i = 0; i < POLLEE_STATES; i++)
		free(p->set[i].q);
	free(p);
}
