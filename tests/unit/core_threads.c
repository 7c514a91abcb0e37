/* SPDX-License-Identifier: Apache-2.0 */
/* Pollers with threads: mail from many senders, calls, starting and stopping. For the race
 * detector as much as for itself. */
#include "bed.h"

#include <pthread.h>

#include "tests/fake/media.h"

#define SENDERS 4
#define EACH 2000

struct count {
	struct mail m;
	unsigned *sum; /* the poller's */
	sem_t *all;
};

static void count_run(struct mail *m)
{
	struct count *c = container_of(m, struct count, m);

	if (++*c->sum == SENDERS * EACH)
		sem_post(c->all);
}

struct sender {
	struct poller *p;
	struct count *c;
};

static void *send_mail(void *arg)
{
	struct sender *s = arg;

	for (unsigned i = 0; i < EACH; i++)
		poller_post(s->p, &s->c[i].m);
	return NULL;
}

static void takes_mail_from_many_threads(void **state)
{
	static struct count c[SENDERS][EACH];
	struct sender s[SENDERS];
	pthread_t t[SENDERS];
	struct poller *p;
	unsigned sum = 0;
	sem_t all;

	sem_init(&all, 0, 0);
	assert_int_equal(poller_open("t", &p), 0);
	assert_int_equal(poller_start(p, NULL), 0);
	for (unsigned i = 0; i < SENDERS; i++) {
		for (unsigned k = 0; k < EACH; k++)
			c[i][k] = (struct count){ .m.run = count_run, .sum = &sum, .all = &all };
		s[i] = (struct sender){ p, c[i] };
		assert_int_equal(pthread_create(&t[i], NULL, send_mail, &s[i]), 0);
	}
	for (unsigned i = 0; i < SENDERS; i++)
		pthread_join(t[i], NULL);
	assert_true(poller_wait(p, &all, BED_LIMIT_NS));
	poller_close(p);
	assert_int_equal(sum, SENDERS * EACH);
	sem_destroy(&all);
}

static void add_one(void *arg)
{
	++*(unsigned *)arg;
}

static void calls_return_when_they_have_run(void **state)
{
	struct poller *p;
	unsigned n = 0;

	assert_int_equal(poller_open("t", &p), 0);
	assert_int_equal(poller_start(p, NULL), 0);
	for (unsigned i = 0; i < 1000; i++) {
		poller_call(p, add_one, &n);
		assert_int_equal(n, i + 1);
	}
	poller_close(p);
}

static void gives_up_waiting_in_time(void **state)
{
	struct poller *p;
	sem_t never;

	sem_init(&never, 0, 0);
	for (unsigned threaded = 0; threaded < 2; threaded++) {
		assert_int_equal(poller_open("t", &p), 0);
		if (threaded)
			assert_int_equal(poller_start(p, NULL), 0);
		assert_false(poller_wait(p, &never, NS_PER_MS));
		sem_post(&never);
		assert_true(poller_wait(p, &never, NEVER_NS));
		poller_close(p);
	}
	sem_destroy(&never);
}

static void starts_and_stops_many_times(void **state)
{
	for (unsigned i = 0; i < 50; i++) {
		struct poller *p;
		cpu_set_t one;

		CPU_ZERO(&one);
		CPU_SET((unsigned)sched_getcpu(), &one); /* 0 may not be ours */
		assert_int_equal(poller_open("t", &p), 0);
		assert_int_equal(poller_start(p, i & 1 ? &one : NULL), 0);
		if (i & 2)
			assert_int_equal(poller_set_cpus(p, &one), 0);
		poller_close(p);
	}
}

struct user {
	struct disk *d;
	struct poller *p;
};

static void *use_lanes(void *arg)
{
	struct user *u = arg;

	for (unsigned i = 0; i < 300; i++) {
		struct lane *l;

		assert_int_equal(disk_lane_get(u->d, u->p, &l), 0);
		disk_lane_put(u->d, l);
	}
	return NULL;
}

/* Lanes come and go from fronts' threads while control looks and changes. */
static void makes_lanes_while_control_looks(void **state)
{
	struct scripted *s = script_new(MIB);
	struct disk_conf c = { .name = "threads", .media = &s->m };
	struct disk_error e;
	struct disk_stats stats;
	struct poller *p[2];
	struct user u[4];
	pthread_t t[4];
	struct disk *d;

	assert_int_equal(disk_open(&c, &d, &e), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(poller_open("t", &p[i]), 0);
		assert_int_equal(poller_start(p[i], NULL), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		u[i] = (struct user){ d, p[i % 2] };
		assert_int_equal(pthread_create(&t[i], NULL, use_lanes, &u[i]), 0);
	}
	for (unsigned i = 0; i < 100; i++) {
		disk_stats(d, &stats);
		assert_true(stats.nlane <= 4); /* one that leaves beside one that comes */
		assert_int_equal(disk_resize(d, i & 1 ? MIB : 512, &e), 0);
		disk_set_care(d, &(struct disk_care){ .timeout_ns = i });
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(s->lanes, 0);
	disk_close(d);
	poller_close(p[0]);
	poller_close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_mail_from_many_threads),
		cmocka_unit_test(calls_return_when_they_have_run),
		cmocka_unit_test(gives_up_waiting_in_time),
		cmocka_unit_test(starts_and_stops_many_times),
		cmocka_unit_test(makes_lanes_while_control_looks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
