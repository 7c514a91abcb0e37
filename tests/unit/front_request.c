/* SPDX-License-Identifier: Apache-2.0 */
/* What a virtio-blk request must be, and that every other one gets its descriptors back. */
#include "media/null/null.h"
#include "tests/fake/guest.h"

static struct fake *open_fake(void **state)
{
	return fake_open(&(struct fake_conf){ .packed = fake_is_packed(state) });
}

/* A chain that must come back with @status in its last byte, and leave the queue at work. */
static void assert_answered(struct fake *g, const struct fake_desc *d, unsigned n,
			    const uint8_t *status, unsigned want)
{
	assert_true(fake_run(g->q[0], d, n));
	if (status)
		assert_int_equal(*status, want);
	fake_assert_alive(g, 0);
}

static void reads_what_was_written(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req w = fake_req(g, VIRTIO_BLK_T_OUT, 8, 4096);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 8, 4096);

	for (unsigned i = 0; i < 4096; i++)
		w.data[i] = (uint8_t)(i * 7);
	assert_int_equal(fake_do(g->q[0], &w), VIRTIO_BLK_S_OK);
	assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_OK);
	assert_memory_equal(r.data, w.data, 4096);
	fake_close(g);
}

static void says_how_much_it_wrote(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 1024);
	struct fake_req w = fake_req(g, VIRTIO_BLK_T_OUT, 0, 1024);
	uint16_t id;
	uint32_t len;

	fake_put_req(g->q[0], &r);
	fake_put_req(g->q[0], &w);
	fake_publish(g->q[0]);
	fake_settle(g);
	assert_true(fake_reap(g->q[0], &id, &len));
	assert_int_equal(id, r.id);
	assert_int_equal(len, 1025);
	assert_true(fake_reap(g->q[0], &id, &len));
	assert_int_equal(id, w.id);
	assert_int_equal(len, 1);
	fake_close(g);
}

static void takes_header_and_data_in_one_buffer(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 0);
	uint8_t *both = fake_alloc(g, 16 + 512, 64);

	memcpy(both, r.hdr, 16);
	memset(both + 16, 0x5a, 512);
	struct fake_desc d[] = { fake_out(g, both, 528), fake_in(g, r.status, 1) };
	assert_answered(g, d, 2, r.status, VIRTIO_BLK_S_OK);
	assert_memory_equal(g->medium->store, both + 16, 512);
	fake_close(g);
}

static void takes_data_and_status_in_one_buffer(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 0);
	uint8_t *both = fake_alloc(g, 513, 64);

	memset(g->medium->store, 0xa5, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_in(g, both, 513) };
	assert_answered(g, d, 2, both + 512, VIRTIO_BLK_S_OK);
	assert_memory_equal(both, g->medium->store, 512);
	fake_close(g);
}

static void takes_header_in_pieces(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 3, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 1), fake_out(g, (char *)r.hdr + 1, 8),
				 fake_out(g, (char *)r.hdr + 9, 7), fake_out(g, r.data, 512),
				 fake_in(g, r.status, 1) };

	memset(r.data, 0x77, 512);
	assert_answered(g, d, 5, r.status, VIRTIO_BLK_S_OK);
	assert_memory_equal(g->medium->store + 3 * 512, r.data, 512);
	fake_close(g);
}

static void takes_segments_of_100_and_412_bytes(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_out(g, r.data, 100),
				 fake_out(g, r.data + 100, 412), fake_in(g, r.status, 1) };

	for (unsigned i = 0; i < 512; i++)
		r.data[i] = (uint8_t)i;
	assert_answered(g, d, 4, r.status, VIRTIO_BLK_S_OK);
	assert_memory_equal(g->medium->store, r.data, 512);
	assert_int_equal(g->medium->seen[0].nseg, 2);
	assert_int_equal(g->medium->seen[0].seg_b[0], 100);
	fake_close(g);
}

static void takes_header_of_17_bytes_with_first_data_byte(void **state)
{
	struct fake *g = open_fake(state);
	uint8_t *buf = fake_alloc(g, 16 + 512, 64);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 0);

	memcpy(buf, r.hdr, 16);
	memset(buf + 16, 0x33, 512);
	struct fake_desc d[] = { fake_out(g, buf, 17), fake_out(g, buf + 17, 511),
				 fake_in(g, r.status, 1) };
	assert_answered(g, d, 3, r.status, VIRTIO_BLK_S_OK);
	assert_memory_equal(g->medium->store, buf + 16, 512);
	fake_close(g);
}

static void takes_empty_descriptors_among_others(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 0), fake_out(g, r.hdr, 16),
				 fake_in(g, r.data, 512), fake_in(g, r.status, 1),
				 fake_in(g, r.status, 0) };

	assert_answered(g, d, 5, r.status, VIRTIO_BLK_S_OK);
	fake_close(g);
}

/* A chain too long for a request's own segments, through a table of 126 of them. */
static void takes_126_segments(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 126 * 512);
	struct fake_desc d[128];
	uint16_t id;
	uint32_t len;

	d[0] = fake_out(g, r.hdr, 16);
	for (unsigned i = 0; i < 126; i++) {
		d[1 + i] = fake_out(g, r.data + i * 512, 512);
		memset(r.data + i * 512, (int)i, 512);
	}
	d[127] = fake_in(g, r.status, 1);
	fake_put_indirect(g->q[0], d, 128);
	fake_publish(g->q[0]);
	fake_settle(g);
	assert_true(fake_reap(g->q[0], &id, &len));
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	assert_int_equal(g->medium->seen[0].nseg, 126);
	assert_memory_equal(g->medium->store, r.data, 126 * 512);
	assert_int_equal(g->poller[0]->slab.long_nfree, g->poller[0]->slab.mapped);
	fake_close(g);
}

/* Each request of a full ring may be one that needs a long list, and a stalled medium keep it. */
static void has_a_segment_list_for_every_request(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.queues = 2,
							.size = 128, .when = SCRIPT_HELD });
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 6 * 512);
	struct fake_desc d[8];

	d[0] = fake_out(g, r.hdr, 16);
	for (unsigned i = 0; i < 6; i++)
		d[1 + i] = fake_out(g, r.data + i * 512, 512);
	d[7] = fake_in(g, r.status, 1);
	for (unsigned i = 0; i < 128; i++)
		fake_put_indirect(g->q[0], d, 8);
	fake_publish(g->q[0]);
	fake_settle(g);
	assert_int_equal(script_waiting(g->medium), 128);
	assert_int_equal(g->poller[0]->slab.long_nfree, g->poller[0]->slab.mapped - 128);
	/* another queue of the poller finds what it needs */
	g->medium->when = SCRIPT_NOW;
	fake_put_indirect(g->q[1], d, 8);
	fake_publish(g->q[1]);
	fake_settle(g);
	assert_int_equal(fake_reap_all(g->q[1]), 1);
	script_release_all(g->medium, REQ_OK);
	fake_settle(g);
	assert_int_equal(fake_reap_all(g->q[0]), 128);
	assert_int_equal(g->poller[0]->slab.long_nfree, g->poller[0]->slab.mapped);
	assert_int_equal(fake_requests_out(g->poller[0]), 0);
	fake_close(g);
}

/* Of a chain longer than what is looked at, the status is still found. */
static void refuses_chain_longer_than_any_request(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.size = 1024 });
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 1024);
	static struct fake_desc d[VCHAIN_MAX + 200];
	const unsigned n = ARRAY_SIZE(d);

	d[0] = fake_out(g, r.hdr, 16);
	for (unsigned i = 1; i < n - 1; i++)
		d[i] = fake_out(g, r.data, 512);
	d[n - 1] = fake_in(g, r.status, 1);
	assert_answered(g, d, n, r.status, VIRTIO_BLK_S_IOERR);
	*r.status = FAKE_PENDING;
	fake_put_indirect(g->q[0], d, n);
	fake_publish(g->q[0]);
	fake_settle(g);
	assert_int_equal(*r.status, VIRTIO_BLK_S_IOERR);
	assert_int_equal(g->medium->seen[0].op, REQ_READ);
	fake_close(g);
}

/* Buffers that each cross two regions: more segments than descriptors. */
static void refuses_more_segments_than_any_list_holds(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.regions = 2, .size = 256 });
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 0);
	static struct fake_desc d[202];

	d[0] = fake_out(g, r.hdr, 16);
	for (unsigned i = 1; i < 201; i++)
		d[i] = (struct fake_desc){ CLIENT_MEM_GUEST_BASE + g->mem.region_b - 256, 512, 0 };
	d[201] = fake_in(g, r.status, 1);
	assert_answered(g, d, 202, r.status, VIRTIO_BLK_S_IOERR);
	assert_int_equal(g->poller[0]->slab.long_nfree, g->poller[0]->slab.mapped);
	assert_int_equal(g->medium->nseen, 1);
	fake_close(g);
}

static void takes_buffer_across_two_regions(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.regions = 2 });
	uint8_t *at = g->mem.host + g->mem.region_b;

	for (unsigned cut = 0; cut < 3; cut++) {
		/* header, data, or status and data cross */
		static const unsigned before[] = { 5, 16 + 100, 16 + 512 };
		uint8_t *buf = at - before[cut];
		struct virtio_blk_hdr h = { htole32(VIRTIO_BLK_T_OUT), 0, htole64(cut) };
		struct fake_desc d[] = { fake_out(g, buf, 16 + 512), fake_in(g, buf + 528, 1) };

		memcpy(buf, &h, sizeof(h));
		memset(buf + 16, (int)(0x11 * (cut + 1)), 512);
		buf[528] = FAKE_PENDING;
		assert_true(fake_run(g->q[0], d, 2));
		assert_int_equal(buf[528], VIRTIO_BLK_S_OK);
		assert_memory_equal(g->medium->store + cut * 512, buf + 16, 512);
	}
	assert_int_equal(g->medium->seen[1].nseg, 2);
	assert_int_equal(g->medium->seen[1].seg_b[0], 100);
	fake_close(g);
}

static void gives_back_chain_without_header(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d[] = { fake_in(g, r.data, 512), fake_in(g, r.status, 1) };

	assert_answered(g, d, 2, r.status, VIRTIO_BLK_S_IOERR);
	fake_close(g);
}

static void gives_back_short_header(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 15), fake_in(g, r.data, 512),
				 fake_in(g, r.status, 1) };

	assert_answered(g, d, 3, r.status, VIRTIO_BLK_S_IOERR);
	/* nor one that would do without the missing byte */
	struct fake_req flush = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);
	struct fake_desc f[] = { fake_out(g, flush.hdr, 15), fake_in(g, flush.status, 1) };

	assert_answered(g, f, 2, flush.status, VIRTIO_BLK_S_IOERR);
	fake_close(g);
}

static void gives_back_chain_without_status(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_out(g, r.data, 512) };

	assert_answered(g, d, 2, NULL, 0);
	/* of assert_alive: nothing was written */
	assert_int_equal(g->medium->seen[0].op, REQ_READ);
	assert_int_equal(fake_vq(g, 0)->refused, 1);
	/* not even done without telling */
	struct fake_req flush = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);
	struct fake_desc f[] = { fake_out(g, flush.hdr, 16) };

	assert_answered(g, f, 1, NULL, 0);
	assert_int_equal(fake_vq(g, 0)->refused, 2);
	fake_close(g);
}

static void gives_back_empty_chain(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 0) };

	assert_answered(g, d, 1, NULL, 0);
	fake_close(g);
}

static void refuses_read_into_readable_buffer(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_out(g, r.data, 512),
				 fake_in(g, r.status, 1) };

	assert_answered(g, d, 3, r.status, VIRTIO_BLK_S_IOERR);
	fake_close(g);
}

static void refuses_write_from_writable_buffer(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_in(g, r.data, 512),
				 fake_in(g, r.status, 1) };

	memset(g->medium->store, 0x42, 512);
	assert_answered(g, d, 3, r.status, VIRTIO_BLK_S_IOERR);
	assert_int_equal(g->medium->store[0], 0x42);
	fake_close(g);
}

static void refuses_data_in_both_directions(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 512);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_out(g, r.data, 512),
				 fake_in(g, r.data, 512), fake_in(g, r.status, 1) };

	assert_answered(g, d, 4, r.status, VIRTIO_BLK_S_IOERR);
	r.hdr->type = htole32(VIRTIO_BLK_T_IN);
	assert_answered(g, d, 4, r.status, VIRTIO_BLK_S_IOERR);
	fake_close(g);
}

static void refuses_readable_descriptor_behind_writable(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_desc d[] = { fake_in(g, r.data, 512), fake_out(g, r.hdr, 16),
				 fake_in(g, r.status, 1) };
	struct fake_desc late[] = { fake_out(g, r.hdr, 16), fake_in(g, r.data, 512),
				    fake_out(g, r.hdr, 0), fake_in(g, r.status, 1) };

	assert_answered(g, d, 3, r.status, VIRTIO_BLK_S_IOERR);
	assert_answered(g, late, 4, r.status, VIRTIO_BLK_S_IOERR);
	fake_close(g);
}

static void refuses_length_that_is_no_multiple_of_512(void **state)
{
	struct fake *g = open_fake(state);
	static const uint32_t len[] = { 1, 511, 513, 1000 };

	for (unsigned i = 0; i < ARRAY_SIZE(len); i++) {
		struct fake_req r =
			fake_req(g, i & 1 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, 0, len[i]);

		assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(g->medium->nseen, 0);
	fake_close(g);
}

static void refuses_part_of_a_logical_block(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.blk_b = 4096 });
	struct fake_req part = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_req askew = fake_req(g, VIRTIO_BLK_T_IN, 1, 4096);
	struct fake_req good = fake_req(g, VIRTIO_BLK_T_IN, 8, 4096);

	assert_int_equal(fake_do(g->q[0], &part), VIRTIO_BLK_S_IOERR);
	assert_int_equal(fake_do(g->q[0], &askew), VIRTIO_BLK_S_IOERR);
	assert_int_equal(fake_do(g->q[0], &good), VIRTIO_BLK_S_OK);
	fake_close(g);
}

static void refuses_range_beyond_the_disk(void **state)
{
	struct fake *g = open_fake(state);
	static const uint64_t sector[] = { 2048, 2047, UINT64_MAX, UINT64_MAX >> 9,
					   (UINT64_MAX >> 9) + 1, 1ull << 55, (1ull << 55) - 1 };

	for (unsigned i = 0; i < ARRAY_SIZE(sector); i++) {
		struct fake_req r = fake_req(g, i & 1 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
					     sector[i], 1024);

		assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(g->medium->nseen, 0);
	struct fake_req last = fake_req(g, VIRTIO_BLK_T_OUT, 2046, 1024);

	assert_int_equal(fake_do(g->q[0], &last), VIRTIO_BLK_S_OK);
	fake_close(g);
}

/* (1 << 55) * 512 is 2^64: the offset must not come round to 0. */
static void refuses_sector_whose_offset_wraps(void **state)
{
	struct fake *g = open_fake(state);
	static const uint32_t type[] = { VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_DISCARD,
					 VIRTIO_BLK_T_WRITE_ZEROES };

	for (unsigned i = 0; i < ARRAY_SIZE(type); i++) {
		struct fake_req r = fake_req(g, type[i], 1ull << 55, i ? 16 : 512);
		struct virtio_blk_range range = { htole64(1ull << 55), htole32(8), 0 };

		if (i)
			memcpy(r.data, &range, sizeof(range));
		assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(g->medium->nseen, 0);
	fake_close(g);
}

static void answers_unknown_type_with_unsupp(void **state)
{
	struct fake *g = open_fake(state);
	static const uint32_t type[] = { 2, 3, 5, 9, VIRTIO_BLK_T_GET_LIFETIME, 12,
					 VIRTIO_BLK_T_SECURE_ERASE, 0x80000000u, UINT32_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(type); i++) {
		struct fake_req r = fake_req(g, type[i], 0, i & 1 ? 512 : 0);

		assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_UNSUPP);
	}
	fake_assert_alive(g, 0);
	fake_close(g);
}

static void refuses_read_and_write_without_data(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 0);
	struct fake_req w = fake_req(g, VIRTIO_BLK_T_OUT, 0, 0);

	assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_IOERR);
	assert_int_equal(fake_do(g->q[0], &w), VIRTIO_BLK_S_IOERR);
	fake_close(g);
}

static void gives_the_serial_number(void **state)
{
	struct fake *g = open_fake(state);
	static const char want[VIRTIO_BLK_ID_BYTES] = "fake";
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES);
	struct fake_req wrong = fake_req(g, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES);

	memset(r.data, 0xff, VIRTIO_BLK_ID_BYTES);
	assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_OK);
	assert_memory_equal(r.data, want, VIRTIO_BLK_ID_BYTES);
	wrong.in = false;
	assert_int_equal(fake_do(g->q[0], &wrong), VIRTIO_BLK_S_IOERR);
	fake_close(g);
}

static void gives_as_much_of_the_serial_number_as_there_is_room(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_GET_ID, 0, 64);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16), fake_in(g, r.data, 1),
				 fake_in(g, r.data + 1, 2), fake_in(g, r.status, 1) };

	memset(r.data, 0xff, 64);
	assert_answered(g, d, 4, r.status, VIRTIO_BLK_S_OK);
	assert_memory_equal(r.data, "fak\xff", 4);
	assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_OK);
	assert_int_equal(r.data[VIRTIO_BLK_ID_BYTES], 0xff);
	fake_close(g);
}

static void flushes(void **state)
{
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_FLUSH, 12345, 0);

	assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_OK);
	assert_int_equal(g->medium->nseen, 1);
	assert_int_equal(g->medium->seen[0].op, REQ_FLUSH);
	fake_close(g);
}

static unsigned do_range(struct fake *g, uint32_t type, uint64_t sector, uint32_t n,
			 uint32_t flags, uint32_t len_b)
{
	struct virtio_blk_range range[2] = { { htole64(sector), htole32(n), htole32(flags) },
					     { 0 } };
	struct fake_req r = fake_req(g, type, 0, len_b);

	memcpy(r.data, range, len_b);
	return fake_do(g->q[0], &r);
}

static void passes_discard_and_write_zeroes_on(void **state)
{
	struct fake *g = open_fake(state);

	assert_int_equal(do_range(g, VIRTIO_BLK_T_DISCARD, 8, 16, 0, 16), VIRTIO_BLK_S_OK);
	assert_int_equal(do_range(g, VIRTIO_BLK_T_WRITE_ZEROES, 16, 8, 0, 16), VIRTIO_BLK_S_OK);
	assert_int_equal(do_range(g, VIRTIO_BLK_T_WRITE_ZEROES, 16, 8, 1, 16), VIRTIO_BLK_S_OK);
	const struct script_seen *s = g->medium->seen;

	assert_int_equal(g->medium->nseen, 3);
	assert_true(s[0].op == REQ_DISCARD && s[0].off_b == 4096 && s[0].len_b == 8192);
	assert_true(s[1].op == REQ_ZEROES && s[1].off_b == 8192 && s[1].len_b == 4096);
	assert_int_equal(s[1].flags, 0);
	assert_int_equal(s[2].flags, REQ_F_UNMAP);
	fake_close(g);
}

static void refuses_senseless_discard_and_write_zeroes(void **state)
{
	struct fake *g = open_fake(state);
	const uint32_t both[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(do_range(g, both[i], 2048, 1, 0, 16), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_range(g, both[i], 0, UINT32_MAX, 0, 16), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_range(g, both[i], 0, 8, 2, 16), VIRTIO_BLK_S_UNSUPP);
		assert_int_equal(do_range(g, both[i], 0, 8, 0, 32), VIRTIO_BLK_S_UNSUPP);
		assert_int_equal(do_range(g, both[i], 0, 8, 0, 15), VIRTIO_BLK_S_UNSUPP);
		struct fake_req in = fake_req(g, both[i], 0, 16);

		in.in = true;
		assert_int_equal(fake_do(g->q[0], &in), VIRTIO_BLK_S_IOERR);
	}
	/* 5.2.6.2: unmap means nothing in a discard */
	assert_int_equal(do_range(g, VIRTIO_BLK_T_DISCARD, 0, 8, 1, 16), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(g->medium->nseen, 0);
	fake_close(g);
}

static struct fake *open_huge(void **state)
{
	struct fake_conf c = { .packed = fake_is_packed(state), .disk_b = 8 * GIB, .size = 4096,
			       .queues = 64 };

	assert_int_equal(null_open(false, &c.media), 0);
	return fake_open(&c);
}

/* A program that a disk has as a function knows of 32 bits: what it is shown is what is done. */
static void refuses_longer_ranges_than_it_offers(void **state)
{
	struct fake *g = open_huge(state);
	const uint32_t both[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	const uint32_t most = GIB / VIRTIO_BLK_SECTOR_B;

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(do_range(g, both[i], 8, most, 0, 16), VIRTIO_BLK_S_OK);
		assert_int_equal(do_range(g, both[i], 8, most + 1, 0, 16), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_range(g, both[i], 8, 4 * most + 1, 0, 16), VIRTIO_BLK_S_IOERR);
	}
	fake_close(g);
}

/* A buffer may stand in a table as often as the guest likes. */
static void refuses_more_data_than_a_request_can_have(void **state)
{
	struct fake *g = open_huge(state);
	uint32_t len_b = (uint32_t)align_down(g->mem.region_b, VIRTIO_BLK_SECTOR_B);
	unsigned n = (unsigned)(4 * GIB / len_b);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 0);
	struct fake_desc d[REQ_MAX_SEGS + 2];

	assert_true(n < REQ_MAX_SEGS);
	d[0] = fake_out(g, r.hdr, 16);
	for (unsigned i = 0; i <= n; i++)
		d[i + 1] = fake_out(g, g->mem.host, len_b);
	struct fake_desc after = d[n + 1];

	d[n + 1] = fake_in(g, r.status, 1);
	assert_answered(g, d, n + 2, r.status, VIRTIO_BLK_S_OK);
	d[n + 1] = after;
	d[n + 2] = fake_in(g, r.status, 1);
	assert_answered(g, d, n + 3, r.status, VIRTIO_BLK_S_IOERR);
	fake_close(g);
}

static void refuses_changes_of_a_read_only_disk(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.readonly = true });
	struct fake_req w = fake_req(g, VIRTIO_BLK_T_OUT, 0, 512);

	assert_int_equal(fake_do(g->q[0], &w), VIRTIO_BLK_S_IOERR);
	assert_int_equal(do_range(g, VIRTIO_BLK_T_DISCARD, 0, 8, 0, 16), VIRTIO_BLK_S_IOERR);
	assert_int_equal(do_range(g, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0, 16), VIRTIO_BLK_S_IOERR);
	assert_int_equal(g->medium->nseen, 0);
	fake_assert_alive(g, 0);
	fake_close(g);
}

static void tells_the_guest_of_a_failed_medium(void **state)
{
	static const struct script_step script[] = {
		{ REQ_READ, 0, 512, 0, SCRIPT_NOW, REQ_IOERR },
		{ REQ_WRITE, 512, 512, 0, SCRIPT_POLL, REQ_NOSPC },
		{ REQ_FLUSH, 0, 0, 0, SCRIPT_POLL, REQ_UNSUPP },
	};
	struct fake *g = open_fake(state);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_req w = fake_req(g, VIRTIO_BLK_T_OUT, 1, 512);
	struct fake_req f = fake_req(g, VIRTIO_BLK_T_FLUSH, 0, 0);

	script_expect(g->medium, script, ARRAY_SIZE(script));
	assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_IOERR);
	assert_int_equal(fake_do(g->q[0], &w), VIRTIO_BLK_S_IOERR);
	assert_int_equal(fake_do(g->q[0], &f), VIRTIO_BLK_S_UNSUPP);
	fake_close(g);
}

static void completes_in_the_order_of_the_medium(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.when = SCRIPT_HELD });
	struct fake_req r[4];
	static const unsigned order[] = { 2, 0, 3, 1 };

	for (unsigned i = 0; i < 4; i++) {
		r[i] = fake_req(g, VIRTIO_BLK_T_IN, i, 512);
		fake_put_req(g->q[0], &r[i]);
	}
	fake_publish(g->q[0]);
	fake_settle(g);
	assert_int_equal(script_waiting(g->medium), 4);
	for (unsigned i = 0; i < 4; i++) {
		uint16_t id;
		uint32_t len;

		assert_false(fake_reap(g->q[0], &id, &len));
		script_release(g->medium, order[i], REQ_OK);
		fake_settle(g);
		assert_true(fake_reap(g->q[0], &id, &len));
		assert_int_equal(id, r[order[i]].id);
		assert_int_equal(*r[order[i]].status, VIRTIO_BLK_S_OK);
	}
	fake_close(g);
}

static void writes_through_without_the_flush_feature(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.without = FAKE_BIT(VIRTIO_BLK_F_FLUSH) });
	struct fake_req w = fake_req(g, VIRTIO_BLK_T_OUT, 0, 512);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);

	assert_int_equal(fake_do(g->q[0], &w), VIRTIO_BLK_S_OK);
	assert_int_equal(fake_do(g->q[0], &r), VIRTIO_BLK_S_OK);
	assert_int_equal(do_range(g, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0, 16), VIRTIO_BLK_S_OK);
	assert_int_equal(g->medium->seen[0].flags, REQ_F_FUA);
	assert_int_equal(g->medium->seen[1].flags, 0);
	assert_int_equal(g->medium->seen[2].flags, REQ_F_FUA);
	fake_close(g);
}

/* What is judged is what was read: a header changed once it was taken changes nothing. */
static void uses_the_header_that_it_judged(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.when = SCRIPT_HELD });
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 4, 512);
	uint16_t id;
	uint32_t len;

	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	fake_settle(g);
	r.hdr->type = htole32(VIRTIO_BLK_T_OUT);
	r.hdr->sector = UINT64_MAX;
	script_release(g->medium, 0, REQ_OK);
	fake_settle(g);
	assert_true(fake_reap(g->q[0], &id, &len));
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	assert_int_equal(g->medium->seen[0].off_b, 2048);
	fake_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_BOTH(reads_what_was_written),
		FAKE_BOTH(says_how_much_it_wrote),
		FAKE_BOTH(takes_header_and_data_in_one_buffer),
		FAKE_BOTH(takes_data_and_status_in_one_buffer),
		FAKE_BOTH(takes_header_in_pieces),
		FAKE_BOTH(takes_segments_of_100_and_412_bytes),
		FAKE_BOTH(takes_header_of_17_bytes_with_first_data_byte),
		FAKE_BOTH(takes_empty_descriptors_among_others),
		FAKE_BOTH(takes_126_segments),
		FAKE_BOTH(has_a_segment_list_for_every_request),
		FAKE_BOTH(refuses_chain_longer_than_any_request),
		FAKE_BOTH(refuses_more_segments_than_any_list_holds),
		FAKE_BOTH(takes_buffer_across_two_regions),
		FAKE_BOTH(gives_back_chain_without_header),
		FAKE_BOTH(gives_back_short_header),
		FAKE_BOTH(gives_back_chain_without_status),
		FAKE_BOTH(gives_back_empty_chain),
		FAKE_BOTH(refuses_read_into_readable_buffer),
		FAKE_BOTH(refuses_write_from_writable_buffer),
		FAKE_BOTH(refuses_data_in_both_directions),
		FAKE_BOTH(refuses_readable_descriptor_behind_writable),
		FAKE_BOTH(refuses_length_that_is_no_multiple_of_512),
		FAKE_BOTH(refuses_part_of_a_logical_block),
		FAKE_BOTH(refuses_range_beyond_the_disk),
		FAKE_BOTH(refuses_sector_whose_offset_wraps),
		FAKE_BOTH(answers_unknown_type_with_unsupp),
		FAKE_BOTH(refuses_read_and_write_without_data),
		FAKE_BOTH(gives_the_serial_number),
		FAKE_BOTH(gives_as_much_of_the_serial_number_as_there_is_room),
		FAKE_BOTH(flushes),
		FAKE_BOTH(passes_discard_and_write_zeroes_on),
		FAKE_BOTH(refuses_senseless_discard_and_write_zeroes),
		FAKE_BOTH(refuses_longer_ranges_than_it_offers),
		FAKE_BOTH(refuses_more_data_than_a_request_can_have),
		FAKE_BOTH(refuses_changes_of_a_read_only_disk),
		FAKE_BOTH(tells_the_guest_of_a_failed_medium),
		FAKE_BOTH(completes_in_the_order_of_the_medium),
		FAKE_BOTH(writes_through_without_the_flush_feature),
		FAKE_BOTH(uses_the_header_that_it_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
