/* SPDX-License-Identifier: Apache-2.0 */
/* Messages as such: header, fragments, unknown ones, and ends in the middle. */
#include "tests/wire/wire.h"

static void refuses_unknown_messages(void **state)
{
	static const uint32_t bad[] = { 0, 19, 20, 22, 23, 26, 27, 28, 29, 30, 33, 35, 39, 40, 41,
					42, 43, 44, 45, 255, UINT32_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fake *g = wire_ready();

		assert_int_equal(wire_send(g, bad[i], NULL, 8, NULL, 0), -EPROTO);
		assert_non_null(strstr(g->why, "unknown message"));
		fake_close(g);
	}
}

static void refuses_other_versions(void **state)
{
	for (uint32_t v = 0; v < 4; v++) {
		struct fake *g = wire_ready();
		struct vhost_user_hdr h = { VHOST_USER_GET_FEATURES, v, 0 };

		assert_int_equal(send(g->sock, &h, sizeof(h), 0), sizeof(h));
		assert_int_equal(fake_handle(g), v == VHOST_USER_VERSION ? 0 : -EPROTO);
		fake_close(g);
	}
}

static void refuses_payload_longer_than_any(void **state)
{
	static const uint32_t bad[] = { 269, 4096, 0x80000000u, UINT32_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fake *g = wire_ready();
		struct vhost_user_hdr h = { VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, bad[i] };

		/* judged by its header alone: nothing is waited for */
		assert_int_equal(send(g->sock, &h, sizeof(h), 0), sizeof(h));
		assert_int_equal(fake_handle(g), -EPROTO);
		fake_close(g);
	}
}

struct writer {
	int sock;
	uint8_t text[64];
	size_t len;
};

static void *write_bytes(void *arg)
{
	struct writer *w = arg;

	for (size_t i = 0; i < w->len; i++)
		assert_int_equal(send(w->sock, w->text + i, 1, 0), 1);
	return NULL;
}

/* A byte at a time, header and payload. */
static void takes_a_message_in_pieces(void **state)
{
	struct fake *g = wire_ready();
	struct vhost_user_hdr h = { VHOST_USER_SET_FEATURES,
				    VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, 8 };
	struct writer w = { .sock = g->sock, .len = sizeof(h) + 8 };
	struct vhost_user_msg m;
	unsigned none = 0;
	pthread_t t;

	memcpy(w.text, &h, sizeof(h));
	memcpy(w.text + sizeof(h), &g->features, 8);
	assert_int_equal(pthread_create(&t, NULL, write_bytes, &w), 0);
	assert_int_equal(fake_handle(g), 0);
	pthread_join(t, NULL);
	assert_int_equal(vu_recv(g->sock, &m, NULL, &none), 0);
	assert_int_equal(m.payload.u64, 0);
	fake_close(g);
}

static void takes_messages_that_come_together(void **state)
{
	struct fake *g = wire_ready();
	struct vhost_user_hdr h[3] = { { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 },
				       { VHOST_USER_SET_OWNER, VHOST_USER_VERSION, 0 },
				       { VHOST_USER_GET_QUEUE_NUM, VHOST_USER_VERSION, 0 } };
	struct vhost_user_msg m;
	unsigned none = 0;

	assert_int_equal(send(g->sock, h, sizeof(h), 0), sizeof(h));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fake_handle(g), 0);
	assert_int_equal(vu_recv(g->sock, &m, NULL, &none), 0);
	assert_int_equal(m.hdr.request, VHOST_USER_GET_FEATURES);
	assert_int_equal(vu_recv(g->sock, &m, NULL, &none), 0);
	assert_int_equal(m.hdr.request, VHOST_USER_GET_QUEUE_NUM);
	assert_int_equal(m.payload.u64, 2);
	fake_close(g);
}

static void notices_the_end_in_the_middle_of_a_message(void **state)
{
	struct vhost_user_hdr h = { VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, 8 };

	for (size_t len = 0; len < sizeof(h) + 8; len++) {
		struct fake *g = wire_ready();
		uint8_t text[sizeof(h) + 8] = { 0 };

		memcpy(text, &h, sizeof(h));
		assert_int_equal(send(g->sock, text, len, 0), len);
		shutdown(g->sock, SHUT_WR);
		assert_int_equal(fake_handle(g), -EPIPE);
		fake_close(g);
	}
}

/* Descriptors that came with half a message are closed with it. */
static void keeps_no_descriptor_of_half_a_message(void **state)
{
	struct fake *g = wire_ready();
	struct vhost_user_hdr h = { VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, 264 };
	int fd[4], before, after;

	for (unsigned i = 0; i < 4; i++)
		fd[i] = eventfd(0, EFD_CLOEXEC);
	before = dup(0);
	fd_close(before);
	assert_int_equal(fd_send(g->sock, &h, sizeof(h), fd, 4), 0);
	shutdown(g->sock, SHUT_WR);
	assert_int_equal(fake_handle(g), -EPIPE);
	after = dup(0);
	fd_close(after);
	assert_int_equal(before, after);
	for (unsigned i = 0; i < 4; i++)
		fd_close(fd[i]);
	fake_close(g);
}

/* Whether the message says that it has none, or many. */
static void refuses_descriptors_without_end(void **state)
{
	for (uint32_t regions = 0; regions <= 8; regions += 8) {
		struct fake *g = wire_ready();
		struct vhost_user_hdr h = { VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, 264 };
		struct vhost_user_mem_table t = { .num_regions = regions };
		int fd[64];

		for (unsigned i = 0; i < 64; i++)
			fd[i] = g->sock;
		assert_int_equal(fd_send(g->sock, &h, sizeof(h), fd, 64), 0);
		assert_int_equal(send(g->sock, &t, sizeof(t), 0), sizeof(t));
		assert_int_equal(fake_handle(g), regions ? -EMSGSIZE : -EPROTO);
		fake_close(g);
	}
}

/* One message has none, and the next one's are in the socket already. */
static void leaves_the_descriptors_of_the_next_message_alone(void **state)
{
	struct fake *g = wire_ready();
	uint64_t none = VHOST_USER_VRING_NOFD, index = 0;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_int_equal(vu_send(g->sock, VHOST_USER_SET_OWNER, 0, NULL, 0, NULL, 0), 0);
	assert_int_equal(vu_send(g->sock, VHOST_USER_SET_VRING_KICK, 0, &none, 8, NULL, 0), 0);
	assert_int_equal(vu_send(g->sock, VHOST_USER_SET_VRING_CALL, 0, &index, 8, &fd, 1), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fake_handle(g), 0);
	assert_int_equal(g->s->queue[0]->kick.fd, -1);
	assert_true(g->s->queue[0]->call.fd >= 0);
	fd_close(fd);
	fake_close(g);
}

/* They may travel with any byte of a message. */
static void counts_descriptors_that_come_with_the_payload(void **state)
{
	struct fake *g = wire_ready();
	struct vhost_user_hdr h = { VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, 8 };
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(send(g->sock, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(fd_send(g->sock, &g->features, 8, &fd, 1), 0);
	assert_int_equal(fake_handle(g), -EPROTO);
	assert_non_null(strstr(g->why, "too many descriptors"));
	fd_close(fd);
	fake_close(g);
}

/* A reply nobody asked for, or a flag nobody knows, is not an error. */
static void passes_over_flags_it_does_not_know(void **state)
{
	struct fake *g = wire_ready();
	struct vhost_user_hdr h = { VHOST_USER_SET_OWNER, VHOST_USER_VERSION | 0xfff0, 0 };

	assert_int_equal(send(g->sock, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(fake_handle(g), 0);
	fake_close(g);
}

/* Without REPLY_ACK negotiated, NEED_REPLY gets nothing. */
static void acknowledges_only_where_negotiated(void **state)
{
	struct fake *g = wire_fresh();
	char c;

	assert_int_equal(vu_send(g->sock, VHOST_USER_SET_OWNER, VHOST_USER_NEED_REPLY, NULL, 0,
				 NULL, 0),
			 0);
	assert_int_equal(fake_handle(g), 0);
	assert_int_equal(recv(g->sock, &c, 1, MSG_DONTWAIT), -1);
	fake_close(g);
}

/* What we cannot do closes the connection only if nobody asked to be told. */
static void tells_of_failure_or_closes(void **state)
{
	struct vhost_user_mem_single m = { .region = { 0x1000, 4096, 0x7000, 0 } };

	for (unsigned ack = 0; ack < 2; ack++) {
		struct fake *g = fake_open_disk(&(struct fake_conf){ .no_ack = !ack });

		fake_connect(g);
		fake_negotiate(g);
		int err = fake_tell(g, VHOST_USER_REM_MEM_REG, &m, sizeof(m), NULL, 0);

		assert_int_equal(err, ack ? -EREMOTEIO : -EPROTO);
		if (!ack)
			assert_non_null(strstr(g->why, "REM_MEM_REG"));
		fake_close(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_unknown_messages),
		cmocka_unit_test(refuses_other_versions),
		cmocka_unit_test(refuses_payload_longer_than_any),
		cmocka_unit_test(takes_a_message_in_pieces),
		cmocka_unit_test(takes_messages_that_come_together),
		cmocka_unit_test(notices_the_end_in_the_middle_of_a_message),
		cmocka_unit_test(keeps_no_descriptor_of_half_a_message),
		cmocka_unit_test(refuses_descriptors_without_end),
		cmocka_unit_test(leaves_the_descriptors_of_the_next_message_alone),
		cmocka_unit_test(counts_descriptors_that_come_with_the_payload),
		cmocka_unit_test(passes_over_flags_it_does_not_know),
		cmocka_unit_test(acknowledges_only_where_negotiated),
		cmocka_unit_test(tells_of_failure_or_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
