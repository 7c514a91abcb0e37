/* SPDX-License-Identifier: Apache-2.0 */
/* Turns, budgets, mail, timers, sleeping: a poller with queues that do as they are told. */
#include "bed.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/fake/media.h"

struct toy {
	struct pollee pe;
	int work; /* left; or -EAGAIN */
	unsigned turns, published, arms, disarms;
	bool late_work; /* comes just before arm() looks again */
};

static struct toy *of(struct pollee *pe)
{
	return container_of(pe, struct toy, pe);
}

static int toy_turn(struct pollee *pe)
{
	struct toy *t = of(pe);
	int n = t->work > POLLER_BATCH ? POLLER_BATCH : t->work;

	t->turns++;
	if (n > 0) {
		t->work -= n;
		poller_tick(pe->poller);
		poller_dirty(pe->poller, pe);
	}
	return n;
}

static void toy_publish(struct pollee *pe)
{
	of(pe)->published++;
}

static bool toy_arm(struct pollee *pe)
{
	struct toy *t = of(pe);

	t->arms++;
	if (t->late_work)
		t->work = 1;
	return t->late_work;
}

static void toy_disarm(struct pollee *pe)
{
	of(pe)->disarms++;
}

static const struct pollee_ops toy_ops = { toy_turn, toy_publish, toy_arm, toy_disarm };

static void attach(struct poller *p, struct toy *t, enum poll_mode mode)
{
	*t = (struct toy){ .pe = { .ops = &toy_ops, .mode = (uint8_t)mode, .depth = 16,
				   .kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) } };
	assert_int_equal(poller_attach(p, &t->pe), 0);
}

static void detach(struct poller *p, struct toy *t)
{
	poller_detach(p, &t->pe);
	close(t->pe.kick_fd);
}

static void cool_all(struct poller *p)
{
	while (p->set[POLLEE_HOT].n)
		poller_turn(p);
}

static void gives_each_hot_queue_one_batch_a_turn(void **state)
{
	struct poller *p;
	struct toy t[3];

	assert_int_equal(poller_open("t", &p), 0);
	for (unsigned i = 0; i < 3; i++)
		attach(p, &t[i], POLL_ADAPTIVE);
	t[0].work = 1000; /* a greedy one holds up nobody */
	t[1].work = t[2].work = 1;
	assert_int_equal(poller_turn(p), POLLER_BATCH + 2);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(t[i].turns, 1);
		assert_int_equal(t[i].published, 1);
	}
	assert_int_equal(p->stats.taken, POLLER_BATCH + 2);
	for (unsigned i = 0; i < 3; i++)
		detach(p, &t[i]);
	poller_close(p);
}

/* Idle queues cost almost nothing: one of them is looked at in a turn. */
static void looks_at_one_cold_queue_a_turn(void **state)
{
	struct poller *p;
	struct toy t[8], hot;
	unsigned before[8], sum = 0;

	assert_int_equal(poller_open("t", &p), 0);
	for (unsigned i = 0; i < 8; i++)
		attach(p, &t[i], POLL_ADAPTIVE);
	cool_all(p);
	attach(p, &hot, POLL_ADAPTIVE);
	hot.work = 1 << 30;
	for (unsigned i = 0; i < 8; i++)
		before[i] = t[i].turns;
	for (unsigned i = 0; i < 80; i++)
		poller_turn(p);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(t[i].turns - before[i], 10); /* each in its turn */
		sum += t[i].turns - before[i];
	}
	assert_int_equal(sum, 80);
	assert_true(hot.turns >= 80);
	hot.work = 0;
	detach(p, &hot);
	for (unsigned i = 0; i < 8; i++)
		detach(p, &t[i]);
	poller_close(p);
}

static void heats_a_cold_queue_that_has_work(void **state)
{
	struct poller *p;
	struct toy t;

	assert_int_equal(poller_open("t", &p), 0);
	attach(p, &t, POLL_ADAPTIVE);
	cool_all(p);
	assert_true(t.pe.armed);
	t.work = 1;
	assert_int_equal(poller_turn(p), 1);
	assert_int_equal(t.pe.state, POLLEE_HOT);
	assert_false(t.pe.armed);
	assert_int_equal(t.disarms, 2);
	detach(p, &t);
	poller_close(p);
}

static void keeps_a_queue_hot_that_finds_work_when_armed(void **state)
{
	struct poller *p;
	struct toy t;

	assert_int_equal(poller_open("t", &p), 0);
	attach(p, &t, POLL_NEVER);
	t.late_work = true;
	while (!t.arms)
		poller_turn(p);
	assert_int_equal(t.pe.state, POLLEE_HOT);
	t.late_work = false;
	assert_int_equal(poller_turn(p), 1);
	detach(p, &t);
	poller_close(p);
}

/* A queue that is out of requests waits until some come back, and is not polled meanwhile. */
static void sets_aside_a_queue_that_is_out_of_requests(void **state)
{
	struct poller *p;
	struct toy out, other;

	assert_int_equal(poller_open("t", &p), 0);
	attach(p, &out, POLL_ADAPTIVE);
	attach(p, &other, POLL_ADAPTIVE);
	out.work = -EAGAIN;
	assert_int_equal(poller_turn(p), 0);
	assert_int_equal(out.pe.state, POLLEE_BLOCKED);
	unsigned turns = out.turns;

	for (unsigned i = 0; i < 5; i++)
		poller_turn(p);
	assert_int_equal(out.turns, turns);
	out.work = 1;
	other.work = 1; /* its completion gives something back */
	poller_turn(p);
	assert_int_equal(out.pe.state, POLLEE_HOT);
	assert_int_equal(poller_turn(p), 1);
	detach(p, &out);
	detach(p, &other);
	poller_close(p);
}

struct note {
	struct mail m;
	unsigned *order, at;
};

static void note_run(struct mail *m)
{
	struct note *n = container_of(m, struct note, m);

	n->at = ++*n->order;
}

static void runs_mail_in_the_order_it_was_posted(void **state)
{
	struct poller *p;
	unsigned order = 0;
	struct note n[5];

	assert_int_equal(poller_open("t", &p), 0);
	for (unsigned i = 0; i < 5; i++) {
		n[i] = (struct note){ .m.run = note_run, .order = &order };
		poller_post(p, &n[i].m);
	}
	assert_int_equal(poller_turn(p), 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(n[i].at, i + 1);
	assert_int_equal(poller_turn(p), 0);
	poller_close(p);
}

static void is_woken_by_mail(void **state)
{
	struct poller *p;
	unsigned order = 0;
	struct note n = { .m.run = note_run, .order = &order };

	assert_int_equal(poller_open("t", &p), 0);
	poller_post(p, &n.m);
	while (!poller_sleep(p, NEVER_NS)) /* returns at once: mail is there */
		poller_tick(p);
	assert_int_equal(poller_turn(p), 1);
	assert_int_equal(order, 1);
	poller_close(p);
}

static void does_not_sleep_while_anything_runs(void **state)
{
	struct poller *p;
	struct toy t;

	assert_int_equal(poller_open("t", &p), 0);
	attach(p, &t, POLL_ADAPTIVE);
	assert_false(poller_sleep(p, 1)); /* hot */
	cool_all(p);
	poller_set_mode(&t.pe, POLL_ALWAYS);
	cool_all(p);
	assert_false(poller_sleep(p, 1));
	assert_int_equal(poller_mode(p), POLL_ALWAYS);
	poller_set_mode(&t.pe, POLL_NEVER);
	cool_all(p);
	poller_tick(p);
	assert_true(poller_sleep(p, 1));
	assert_int_equal(poller_mode(p), POLL_NEVER);
	detach(p, &t);
	poller_close(p);
}

/* The window grows when a longer spin would have spared a sleep, and shrinks after a long one. */
static void tunes_how_long_it_spins(void **state)
{
	struct poller *p;
	struct toy t;
	uint64_t first;

	assert_int_equal(poller_open("t", &p), 0);
	attach(p, &t, POLL_NEVER);
	first = p->window_ticks;
	for (unsigned i = 0; i < 20; i++) {
		uint64_t one = 1;

		cool_all(p);
		assert_int_equal(write(t.pe.kick_fd, &one, sizeof(one)), sizeof(one));
		assert_true(poller_sleep(p, NEVER_NS)); /* there already: a short sleep */
	}
	assert_true(p->window_ticks > first);
	uint64_t most = p->window_ticks;

	for (unsigned i = 0; i < 20; i++) {
		cool_all(p);
		poller_tick(p);
		assert_true(poller_sleep(p, NS_PER_MS));
	}
	assert_true(p->window_ticks < first);
	assert_true(p->window_ticks > 0 && most > p->window_ticks);
	detach(p, &t);
	poller_close(p);
}

static void publishes_what_is_left_when_a_queue_goes(void **state)
{
	struct poller *p;
	struct toy t;

	assert_int_equal(poller_open("t", &p), 0);
	attach(p, &t, POLL_ADAPTIVE);
	poller_dirty(p, &t.pe);
	detach(p, &t);
	assert_int_equal(t.published, 1);
	assert_int_equal(p->slab.reserved, 0);
	poller_turn(p);
	assert_int_equal(t.published, 1);
	poller_close(p);
}

static void refuses_a_queue_whose_kick_cannot_be_waited_for(void **state)
{
	struct poller *p;
	struct toy t = { .pe = { .ops = &toy_ops, .depth = 16 } };
	FILE *f = tmpfile();

	assert_int_equal(poller_open("t", &p), 0);
	t.pe.kick_fd = fileno(f);
	assert_int_equal(poller_attach(p, &t.pe), -EPERM);
	assert_int_equal(p->slab.reserved, 0);
	assert_int_equal(p->set[POLLEE_HOT].n, 0);
	fclose(f);
	poller_close(p);
}

static void reserves_requests_for_thousands_of_queues(void **state)
{
	struct slab s;

	assert_int_equal(slab_init(&s), 0);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(slab_reserve(&s, 256), 0);
	assert_true(s.nchunk < SLAB_MAX_CHUNKS / 2);
	slab_unreserve(&s, 4096 * 256);
	/* what was given back is used again */
	unsigned chunks = s.nchunk;

	assert_int_equal(slab_reserve(&s, 4096 * 256), 0);
	assert_int_equal(s.nchunk, chunks);
	slab_unreserve(&s, 4096 * 256);
	slab_fini(&s);
}

static void hands_out_each_request_and_list_once(void **state)
{
	static struct req *r[1024];
	struct slab s;

	assert_int_equal(slab_init(&s), 0);
	assert_null(slab_get(&s)); /* none reserved */
	assert_int_equal(slab_reserve(&s, 100), 0);
	for (unsigned i = 0; i < 1024; i++) {
		r[i] = slab_get(&s);
		assert_non_null(r[i]);
		assert_ptr_equal(r[i]->seg, r[i]->inl);
		slab_long_get(&s, r[i]);
		assert_ptr_not_equal(r[i]->seg, i ? r[i - 1]->seg : r[i]->inl);
	}
	assert_null(slab_get(&s)); /* exhausted: wait, nothing fails */
	for (unsigned i = 0; i < 1024; i++)
		slab_put(&s, r[i]);
	assert_int_equal(s.long_nfree, 1024);
	assert_ptr_equal(slab_get(&s), r[1023]); /* the warmest first */
	slab_put(&s, r[1023]);
	slab_unreserve(&s, 100);
	slab_fini(&s);
}

/* What it does between two looks at the clock is idle if nothing had work, and so is its sleep. */
static void counts_how_long_it_is_idle(void **state)
{
	struct poller *p;

	assert_int_equal(poller_open("t", &p), 0);
	for (unsigned i = 0; i < 1000; i++)
		poller_turn(p);
	uint64_t idle = poller_idle_ticks(p), all = p->now_ticks;

	assert_true(idle > 0);
	while (!poller_sleep(p, NS_PER_MS))
		poller_turn(p);
	assert_true(poller_idle_ticks(p) - idle >= clock_ns_to_ticks(p->scale, NS_PER_MS) / 2);
	assert_true(poller_idle_ticks(p) - idle <= p->now_ticks - all);
	/* asleep at this moment */
	p->stats.asleep = clock_ticks() - clock_ns_to_ticks(p->scale, NS_PER_S);
	assert_true(poller_idle_ticks(p) >= clock_ns_to_ticks(p->scale, NS_PER_S));
	poller_close(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_each_hot_queue_one_batch_a_turn),
		cmocka_unit_test(looks_at_one_cold_queue_a_turn),
		cmocka_unit_test(heats_a_cold_queue_that_has_work),
		cmocka_unit_test(keeps_a_queue_hot_that_finds_work_when_armed),
		cmocka_unit_test(sets_aside_a_queue_that_is_out_of_requests),
		cmocka_unit_test(runs_mail_in_the_order_it_was_posted),
		cmocka_unit_test(is_woken_by_mail),
		cmocka_unit_test(does_not_sleep_while_anything_runs),
		cmocka_unit_test(tunes_how_long_it_spins),
		cmocka_unit_test(publishes_what_is_left_when_a_queue_goes),
		cmocka_unit_test(refuses_a_queue_whose_kick_cannot_be_waited_for),
		cmocka_unit_test(reserves_requests_for_thousands_of_queues),
		cmocka_unit_test(hands_out_each_request_and_list_once),
		cmocka_unit_test(counts_how_long_it_is_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
