/* SPDX-License-Identifier: Apache-2.0 */
#include "function/error/error.h"

#include <stdlib.h>

#include "core/lane.h"

struct error {
	struct function function;
	struct error_conf conf; /* never changes */
	int64_t since;		/* relaxed atomic: chosen since the last that failed */
	uint64_t injected;	/* relaxed atomic */
};

static inline bool is_chosen(const struct error_conf *c, const struct req *r)
{
	if (!(c->ops & 1u << r->op))
		return false;
	if (r->op == REQ_FLUSH)
		return !c->first_b && c->end_b == UINT64_MAX;
	return r->off_b < c->end_b && (r->off_b >= c->first_b || r->len_b > c->first_b - r->off_b);
}

/* Counts a chosen request. Return: whether it is the turn of this one. */
static inline bool is_nth(struct error *f)
{
	int64_t every = (int64_t)f->conf.every;

	if (every > 1 && __atomic_add_fetch(&f->since, 1, __ATOMIC_RELAXED) < every)
		return false;
	if (every > 1)
		__atomic_fetch_sub(&f->since, every, __ATOMIC_RELAXED);
	return true;
}

static inline bool may_fail(struct error *f)
{
	if (!f->conf.count) {
		__atomic_fetch_add(&f->injected, 1, __ATOMIC_RELAXED);
		return true;
	}
	uint64_t n = __atomic_load_n(&f->injected, __ATOMIC_RELAXED);

	do
		if (n >= f->conf.count)
			return false;
	while (!__atomic_compare_exchange_n(&f->injected, &n, n + 1, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED));
	return true;
}

static enum step error_down(void *state, struct req *r)
{
	struct error *f = state;

	if (!is_chosen(&f->conf, r) || !is_nth(f) || !may_fail(f))
		return STEP_PASS;
	if (f->conf.aborts)
		abort();
	r->status = (uint8_t)f->conf.status;
	return STEP_DONE;
}

static int error_lane_open(struct function *f, struct lane *lane, void **ret_state)
{
	*ret_state = container_of(f, struct error, function);
	return 0;
}

static void error_lane_close(void *state)
{
}

static void error_close(struct function *f)
{
	free(container_of(f, struct error, function));
}

static const struct function_ops error_ops = {
	.kind = "error",
	.close = error_close,
	.lane_open = error_lane_open,
	.lane_close = error_lane_close,
	.down = error_down,
};

int error_open(const struct error_conf *c, struct function **ret_function)
{
	struct error *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->function.ops = &error_ops;
	f->conf = *c;
	*ret_function = &f->function;
	return 0;
}

uint64_t error_injected(const struct function *f)
{
	return __atomic_load_n(&container_of(f, const struct error, function)->injected,
			       __ATOMIC_RELAXED);
}
