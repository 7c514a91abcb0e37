/* SPDX-License-Identifier: Apache-2.0 */
/* Which descriptors the helpers of a file medium hold: what a thread that is stuck in the kernel
 * keeps open when its process is killed. */
#include "file_bed.h"

#include <poll.h>
#include <semaphore.h>
#include <sys/file.h>

#include "base/fd.h"
#include "media/file/pool.h"

struct scene {
	struct pool pool;
	char path[PATH_MAX];
	int own_fd, other_fd;
	sem_t begun, go_on;
	bool has_own, has_other;
};

/* A helper's; stuck until the test lets it go. */
static enum req_status run(void *arg, struct req *r)
{
	struct scene *s = arg;

	s->has_own = fcntl(s->own_fd, F_GETFD) >= 0;
	s->has_other = fcntl(s->other_fd, F_GETFD) >= 0;
	sem_post(&s->begun);
	sem_wait(&s->go_on);
	return REQ_OK;
}

static void scene_open(struct scene *s)
{
	char own[PATH_MAX];

	*s = (struct scene){ 0 };
	sem_init(&s->begun, 0, 0);
	sem_init(&s->go_on, 0, 0);
	s->own_fd = image_new(NULL, MIB, own);
	unlink(own);
	s->other_fd = image_new(NULL, MIB, s->path);
	pool_init(&s->pool, s->own_fd, run, s);
}

static void scene_close(struct scene *s)
{
	pool_close(&s->pool);
	unlink(s->path);
	fd_close(s->own_fd);
	fd_close(s->other_fd);
}

static bool is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, -1) == 1;
}

static struct req flush_of(void)
{
	return (struct req){ .op = REQ_FLUSH };
}

/* Waits for what went in through @d. A helper that is late may wake it for a request that has been
 * taken already. */
static void await(struct pool_done *d)
{
	while (!pool_take_done(d))
		if (pool_arm(d))
			assert_true(is_readable(d->event_fd));
}

static void a_stuck_helper_holds_no_other_image(void **state)
{
	struct req r = flush_of();
	struct pool_done d;
	struct scene s;

	scene_open(&s);
	assert_int_equal(pool_done_open(&s.pool, &d), 0);
	assert_int_equal(flock(s.other_fd, LOCK_EX), 0);
	pool_push(&s.pool, &d, &r);
	sem_wait(&s.begun);
	assert_true(s.has_own);
	assert_false(s.has_other);
	/* the process lets go of the other image: that was the last of its descriptors */
	s.other_fd = fd_close(s.other_fd);
	int again = open(s.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(again, LOCK_EX | LOCK_NB), 0);
	fd_close(again);
	sem_post(&s.go_on);
	await(&d);
	pool_done_close(&s.pool, &d);
	scene_close(&s);
}

static void the_helper_of_a_stuck_one_holds_none_either(void **state)
{
	struct req a = flush_of(), b = { .op = REQ_READ };
	struct pool_done d;
	struct scene s;

	scene_open(&s);
	assert_int_equal(pool_done_open(&s.pool, &d), 0);
	pool_push(&s.pool, &d, &a);
	sem_wait(&s.begun);
	s.has_other = true;
	pool_push(&s.pool, &d, &b);
	sem_wait(&s.begun);
	assert_true(s.has_own);
	assert_false(s.has_other);
	sem_post(&s.go_on);
	await(&d);
	sem_post(&s.go_on);
	await(&d);
	pool_done_close(&s.pool, &d);
	scene_close(&s);
}

static void wakes_a_lane_that_opened_while_a_helper_was_stuck(void **state)
{
	struct req a = flush_of(), b = { .op = REQ_READ };
	struct pool_done first, second;
	struct scene s;

	scene_open(&s);
	assert_int_equal(pool_done_open(&s.pool, &first), 0);
	pool_push(&s.pool, &first, &a);
	sem_wait(&s.begun);
	assert_int_equal(pool_done_open(&s.pool, &second), 0);
	assert_true(pool_arm(&second));
	pool_push(&s.pool, &second, &b);
	sem_wait(&s.begun);
	sem_post(&s.go_on);
	sem_post(&s.go_on);
	assert_true(is_readable(second.event_fd));
	assert_non_null(pool_take_done(&second));
	await(&first);
	pool_done_close(&s.pool, &second);
	pool_done_close(&s.pool, &first);
	scene_close(&s);
}

static void serves_whatever_lanes_come_and_go(void **state)
{
	struct pool_done d;
	struct scene s;

	scene_open(&s);
	for (unsigned i = 0; i < 3 * POOL_MAX; i++) {
		struct req r = flush_of();

		assert_int_equal(pool_done_open(&s.pool, &d), 0);
		pool_push(&s.pool, &d, &r);
		sem_post(&s.go_on);
		sem_wait(&s.begun);
		await(&d);
		pool_done_close(&s.pool, &d);
	}
	scene_close(&s);
}

static void opens_a_lane_while_every_helper_is_stuck(void **state)
{
	struct req stuck[POOL_MAX], r = { .op = REQ_READ };
	struct pool_done first, second;
	struct scene s;

	scene_open(&s);
	assert_int_equal(pool_done_open(&s.pool, &first), 0);
	for (unsigned i = 0; i < POOL_MAX; i++) {
		stuck[i] = (struct req){ .op = REQ_READ };
		pool_push(&s.pool, &first, &stuck[i]);
		sem_wait(&s.begun);
	}
	assert_int_equal(pool_done_open(&s.pool, &second), 0);
	pool_push(&s.pool, &second, &r);
	sem_wait(&s.begun);
	for (unsigned i = 0; i < POOL_MAX + 1; i++)
		sem_post(&s.go_on);
	await(&second);
	for (unsigned back = 0; back < POOL_MAX;) {
		if (pool_arm(&first))
			assert_true(is_readable(first.event_fd));
		for (struct list *n = pool_take_done(&first); n; n = n->next)
			back++;
	}
	pool_done_close(&s.pool, &second);
	pool_done_close(&s.pool, &first);
	scene_close(&s);
}

/* Nothing to do, so that who opens is faster than who leaves. */
static void forgets_no_helper_that_has_to_leave(void **state)
{
	struct pool_done d;
	struct scene s;

	scene_open(&s);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(pool_done_open(&s.pool, &d), 0);
		pool_done_close(&s.pool, &d);
	}
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stuck_helper_holds_no_other_image),
		cmocka_unit_test(the_helper_of_a_stuck_one_holds_none_either),
		cmocka_unit_test(wakes_a_lane_that_opened_while_a_helper_was_stuck),
		cmocka_unit_test(serves_whatever_lanes_come_and_go),
		cmocka_unit_test(opens_a_lane_while_every_helper_is_stuck),
		cmocka_unit_test(forgets_no_helper_that_has_to_leave),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
