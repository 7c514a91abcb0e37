/* SPDX-License-Identifier: Apache-2.0 */
/* A chain that changes while its disk is in use. */
#include "bed.h"

#include <stdio.h>

#include "function/limit/limit.h"
#include "tests/fake/media.h"

#define FUNCTIONS 4

/* A function that notes, in one trail for all, what passes it and what becomes of it. */
struct stub {
	struct function f;
	char name;
	bool takes_discard_away, is_busy;
	int open_err;
	unsigned lanes;
	struct rig *g;
};

struct rig {
	struct bed b;
	struct scripted *s;
	struct stub f[FUNCTIONS]; /* a, b and so on */
	char trail[256];
};

static uint8_t buf[4096];

static void note(struct stub *s, const char *what)
{
	size_t at = strlen(s->g->trail);

	snprintf(s->g->trail + at, sizeof(s->g->trail) - at, "%c%s ", s->name, what);
}

static struct stub *stub_of(const struct function *f)
{
	return container_of(f, struct stub, f);
}

static void stub_close(struct function *f)
{
	assert_int_equal(stub_of(f)->lanes, 0);
	note(stub_of(f), "-");
}

static void stub_adjust(const struct function *f, struct media_caps *caps)
{
	if (stub_of(f)->takes_discard_away)
		caps->discard_gran_b = 0;
}

static int stub_lane_open(struct function *f, struct lane *l, void **ret_state)
{
	struct stub *s = stub_of(f);

	if (s->open_err)
		return s->open_err;
	s->lanes++;
	*ret_state = s;
	return 0;
}

static void stub_lane_start(void *state, unsigned step)
{
	char text[] = { (char)('0' + step), '\0' };

	note(state, text);
}

static void stub_lane_stop(void *state)
{
	note(state, ".");
}

static bool stub_lane_is_quiet(const void *state)
{
	const struct stub *s = state;

	return !s->is_busy;
}

static void stub_lane_close(void *state)
{
	((struct stub *)state)->lanes--;
}

static enum step stub_down(void *state, struct req *r)
{
	note(state, ">");
	return STEP_PASS;
}

static enum step stub_up(void *state, struct req *r)
{
	note(state, "<");
	return STEP_PASS;
}

static const struct function_ops ops = {
	.kind = "stub", .close = stub_close, .adjust = stub_adjust, .lane_open = stub_lane_open,
	.lane_start = stub_lane_start, .lane_stop = stub_lane_stop,
	.lane_is_quiet = stub_lane_is_quiet, .lane_close = stub_lane_close,
	.down = stub_down, .up = stub_up,
};

/* A disk with the functions that @names has, in that order. */
static unsigned chain_of(struct rig *g, const char *names, struct function **ret)
{
	unsigned n = 0;

	for (; names[n]; n++)
		ret[n] = &g->f[names[n] - 'a'].f;
	return n;
}

static void rig_open(struct rig *g, const char *names, struct disk_care care)
{
	struct function *f[FUNCTIONS];

	memset(g, 0, sizeof(*g));
	g->s = script_new(MIB);
	for (unsigned i = 0; i < FUNCTIONS; i++)
		g->f[i] = (struct stub){ .f.ops = &ops, .name = (char)('a' + i), .g = g };
	unsigned n = chain_of(g, names, f);

	bed_open_conf(&g->b, &(struct disk_conf){ .name = "bed", .media = &g->s->m, .function = f,
						  .nfunction = n, .size_b = MIB, .care = care });
}

static int change(struct rig *g, const char *names)
{
	struct function *f[FUNCTIONS];
	unsigned n = chain_of(g, names, f);
	struct disk_error e;

	g->trail[0] = '\0';
	return disk_set_chain(g->b.disk, f, n, &e);
}

static void assert_way(struct rig *g, const char *way)
{
	g->trail[0] = '\0';
	assert_int_equal(bed_do(&g->b, REQ_WRITE, 0, 0, 4096, buf), REQ_OK);
	assert_string_equal(g->trail, way);
}

static void adds_moves_and_removes_functions(void **state)
{
	struct rig g;

	rig_open(&g, "", (struct disk_care){ 0 });
	assert_way(&g, "");
	assert_int_equal(change(&g, "b"), 0);
	assert_string_equal(g.trail, "b0 ");
	assert_way(&g, "b> b< ");
	/* who makes requests of its own is stopped and told its place, also if it stays */
	assert_int_equal(change(&g, "abc"), 0);
	assert_string_equal(g.trail, "b. a0 b1 c2 ");
	assert_way(&g, "a> b> c> c< b< a< ");
	assert_int_equal(change(&g, "ca"), 0);
	assert_string_equal(g.trail, "a. b. c. c0 a1 b- ");
	assert_way(&g, "c> a> a< c< ");
	assert_int_equal(change(&g, ""), 0);
	assert_string_equal(g.trail, "c. a. a- c- ");
	assert_way(&g, "");
	assert_int_equal(change(&g, "d"), 0);
	assert_int_equal(g.f[3].lanes, 1);
	bed_close(&g.b);
	assert_int_equal(g.f[3].lanes, 0);
}

static void gives_a_later_lane_the_new_chain(void **state)
{
	struct poller *other;
	struct lane *l;
	struct rig g;

	rig_open(&g, "a", (struct disk_care){ 0 });
	assert_int_equal(poller_open("other", &other), 0);
	assert_int_equal(change(&g, "bc"), 0);
	assert_int_equal(disk_lane_get(g.b.disk, other, &l), 0);
	assert_int_equal(l->nstep, 2);
	assert_int_equal(g.f[1].lanes, 2);
	/* and changes it with all others */
	assert_int_equal(change(&g, "cd"), 0);
	assert_string_equal(g.trail, "b. c. b. c. c0 d1 c0 d1 b- ");
	assert_int_equal(g.f[3].lanes, 2);
	disk_lane_put(g.b.disk, l);
	bed_close(&g.b);
	poller_close(other);
}

static void stays_as_it_is_while_a_request_does_not_end(void **state)
{
	struct bed_req q;
	struct rig g;

	rig_open(&g, "a", (struct disk_care){ 0 });
	g.s->when = SCRIPT_HELD;
	bed_req(&g.b, &q, REQ_WRITE, 0, 4096, buf);
	bed_submit(&g.b, &q, 1);
	assert_int_equal(change(&g, "b"), -EBUSY);
	assert_string_equal(g.trail, "");
	assert_int_equal(g.f[1].lanes, 0);
	g.s->when = SCRIPT_NOW;
	script_release_all(g.s, REQ_OK);
	bed_run(&g.b, 1);
	assert_string_equal(g.trail, "a< ");
	assert_way(&g, "a> a< "); /* it takes requests again */
	assert_int_equal(g.b.lane->batch, POLLER_BATCH);
	bed_close(&g.b);
}

static void stays_as_it_is_while_a_function_is_busy(void **state)
{
	struct rig g;

	rig_open(&g, "a", (struct disk_care){ 0 });
	g.f[0].is_busy = true;
	assert_int_equal(change(&g, "b"), -EBUSY);
	assert_string_equal(g.trail, "a. a0 ");
	assert_way(&g, "a> a< ");
	g.f[0].is_busy = false;
	assert_int_equal(change(&g, "b"), 0);
	bed_close(&g.b);
}

static void stays_as_it_is_when_a_function_cannot_be_opened(void **state)
{
	struct rig g;

	rig_open(&g, "a", (struct disk_care){ 0 });
	g.f[2].open_err = -ENOMEM;
	assert_int_equal(change(&g, "bac"), -ENOMEM);
	assert_string_equal(g.trail, "");
	assert_int_equal(g.f[1].lanes, 0);
	assert_way(&g, "a> a< ");
	bed_close(&g.b);
}

static void takes_nothing_away_that_guests_have_been_told_of(void **state)
{
	struct rig g;

	rig_open(&g, "a", (struct disk_care){ 0 });
	g.f[1].takes_discard_away = true;
	assert_int_equal(change(&g, "b"), -EINVAL);
	assert_way(&g, "a> a< ");
	bed_close(&g.b);
}

static void lets_go_what_is_held_to_pace_it(void **state)
{
	struct limit_conf slow = { .iops = 1 };
	struct function *limit, *f[2];
	struct bed_req q[8];
	struct disk_error e;
	struct rig g;

	rig_open(&g, "", (struct disk_care){ 0 });
	assert_int_equal(limit_open(&slow, &limit), 0);
	f[0] = limit;
	f[1] = &g.f[0].f;
	assert_int_equal(disk_set_chain(g.b.disk, f, 2, &e), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(q); i++)
		bed_req(&g.b, &q[i], REQ_WRITE, 0, 512, buf);
	bed_submit(&g.b, q, ARRAY_SIZE(q));
	assert_true(g.b.done < ARRAY_SIZE(q));
	/* a poller that is asked something turns meanwhile */
	assert_int_equal(disk_set_chain(g.b.disk, &f[1], 1, &e), 0);
	assert_int_equal(g.b.done, ARRAY_SIZE(q));
	bed_close(&g.b);
}

/* What the stopped disk keeps is done again, through the new chain. */
static void leaves_a_stopped_disk_stopped(void **state)
{
	struct bed_req q;
	struct rig g;

	rig_open(&g, "a", (struct disk_care){ .stops = true });
	g.s->when = SCRIPT_HELD;
	bed_req(&g.b, &q, REQ_WRITE, 0, 4096, buf);
	bed_submit(&g.b, &q, 1);
	script_release(g.s, 0, REQ_IOERR);
	while (g.b.lane->batch)
		poller_turn(g.b.poller);
	g.s->when = SCRIPT_NOW;
	assert_int_equal(change(&g, "b"), 0);
	assert_int_equal(g.b.lane->batch, 0);
	g.trail[0] = '\0';
	disk_go_on(g.b.disk);
	bed_run(&g.b, 1);
	assert_int_equal(q.status, REQ_OK);
	assert_string_equal(g.trail, "b> b< ");
	bed_close(&g.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adds_moves_and_removes_functions),
		cmocka_unit_test(gives_a_later_lane_the_new_chain),
		cmocka_unit_test(stays_as_it_is_while_a_request_does_not_end),
		cmocka_unit_test(stays_as_it_is_while_a_function_is_busy),
		cmocka_unit_test(stays_as_it_is_when_a_function_cannot_be_opened),
		cmocka_unit_test(takes_nothing_away_that_guests_have_been_told_of),
		cmocka_unit_test(lets_go_what_is_held_to_pace_it),
		cmocka_unit_test(leaves_a_stopped_disk_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
