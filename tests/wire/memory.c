/* SPDX-License-Identifier: Apache-2.0 */
/* SET_MEM_TABLE, ADD_ and REM_MEM_REG, SET_LOG_BASE, SET_LOG_FD, GET_ and SET_INFLIGHT_FD. */
#include "tests/wire/wire.h"

#include "front/vhost_blk/track.h"

static void refuses_wrong_sizes(void **state)
{
	wire_refuses_other_sizes(VHOST_USER_SET_MEM_TABLE, 8, 264);
	wire_refuses_other_sizes(VHOST_USER_ADD_MEM_REG, 40, 40);
	wire_refuses_other_sizes(VHOST_USER_REM_MEM_REG, 40, 40);
	wire_refuses_other_sizes(VHOST_USER_GET_MAX_MEM_SLOTS, 0, 0);
	wire_refuses_other_sizes(VHOST_USER_SET_LOG_BASE, 16, 16);
	wire_refuses_other_sizes(VHOST_USER_GET_INFLIGHT_FD, 20, 24);
	wire_refuses_other_sizes(VHOST_USER_SET_INFLIGHT_FD, 20, 24);
}

static void refuses_too_many_descriptors(void **state)
{
	wire_refuses_more_fds(VHOST_USER_SET_MEM_TABLE, 264, 8);
	wire_refuses_more_fds(VHOST_USER_ADD_MEM_REG, 40, 1);
	wire_refuses_more_fds(VHOST_USER_REM_MEM_REG, 40, 1);
	wire_refuses_more_fds(VHOST_USER_SET_LOG_BASE, 16, 1);
	wire_refuses_more_fds(VHOST_USER_GET_INFLIGHT_FD, 24, 0);
	wire_refuses_more_fds(VHOST_USER_SET_INFLIGHT_FD, 24, 1);
}

/* Regions said, regions in the message, and descriptors must agree. */
static void refuses_a_table_that_contradicts_itself(void **state)
{
	static const struct {
		uint32_t regions, len_b;
		unsigned nfd;
	} bad[] = { { 9, 264, 8 }, { UINT32_MAX, 264, 1 }, { 1, 8, 1 }, { 2, 40, 2 }, { 1, 40, 0 },
		    { 1, 40, 2 },  { 0, 8, 1 } };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fake *g = wire_fresh();
		struct vhost_user_mem_table t = { .num_regions = bad[i].regions };
		int fd[8];

		fake_negotiate(g);
		for (unsigned k = 0; k < 8; k++) {
			fd[k] = g->mem.fd[0];
			t.region[k] = fake_region(g, 0);
		}
		assert_int_equal(wire_send(g, VHOST_USER_SET_MEM_TABLE, &t, bad[i].len_b, fd,
					   bad[i].nfd), -EPROTO);
		fake_close(g);
	}
}

static void takes_tables_of_up_to_eight_regions(void **state)
{
	for (unsigned n = 1; n <= 8; n++) {
		struct fake *g = fake_open(&(struct fake_conf){ .regions = n });

		assert_int_equal(g->s->mem->n, n);
		fake_assert_alive(g, 0);
		fake_close(g);
	}
}

static void takes_an_empty_table(void **state)
{
	struct fake *g = wire_fresh();
	struct vhost_user_mem_table t = { 0 };

	fake_negotiate(g);
	assert_int_equal(fake_tell(g, VHOST_USER_SET_MEM_TABLE, &t, 8, NULL, 0), 0);
	assert_int_equal(fake_share_mem(g), 0);
	fake_queue(g, 0);
	assert_int_equal(fake_start(g, 0, 0), 0);
	fake_assert_alive(g, 0);
	fake_close(g);
}

static void refuses_a_table_whose_regions_overlap(void **state)
{
	struct fake *g = wire_ready();
	struct vhost_user_mem_table t = { .num_regions = 2, .region = { fake_region(g, 0),
									 fake_region(g, 0) } };
	int fd[2] = { g->mem.fd[0], g->mem.fd[0] };

	assert_int_equal(fake_tell(g, VHOST_USER_SET_MEM_TABLE, &t, VHOST_USER_MEM_TABLE_BYTES(2),
				   fd, 2), -EREMOTEIO);
	assert_int_equal(g->s->mem->n, 1); /* the old one is in force */
	fake_close(g);
}

static void wants_a_descriptor_where_there_must_be_one(void **state)
{
	static const struct {
		uint32_t request, len_b;
	} need[] = { { VHOST_USER_ADD_MEM_REG, 40 }, { VHOST_USER_SET_LOG_BASE, 16 },
		     { VHOST_USER_SET_INFLIGHT_FD, 24 } };

	for (unsigned i = 0; i < ARRAY_SIZE(need); i++) {
		struct fake *g = wire_ready();

		assert_int_equal(wire_send(g, need[i].request, NULL, need[i].len_b, NULL, 0),
				 -EPROTO);
		fake_close(g);
	}
}

/* QEMU sends a descriptor with REM_MEM_REG too; it is closed. */
static void takes_a_descriptor_with_rem_mem_reg(void **state)
{
	struct fake *g = wire_ready();
	struct vhost_user_mem_single m = { .region = fake_region(g, 0) };
	int before = dup(0), after;

	fd_close(before);
	assert_int_equal(fake_tell(g, VHOST_USER_REM_MEM_REG, &m, sizeof(m), g->mem.fd, 1), 0);
	after = dup(0);
	fd_close(after);
	assert_int_equal(before, after);
	assert_int_equal(g->s->mem->n, 0);
	fake_close(g);
}

static void accepts_a_log_descriptor_and_drops_it(void **state)
{
	struct fake *g = wire_ready();
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(fake_tell(g, VHOST_USER_SET_LOG_FD, NULL, 0, &fd, 1), 0);
	fd_close(fd);
	fake_close(g);
}

/* 20 bytes as the document counts, 24 as QEMU sends them. */
static void gives_an_inflight_region_that_cannot_shrink(void **state)
{
	for (uint32_t len = 20; len <= 24; len += 4) {
		struct fake *g = wire_ready();
		struct vhost_user_inflight ask = { .num_queues = 2, .queue_size = 128 };
		struct vhost_user_msg m;
		unsigned nfd = 1;
		int fd = -1;

		assert_int_equal(vu_send(g->sock, VHOST_USER_GET_INFLIGHT_FD, 0, &ask, len, NULL,
					 0), 0);
		assert_int_equal(fake_handle(g), 0);
		assert_int_equal(vu_recv(g->sock, &m, &fd, &nfd), 0);
		assert_int_equal(m.hdr.size, len);
		assert_int_equal(m.payload.inflight.mmap_size_b,
				 2 * track_region_len_b(false, 128));
		assert_int_equal(m.payload.inflight.num_queues, 2);
		assert_int_not_equal(ftruncate(fd, 0), 0);
		assert_int_equal(lseek(fd, 0, SEEK_END), m.payload.inflight.mmap_size_b);
		assert_int_equal(fake_tell(g, VHOST_USER_SET_INFLIGHT_FD, &m.payload.inflight, len,
					   &fd, 1), 0);
		fd_close(fd);
		fake_close(g);
	}
}

static void refuses_to_make_senseless_regions(void **state)
{
	static const struct vhost_user_inflight bad[] = {
		{ .num_queues = 0, .queue_size = 16 }, { .num_queues = 3, .queue_size = 16 },
		{ .num_queues = 1, .queue_size = 0 },  { .num_queues = 1, .queue_size = 32769 },
		{ .num_queues = UINT16_MAX, .queue_size = UINT16_MAX },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fake *g = wire_ready();

		assert_int_equal(wire_send(g, VHOST_USER_GET_INFLIGHT_FD, &bad[i], 24, NULL, 0),
				 -EPROTO);
		fake_close(g);
	}
}

static int memfd(off_t size, bool sealed)
{
	int fd = memfd_create("inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(fd, size), 0);
	if (sealed)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	return fd;
}

static void refuses_regions_that_could_kill_it(void **state)
{
	const uint64_t need = 2 * track_region_len_b(false, 128);
	const struct {
		struct vhost_user_inflight d;
		off_t size;
		bool sealed;
	} bad[] = {
		{ { need, 0, 2, 128, { 0 } }, 65536, false }, /* could be truncated */
		{ { need, 0, 2, 128, { 0 } }, 1024, true },   /* beyond the file */
		{ { need, 65536, 2, 128, { 0 } }, 65536, true },
		{ { need, UINT64_MAX - 4095, 2, 128, { 0 } }, 65536, true },
		{ { UINT64_MAX, 0, 2, 128, { 0 } }, 65536, true },
		{ { need - 1, 0, 2, 128, { 0 } }, 65536, true }, /* too short for its queues */
		{ { 0, 0, 2, 128, { 0 } }, 65536, true },
		{ { need, 512, 2, 128, { 0 } }, 65536, true }, /* cannot be mapped */
		{ { need, 0, 3, 128, { 0 } }, 65536, true },
		{ { need, 0, 0, 128, { 0 } }, 65536, true },
		{ { need, 0, 2, 0, { 0 } }, 65536, true },
		{ { need, 0, 2, 32769, { 0 } }, 65536, true },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fake *g = wire_ready();
		int fd = memfd(bad[i].size, bad[i].sealed);

		assert_int_equal(wire_send(g, VHOST_USER_SET_INFLIGHT_FD, &bad[i].d, 24, &fd, 1),
				 -EPROTO);
		assert_null(g->s->track.at);
		fd_close(fd);
		fake_close(g);
	}
	struct fake *g = wire_ready();
	struct vhost_user_inflight d = { need, 0, 2, 128, { 0 } };
	int fd = eventfd(0, EFD_CLOEXEC); /* no file at all */

	assert_int_equal(wire_send(g, VHOST_USER_SET_INFLIGHT_FD, &d, 24, &fd, 1), -EPROTO);
	fd_close(fd);
	fake_close(g);
}

static void refuses_an_inflight_region_in_hugepages(void **state)
{
	struct vhost_user_inflight d = { 2 * track_region_len_b(false, 128), 0, 2, 128, { 0 } };
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	if (fd < 0) {
		print_message("this kernel has no hugepages\n");
		skip();
	}
	struct fake *g = wire_ready();

	assert_int_equal(ftruncate(fd, 2 << 20), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(wire_send(g, VHOST_USER_SET_INFLIGHT_FD, &d, 24, &fd, 1), -EPROTO);
	assert_null(g->s->track.at);
	fd_close(fd);
	fake_close(g);
}

/* A new region under running queues: they stop, and start again in it. */
static void changes_its_region(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .track = true });

	fake_assert_alive(g, 0);
	uint32_t base = fake_stop(g, 0);

	fake_get_track(g);
	assert_int_equal(fake_set_track(g), 0);
	assert_int_equal(fake_start(g, 0, base), 0);
	fake_assert_alive(g, 0);
	fake_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_wrong_sizes),
		cmocka_unit_test(refuses_too_many_descriptors),
		cmocka_unit_test(refuses_a_table_that_contradicts_itself),
		cmocka_unit_test(takes_tables_of_up_to_eight_regions),
		cmocka_unit_test(takes_an_empty_table),
		cmocka_unit_test(refuses_a_table_whose_regions_overlap),
		cmocka_unit_test(wants_a_descriptor_where_there_must_be_one),
		cmocka_unit_test(takes_a_descriptor_with_rem_mem_reg),
		cmocka_unit_test(accepts_a_log_descriptor_and_drops_it),
		cmocka_unit_test(gives_an_inflight_region_that_cannot_shrink),
		cmocka_unit_test(refuses_to_make_senseless_regions),
		cmocka_unit_test(refuses_regions_that_could_kill_it),
		cmocka_unit_test(refuses_an_inflight_region_in_hugepages),
		cmocka_unit_test(changes_its_region),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
