/* SPDX-License-Identifier: Apache-2.0 */
/* The front as it runs: its own thread, pollers with threads, real clients on a real socket. */
#include "tests/fake/guest.h"

#include <pthread.h>
#include <sys/socket.h>

#include "client/queue.h"
#include "tests/wire/house.h"

/* @conn_fd: the one connection that it serves; -1: those that come to its socket. */
static void open_house(struct house *h, unsigned nqueue, int conn_fd, void (*ended)(void *),
		       void *arg)
{
	house_open(h, MIB, (struct vhost_blk_conf){ .nqueue = nqueue, .npoller = 2,
						    .conn_fd = conn_fd, .ended = ended,
						    .ended_arg = arg });
}

/* One request and its completion, sleeping for it. */
static void do_one(struct client *c, unsigned queue, uint32_t type, uint64_t sector)
{
	struct client_queue *q = client_queue(c, queue);
	uint16_t slot;

	client_prep(q, 0, type, sector, 512);
	client_put(q, 0);
	client_publish(q);
	while (!client_reap(q, &slot, 1))
		if (client_arm(q))
			assert_true(client_wait(c, 10 * NS_PER_S) > 0);
	client_disarm(q);
	assert_int_equal(slot, 0);
	assert_int_equal(client_status(q, 0), VIRTIO_BLK_S_OK);
}

static void serves_a_client(void **state)
{
	struct house h;

	open_house(&h, 4, -1, NULL, NULL);
	for (unsigned packed = 0; packed < 2; packed++) {
		struct client *c = house_join(&h, packed, 4, 0);

		for (unsigned i = 0; i < 200; i++) {
			memset(client_data(client_queue(c, i % 4), 0), (int)i, 512);
			do_one(c, i % 4, VIRTIO_BLK_T_OUT, i);
			do_one(c, (i + 1) % 4, VIRTIO_BLK_T_IN, i);
			assert_int_equal(*client_data(client_queue(c, (i + 1) % 4), 0), (uint8_t)i);
		}
		client_close(c);
	}
	house_close(&h);
}

static unsigned accepts, refuse_accepts;

int __real_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	if (accepts++ >= refuse_accepts)
		return __real_accept4(fd, addr, len, flags);
	errno = EMFILE;
	return -1;
}

static void pauses_when_there_is_no_descriptor_for_a_connection(void **state)
{
	struct house h;

	accepts = 0;
	refuse_accepts = 3;
	open_house(&h, 1, -1, NULL, NULL);
	uint64_t start_ns = clock_ns();
	struct client *c = house_join(&h, false, 1, 0);

	/* three pauses of 100 ms, and no try between them */
	assert_true(clock_ns() - start_ns >= 300 * NS_PER_MS);
	assert_int_equal(accepts, 4);
	do_one(c, 0, VIRTIO_BLK_T_IN, 0);
	client_close(c);
	house_close(&h);
	refuse_accepts = 0;
}

static void lets_a_client_come_back_at_any_time(void **state)
{
	struct house h;

	open_house(&h, 2, -1, NULL, NULL);
	for (unsigned i = 0; i < 50; i++) {
		struct client *c = house_join(&h, i & 1, 2, 0);

		do_one(c, 0, VIRTIO_BLK_T_IN, 0);
		client_close(c);
	}
	house_close(&h);
}

static void refuses_a_second_client(void **state)
{
	struct house h;

	open_house(&h, 1, -1, NULL, NULL);
	int first = vu_connect(h.path);

	assert_true(house_serves(first));
	int second = vu_connect(h.path);

	assert_false(house_serves(second));
	assert_true(house_serves(first));
	fd_close(second);
	fd_close(first);
	house_close(&h);
}

/* The former connection has hung up, but what it sent is still being read. */
static void lets_a_successor_wait_for_the_end_of_its_predecessor(void **state)
{
	struct vhost_user_hdr h = { VHOST_USER_SET_OWNER, VHOST_USER_VERSION, 0 };
	struct house house;

	open_house(&house, 1, -1, NULL, NULL);
	for (unsigned round = 0; round < 20; round++) {
		int first = vu_connect(house.path);

		for (unsigned i = 0; i < 200; i++)
			assert_int_equal(send(first, &h, sizeof(h), 0), sizeof(h));
		fd_close(first);
		int second = vu_connect(house.path);

		assert_true(house_serves(second));
		fd_close(second);
	}
	house_close(&house);
}

static void goes_on_after_a_malformed_message(void **state)
{
	struct vhost_user_hdr h = { 999, VHOST_USER_VERSION, 0 };
	struct house house;
	char c;

	open_house(&house, 1, -1, NULL, NULL);
	int sock = vu_connect(house.path);

	assert_int_equal(send(sock, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(recv(sock, &c, 1, 0), 0); /* closed */
	fd_close(sock);
	struct client *client = house_join(&house, false, 1, 0);

	do_one(client, 0, VIRTIO_BLK_T_IN, 0);
	client_close(client);
	house_close(&house);
}

/* Until the front has looked at the @len bytes that were sent of a message, and waits for more. */
static void wait_peeked(struct house *h, int len)
{
	struct vhost_blk *f = container_of(h->front, struct vhost_blk, front);
	socklen_t room = sizeof(int);
	int peeked;

	do {
		sched_yield();
		pthread_mutex_lock(&f->lock);
		assert_int_equal(getsockopt(f->session->sock, SOL_SOCKET, SO_PEEK_OFF, &peeked,
					    &room), 0);
		pthread_mutex_unlock(&f->lock);
	} while (peeked != len);
}

/* Half a message, then something for the front to do, then the end: it must not wait. */
static void stops_in_the_middle_of_a_message(void **state)
{
	struct vhost_user_hdr h = { VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, 8 };
	struct front_info info;
	struct house house;

	open_house(&house, 1, -1, NULL, NULL);
	int sock = vu_connect(house.path);

	assert_true(house_serves(sock));
	assert_int_equal(send(sock, &h, sizeof(h), 0), sizeof(h));
	wait_peeked(&house, sizeof(h));
	for (unsigned i = 0; i < 3; i++) {
		disk_set_mode(house.disk, i & 1 ? POLL_ALWAYS : POLL_NEVER);
		house.front->ops->info(house.front, &info);
		assert_true(info.connected);
	}
	house_close(&house);
	fd_close(sock);
}

/* The work that comes in the middle of a message is done before the message is. */
static void does_what_came_during_a_message(void **state)
{
	struct vhost_user_hdr h = { VHOST_USER_SET_FEATURES,
				    VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, 8 };
	uint64_t features = FAKE_BIT(VHOST_USER_F_PROTOCOL_FEATURES), protocol =
		FAKE_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
		FAKE_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);
	static struct front_info info;
	struct vhost_user_hdr got;
	struct disk_error e;
	struct house house;
	int pair[2];

	open_house(&house, 1, -1, NULL, NULL);
	int sock = vu_connect(house.path);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(vu_tell_u64(sock, false, VHOST_USER_SET_PROTOCOL_FEATURES, protocol), 0);
	assert_int_equal(vu_tell(sock, true, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1),
			 0);
	assert_int_equal(send(sock, &h, sizeof(h), 0), sizeof(h));
	wait_peeked(&house, sizeof(h));
	assert_int_equal(disk_resize(house.disk, MIB / 2, &e), 0);
	assert_int_equal(recv(pair[0], &got, sizeof(got), MSG_WAITALL), sizeof(got));
	assert_int_equal(got.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	assert_int_equal(send(sock, &features, 8, 0), 8);
	house.front->ops->info(house.front, &info);
	assert_true(info.resize_pending);
	assert_false(house.front->ops->confirmed(house.front, clock_ns()));
	/* and what the front end says to it is heard */
	assert_int_equal(vu_send(pair[0], VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, VHOST_USER_REPLY,
				 &(uint64_t){ 0 }, 8, NULL, 0), 0);
	assert_true(house.front->ops->confirmed(house.front, clock_ns() + 20 * NS_PER_S));
	house.front->ops->info(house.front, &info);
	assert_false(info.resize_pending);
	fd_close(sock);
	fd_close(pair[0]);
	fd_close(pair[1]);
	house_close(&house);
}

/* Questions without end, and nobody who reads the answers. */
static void stops_though_nobody_reads_its_answers(void **state)
{
	struct vhost_user_hdr h = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 };
	struct house house;
	unsigned full = 0;

	open_house(&house, 1, -1, NULL, NULL);
	int sock = vu_connect(house.path);

	/* full means that the front has stopped reading, as it cannot answer */
	while (full < 1000) {
		if (send(sock, &h, sizeof(h), MSG_DONTWAIT) > 0) {
			full = 0;
			continue;
		}
		sched_yield();
		full++;
	}
	house_close(&house);
	fd_close(sock);
}

struct load {
	struct house *h;
	bool packed;
	unsigned stop; /* atomic */
};

static void *run_load(void *arg)
{
	struct load *l = arg;

	while (!__atomic_load_n(&l->stop, __ATOMIC_RELAXED)) {
		struct client *c = house_join(l->h, l->packed, 2, 0);

		for (unsigned i = 0; i < 50; i++) {
			do_one(c, 0, VIRTIO_BLK_T_IN, i);
			do_one(c, 1, VIRTIO_BLK_T_OUT, i);
		}
		client_close(c);
		l->packed = !l->packed;
	}
	return NULL;
}

/* Control looks and changes while queues run, start and stop. */
static void lets_control_look_and_change_under_load(void **state)
{
	struct house h;
	struct load l = { .h = &h };
	static struct front_info info;
	struct disk_stats stats;
	struct disk_error e;
	uint64_t done = 0;
	pthread_t t;

	open_house(&h, 2, -1, NULL, NULL);
	assert_int_equal(pthread_create(&t, NULL, run_load, &l), 0);
	for (unsigned i = 0; i < 300; i++) {
		h.front->ops->info(h.front, &info);
		disk_stats(h.disk, &stats);
		disk_set_mode(h.disk, (enum poll_mode)(i % 3));
		assert_int_equal(disk_resize(h.disk, i & 1 ? MIB : MIB / 2, &e), 0);
		disk_set_care(h.disk, &(struct disk_care){ .timeout_ns = i * NS_PER_MS });
		/* also across lanes that went */
		assert_true(hist_total(&stats.lanes.latency[REQ_READ]) >= done);
		done = hist_total(&stats.lanes.latency[REQ_READ]);
	}
	__atomic_store_n(&l.stop, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	house_close(&h);
}

static void note_end(void *arg)
{
	sem_post(arg);
}

static void serves_the_one_connection_it_was_given(void **state)
{
	struct house h;
	int pair[2];
	sem_t ended;

	sem_init(&ended, 0, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	open_house(&h, 1, pair[1], note_end, &ended);
	assert_true(house_serves(pair[0]));
	assert_int_not_equal(sem_trywait(&ended), 0);
	fd_close(pair[0]);
	assert_int_equal(sem_wait(&ended), 0);
	house_close(&h);
	sem_destroy(&ended);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(serves_a_client),
		cmocka_unit_test(pauses_when_there_is_no_descriptor_for_a_connection),
		cmocka_unit_test(lets_a_client_come_back_at_any_time),
		cmocka_unit_test(refuses_a_second_client),
		cmocka_unit_test(lets_a_successor_wait_for_the_end_of_its_predecessor),
		cmocka_unit_test(goes_on_after_a_malformed_message),
		cmocka_unit_test(stops_in_the_middle_of_a_message),
		cmocka_unit_test(does_what_came_during_a_message),
		cmocka_unit_test(stops_though_nobody_reads_its_answers),
		cmocka_unit_test(lets_control_look_and_change_under_load),
		cmocka_unit_test(serves_the_one_connection_it_was_given),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
