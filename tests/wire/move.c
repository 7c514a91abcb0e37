/* SPDX-License-Identifier: Apache-2.0 */
/* Queues that change pollers under the load of a client that verifies its data: real threads, a
 * real socket; for the race detector as much as for itself. */
#include "tests/wire/house.h"

#include <semaphore.h>
#include <sys/socket.h>

#include "client/bench.h"

#define QUEUES 4
#define MOVES 100
#define BATCH_REQUESTS 2000

static void open_house(struct house *h)
{
	house_open(h, 64 * MIB, (struct vhost_blk_conf){ .nqueue = QUEUES, .npoller = 1,
							 .conn_fd = -1 });
}

struct load {
	struct client *c;
	unsigned runs;
	bool stop; /* relaxed atomic */
	struct client_bench_result r;
	uint64_t verified_b;
	int err;
};

static void *run_load(void *arg)
{
	struct load *l = arg;
	struct client_load conf = { .read_pct = 50, .verify = CLIENT_VERIFY_WRITTEN, .depth = 16,
				    .max_requests = BATCH_REQUESTS };

	/* every second one sleeps for its completions, so that both sides wake each other */
	while (!l->err && (!__atomic_load_n(&l->stop, __ATOMIC_RELAXED) || l->runs < 2)) {
		conf.interrupts = l->runs++ % 2;
		conf.seed = 1;
		l->err = client_load_run(l->c, &conf, &l->r);
		if (!l->err && (l->r.errors || l->r.mismatches))
			l->err = -EIO;
		l->verified_b += l->r.verified_b;
	}
	return NULL;
}

/* A map of queues to pollers out of one number. */
static int move(struct house *h, unsigned map, char *why, size_t room)
{
	struct poller *to[QUEUES];

	for (unsigned i = 0; i < QUEUES; i++, map /= HOUSE_POLLERS)
		to[i] = h->poller[map % HOUSE_POLLERS];
	return h->front->ops->move(h->front, to, QUEUES, why, room);
}

/* On a busy machine the front, or what is in flight, takes its time: then all is as it was. */
static void move_in_the_end(struct house *h, unsigned map)
{
	char why[120];
	int err;

	do
		err = move(h, map, why, sizeof(why));
	while (err == -EBUSY);
	if (err)
		fail_msg("to %u: %s: %s", map, strerror(-err), why);
}

static void moves_queues_under_load(void **state)
{
	for (unsigned packed = 0; packed < 2; packed++) {
		struct front_info *info = calloc(1, sizeof(*info));
		struct load l = { 0 };
		struct house h;
		pthread_t t;

		open_house(&h);
		l.c = house_join(&h, packed, QUEUES, 16);
		assert_int_equal(pthread_create(&t, NULL, run_load, &l), 0);
		for (unsigned i = 0; i < MOVES; i++) {
			move_in_the_end(&h, i * 2654435761u % 81);
			h.front->ops->info(h.front, info);
			assert_int_equal(info->nqueue, QUEUES);
		}
		__atomic_store_n(&l.stop, true, __ATOMIC_RELAXED);
		pthread_join(t, NULL);
		if (l.err)
			fail_msg("load: %s, %u errors, %u mismatches", strerror(-l.err),
				 (unsigned)l.r.errors, (unsigned)l.r.mismatches);
		assert_true(l.verified_b > 0);
		client_close(l.c);
		house_close(&h);
		free(info);
	}
}

/* A VMM that has sent half a message, or reads no answers, keeps its front waiting, but not
 * control. */
static void moves_while_a_vmm_takes_its_time(void **state)
{
	struct vhost_user_hdr h = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 };

	for (unsigned deaf = 0; deaf < 2; deaf++) {
		struct house house;
		unsigned full = 0;

		open_house(&house);
		int sock = vu_connect(house.path);

		assert_true(house_serves(sock));
		if (!deaf)
			assert_int_equal(send(sock, &h, sizeof(h) / 2, 0), sizeof(h) / 2);
		while (deaf && full < 1000) {
			full = send(sock, &h, sizeof(h), MSG_DONTWAIT) > 0 ? 0 : full + 1;
			sched_yield();
		}
		for (unsigned i = 0; i < 20; i++)
			move_in_the_end(&house, i & 1 ? 80 : 40);
		close(sock);
		house_close(&house);
	}
}

/* Where the front's thread is, with its next connection. */
static sem_t come, go_on;
static bool holds;

int __real_accept4(int fd, struct sockaddr *at, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *at, socklen_t *len, int flags);

int __wrap_accept4(int fd, struct sockaddr *at, socklen_t *len, int flags)
{
	if (holds) {
		holds = false;
		sem_post(&come);
		sem_wait(&go_on);
	}
	return __real_accept4(fd, at, len, flags);
}

static void gives_up_on_a_front_that_is_held_up(void **state)
{
	struct house h;
	char why[120];

	sem_init(&come, 0, 0);
	sem_init(&go_on, 0, 0);
	holds = true;
	open_house(&h);
	int sock = vu_connect(h.path);

	assert_true(sock >= 0);
	sem_wait(&come);
	assert_int_equal(move(&h, 80, why, sizeof(why)), -EBUSY);
	assert_string_equal(why, "its front is held up by its guest's VMM, its medium or a function");
	sem_post(&go_on);
	/* what was given up is done with, and the next one counts */
	assert_true(house_serves(sock));
	move_in_the_end(&h, 40);
	close(sock);
	house_close(&h);
}

/* Nobody is connected: where the queues will begin changes at once. */
static void moves_queues_that_do_not_run(void **state)
{
	struct front_info *info = calloc(1, sizeof(*info));
	struct load l = { .stop = true };
	struct house h;

	open_house(&h);
	move_in_the_end(&h, 80);
	l.c = house_join(&h, false, QUEUES, 16);
	run_load(&l);
	assert_int_equal(l.err, 0);
	h.front->ops->info(h.front, info);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_string_equal(info->queue[i].poller, "poller2");
	client_close(l.c);
	house_close(&h);
	free(info);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves_queues_under_load),
		cmocka_unit_test(moves_while_a_vmm_takes_its_time),
		cmocka_unit_test(gives_up_on_a_front_that_is_held_up),
		cmocka_unit_test(moves_queues_that_do_not_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
