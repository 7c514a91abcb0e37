/* SPDX-License-Identifier: Apache-2.0 */
/* The front end's messages, and the load loop, against a back end played by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "client/bench.h"
#include "client/raw.h"

static int pair(void **state)
{
	int *sock = test_malloc(2 * sizeof(int));

	*state = sock;
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock);
}

static int unpair(void **state)
{
	int *sock = *state;

	fd_close(sock[0]);
	fd_close(sock[1]);
	test_free(sock);
	return 0;
}

/* Puts an answer into the socket before the question is asked. */
static void answer(int sock, uint32_t request, uint32_t flags, uint64_t value, uint32_t len)
{
	assert_int_equal(vu_send(sock, request, flags, &value, len, NULL, 0), 0);
}

static void takes_the_answer_to_its_question(void **state)
{
	int *sock = *state;
	uint64_t v = 0;

	answer(sock[1], VHOST_USER_GET_FEATURES, VHOST_USER_REPLY, 0x1234567890ull, 8);
	assert_int_equal(vu_ask_u64(sock[0], VHOST_USER_GET_FEATURES, &v), 0);
	assert_int_equal(v, 0x1234567890ull);
}

static void refuses_the_answer_to_another_question(void **state)
{
	int *sock = *state;
	uint64_t v = 7;

	answer(sock[1], VHOST_USER_GET_QUEUE_NUM, VHOST_USER_REPLY, 1, 8);
	assert_int_equal(vu_ask_u64(sock[0], VHOST_USER_GET_FEATURES, &v), -EPROTO);
	assert_int_equal(v, 7);
}

static void refuses_an_answer_without_the_reply_flag(void **state)
{
	int *sock = *state;
	uint64_t v;

	answer(sock[1], VHOST_USER_GET_FEATURES, 0, 1, 8);
	assert_int_equal(vu_ask_u64(sock[0], VHOST_USER_GET_FEATURES, &v), -EPROTO);
}

static void refuses_an_answer_of_another_size(void **state)
{
	int *sock = *state;
	uint64_t v;

	answer(sock[1], VHOST_USER_GET_FEATURES, VHOST_USER_REPLY, 1, 4);
	assert_int_equal(vu_ask_u64(sock[0], VHOST_USER_GET_FEATURES, &v), -EPROTO);
}

static void refuses_a_payload_larger_than_any(void **state)
{
	int *sock = *state;
	struct vhost_user_hdr h = { .request = 1, .flags = 5, .size = 4096 };
	uint64_t v;

	assert_int_equal(fd_write_all(sock[1], &h, sizeof(h)), 0);
	assert_int_equal(vu_ask_u64(sock[0], VHOST_USER_GET_FEATURES, &v), -EPROTO);
}

static void says_so_when_the_back_end_is_gone(void **state)
{
	int *sock = *state;
	struct vhost_user_msg msg;
	unsigned nfd = 0;

	sock[1] = fd_close(sock[1]);
	assert_int_equal(vu_recv(sock[0], &msg, NULL, &nfd), -EPIPE);
}

static void reports_a_refused_request(void **state)
{
	int *sock = *state;

	answer(sock[1], VHOST_USER_SET_FEATURES, VHOST_USER_REPLY, 1, 8);
	assert_int_equal(vu_tell_u64(sock[0], true, VHOST_USER_SET_FEATURES, 0), -EREMOTEIO);
}

static void asks_for_no_acknowledgement_before_it_is_negotiated(void **state)
{
	int *sock = *state;
	struct vhost_user_msg msg;
	unsigned nfd = 0;

	assert_int_equal(vu_tell_u64(sock[0], false, VHOST_USER_SET_FEATURES, 9), 0);
	assert_int_equal(vu_recv(sock[1], &msg, NULL, &nfd), 0);
	assert_int_equal(msg.hdr.flags, VHOST_USER_VERSION);
	assert_int_equal(msg.payload.u64, 9);
}

static void shares_every_region_with_its_descriptor(void **state)
{
	int *sock = *state;
	struct client_conf conf = { .mem_regions = 3 };
	struct client *c;
	struct vhost_user_msg msg;
	int fds[8];
	unsigned nfd = 8;

	assert_int_equal(client_raw_open(&conf, dup(sock[0]), &c), 0);
	assert_int_equal(client_raw_share_mem(c), 0);
	assert_int_equal(vu_recv(sock[1], &msg, fds, &nfd), 0);
	assert_int_equal(nfd, 3);
	assert_int_equal(msg.hdr.size, VHOST_USER_MEM_TABLE_BYTES(3));
	assert_int_equal(msg.payload.mem.num_regions, 3);
	for (unsigned i = 0; i < 3; i++) {
		struct vhost_user_mem_region r = msg.payload.mem.region[i];

		assert_int_equal(r.guest_addr, CLIENT_MEM_GUEST_BASE + i * c->mem.region_b);
		assert_int_equal(lseek(fds[i], 0, SEEK_END), r.size_b);
		assert_int_equal(fcntl(fds[i], F_GET_SEALS), 7);
		fd_close(fds[i]);
	}
	client_close(c);
}

/* A disk of 256 sectors that a thread serves until told to stop. */
struct disk {
	struct client *c;
	uint8_t data[256 * 512];
	uint8_t status;
	bool stop;
};

static void serve(struct disk *d, uint16_t at)
{
	struct client_queue *q = client_queue(d->c, 0);
	uint16_t slot = q->avail->ring[at & (q->size - 1)];
	struct client_line *l = &q->line[slot];
	uint8_t *sector = d->data + l->hdr.sector * 512;

	if (l->hdr.type == VIRTIO_BLK_T_IN)
		memcpy(client_data(q, slot), sector, 4096);
	else
		memcpy(sector, client_data(q, slot), 4096);
	l->status = d->status;
	q->used->ring[at & (q->size - 1)].id = slot;
	__atomic_store_n(&q->used->idx, (uint16_t)(at + 1), __ATOMIC_RELEASE);
}

static void *serve_all(void *arg)
{
	struct disk *d = arg;
	struct client_queue *q = client_queue(d->c, 0);
	uint16_t seen = 0;

	while (!__atomic_load_n(&d->stop, __ATOMIC_ACQUIRE)) {
		if (__atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE) != seen)
			serve(d, seen++);
		else
			sched_yield();
	}
	return NULL;
}

static struct client_bench_result run(struct disk *d, struct client_load load)
{
	struct client_conf conf = { .depth = 4, .no_event_idx = true };
	struct client_bench_result r = { 0 };
	pthread_t t;

	assert_int_equal(client_raw_open(&conf, -1, &d->c), 0);
	d->c->config.capacity = sizeof(d->data) / 512;
	client_queue(d->c, 0)->used->flags = VIRTQ_USED_F_NO_NOTIFY;
	d->stop = false;
	assert_int_equal(pthread_create(&t, NULL, serve_all, d), 0);
	assert_int_equal(client_load_run(d->c, &load, &r), 0);
	__atomic_store_n(&d->stop, true, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
	client_close(d->c);
	return r;
}

static void loads_exactly_as_many_requests_as_asked(void **state)
{
	static struct disk d;
	struct client_bench_result r =
		run(&d, (struct client_load){ .read_pct = 100, .max_requests = 1001 });

	assert_int_equal(r.requests, 1001);
	assert_int_equal(r.read_b, 1001 * 4096);
	assert_int_equal(r.errors, 0);
	assert_int_equal(r.kicks, 0);
	assert_true(r.p50_ns > 0 && r.p50_ns <= r.p99_ns && r.p99_ns <= r.max_ns * 1.07);
}

static void verifies_what_it_has_written(void **state)
{
	static struct disk d;
	struct client_bench_result r =
		run(&d, (struct client_load){ .read_pct = 50, .max_requests = 2000,
					      .verify = CLIENT_VERIFY_WRITTEN });

	assert_int_equal(r.requests, 2000);
	assert_true(r.verified_b > 0);
	assert_int_equal(r.mismatches, 0);
}

static void finds_one_wrong_byte(void **state)
{
	static struct disk d;
	struct client_load fill = { .sequential = true, .max_requests = 32,
				    .verify = CLIENT_VERIFY_WRITTEN };
	struct client_load check = { .read_pct = 100, .sequential = true, .max_requests = 32,
				     .verify = CLIENT_VERIFY_ALL };

	run(&d, fill);
	assert_int_equal(run(&d, check).mismatches, 0);
	d.data[77777] ^= 1;
	struct client_bench_result r = run(&d, check);

	assert_int_equal(r.mismatches, 1);
	assert_int_equal(r.verified_b, 31 * 4096);
}

static void tells_the_latency_of_every_request(void **state)
{
	static struct disk d;
	static struct hist h;
	struct client_bench_result r =
		run(&d, (struct client_load){ .read_pct = 100, .max_requests = 500, .hist = &h });

	assert_int_equal(hist_total(&h), 500);
	assert_true(r.mean_ns > 0 && r.mean_ns <= r.max_ns);
	assert_true((double)hist_quantile(&h, 1, 1) >= r.max_ns / 1.07);
}

static void is_never_faster_than_its_pace(void **state)
{
	static struct disk d;
	struct client_bench_result r =
		run(&d, (struct client_load){ .max_requests = 11, .pace_ns = NS_PER_MS });

	assert_int_equal(r.requests, 11);
	assert_true(r.elapsed_ns >= 10 * NS_PER_MS);
}

static void counts_requests_that_fail(void **state)
{
	static struct disk d = { .status = VIRTIO_BLK_S_IOERR };

	assert_int_equal(run(&d, (struct client_load){ .max_requests = 10 }).errors, 10);
}

static void refuses_a_load_that_does_not_fit_the_disk(void **state)
{
	const struct client_load bad[] = {
		{ .max_requests = 1, .bs_b = 8192 },
		{ .max_requests = 1, .bs_b = 100 },
		{ .max_requests = 1, .start_b = 256 * 512 },
		{ .max_requests = 1, .range_b = 257 * 512 },
		{ .max_requests = 1, .depth = 2 },
		{ .max_requests = 1, .read_pct = 101 },
		{ .read_pct = 1 },
	};
	struct client_conf conf = { 0 };
	struct client_bench_result r;
	struct client *c;

	assert_int_equal(client_raw_open(&conf, -1, &c), 0);
	c->config.capacity = 256;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(client_load_run(c, &bad[i], &r), -EINVAL);
	client_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(takes_the_answer_to_its_question, pair, unpair),
		cmocka_unit_test_setup_teardown(refuses_the_answer_to_another_question, pair,
						unpair),
		cmocka_unit_test_setup_teardown(refuses_an_answer_without_the_reply_flag, pair,
						unpair),
		cmocka_unit_test_setup_teardown(refuses_an_answer_of_another_size, pair, unpair),
		cmocka_unit_test_setup_teardown(refuses_a_payload_larger_than_any, pair, unpair),
		cmocka_unit_test_setup_teardown(says_so_when_the_back_end_is_gone, pair, unpair),
		cmocka_unit_test_setup_teardown(reports_a_refused_request, pair, unpair),
		cmocka_unit_test_setup_teardown(asks_for_no_acknowledgement_before_it_is_negotiated,
						pair, unpair),
		cmocka_unit_test_setup_teardown(shares_every_region_with_its_descriptor, pair,
						unpair),
		cmocka_unit_test(loads_exactly_as_many_requests_as_asked),
		cmocka_unit_test(verifies_what_it_has_written),
		cmocka_unit_test(finds_one_wrong_byte),
		cmocka_unit_test(tells_the_latency_of_every_request),
		cmocka_unit_test(is_never_faster_than_its_pace),
		cmocka_unit_test(counts_requests_that_fail),
		cmocka_unit_test(refuses_a_load_that_does_not_fit_the_disk),
	};

	return cmocka_run_group_tests_name("client_vu", tests, NULL, NULL);
}
