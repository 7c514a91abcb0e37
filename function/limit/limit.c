/* SPDX-License-Identifier: Apache-2.0 */
#include "function/limit/limit.h"

#include <stdlib.h>

#include "core/lane.h"

/* Waiting requests are looked at no more often than this, several at a time, ... */
#define LOOK_MIN_NS (50 * NS_PER_US)
/* ... and no less often than this, so that a changed limit needs to wake nobody. */
#define LOOK_MAX_NS (10 * NS_PER_MS)

/* What one unit costs in ns, as fixed point with 32 bits of fraction; 0: nothing. */
struct bucket {
	uint64_t cost_32; /* relaxed atomic; written by control */
	uint64_t clock_ns; /* relaxed atomic, of all lanes: it orders nothing but itself */
};

enum limit_class { LIMIT_IO, LIMIT_TRIM, LIMIT_CLASSES };

struct limit {
	struct function function;
	struct bucket requests cacheline_aligned;
	struct bucket bytes;
	struct bucket trims; /* of discards and write-zeroes, which then need none of the others */
	uint64_t burst_ns; /* relaxed atomic; written by control */
	uint64_t delayed;  /* relaxed atomic, of all lanes */
};

struct limit_lane {
	struct limit *limit;
	struct lane *lane;
	struct list held[LIMIT_CLASSES]; /* in order of arrival; through req.hold */
};

static inline uint64_t cost_of(const struct bucket *b)
{
	return __atomic_load_n(&b->cost_32, __ATOMIC_RELAXED);
}

static inline uint64_t price(uint64_t units, uint64_t cost_32)
{
	return (uint64_t)((unsigned __int128)units * cost_32 >> 32);
}

/* When @b lets the next request go. */
static inline uint64_t free_at(const struct bucket *b)
{
	return cost_of(b) ? __atomic_load_n(&b->clock_ns, __ATOMIC_RELAXED) : 0;
}

static inline uint64_t least_clock(uint64_t now_ns, uint64_t burst_ns)
{
	return now_ns > burst_ns ? now_ns - burst_ns : 0;
}

/* Whether, one after another, all requests that have @units together may go now; the last has
 * @last_units of them. */
static inline bool has_room(const struct bucket *b, uint64_t units, uint64_t last_units,
			    uint64_t now_ns, uint64_t burst_ns)
{
	uint64_t at_ns = max_u64(free_at(b), least_clock(now_ns, burst_ns));

	return at_ns <= now_ns && price(units - last_units, cost_of(b)) <= now_ns - at_ns;
}

static inline void charge(struct bucket *b, uint64_t units, uint64_t now_ns, uint64_t burst_ns)
{
	uint64_t cost_32 = cost_of(b);
	uint64_t was_ns = __atomic_load_n(&b->clock_ns, __ATOMIC_RELAXED), next_ns;

	if (!cost_32)
		return;
	do
		next_ns = max_u64(was_ns, least_clock(now_ns, burst_ns)) + price(units, cost_32);
	while (!__atomic_compare_exchange_n(&b->clock_ns, &was_ns, next_ns, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED));
}

static inline uint64_t burst_of(const struct limit *f)
{
	return __atomic_load_n(&f->burst_ns, __ATOMIC_RELAXED);
}

static inline enum limit_class class_of(const struct limit *f, const struct req *r)
{
	bool trims = r->op == REQ_DISCARD || r->op == REQ_ZEROES;

	return trims && cost_of(&f->trims) ? LIMIT_TRIM : LIMIT_IO;
}

static inline void pay(struct limit *f, enum limit_class c, const struct req *r, uint64_t now_ns)
{
	charge(c == LIMIT_TRIM ? &f->trims : &f->requests, 1, now_ns, burst_of(f));
	if (r->op <= REQ_WRITE)
		charge(&f->bytes, r->len_b, now_ns, burst_of(f));
}

/* Lanes that look at the same moment may each let some go; the clocks then run that much further
 * ahead, so the sum is right. Return: 0: @r may go, and is charged; otherwise when to try again. */
static inline uint64_t admit(struct limit *f, enum limit_class c, const struct req *r,
			     uint64_t now_ns)
{
	uint64_t at_ns = free_at(c == LIMIT_TRIM ? &f->trims : &f->requests);

	if (r->op <= REQ_WRITE)
		at_ns = max_u64(at_ns, free_at(&f->bytes));
	if (at_ns > now_ns)
		return at_ns;
	pay(f, c, r, now_ns);
	return 0;
}

/* When the poller is to look again for requests that may go at @at_ns. */
static inline uint64_t look_at(uint64_t at_ns, uint64_t now_ns)
{
	return min_u64(max_u64(at_ns, now_ns + LOOK_MIN_NS), now_ns + LOOK_MAX_NS);
}

/* Return: whether @r may go; otherwise it is held. */
static bool admit_or_hold(struct limit_lane *l, struct req *r, uint64_t now_ns)
{
	enum limit_class c = class_of(l->limit, r);
	uint64_t at_ns = 0;

	if (r->op == REQ_FLUSH)
		return true;
	if (list_empty(&l->held[c])) {
		at_ns = admit(l->limit, c, r, now_ns);
		if (!at_ns)
			return true;
		poller_timer(l->lane->poller, look_at(at_ns, now_ns));
	}
	list_add_tail(&l->held[c], &r->hold);
	lane_hold(r);
	__atomic_fetch_add(&l->limit->delayed, 1, __ATOMIC_RELAXED);
	return false;
}

static enum step limit_down(void *state, struct req *r)
{
	struct limit_lane *l = state;

	return admit_or_hold(l, r, poller_now_ns(l->lane->poller)) ? STEP_PASS : STEP_HELD;
}

/* Charges reads and writes that may all go. Return: false: they may not, or there are others;
 * nothing is charged. */
static inline bool admit_all(struct limit *f, struct req *const *reqs, unsigned n, uint64_t now_ns)
{
	uint64_t bytes = 0, burst_ns = burst_of(f);
	unsigned ops = 0;

#pragma GCC unroll 4
	for (unsigned i = 0; i < n; i++) {
		ops |= reqs[i]->op;
		bytes += reqs[i]->len_b;
	}
	if (unlikely(ops > (REQ_READ | REQ_WRITE)) ||
	    !has_room(&f->requests, n, 1, now_ns, burst_ns) ||
	    !has_room(&f->bytes, bytes, reqs[n - 1]->len_b, now_ns, burst_ns))
		return false;
	charge(&f->requests, n, now_ns, burst_ns);
	charge(&f->bytes, bytes, now_ns, burst_ns);
	return true;
}

/* Of its own, so that a disk without limits pays for no registers of it: 0.6 instructions a
 * request. */
static __attribute__((noinline)) unsigned gate_limited(struct limit_lane *l, struct req **reqs,
						       unsigned n)
{
	uint64_t now_ns = poller_now_ns(l->lane->poller);
	unsigned k = 0;

	if (list_empty(&l->held[LIMIT_IO]) && n && admit_all(l->limit, reqs, n, now_ns))
		return n;
	for (unsigned i = 0; i < n; i++) {
		struct req *r = reqs[i];

		if (admit_or_hold(l, r, now_ns))
			reqs[k++] = r;
		else
			r->flags |= REQ_F_AGAIN;
	}
	return k;
}

static unsigned limit_gate(void *state, struct req **reqs, unsigned n)
{
	struct limit_lane *l = state;
	const struct limit *f = l->limit;

	if (likely(list_empty(&l->held[LIMIT_IO]) &&
		   !(cost_of(&f->requests) | cost_of(&f->bytes) | cost_of(&f->trims))))
		return n;
	return gate_limited(l, reqs, n);
}

static void let_go(struct req *r)
{
	list_del(&r->hold);
	lane_unhold(r);
	chain_resume(r);
}

/* They are paid for as ever, so those that come later wait for them: over time the limit holds. */
static void limit_hurry(void *state)
{
	struct limit_lane *l = state;
	uint64_t now_ns = poller_now_ns(l->lane->poller);

	for (unsigned c = 0; c < LIMIT_CLASSES; c++)
		while (!list_empty(&l->held[c])) {
			struct req *r = list_first(&l->held[c], struct req, hold);

			pay(l->limit, (enum limit_class)c, r, now_ns);
			let_go(r);
		}
}

static uint64_t limit_timer(void *state, uint64_t now_ns)
{
	struct limit_lane *l = state;
	uint64_t next_ns = NEVER_NS;

	for (unsigned c = 0; c < LIMIT_CLASSES; c++) {
		while (!list_empty(&l->held[c])) {
			struct req *r = list_first(&l->held[c], struct req, hold);
			uint64_t at_ns = admit(l->limit, c, r, now_ns);

			if (at_ns) {
				next_ns = min_u64(next_ns, look_at(at_ns, now_ns));
				break;
			}
			let_go(r);
		}
	}
	return next_ns;
}

static int limit_lane_open(struct function *f, struct lane *lane, void **ret_state)
{
	struct limit_lane *l = malloc(sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->limit = container_of(f, struct limit, function);
	l->lane = lane;
	for (unsigned c = 0; c < LIMIT_CLASSES; c++)
		list_init(&l->held[c]);
	*ret_state = l;
	return 0;
}

static void limit_lane_close(void *state)
{
	free(state);
}

static void limit_close(struct function *f)
{
	free(container_of(f, struct limit, function));
}

static const struct function_ops limit_ops = {
	.kind = "limit",
	.close = limit_close,
	.lane_open = limit_lane_open,
	.lane_close = limit_lane_close,
	.down = limit_down,
	.gate = limit_gate,
	.timer = limit_timer,
	.hurry = limit_hurry,
};

static void set_rate(struct bucket *b, uint64_t per_s)
{
	uint64_t cost_32 = per_s ? (NS_PER_S << 32) / per_s : 0;

	/* faster than can be counted is not limited; what was paid at the old rate is forgotten */
	__atomic_store_n(&b->cost_32, cost_32, __ATOMIC_RELAXED);
	__atomic_store_n(&b->clock_ns, 0, __ATOMIC_RELAXED);
}

int limit_open(const struct limit_conf *c, struct function **ret_function)
{
	struct limit *f = aligned_alloc(CACHE_LINE, align_up(sizeof(*f), CACHE_LINE));

	if (!f)
		return -ENOMEM;
	*f = (struct limit){ .function.ops = &limit_ops };
	limit_set(&f->function, c);
	*ret_function = &f->function;
	return 0;
}

void limit_set(struct function *f, const struct limit_conf *c)
{
	struct limit *l = container_of(f, struct limit, function);
	uint64_t burst_ns = min_u64(max_u64(c->burst_ns, LIMIT_BURST_MIN_NS), LIMIT_BURST_MAX_NS);

	__atomic_store_n(&l->burst_ns, burst_ns, __ATOMIC_RELAXED);
	set_rate(&l->requests, c->iops);
	set_rate(&l->bytes, c->bytes);
	set_rate(&l->trims, c->discards);
}

uint64_t limit_delayed(const struct function *f)
{
	return __atomic_load_n(&container_of(f, const struct limit, function)->delayed,
			       __ATOMIC_RELAXED);
}
