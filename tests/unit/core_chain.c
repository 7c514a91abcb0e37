/* SPDX-License-Identifier: Apache-2.0 */
/* The chain of functions, copies, deadlines: requests on their way down and up. */
#include "bed.h"

#include "tests/fake/media.h"

/* A function that passes, holds or ends requests as it is told, and notes who came by. */
struct stub {
	struct function f;
	enum step down, up;
	char name;
	char *trail; /* shared by all: what happened in order */
	struct req *held[8];
	unsigned nheld, lanes;
	uint64_t due_ns; /* when its timer lets go; NEVER_NS */
};

static struct stub *stub_of(struct function *f)
{
	return container_of(f, struct stub, f);
}

static void stub_note(struct stub *s, char dir)
{
	char word[] = { s->name, dir, 0 };

	strcat(s->trail, word);
}

static enum step stub_down(void *state, struct req *r)
{
	struct stub *s = state;

	stub_note(s, '>');
	if (s->down == STEP_HELD)
		s->held[s->nheld++] = r;
	if (s->down == STEP_DONE)
		r->status = REQ_NOSPC;
	return s->down;
}

static enum step stub_up(void *state, struct req *r)
{
	struct stub *s = state;

	stub_note(s, '<');
	if (s->up == STEP_HELD)
		s->held[s->nheld++] = r;
	return s->up;
}

static uint64_t stub_timer(void *state, uint64_t now_ns)
{
	struct stub *s = state;

	if (now_ns < s->due_ns)
		return s->due_ns;
	while (s->nheld)
		chain_resume(s->held[--s->nheld]);
	return NEVER_NS;
}

static int stub_lane_open(struct function *f, struct lane *l, void **ret_state)
{
	*ret_state = stub_of(f);
	stub_of(f)->lanes++;
	return 0;
}

static void stub_lane_close(void *state)
{
	((struct stub *)state)->lanes--;
}

static void stub_close(struct function *f)
{
}

static const struct function_ops stub_ops = {
	.kind = "stub", .close = stub_close, .lane_open = stub_lane_open,
	.lane_close = stub_lane_close, .down = stub_down, .up = stub_up, .timer = stub_timer,
};

struct chain {
	struct bed b;
	struct scripted *s;
	struct stub f[3];
	char trail[256];
};

static void chain_open(struct chain *c, unsigned nf)
{
	struct function *f[3];

	memset(c, 0, sizeof(*c));
	c->s = script_new(MIB);
	for (unsigned i = 0; i < 3; i++) {
		c->f[i] = (struct stub){ .f.ops = &stub_ops, .name = (char)('a' + i),
					 .trail = c->trail, .due_ns = NEVER_NS };
		f[i] = &c->f[i].f;
	}
	bed_open_chain(&c->b, &c->s->m, f, nf, MIB);
}

static uint8_t buf[64 * 1024];

static struct bed_req submit(struct chain *c, struct bed_req *q)
{
	bed_req(&c->b, q, REQ_READ, 0, 512, buf);
	bed_submit(&c->b, q, 1);
	return *q;
}

static void passes_through_all_functions_and_back(void **state)
{
	struct chain c;
	struct bed_req q;

	chain_open(&c, 3);
	submit(&c, &q);
	assert_string_equal(c.trail, "a>b>c>c<b<a<");
	assert_int_equal(q.status, REQ_OK);
	bed_close(&c.b);
	assert_int_equal(c.f[1].lanes, 0);
}

static void holds_on_the_way_down(void **state)
{
	struct chain c;
	struct bed_req q;

	chain_open(&c, 3);
	c.f[1].down = STEP_HELD;
	submit(&c, &q);
	assert_string_equal(c.trail, "a>b>");
	assert_int_equal(c.s->nseen, 0);
	assert_int_equal(q.status, BED_NOT_DONE);
	c.f[1].down = STEP_PASS;
	chain_resume(c.f[1].held[0]);
	assert_int_equal(c.s->nseen, 0); /* not from inside: on the next turn */
	poller_turn(c.b.poller);
	assert_string_equal(c.trail, "a>b>c>c<b<a<");
	assert_int_equal(q.status, REQ_OK);
	bed_close(&c.b);
}

static void holds_on_the_way_up(void **state)
{
	struct chain c;
	struct bed_req q;

	chain_open(&c, 3);
	c.f[1].up = STEP_HELD;
	submit(&c, &q);
	assert_string_equal(c.trail, "a>b>c>c<b<");
	assert_int_equal(q.status, BED_NOT_DONE);
	chain_resume(c.f[1].held[0]);
	poller_turn(c.b.poller);
	assert_string_equal(c.trail, "a>b>c>c<b<a<");
	assert_int_equal(q.status, REQ_OK);
	bed_close(&c.b);
}

static void ends_at_a_function(void **state)
{
	struct chain c;
	struct bed_req q;

	chain_open(&c, 3);
	c.f[2].down = STEP_DONE;
	submit(&c, &q);
	/* those before it see it go up; it does not */
	assert_string_equal(c.trail, "a>b>c>b<a<");
	assert_int_equal(q.status, REQ_NOSPC);
	assert_int_equal(c.s->nseen, 0);
	bed_close(&c.b);
}

static void lets_go_when_the_timer_says(void **state)
{
	struct chain c;
	struct bed_req q;

	chain_open(&c, 1);
	c.f[0].down = STEP_HELD;
	submit(&c, &q);
	c.f[0].due_ns = poller_now_ns(c.b.poller) + NS_PER_MS;
	poller_timer(c.b.poller, c.f[0].due_ns);
	assert_int_not_equal(c.b.poller->timer_ticks, UINT64_MAX);
	bed_run(&c.b, 1); /* sleeps until then, and no longer */
	assert_int_equal(q.status, REQ_OK);
	assert_true(poller_now_ns(c.b.poller) >= c.f[0].due_ns);
	assert_int_equal(c.b.poller->timer_ticks, UINT64_MAX);
	bed_close(&c.b);
}

static void refuses_a_ninth_function(void **state)
{
	struct chain c;
	struct stub more = { .f.ops = &stub_ops };

	chain_open(&c, 3);
	while (c.b.lane->nstep < CHAIN_MAX)
		assert_int_equal(lane_add_function(c.b.lane, &more.f), 0);
	assert_int_equal(lane_add_function(c.b.lane, &more.f), -ENOSPC);
	bed_close(&c.b);
}

/* A medium that wants 512-byte alignment, as O_DIRECT does. */
static void open_aligned(struct chain *c)
{
	memset(c, 0, sizeof(*c));
	c->s = script_new(4 * MIB);
	c->s->m.caps.align_b = 512;
	c->s->when = SCRIPT_POLL;
	bed_open_chain(&c->b, &c->s->m, NULL, 0, 4 * MIB);
}

static void copies_what_the_medium_cannot_take(void **state)
{
	static uint8_t area[8192] __attribute__((aligned(4096)));
	struct chain c;
	struct bed_req q;

	open_aligned(&c);
	for (unsigned i = 0; i < sizeof(area); i++)
		area[i] = (uint8_t)(i * 3);
	/* aligned: no copy */
	bed_req(&c.b, &q, REQ_WRITE, 0, 1024, area);
	bed_submit(&c.b, &q, 1);
	bed_run(&c.b, 1);
	assert_int_equal(c.b.lane->stats->copies, 0);
	/* segments of 100 and 412 bytes at an odd address */
	struct req *r = bed_req(&c.b, &q, REQ_WRITE, 4096, 512, area + 1);

	r->seg[0].len_b = 100;
	r->seg[1] = (struct seg){ area + 3001, 412, NULL };
	r->nseg = 2;
	bed_submit(&c.b, &q, 1);
	bed_run(&c.b, 2);
	assert_int_equal(q.status, REQ_OK);
	assert_int_equal(c.b.lane->stats->copies, 1);
	assert_int_equal(c.b.lane->stats->copied_b, 512);
	assert_memory_equal(c.s->store + 4096, area + 1, 100);
	assert_memory_equal(c.s->store + 4196, area + 3001, 412);
	assert_int_equal(c.s->seen[1].nseg, 1);
	/* and back, into other odd places */
	memset(area, 0, 600);
	r = bed_req(&c.b, &q, REQ_READ, 4096, 512, area + 3);
	bed_submit(&c.b, &q, 1);
	bed_run(&c.b, 3);
	assert_memory_equal(area + 3, c.s->store + 4096, 512);
	bed_close(&c.b);
}

/* Longer than a buffer: piece by piece, through one. */
static void copies_a_long_request_in_pieces(void **state)
{
	static uint8_t big[3 * BOUNCE_BUF_B / 2 + 1];
	struct chain c;
	struct bed_req q;

	open_aligned(&c);
	for (unsigned i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 5 + (i >> 9));
	bed_req(&c.b, &q, REQ_WRITE, 512, sizeof(big) - 1, big + 1);
	bed_submit(&c.b, &q, 1);
	bed_run(&c.b, 1);
	assert_int_equal(q.status, REQ_OK);
	assert_int_equal(c.s->nseen, 2);
	assert_memory_equal(c.s->store + 512, big + 1, sizeof(big) - 1);
	assert_int_equal(c.b.lane->stats->copied_b, sizeof(big) - 1);
	/* the same in two segments, the second piece all in the second one */
	struct req *r = bed_req(&c.b, &q, REQ_WRITE, 512, sizeof(big) - 1, big + 1);

	r->seg[0].len_b = 1001;
	r->seg[1] = (struct seg){ big + 1002, (uint32_t)sizeof(big) - 1002, NULL };
	r->nseg = 2;
	memset(c.s->store, 0, c.s->store_b);
	bed_submit(&c.b, &q, 1);
	bed_run(&c.b, 2);
	assert_memory_equal(c.s->store + 512, big + 1, sizeof(big) - 1);
	/* the second piece fails: so does the request */
	const struct script_step script[] = {
		{ REQ_READ, 512, BOUNCE_BUF_B, 0, SCRIPT_POLL, REQ_OK },
		{ REQ_READ, 512 + BOUNCE_BUF_B, BOUNCE_BUF_B / 2, 0, SCRIPT_POLL, REQ_IOERR },
	};

	script_expect(c.s, script, 2);
	bed_req(&c.b, &q, REQ_READ, 512, sizeof(big) - 1, big + 1);
	bed_submit(&c.b, &q, 1);
	bed_run(&c.b, 3);
	assert_int_equal(q.status, REQ_IOERR);
	bed_close(&c.b);
}

/* Out of buffers means to wait, in the order of arrival, and never to fail. */
static void waits_for_a_buffer(void **state)
{
	static uint8_t odd[513];
	struct bed_req q[BOUNCE_BUFS + 4];
	struct chain c;

	open_aligned(&c);
	c.s->when = SCRIPT_HELD;
	for (unsigned i = 0; i < ARRAY_SIZE(q); i++) {
		bed_req(&c.b, &q[i], REQ_WRITE, i * 512, 512, odd + 1);
		bed_submit(&c.b, &q[i], 1);
	}
	assert_int_equal(script_waiting(c.s), BOUNCE_BUFS);
	script_release(c.s, 3, REQ_OK);
	bed_run(&c.b, 1);
	poller_turn(c.b.poller);
	assert_int_equal(script_waiting(c.s), BOUNCE_BUFS);
	assert_int_equal(c.s->seen[BOUNCE_BUFS].off_b, BOUNCE_BUFS * 512);
	c.s->when = SCRIPT_POLL;
	script_release_all(c.s, REQ_OK);
	bed_run(&c.b, ARRAY_SIZE(q));
	for (unsigned i = 0; i < ARRAY_SIZE(q); i++)
		assert_int_equal(q[i].status, REQ_OK);
	assert_int_equal(c.s->seen[ARRAY_SIZE(q) - 1].off_b, (ARRAY_SIZE(q) - 1) * 512);
	bed_close(&c.b);
}

static void tells_the_age_of_the_oldest_and_who_is_overdue(void **state)
{
	struct chain c;
	struct bed_req q[2];
	struct disk_stats stats;

	chain_open(&c, 0);
	c.s->when = SCRIPT_HELD;
	disk_set_care(c.b.disk, &(struct disk_care){ .timeout_ns = NS_PER_MS });
	disk_stats(c.b.disk, &stats);
	assert_int_equal(stats.oldest_ns, 0);
	submit(&c, &q[0]);
	submit(&c, &q[1]);
	uint64_t end_ns = clock_ns() + BED_LIMIT_NS;

	while (!c.b.lane->stats->overdue && clock_ns() < end_ns)
		if (!poller_turn(c.b.poller))
			poller_sleep(c.b.poller, NEVER_NS); /* the deadline wakes it */
	disk_stats(c.b.disk, &stats);
	assert_int_equal(stats.lanes.overdue, 1);
	assert_int_equal(stats.inflight, 2);
	assert_true(stats.oldest_ns >= NS_PER_MS);
	assert_true(c.b.lane->is_overdue);
	script_release_all(c.s, REQ_OK);
	bed_run(&c.b, 2);
	lane_timer(c.b.lane, poller_now_ns(c.b.poller));
	assert_false(c.b.lane->is_overdue);
	disk_stats(c.b.disk, &stats);
	assert_int_equal(stats.inflight, 0);
	assert_int_equal(hist_total(&stats.lanes.latency[REQ_READ]), 2);
	bed_close(&c.b);
}

/* One has been past its deadline for long, another will be before the next deadline has gone by. */
static void looks_again_when_the_next_is_due(void **state)
{
	const uint64_t patience_ns = 1000 * NS_PER_S;
	struct bed_req q[2];
	struct chain c;

	chain_open(&c, 0);
	c.s->when = SCRIPT_HELD;
	disk_set_care(c.b.disk, &(struct disk_care){ .timeout_ns = patience_ns });
	submit(&c, &q[0]);
	submit(&c, &q[1]);
	struct lane *l = c.b.lane;
	struct req *first = list_entry(l->inflight.next, struct req, link);
	struct req *second = list_entry(l->inflight.prev, struct req, link);
	uint64_t now = c.b.poller->now_ticks = 3 * l->deadline_ticks;
	uint64_t eighth = l->deadline_ticks / 8, rest = l->deadline_ticks - 2 * eighth;

	/* a look after the first is past, which may end at any time; one before the second is */
	first->since_ticks = now - 2 * l->deadline_ticks;
	second->since_ticks = now;
	assert_int_equal(lane_timer(l, 0), clock_ticks_to_ns(c.b.poller->scale, eighth));
	assert_true(l->is_overdue);
	second->since_ticks = now - l->deadline_ticks + 7;
	assert_int_equal(lane_timer(l, 0), clock_ticks_to_ns(c.b.poller->scale, 7));
	/* none is: then until the first will be */
	first->since_ticks = second->since_ticks = now - 2 * eighth;
	assert_int_equal(lane_timer(l, 0), clock_ticks_to_ns(c.b.poller->scale, rest));
	assert_false(l->is_overdue);
	script_release_all(c.s, REQ_OK);
	bed_run(&c.b, 2);
	bed_close(&c.b);
}

/* What a function holds is in flight too, though no medium has it. */
static void finds_a_request_overdue_that_a_function_holds(void **state)
{
	struct chain c;
	struct bed_req q;

	chain_open(&c, 1);
	c.f[0].down = STEP_HELD;
	disk_set_care(c.b.disk, &(struct disk_care){ .timeout_ns = NS_PER_MS });
	submit(&c, &q);
	uint64_t end_ns = clock_ns() + BED_LIMIT_NS;

	while (!c.b.lane->stats->overdue && clock_ns() < end_ns)
		if (!poller_turn(c.b.poller))
			poller_sleep(c.b.poller, NS_PER_S);
	assert_int_equal(c.b.lane->stats->overdue, 1);
	chain_resume(c.f[0].held[0]);
	bed_run(&c.b, 1);
	bed_close(&c.b);
}

static void counts_what_was_done(void **state)
{
	struct chain c;
	struct bed_req q;

	chain_open(&c, 0);
	assert_int_equal(bed_do(&c.b, REQ_WRITE, 0, 0, 4096, buf), REQ_OK);
	assert_int_equal(bed_do(&c.b, REQ_READ, 0, 2 * MIB, 512, buf), REQ_RANGE);
	submit(&c, &q);
	assert_int_equal(c.b.lane->stats->op[REQ_WRITE].bytes, 4096);
	assert_int_equal(c.b.lane->stats->op[REQ_READ].errors, 1);
	assert_int_equal(hist_total(&c.b.lane->stats->latency[REQ_READ]), 2);
	bed_close(&c.b);
}

/* The second of three reads writes twice. */
static void stable_open(struct chain *c, struct function_ops *ops)
{
	*ops = stub_ops;
	ops->needs_stable = true;
	memset(c, 0, sizeof(*c));
	c->s = script_new(MIB);
	struct function *f[3];

	for (unsigned i = 0; i < 3; i++) {
		c->f[i] = (struct stub){ .f.ops = i ? ops : &stub_ops, .name = (char)('a' + i),
					 .trail = c->trail, .due_ns = NEVER_NS };
		f[i] = &c->f[i].f;
	}
	bed_open_chain(&c->b, &c->s->m, f, 3, MIB);
}

static void copies_a_write_once_before_who_needs_it_stable(void **state)
{
	struct function_ops ops;
	struct chain c;
	struct bed_req q;

	stable_open(&c, &ops);
	c.f[1].down = STEP_HELD;
	memset(buf, 'x', 4096);
	bed_req(&c.b, &q, REQ_WRITE, 0, 4096, buf);
	bed_submit(&c.b, &q, 1);
	assert_ptr_not_equal(q.r->seg[0].host, buf);
	memset(buf, 'y', 4096); /* as a guest may */
	assert_memory_equal(q.r->seg[0].host, "xxxx", 4);
	chain_resume(c.f[1].held[0]);
	bed_run(&c.b, 1);
	assert_int_equal(q.status, REQ_OK);
	assert_string_equal(c.trail, "a>b>c>c<b<a<");
	assert_memory_equal(c.s->store, "xxxx", 4);
	assert_int_equal(c.b.lane->stats->copies, 1);
	assert_int_equal(c.b.lane->stats->copied_b, 4096);
	c.f[1].down = STEP_PASS;
	assert_int_equal(bed_do(&c.b, REQ_READ, 0, 0, 4096, buf), REQ_OK);
	assert_memory_equal(buf, "xxxx", 4);
	assert_int_equal(c.b.lane->stats->copies, 1);
	bed_close(&c.b);
}

static uint8_t long_buf[BOUNCE_BUF_B + 4096];

static void copies_a_long_write_in_pieces_before_who_needs_it_stable(void **state)
{
	struct function_ops ops;
	struct chain c;

	stable_open(&c, &ops);
	for (size_t i = 0; i < sizeof(long_buf); i++)
		long_buf[i] = (uint8_t)(i >> 12);
	assert_int_equal(bed_do(&c.b, REQ_WRITE, 0, 4096, sizeof(long_buf), long_buf), REQ_OK);
	/* whoever comes before sees one request, the others one for each piece */
	assert_string_equal(c.trail, "a>b>c>c<b<b>c>c<b<a<");
	assert_int_equal(c.s->nseen, 2);
	assert_memory_equal(c.s->store + 4096, long_buf, sizeof(long_buf));
	assert_int_equal(c.b.lane->stats->copied_b, sizeof(long_buf));
	bed_close(&c.b);
}

static void waits_for_a_buffer_before_who_needs_it_stable(void **state)
{
	struct bed_req q[BOUNCE_BUFS + 1];
	struct function_ops ops;
	struct chain c;

	stable_open(&c, &ops);
	c.s->when = SCRIPT_HELD;
	for (unsigned i = 0; i <= BOUNCE_BUFS; i++) {
		bed_req(&c.b, &q[i], REQ_WRITE, 4096 * i, 4096, buf);
		bed_submit(&c.b, &q[i], 1);
	}
	assert_int_equal(script_waiting(c.s), BOUNCE_BUFS);
	script_release(c.s, 0, REQ_OK);
	bed_run(&c.b, 1);
	while (script_waiting(c.s) < BOUNCE_BUFS)
		poller_turn(c.b.poller);
	script_release_all(c.s, REQ_OK);
	bed_run(&c.b, BOUNCE_BUFS + 1);
	for (unsigned i = 0; i <= BOUNCE_BUFS; i++)
		assert_int_equal(q[i].status, REQ_OK);
	bed_close(&c.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passes_through_all_functions_and_back),
		cmocka_unit_test(holds_on_the_way_down),
		cmocka_unit_test(holds_on_the_way_up),
		cmocka_unit_test(ends_at_a_function),
		cmocka_unit_test(lets_go_when_the_timer_says),
		cmocka_unit_test(refuses_a_ninth_function),
		cmocka_unit_test(copies_what_the_medium_cannot_take),
		cmocka_unit_test(copies_a_long_request_in_pieces),
		cmocka_unit_test(waits_for_a_buffer),
		cmocka_unit_test(tells_the_age_of_the_oldest_and_who_is_overdue),
		cmocka_unit_test(looks_again_when_the_next_is_due),
		cmocka_unit_test(finds_a_request_overdue_that_a_function_holds),
		cmocka_unit_test(counts_what_was_done),
		cmocka_unit_test(copies_a_write_once_before_who_needs_it_stable),
		cmocka_unit_test(copies_a_long_write_in_pieces_before_who_needs_it_stable),
		cmocka_unit_test(waits_for_a_buffer_before_who_needs_it_stable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
