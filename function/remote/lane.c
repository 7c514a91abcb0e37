/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a lane of the remote function: made, given a program, losing it, given
 * the next, and ended. What a program had when it was lost it may have half changed,
 * so what goes to the next one is made anew: a write is copied from the guest again, a
 * read is read again.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "function/remote/host.h"
#include "function/remote/private.h"

#define LOOK_NS (1 * NS_PER_MS)
#define LOOKS 16 /* of the timer, at least, while a program uses up its time */
#define EXCUSES_MAX 8 /* times that a program may be late with a request for I/O of its own */

void remote_kick(struct remote_lane *l)
{
	struct fn_msg kick = { .magic = htole32(FN_MAGIC), .kind = htole16(FN_KICK) };

	/* a socket's send can be told not to wait; an eventfd's write waits if whoever else holds
	 * it wants it to. One that is full will wake the program anyway. Whole, because to a
	 * machine it is a stream. */
	send(l->kick_fd, &kick, sizeof(kick), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void remote_awake(struct remote_lane *l)
{
	uint64_t n;
	struct iovec iov = { &n, sizeof(n) };

	ring_wake(&l->ring);
	/* the program has this one too: whether reading it waits is not ours to say */
	(void)!preadv2(l->wake_fd, &iov, 1, -1, RWF_NOWAIT);
}

static void set_masks(struct remote_lane *l, const struct channel *c)
{
	unsigned reads = 1u << REQ_READ;

	l->down = (uint8_t)c->down;
	l->up = l->mode == FN_SERVE ? 0 : (uint8_t)c->up;
	l->with_data = (uint8_t)c->with_data;
	/* a read that is seen on its way up is read into a buffer */
	l->takes = (uint8_t)(l->down | (l->up & l->with_data & reads));
}

/* Whether the request of @s must be read again: the program may have changed what was read. */
static bool is_spoilt_read(const struct slot *s)
{
	return s->up && s->seen && s->was_seg && s->r->op == REQ_READ;
}

/* Down from our step, perhaps once more. */
static void go_down(struct remote_lane *l, struct req *r)
{
	r->flags &= (uint8_t)~REQ_F_UP;
	r->step = l->step;
	chain_resume(r);
}

void remote_go_around(struct remote_lane *l, struct slot *s)
{
	struct req *r = s->r;

	stat_add(&l->stats.bypassed, 1);
	if (s->was_seg)
		remote_detach(s);
	remote_free_slot(l, s);
	go_down(l, r);
}

static void renew(struct remote_lane *l, struct slot *s)
{
	if (s->seen && s->was_seg && s->r->op == REQ_WRITE)
		remote_fill(l, s);
}

static void end_slot(struct remote_lane *l, struct slot *s)
{
	struct req *r = s->r;

	if (!remote_finish(l, s))
		return;
	r->flags |= REQ_F_UP;
	chain_resume(r);
}

static void bypass(struct remote_lane *l, struct slot *s)
{
	if (!s->up || is_spoilt_read(s)) {
		remote_go_around(l, s);
		return;
	}
	stat_add(&l->stats.bypassed, 1);
	end_slot(l, s);
}

static void fail(struct remote_lane *l, struct slot *s)
{
	stat_add(&l->stats.failed, 1);
	s->r->status = REQ_IOERR;
	end_slot(l, s);
}

static void resend(struct remote_lane *l, struct slot *s)
{
	struct req *r = s->r;

	if (s->seen)
		stat_add(&l->stats.replayed, 1);
	if (is_spoilt_read(s)) {
		s->place = SLOT_BELOW;
		go_down(l, r);
	} else if (s->up && l->up & 1u << r->op) {
		if (!s->was_seg)
			remote_attach_read(l, s);
		remote_send(l, s, true);
	} else if (s->up) {
		end_slot(l, s);
	} else if (!s->was_seg && !(l->down & 1u << r->op)) {
		remote_free_slot(l, s);
		chain_resume(r);
	} else {
		if (!s->was_seg && r->op <= REQ_WRITE && l->with_data & 1u << r->op)
			remote_attach(l, s);
		else
			renew(l, s);
		remote_start(l, s);
	}
}

static void each_slot(struct remote_lane *l, void (*fn)(struct remote_lane *l, struct slot *s))
{
	struct list now;

	list_init(&now);
	list_splice_tail(&now, &l->order);
	for (struct list *n; (n = list_pop(&now));)
		fn(l, list_entry(n, struct slot, order));
}

/* Lets go of those that wait for a slot, when none is to be had. */
static void dismiss_waiting(struct remote_lane *l)
{
	for (struct list *n; (n = list_pop(&l->waiting));) {
		struct req *r = list_entry(n, struct req, hold);

		stat_add(l->door == DOOR_ERROR ? &l->stats.failed : &l->stats.bypassed, 1);
		if (l->door == DOOR_ERROR) {
			r->status = REQ_IOERR;
			r->flags |= REQ_F_UP;
		}
		chain_resume(r);
	}
}

void remote_judge_door(struct remote_lane *l)
{
	static const uint8_t without[] = { [REMOTE_PAUSE] = DOOR_HOLD,
					   [REMOTE_BYPASS] = DOOR_BYPASS,
					   [REMOTE_ERROR] = DOOR_ERROR };
	int on_fail = __atomic_load_n(&l->remote->on_fail, __ATOMIC_RELAXED);

	if (l->pending)
		l->door = DOOR_HOLD;
	else
		l->door = l->ring.shared ? (uint8_t)DOOR_OPEN : without[on_fail];
	if (l->door == DOOR_BYPASS)
		each_slot(l, bypass);
	if (l->door == DOOR_ERROR)
		each_slot(l, fail);
	if (l->door == DOOR_BYPASS || l->door == DOOR_ERROR)
		dismiss_waiting(l);
}

/* What the program had is to be sent again; a copy that an observer had is not. */
static void take_back(struct remote_lane *l, struct slot *s)
{
	if (s->place == SLOT_EVENT || s->place == SLOT_SENT) {
		l->nsent--;
		l->source.inflight--;
	}
	if (s->place == SLOT_EVENT) {
		remote_free_slot(l, s);
		return;
	}
	if (s->place == SLOT_SENT)
		s->seen = true;
	s->place = SLOT_QUEUED;
	list_add_tail(&l->order, &s->order);
}

static void drop_token(struct remote_lane *l)
{
	if (l->own_io_token)
		l->source.inflight--;
	l->own_io_token = false;
}

void remote_lose(struct remote_lane *l, const char *fault)
{
	if (l->ring.shared) {
		l->door = DOOR_HOLD;
		l->ring = ring_on(NULL);
		l->kick_fd = -1;
		drop_token(l);
		for (unsigned i = 0; i < FN_IO_MAX; i++)
			l->io[i].orphan = true;
		each_slot(l, take_back);
		remote_judge_door(l);
	}
	if (!fault)
		return;
	/* release: control reads it after it was told */
	__atomic_store_n(&l->fault, fault, __ATOMIC_RELEASE);
	if (l->tell)
		l->tell(l->tell_arg);
}

/* What is noted of the program of before, and not any more. */
static const char *take_fault(struct remote_lane *l)
{
	return __atomic_exchange_n(&l->fault, NULL, __ATOMIC_RELAXED);
}

void remote_disconnect(struct remote_lane *l)
{
	if (l->pending)
		l->source.inflight--; /* that of remote_await() */
	l->pending = NULL;
	l->handover = NULL;
	remote_lose(l, NULL);
	take_fault(l); /* the next program has done nothing yet */
	l->offered_ticks = 0;
	remote_judge_door(l);
}

void remote_note_pause(struct remote_lane *l)
{
	uint64_t now = l->lane->poller->now_ticks;

	if (l->pending) {
		l->paused_ticks = now; /* not yet: the old one still answers */
		return;
	}
	l->pausing = false;
	__atomic_store_n(&l->stats.pause_ticks, now - l->paused_ticks, __ATOMIC_RELAXED);
}

/* The slots are where @c has them from now on. None is below, or with a program. */
static void move_buffers(struct remote_lane *l, const struct channel *c)
{
	uint8_t *to = c->buffers->at;

	if (to == l->bufs)
		return;
	for (unsigned i = 0; i < FN_SLOTS; i++)
		l->slot[i].warm = false;
	list_for_each(n, tmp, &l->order) {
		struct slot *s = list_entry(n, struct slot, order);
		uint8_t *at = to + (size_t)(s - l->slot) * FN_BUF_B;

		if (!s->was_seg)
			continue;
		memcpy(at, s->seg.host, s->r->len_b);
		s->seg.host = at;
	}
	/* release: pairs with the acquire in buffers_sweep() */
	__atomic_store_n(&l->bufs, to, __ATOMIC_RELEASE);
}

/* Whether the medium works on what @c does not have. */
static bool is_in_old_buffers(const struct remote_lane *l, const struct channel *c)
{
	if (c->buffers->at == l->bufs)
		return false;
	for (unsigned i = 0; i < FN_SLOTS; i++)
		if (l->slot[i].place == SLOT_BELOW && l->slot[i].was_seg)
			return true;
	return false;
}

/* @c takes over. */
static void join(struct remote_lane *l, const struct channel *c)
{
	struct handover *h = l->handover;
	const char *fault = take_fault(l);

	drop_token(l);
	l->source.inflight--; /* that of remote_await() */
	l->pending = NULL;
	l->handover = NULL;
	l->offered_ticks = 0;
	move_buffers(l, c);
	l->ring = ring_on(c->rings);
	l->kick_fd = c->kick_fd;
	/* A machine's wake-ups come through the control thread, which may itself be waiting for
	 * what the program has answered; and who was replaced has our eventfd, and might take them:
	 * such a lane never sleeps for long while something is out. */
	bool looks = c->is_shared || h;

	l->look_ticks = looks ? clock_ns_to_ticks(clock_scale(), LOOK_NS) : l->stall_ticks / LOOKS;
	l->has_machine = c->is_shared;
	set_masks(l, c);
	l->own_io_token = c->own_io;
	l->source.inflight += c->own_io;
	l->front_ticks = poller_tick(l->lane->poller);
	remote_judge_door(l);
	each_slot(l, resend);
	remote_serve_waiting(l);
	remote_look(l);
	if (l->pausing && !l->nsent) /* nobody waits for it */
		remote_note_pause(l);
	if (!h)
		return;
	if (fault)
		__atomic_store_n(&h->fault, fault, __ATOMIC_RELAXED);
	/* release: pairs with control's acquire; it then lets the old program go */
	__atomic_add_fetch(&h->joined, 1, __ATOMIC_RELEASE);
	if (l->tell)
		l->tell(l->tell_arg);
}

void remote_proceed(struct remote_lane *l)
{
	struct handover *h = l->handover;

	if (!l->pending || l->nio || (!h && l->ring.shared) || is_in_old_buffers(l, l->pending))
		return;
	if (h && !l->drained) {
		if (l->nsent)
			return;
		l->drained = true;
		/* release: what this lane has ended is ended for whoever sees the last one go */
		__atomic_sub_fetch(&h->lanes, 1, __ATOMIC_RELEASE);
	}
	if (h && __atomic_load_n(&h->lanes, __ATOMIC_ACQUIRE))
		return;
	join(l, l->pending);
}

/* Waits for @c to be possible, polled. */
static void remote_await(struct remote_lane *l, struct handover *h, const struct channel *c)
{
	if (!l->pending)
		l->source.inflight++;
	l->pending = c;
	l->handover = h;
	l->drained = false;
	if (h) {
		l->pausing = true;
		l->paused_ticks = poller_tick(l->lane->poller);
		__atomic_store_n(&l->stats.pause_ticks, 0, __ATOMIC_RELAXED);
	}
	remote_judge_door(l);
	remote_look(l);
	remote_proceed(l);
}

void remote_offered(struct remote_lane *l)
{
	struct poller *p = l->lane->poller;

	l->offered_ticks = l->looked_ticks = poller_tick(p);
	if (!l->stall_ticks)
		return;
	l->timer_on = true;
	poller_timer(p, poller_now_ns(p) + clock_ticks_to_ns(p->scale, l->look_ticks));
}

void remote_gain(struct remote_lane *l, const struct channel *c)
{
	remote_await(l, NULL, c);
}

void remote_hand_over(struct remote_lane *l, struct handover *h, const struct channel *c)
{
	remote_await(l, h, c);
}

void remote_settle(struct remote_lane *l)
{
	if (!l->has_machine)
		l->look_ticks = l->stall_ticks / LOOKS;
}

void remote_set_stall(struct remote_lane *l, uint64_t stall_ns)
{
	l->stall_ticks = clock_ns_to_ticks(clock_scale(), stall_ns);
	l->look_ticks = l->stall_ticks / LOOKS; /* join() may have it look more often */
}

/* The time for the oldest is up. A program that waits for I/O of its own waits for the medium,
 * however long that takes; but one that goes on asking does not wait. Return: whether it has more
 * time. */
static bool is_excused(struct remote_lane *l)
{
	const struct slot *s = list_first(&l->order, struct slot, order);

	if (l->nawaited)
		return true;
	if (l->late != s || l->late_sent_ticks != s->sent_ticks)
		l->excuses = 0;
	l->late = s;
	l->late_sent_ticks = s->sent_ticks;
	if (!l->nio || l->excuses == EXCUSES_MAX)
		return false;
	l->excuses++;
	own_io_await(l);
	return true;
}

/* What the program is to do next, and since when. Return: NULL: nothing. */
static const char *task_of(const struct remote_lane *l, uint64_t *ret_since_ticks)
{
	if (l->nsent) {
		const struct slot *s = list_first(&l->order, struct slot, order);

		*ret_since_ticks = max_u64(s->sent_ticks, l->front_ticks);
		return "it has kept a request for too long";
	}
	*ret_since_ticks = l->offered_ticks;
	return l->offered_ticks ? "it does not take the disk" : NULL;
}

/* Whoever comes late to look did not run, and perhaps nothing did: the host was suspended, or the
 * machine that it is was stopped. Return: the time since the last look beyond that of two. */
static uint64_t missed_ticks(struct remote_lane *l, uint64_t now)
{
	uint64_t most = 2 * max_u64(l->stall_ticks / LOOKS, l->look_ticks);
	uint64_t gone = now > l->looked_ticks ? now - l->looked_ticks : 0;

	l->looked_ticks = now;
	return gone > most ? gone - most : 0;
}

/* Return: how much of its time the program has used up for what it was to do @since. */
static uint64_t age_of(struct remote_lane *l, uint64_t since, uint64_t now)
{
	since = min_u64(since + missed_ticks(l, now), now);
	*(l->nsent ? &l->front_ticks : &l->offered_ticks) = since;
	return now - since;
}

uint64_t remote_timer(void *state, uint64_t now_ns)
{
	struct remote_lane *l = state;
	struct poller *p = l->lane->poller;
	uint64_t since;
	const char *task = task_of(l, &since);

	if (!task || !l->look_ticks) {
		l->timer_on = false;
		return NEVER_NS;
	}
	uint64_t age = age_of(l, since, p->now_ticks);

	if (!l->stall_ticks || age < l->stall_ticks || (l->nsent && is_excused(l))) {
		uint64_t left = l->stall_ticks > age ? l->stall_ticks - age : l->look_ticks;

		return now_ns + clock_ticks_to_ns(p->scale, min_u64(left, l->look_ticks));
	}
	l->timer_on = false;
	l->offered_ticks = 0;
	remote_lose(l, task);
	return NEVER_NS;
}

static int get_memory(struct remote_lane *l)
{
	struct buffers *b;
	int err = l->remote->host ? host_find_buffers(l->remote->host, l, &b) :
				    buffers_find(l, NULL, &b);

	if (err)
		return err;
	l->bufs = b->at;
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return l->wake_fd < 0 ? -errno : 0;
}

static void free_lane(struct remote_lane *l)
{
	buffers_free(l);
	fd_close(l->wake_fd);
	free(l);
}

void remote_measure(struct remote_lane *l)
{
	uint64_t size_b = l->lane->size_b;

	__atomic_store_n(&l->size_b, size_b, __ATOMIC_RELAXED);
	__atomic_store_n(&l->below_b, max_u64(size_b, l->lane->media->media->caps.size_b),
			 __ATOMIC_RELAXED);
}

static void never_complete(struct req *const *reqs, unsigned n)
{
	assert(!"a request of the function's own turns round at its step");
}

static void init_lane(struct remote_lane *l, struct remote *f, struct lane *lane)
{
	l->source = (struct media_lane){ .ops = &remote_source_ops, .poller = lane->poller };
	list_init(&l->source.busy);
	l->lane = lane;
	l->remote = f;
	l->mode = (uint8_t)f->mode;
	remote_measure(l);
	l->wake_fd = l->kick_fd = -1;
	list_init(&l->buffers);
	l->io_owner.complete = never_complete;
	l->takes = (1u << REQ_OPS) - 1; /* until it is known what the program wants to see */
	if (l->mode == FN_OBSERVE)
		l->down = l->takes; /* all that is not shown is counted */
	list_init(&l->order);
	list_init(&l->waiting);
	/* the lowest on top */
	for (unsigned i = 0; i < FN_SLOTS; i++)
		l->free[i] = (uint16_t)(FN_SLOTS - 1 - i);
	l->nfree = FN_SLOTS;
	for (unsigned i = 0; i < FN_IO_MAX; i++)
		l->io[i].next_free = (uint16_t)(i + 1);
}

struct reservation {
	struct remote_lane *l;
	int err;
};

static void reserve(void *arg)
{
	struct reservation *r = arg;

	r->err = slab_reserve(&r->l->lane->poller->slab, FN_IO_MAX);
	if (!r->err)
		remote_judge_door(r->l);
}

int remote_lane_open(struct function *f, struct lane *lane, void **ret_state)
{
	struct remote *remote = container_of(f, struct remote, function);
	struct remote_lane *l = aligned_alloc(CACHE_LINE, align_up(sizeof(*l), CACHE_LINE));

	if (!l)
		return -ENOMEM;
	memset(l, 0, sizeof(*l));
	init_lane(l, remote, lane);
	struct reservation r = { l, get_memory(l) };

	if (!r.err)
		poller_call(lane->poller, reserve, &r);
	if (r.err) {
		free_lane(l);
		return r.err;
	}
	*ret_state = l;
	return 0;
}

void remote_lane_start(void *state, unsigned step)
{
	struct remote_lane *l = state;

	l->step = (uint8_t)step;
	if (l->remote->host)
		host_add_lane(l->remote->host, l);
}

static void disconnect(void *arg)
{
	remote_disconnect(arg);
}

void remote_lane_stop(void *state)
{
	struct remote_lane *l = state;

	if (l->remote->host)
		host_del_lane(l->remote->host, l);
	poller_call(l->lane->poller, disconnect, l);
}

bool remote_lane_is_quiet(const void *state)
{
	return !((const struct remote_lane *)state)->nio;
}

static void leave_poller(void *arg)
{
	struct remote_lane *l = arg;

	assert(list_empty(&l->order) && list_empty(&l->waiting) && l->nfree == FN_SLOTS);
	list_del_init(&l->source.busy);
	slab_unreserve(&l->lane->poller->slab, FN_IO_MAX);
}

void remote_lane_close(void *state)
{
	struct remote_lane *l = state;

	poller_call(l->lane->poller, leave_poller, l);
	if (l->remote->host)
		host_forget_lane(l->remote->host, l);
	free_lane(l);
}

void remote_adjust(const struct function *f, struct media_caps *caps)
{
	const struct remote *remote = container_of(f, const struct remote, function);
	if (remote->mode != FN_SERVE || !remote->host)
		return;
	uint32_t down = host_takes(remote->host);

	/* what the program does not do cannot be done */
	if (!(down & 1u << FN_DISCARD))
		caps->discard_gran_b = 0;
	caps->zeroes = caps->zeroes && down & 1u << FN_ZEROES;
	caps->volatile_cache = down & 1u << FN_FLUSH;
}

void remote_close(struct function *f)
{
	struct remote *remote = container_of(f, struct remote, function);

	if (remote->users)
		--*remote->users;
	free(remote);
}

int remote_open(const struct remote_conf *c, struct function **ret_function)
{
	struct remote *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->function.ops = &remote_ops;
	f->host = c->host;
	f->mode = c->mode;
	f->on_fail = c->on_fail;
	f->users = c->users;
	if (f->users)
		++*f->users;
	*ret_function = &f->function;
	return 0;
}

static void judge_again(void *arg)
{
	remote_judge_door(arg);
}

static void ask_to_judge(struct remote_lane *l)
{
	poller_call(l->lane->poller, judge_again, l);
}

void remote_set(struct function *f, enum remote_fail on_fail)
{
	struct remote *remote = container_of(f, struct remote, function);

	__atomic_store_n(&remote->on_fail, (int)on_fail, __ATOMIC_RELAXED);
	if (remote->host)
		host_each_lane(remote->host, remote, ask_to_judge);
}

void remote_give_up(struct function *f)
{
	remote_set(f, REMOTE_ERROR);
}

struct host *remote_host(const struct function *f)
{
	return container_of(f, const struct remote, function)->host;
}

enum fn_mode remote_mode(const struct function *f)
{
	return container_of(f, const struct remote, function)->mode;
}
