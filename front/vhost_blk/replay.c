/* SPDX-License-Identifier: Apache-2.0 */
#include "front/vhost_blk/replay.h"

#include <sys/eventfd.h>

#include "base/log.h"

/* Whose turn it is to replay a queue alone, of all fronts in the process. */
static struct {
	pthread_mutex_t lock;
	const struct vhost_blk *holder;
	struct list waiting; /* vhost_blk.turn */
} turn = { .lock = PTHREAD_MUTEX_INITIALIZER, .waiting = { &turn.waiting, &turn.waiting } };

static uint32_t *mark_of(const struct session *s, const struct vq *q)
{
	return &s->memo->page->replay[q->index];
}

/* Relaxed throughout: a mark is a word by itself, and who reads it later reads it alone. */
static uint32_t get_mark(const struct session *s, const struct vq *q)
{
	return __atomic_load_n(mark_of(s, q), __ATOMIC_RELAXED);
}

static void set_mark(const struct session *s, const struct vq *q, enum kept_replay mark)
{
	__atomic_store_n(mark_of(s, q), mark, __ATOMIC_RELAXED);
}

void replay_note(struct session *s, struct vq *q)
{
	q->replay_mark = mark_of(s, q);
	q->replay_fd = s->f->wake_fd;
	q->replaying = false;
	if (!q->nreplay)
		set_mark(s, q, KEPT_REPLAY_NONE);
	else if (get_mark(s, q) != KEPT_REPLAY_ALONE)
		set_mark(s, q, KEPT_REPLAY_AMONG);
}

void replay_forget(struct session *s, struct vq *q)
{
	set_mark(s, q, KEPT_REPLAY_NONE);
}

static void bar(struct session *s, struct session_queue *q, bool again)
{
	set_mark(s, &q->vq, KEPT_REPLAY_BARRED);
	session_bar_queue(s, q);
	if (again)
		log_error(q->vq.name, "queue %u is stopped: %s", q->vq.index, q->vq.broken);
}

/* A process that was killed has done nothing wrong, and what it replayed has not either. */
static enum kept_replay mark_left(const struct session *s, const struct vq *q, bool crashed)
{
	enum kept_replay mark = (enum kept_replay)get_mark(s, q);

	return crashed || mark == KEPT_REPLAY_BARRED ? mark : KEPT_REPLAY_NONE;
}

uint64_t replay_judge(struct session *s)
{
	bool crashed = s->memo->page->crashed;
	uint64_t may_start = 0;

	s->memo->page->crashed = 0;
	for (unsigned i = 0; i < FRONT_QUEUES_MAX; i++) {
		struct session_queue *q = s->queue[i];

		if (!q)
			continue;
		switch (mark_left(s, &q->vq, crashed)) {
		case KEPT_REPLAY_NONE:
			replay_forget(s, &q->vq);
			may_start |= 1ull << i;
			break;
		case KEPT_REPLAY_AMONG:
			s->suspects |= 1ull << i;
			break;
		case KEPT_REPLAY_ALONE:
		case KEPT_REPLAY_BARRED:
			bar(s, q, mark_left(s, &q->vq, crashed) == KEPT_REPLAY_ALONE);
			break;
		}
	}
	return may_start;
}

bool replay_is_barred(const struct session *s, const struct vq *q)
{
	return get_mark(s, q) == KEPT_REPLAY_BARRED;
}

/* Return: whether it is ours; if not, the front is woken when it may be. */
static bool turn_get(struct vhost_blk *f)
{
	pthread_mutex_lock(&turn.lock);
	bool is_ours = !turn.holder || turn.holder == f;

	if (is_ours)
		turn.holder = f;
	else if (list_empty(&f->turn))
		list_add_tail(&turn.waiting, &f->turn);
	pthread_mutex_unlock(&turn.lock);
	return is_ours;
}

static void turn_put(struct vhost_blk *f)
{
	pthread_mutex_lock(&turn.lock);
	if (turn.holder == f)
		turn.holder = NULL;
	list_del_init(&f->turn);
	/* under the lock: none of them goes away meanwhile */
	if (!turn.holder && !list_empty(&turn.waiting)) {
		struct vhost_blk *next = list_first(&turn.waiting, struct vhost_blk, turn);

		list_del_init(&next->turn);
		eventfd_write(next->wake_fd, 1);
	}
	pthread_mutex_unlock(&turn.lock);
}

/* Return: whether the queue that is replayed alone has had its turn. */
static bool has_had_turn(struct session *s)
{
	const struct vq *q = &s->alone->vq;
	uint32_t mark = KEPT_REPLAY_ALONE;
	bool is_over = !q->running || __atomic_load_n(&q->broken, __ATOMIC_RELAXED);

	if (get_mark(s, q) != KEPT_REPLAY_ALONE)
		return true;
	if (!is_over && clock_ns() < s->alone_until_ns)
		return false;
	/* alone it did no harm so far; unless the poller, just now, has seen the end of it */
	__atomic_compare_exchange_n(mark_of(s, q), &mark,
				    is_over ? KEPT_REPLAY_NONE : KEPT_REPLAY_AMONG, false,
				    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	return true;
}

int replay_next(struct session *s, uint64_t *ret_ns)
{
	*ret_ns = NEVER_NS;
	if (s->alone) {
		if (!has_had_turn(s)) {
			*ret_ns = s->alone_until_ns;
			return 0;
		}
		s->alone = NULL;
		turn_put(s->f);
	}
	while (s->suspects && turn_get(s->f)) {
		struct session_queue *q = s->queue[__builtin_ctzll(s->suspects)];

		s->suspects &= s->suspects - 1;
		set_mark(s, &q->vq, KEPT_REPLAY_ALONE);
		log_warn(q->vq.name, "queue %u is replayed alone: the last process ended meanwhile",
			 q->vq.index);
		int err = session_resume_queue(s, q);
		if (err)
			return err;
		if (get_mark(s, &q->vq) == KEPT_REPLAY_ALONE && q->vq.running) {
			s->alone = q;
			s->alone_until_ns = *ret_ns = clock_ns() + REPLAY_ALONE_NS;
			return 0;
		}
		replay_forget(s, &q->vq);
		turn_put(s->f);
	}
	return 0;
}

void replay_end(struct session *s)
{
	s->alone = NULL;
	s->suspects = 0;
	turn_put(s->f);
}
