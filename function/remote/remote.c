/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path: a request gets a slot, its data goes through the slot's buffer, and
 * what the program answers decides where it goes on. The medium works on the buffer
 * itself, so a write is copied once (in) and a read once (out).
 *
 * From the program nothing is believed: a slot's number is judged, then our own notes
 * say whether the program has it. What it may not do makes the lane lose the program,
 * see lane.c.
 */
#include <string.h>

#include "function/remote/private.h"

/* Answers looked at in one turn. */
#define TURN_MAX 64
/* Of a buffer, fetched ahead. */
#define FETCH_B 4096u

static const uint8_t status_of[FN_STATUSES] = {
	[FN_OK] = REQ_OK,	  [FN_IOERR] = REQ_IOERR,   [FN_NOSPC] = REQ_NOSPC,
	[FN_RANGE] = REQ_RANGE,	  [FN_RDONLY] = REQ_RDONLY, [FN_UNSUPP] = REQ_UNSUPP,
	[FN_TIMEOUT] = REQ_TIMEOUT, [FN_GONE] = REQ_IOERR,
};

static_assert((int)FN_READ == REQ_READ && (int)FN_WRITE == REQ_WRITE &&
	      (int)FN_FLUSH == REQ_FLUSH && (int)FN_DISCARD == REQ_DISCARD &&
	      (int)FN_ZEROES == REQ_ZEROES && (int)FN_OPS == REQ_OPS, "one numbering");
static_assert((int)FN_OK == REQ_OK && (int)FN_IOERR == REQ_IOERR && (int)FN_NOSPC == REQ_NOSPC &&
	      (int)FN_RANGE == REQ_RANGE && (int)FN_RDONLY == REQ_RDONLY &&
	      (int)FN_UNSUPP == REQ_UNSUPP && (int)FN_TIMEOUT == REQ_TIMEOUT, "one numbering");
static_assert((int)FN_F_FUA == REQ_F_FUA && (int)FN_F_UNMAP == REQ_F_UNMAP, "one numbering");

void remote_look(struct remote_lane *l)
{
	if (!l->source.on_busy)
		poller_media_busy(l->lane->poller, &l->source);
}

/* The slot whose buffer @r has instead of its own segments, or NULL. */
static inline struct slot *slot_of(struct remote_lane *l, const struct req *r)
{
	uintptr_t off = (uintptr_t)r->seg - (uintptr_t)l->slot;

	return off < sizeof(l->slot) ? &l->slot[off / sizeof(struct slot)] : NULL;
}

static inline unsigned slot_number(const struct remote_lane *l, const struct slot *s)
{
	return (unsigned)(s - l->slot);
}

static inline uint8_t *slot_buf(const struct remote_lane *l, const struct slot *s)
{
	return l->bufs + (size_t)slot_number(l, s) * FN_BUF_B;
}

static inline struct slot *take_slot(struct remote_lane *l, struct req *r)
{
	struct slot *s = &l->slot[l->free[--l->nfree]];

	s->r = r;
	s->was_seg = NULL;
	s->seen = false;
	return s;
}

void remote_free_slot(struct remote_lane *l, struct slot *s)
{
	uint16_t *at = &l->free[l->nfree];

	/* beneath the top one, whose buffer may be on its way here: see fetch_next() */
	if (l->nfree++) {
		at[0] = at[-1];
		at--;
	}
	*at = (uint16_t)slot_number(l, s);
	s->place = SLOT_FREE;
	if (unlikely(!list_empty(&l->waiting)))
		remote_serve_waiting(l);
}

/* Copies @len_b bytes, from @skip_b of @seg on, to or from @buf. */
static void copy(const struct seg *seg, uint64_t skip_b, uint8_t *buf, uint64_t len_b, bool to_buf)
{
	for (; len_b; seg++) {
		if (skip_b >= seg->len_b) {
			skip_b -= seg->len_b;
			continue;
		}
		char *host = (char *)seg->host + skip_b;
		size_t n = min_u64(len_b, seg->len_b - skip_b);

		memcpy(to_buf ? (void *)buf : host, to_buf ? host : (void *)buf, n);
		buf += n;
		len_b -= n;
		skip_b = 0;
	}
}

/* What the next write's buffer held the program has worked on: its lines are in the other core's
 * cache, and come over while this write is copied. Depth 32, a program that changes all: 1.6 to 2.3
 * million a second. Always inline: a function that does nothing but fetch is taken for one that
 * does nothing. */
static inline __attribute__((always_inline)) void fetch_next(const struct remote_lane *l)
{
	const struct slot *next = &l->slot[l->free[l->nfree - 1u]];

	if (!next->warm)
		return;
	/* further on the hardware sees what we are about */
	for (unsigned i = 0; i < FETCH_B; i += CACHE_LINE)
		__builtin_prefetch(slot_buf(l, next) + i, 1);
}

static inline void count_copy(struct remote_lane *l, uint64_t len_b)
{
	stat_add(&l->lane->stats->copies, 1);
	stat_add(&l->lane->stats->copied_b, len_b);
}

void remote_fill(struct remote_lane *l, const struct slot *s)
{
	copy(s->was_seg, s->done_b, slot_buf(l, s), s->r->len_b, true);
	count_copy(l, s->r->len_b);
}

static void set_piece(struct remote_lane *l, struct slot *s)
{
	struct req *r = s->r;

	r->off_b = s->was_off_b + s->done_b;
	r->len_b = min_u64(s->was_len_b - s->done_b, FN_BUF_B);
	s->seg.len_b = (uint32_t)r->len_b;
	if (r->op != REQ_WRITE)
		return;
	/* at depth 1 it would only delay this one */
	if (l->nsent && l->nfree)
		fetch_next(l);
	remote_fill(l, s);
}

void remote_attach(struct remote_lane *l, struct slot *s)
{
	struct req *r = s->r;

	s->was_seg = r->seg;
	s->was_nseg = r->nseg;
	s->was_off_b = r->off_b;
	s->was_len_b = r->len_b;
	s->done_b = 0;
	s->seg = (struct seg){ .host = slot_buf(l, s) };
	s->warm = true;
	r->seg = &s->seg;
	r->nseg = 1;
	/* The program can write there at any time: whoever is below and needs what does not change
	 * has to copy it, even if somebody above did. */
	s->bounce = NULL;
	if (unlikely(r->flags & REQ_F_BOUNCED)) {
		s->bounce = r->bounce;
		r->flags &= (uint8_t)~REQ_F_BOUNCED;
	}
	set_piece(l, s);
}

void remote_detach(struct slot *s)
{
	struct req *r = s->r;

	r->seg = s->was_seg;
	r->nseg = s->was_nseg;
	r->off_b = s->was_off_b;
	r->len_b = s->was_len_b;
	if (unlikely(s->bounce)) {
		r->bounce = s->bounce;
		r->flags |= REQ_F_BOUNCED;
	}
}

static inline bool moves_data(const struct req *r)
{
	return r->op == REQ_READ || r->op == REQ_WRITE;
}

static inline void put_request(struct remote_lane *l, const struct req *r, unsigned slot,
			       unsigned flags)
{
	struct poller *p = l->lane->poller;
	struct fn_word w = { .slot = (uint16_t)slot,
			     .op = r->op,
			     .flags = (uint8_t)(flags | (r->flags & (REQ_F_FUA | REQ_F_UNMAP))),
			     .status = flags & FN_F_UP ? r->status : FN_OK,
			     .kind = FN_REQUEST };
	uint64_t age = flags & FN_F_UP ? p->now_ticks - r->taken_ticks : 0;

	ring_put(&l->ring, w, r->off_b, (uint32_t)r->len_b, clock_ticks_to_ns(p->scale, age));
	stat_add(&l->stats.requests, 1);
}

/* The program has the slot, until it answers. */
static void note_sent(struct remote_lane *l, struct slot *s, enum slot_place place)
{
	struct poller *p = l->lane->poller;

	s->place = (uint8_t)place;
	s->sent_ticks = p->now_ticks;
	list_add_tail(&l->order, &s->order);
	l->nsent++;
	l->source.inflight++;
	if (unlikely(!l->timer_on && l->look_ticks)) {
		l->timer_on = true;
		l->looked_ticks = p->now_ticks;
		poller_timer(p, poller_now_ns(p) + clock_ticks_to_ns(p->scale, l->look_ticks));
	}
}

static void note_answered(struct remote_lane *l, struct slot *s)
{
	if (l->order.next == &s->order)
		l->front_ticks = l->lane->poller->now_ticks;
	list_del(&s->order);
	l->nsent--;
	l->source.inflight--;
	hist_add(&l->stats.wait, l->lane->poller->now_ticks - s->sent_ticks, 1);
}

void remote_send(struct remote_lane *l, struct slot *s, bool up)
{
	const struct req *r = s->r;
	unsigned flags = (up ? FN_F_UP : 0u) | (s->seen ? FN_F_REPLAY : 0u);

	if (s->was_seg && (r->op == REQ_WRITE || (up && r->status == REQ_OK)))
		flags |= FN_F_DATA;
	s->up = up;
	note_sent(l, s, SLOT_SENT);
	put_request(l, r, slot_number(l, s), flags);
	remote_look(l);
}

static void queue(struct remote_lane *l, struct slot *s, bool up)
{
	s->up = up;
	s->place = SLOT_QUEUED;
	s->sent_ticks = l->lane->poller->now_ticks;
	list_add_tail(&l->order, &s->order);
}

/* A request on its way down has a slot: to the program, or on to the medium. */
static enum step enter(struct remote_lane *l, struct slot *s)
{
	struct req *r = s->r;

	if (moves_data(r) && l->with_data & 1u << r->op)
		remote_attach(l, s);
	if (l->down & 1u << r->op) {
		remote_send(l, s, false);
		return STEP_HELD;
	}
	if (s->was_seg)
		s->place = SLOT_BELOW;
	else
		remote_free_slot(l, s);
	return STEP_PASS;
}

void remote_start(struct remote_lane *l, struct slot *s)
{
	struct req *r = s->r;

	r->flags &= (uint8_t)~REQ_F_UP;
	r->step = l->step;
	if (l->door == DOOR_BYPASS) {
		remote_go_around(l, s);
	} else if (!(l->down & 1u << r->op)) {
		s->place = SLOT_BELOW;
		chain_resume(r);
	} else if (l->door == DOOR_OPEN) {
		remote_send(l, s, false);
	} else {
		queue(l, s, false);
	}
}

bool remote_finish(struct remote_lane *l, struct slot *s)
{
	struct req *r = s->r;

	if (s->was_seg) {
		if (r->op == REQ_READ && r->status == REQ_OK) {
			copy(s->was_seg, s->done_b, slot_buf(l, s), r->len_b, false);
			count_copy(l, r->len_b);
		}
		s->done_b += r->len_b;
		if (unlikely(s->done_b < s->was_len_b && r->status == REQ_OK)) {
			s->seen = false;
			set_piece(l, s);
			remote_start(l, s);
			return false;
		}
		remote_detach(s);
	}
	remote_free_slot(l, s);
	return true;
}

/* Shows @r to an observer, or drops it: nothing waits for one. */
static void observe(struct remote_lane *l, const struct req *r, unsigned flags)
{
	bool with_data = moves_data(r) && l->with_data & 1u << r->op &&
			 (flags & FN_F_UP ? r->op == REQ_READ && r->status == REQ_OK :
					    r->op == REQ_WRITE);
	uint64_t done_b = 0;

	if (l->door != DOOR_OPEN) {
		stat_add(&l->stats.dropped, 1);
		return;
	}
	do {
		struct req piece = { .op = r->op, .status = r->status, .flags = r->flags,
				     .taken_ticks = r->taken_ticks,
				     .off_b = r->off_b + done_b, .len_b = r->len_b - done_b };
		int room = ring_room(&l->ring);
		unsigned slot = FN_NO_SLOT;

		if (room <= 0 || (with_data && !l->nfree)) {
			stat_add(&l->stats.dropped, 1);
			if (room < 0)
				remote_lose(l, "it says that it has taken what was never there");
			break;
		}
		if (with_data) {
			struct slot *s = take_slot(l, NULL);

			piece.len_b = min_u64(piece.len_b, FN_BUF_B);
			copy(r->seg, done_b, slot_buf(l, s), piece.len_b, true);
			count_copy(l, piece.len_b);
			note_sent(l, s, SLOT_EVENT);
			slot = slot_number(l, s);
		}
		put_request(l, &piece, slot, flags | (with_data ? FN_F_DATA : 0u));
		done_b += piece.len_b;
	} while (done_b < r->len_b);
	remote_look(l);
}

/* What becomes of a request that would go to the program now, if there were one. */
static enum step at_closed_door(struct remote_lane *l, struct req *r)
{
	switch ((enum door)l->door) {
	case DOOR_BYPASS:
		stat_add(&l->stats.bypassed, 1);
		return STEP_PASS;
	case DOOR_ERROR:
		stat_add(&l->stats.failed, 1);
		r->status = REQ_IOERR;
		return r->flags & REQ_F_UP ? STEP_PASS : STEP_DONE;
	case DOOR_OPEN:
	case DOOR_HOLD:
		break;
	}
	list_add_tail(&l->waiting, &r->hold);
	return STEP_HELD;
}

/* What a program that serves does not take ends here. */
static enum step not_served(struct req *r)
{
	r->status = r->op == REQ_FLUSH ? REQ_OK : REQ_UNSUPP;
	return STEP_DONE;
}

static enum step remote_down(void *state, struct req *r)
{
	struct remote_lane *l = state;
	unsigned bit = 1u << r->op;

	if (l->mode == FN_OBSERVE) {
		if (l->down & bit)
			observe(l, r, 0);
		return STEP_PASS;
	}
	if (!(l->takes & bit))
		return l->mode == FN_SERVE ? not_served(r) : STEP_PASS;
	if (unlikely(l->door != DOOR_OPEN || !l->nfree || !list_empty(&l->waiting)))
		return at_closed_door(l, r);
	return enter(l, take_slot(l, r));
}

void remote_attach_read(struct remote_lane *l, struct slot *s)
{
	struct req *r = s->r;

	if (likely(r->op != REQ_READ || r->status != REQ_OK || !(l->with_data & 1u << REQ_READ)))
		return;
	remote_attach(l, s);
	copy(s->was_seg, 0, slot_buf(l, s), r->len_b, true);
	count_copy(l, r->len_b);
}

/* A slot for a request that went down without one. */
static struct slot *take_slot_up(struct remote_lane *l, struct req *r)
{
	struct slot *s = take_slot(l, r);

	remote_attach_read(l, s);
	return s;
}

/* A slot's request is back from below. */
static enum step leave(struct remote_lane *l, struct slot *s)
{
	struct req *r = s->r;

	if (l->up & 1u << r->op) {
		switch ((enum door)l->door) {
		case DOOR_OPEN:
			remote_send(l, s, true);
			return STEP_HELD;
		case DOOR_HOLD:
			queue(l, s, true);
			return STEP_HELD;
		case DOOR_ERROR:
			r->status = REQ_IOERR;
			stat_add(&l->stats.failed, 1);
			break;
		case DOOR_BYPASS:
			stat_add(&l->stats.bypassed, 1);
			break;
		}
	}
	return remote_finish(l, s) ? STEP_PASS : STEP_HELD;
}

static enum step remote_up(void *state, struct req *r)
{
	struct remote_lane *l = state;
	struct slot *s;

	if (unlikely(r->owner == &l->io_owner)) {
		own_io_done(l, r);
		return STEP_HELD;
	}
	if (l->mode == FN_OBSERVE) {
		if (l->up & 1u << r->op)
			observe(l, r, FN_F_UP);
		return STEP_PASS;
	}
	s = slot_of(l, r);
	if (s)
		return leave(l, s);
	if (!(l->up & 1u << r->op))
		return STEP_PASS;
	if (unlikely(l->door != DOOR_OPEN || !l->nfree || !list_empty(&l->waiting)))
		return at_closed_door(l, r);
	return leave(l, take_slot_up(l, r));
}

/* As remote_down() and remote_up() of a request that has waited. */
static void let_in(struct remote_lane *l, struct req *r)
{
	if (r->flags & REQ_F_UP) {
		if (leave(l, take_slot_up(l, r)) == STEP_PASS)
			chain_resume(r);
	} else if (l->mode == FN_SERVE && !(l->takes & 1u << r->op)) {
		not_served(r);
		r->flags |= REQ_F_UP;
		chain_resume(r);
	} else if (enter(l, take_slot(l, r)) == STEP_PASS) {
		chain_resume(r);
	}
}

void remote_serve_waiting(struct remote_lane *l)
{
	/* one that needs no slot after all frees it at once, which must not begin this anew */
	if (l->serving_waiting)
		return;
	l->serving_waiting = true;
	while (l->door == DOOR_OPEN && l->nfree && !list_empty(&l->waiting))
		let_in(l, list_entry(list_pop(&l->waiting), struct req, hold));
	l->serving_waiting = false;
}

static void pass(struct remote_lane *l, struct slot *s)
{
	struct req *r = s->r;

	if (s->up) {
		if (remote_finish(l, s))
			chain_resume(r);
		return;
	}
	if (s->was_seg)
		s->place = SLOT_BELOW;
	else
		remote_free_slot(l, s);
	chain_resume(r);
}

static void done(struct remote_lane *l, struct slot *s, enum req_status status)
{
	struct req *r = s->r;

	/* without a buffer there is nothing that a read could have been answered with */
	r->status = (uint8_t)(r->op == REQ_READ && !s->was_seg && !s->up && status == REQ_OK ?
				      REQ_IOERR : status);
	if (!remote_finish(l, s))
		return;
	r->flags |= REQ_F_UP;
	chain_resume(r);
}

/* Acts on what the program has put on the ring. Return: NULL; what is wrong with it. */
static const char *take(struct remote_lane *l, struct fn_word w)
{
	if (w.kind == FN_IO) {
		struct fn_entry e = ring_rest(&l->ring);

		return own_io_take(l, w, &e);
	}
	if (unlikely(w.slot >= FN_SLOTS))
		return "it answers a slot that there is not";
	if (unlikely((w.kind != FN_PASS && w.kind != FN_DONE) || w.status >= FN_STATUSES))
		return "its answer makes no sense";
	struct slot *s = &l->slot[w.slot];

	if (unlikely(s->place != SLOT_SENT && s->place != SLOT_EVENT))
		return "it answers what it does not have";
	if (unlikely(s->nio))
		return "it answers while I/O of its own uses the buffer";
	if (unlikely(w.kind == FN_PASS && l->mode == FN_SERVE))
		return "it passes on what it serves";
	note_answered(l, s);
	if (s->place == SLOT_EVENT)
		remote_free_slot(l, s);
	else if (w.kind == FN_PASS)
		pass(l, s);
	else
		done(l, s, (enum req_status)status_of[w.status]);
	return NULL;
}

static unsigned source_poll(struct media_lane *m)
{
	struct remote_lane *l = container_of(m, struct remote_lane, source);
	const char *fault = NULL;
	struct fn_word w;
	unsigned n = 0;

	if (likely(l->ring.shared)) {
		if (unlikely(ring_sleeps(&l->ring)))
			remote_awake(l);
		if (ring_has(&l->ring)) {
			poller_tick(l->lane->poller);
			if (unlikely(l->pausing))
				remote_note_pause(l);
		}
		while (!fault && n < TURN_MAX && ring_get(&l->ring, &w)) {
			fault = take(l, w);
			n++;
		}
	}
	if (unlikely(fault))
		remote_lose(l, fault);
	if (unlikely(l->pending))
		remote_proceed(l);
	if (likely(l->ring.shared) && unlikely(ring_must_wake(&l->ring)))
		remote_kick(l);
	return n;
}

static int source_wake_fd(struct media_lane *m)
{
	struct remote_lane *l = container_of(m, struct remote_lane, source);

	if (!l->ring.shared)
		return l->wake_fd;
	if (ring_must_wake(&l->ring))
		remote_kick(l);
	if (l->kick_fd < 0 || l->handover)
		return -1;
	/* an answer that nobody waits for, an observer's, wakes nobody */
	if (l->mode == FN_OBSERVE)
		return l->wake_fd;
	if (ring_sleep(&l->ring))
		return l->wake_fd;
	ring_wake(&l->ring);
	return -1;
}

const struct media_ops remote_source_ops = {
	.kind = "remote",
	.poll = source_poll,
	.wake_fd = source_wake_fd,
};

const struct function_ops remote_ops = {
	.kind = "remote",
	.close = remote_close,
	.adjust = remote_adjust,
	.resized = remote_resized,
	.give_up = remote_give_up,
	.lane_open = remote_lane_open,
	.lane_start = remote_lane_start,
	.lane_stop = remote_lane_stop,
	.lane_close = remote_lane_close,
	.lane_is_quiet = remote_lane_is_quiet,
	.down = remote_down,
	.up = remote_up,
	.timer = remote_timer,
};
