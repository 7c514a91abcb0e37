/* SPDX-License-Identifier: Apache-2.0 */
/* What a disk may be, and what it refuses to become. */
#include "bed.h"

#include "media/null/null.h"
#include "tests/fake/media.h"

static int try_open(const struct disk_conf *more, uint64_t medium_b, enum disk_param *ret_param)
{
	struct scripted *s = script_new(MIB);
	struct disk_conf c = *more;
	struct disk_error e;
	struct disk *d;

	s->m.caps.size_b = medium_b;
	c.name = "d";
	c.media = &s->m;
	int err = disk_open(&c, &d, &e);

	*ret_param = e.param;
	if (!err)
		disk_close(d);
	else
		s->m.ops->close(&s->m); /* it stays the caller's */
	return err;
}

static void refuses_senseless_disks(void **state)
{
	static const struct {
		struct disk_conf c;
		uint64_t medium_b;
		enum disk_param param;
	} bad[] = {
		{ { .size_b = 0 }, 0, DISK_PARAM_SIZE },
		{ { .size_b = 1000 }, 0, DISK_PARAM_SIZE },
		{ { .size_b = 512, .blk_b = 4096 }, 0, DISK_PARAM_SIZE },
		{ { .size_b = 1ull << 63 }, 0, DISK_PARAM_SIZE },
		{ { .size_b = 2 * MIB }, MIB, DISK_PARAM_SIZE },
		{ { .size_b = MIB, .blk_b = 256 }, 0, DISK_PARAM_BLK_SIZE },
		{ { .size_b = MIB, .blk_b = 8192 }, 0, DISK_PARAM_BLK_SIZE },
		{ { .size_b = MIB, .blk_b = 1000 }, 0, DISK_PARAM_BLK_SIZE },
		{ { .size_b = MIB, .serial = "123456789012345678901" }, 0, DISK_PARAM_SERIAL },
		{ { .size_b = MIB, .nfunction = CHAIN_MAX + 1 }, 0, DISK_PARAM_NONE },
	};
	static const struct function_ops none = { .kind = "none" };
	struct function f = { &none };
	struct function *const all[CHAIN_MAX + 1] = { &f, &f, &f, &f, &f, &f, &f, &f, &f };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct disk_conf c = bad[i].c;
		enum disk_param param;

		c.function = all;
		assert_int_equal(try_open(&c, bad[i].medium_b, &param), -EINVAL);
		assert_int_equal(param, bad[i].param);
	}
}

static void refuses_blocks_smaller_than_the_mediums(void **state)
{
	struct scripted *s = script_new(MIB);
	struct disk_conf c = { .name = "d", .media = &s->m, .blk_b = 512 };
	struct disk_error e;
	struct disk *d;

	s->m.caps.blk_b = 4096;
	assert_int_equal(disk_open(&c, &d, &e), -EINVAL);
	assert_int_equal(e.param, DISK_PARAM_BLK_SIZE);
	c.blk_b = 0;
	assert_int_equal(disk_open(&c, &d, &e), 0);
	assert_int_equal(disk_blk_b(d), 4096);
	assert_int_equal(disk_resize(d, 2 * MIB, &e), -EINVAL); /* larger than the medium */
	assert_int_equal(disk_size_b(d), MIB);
	disk_close(d);
	disk_close(NULL);
}

static void takes_what_the_medium_has(void **state)
{
	struct scripted *s = script_new(MIB);
	struct disk_conf c = { .name = "a name that is much longer than a serial", .media = &s->m };
	struct disk_error e;
	struct disk *d;

	s->m.caps.readonly = true;
	assert_int_equal(disk_open(&c, &d, &e), 0);
	assert_int_equal(disk_size_b(d), MIB);
	assert_int_equal(disk_blk_b(d), 512);
	assert_true(disk_readonly(d));
	assert_memory_equal(disk_serial(d), c.name, DISK_SERIAL_MAX);
	assert_int_equal(disk_serial(d)[DISK_SERIAL_MAX], 0);
	disk_close(d);
}

/* One batch of everything: what is refused ends at once, the rest goes on in order. */
static void sorts_a_batch(void **state)
{
	static uint8_t buf[4096];
	struct bed_req q[6];
	struct media *m;
	struct bed b;

	assert_int_equal(null_open(false, &m), 0);
	bed_open_chain(&b, m, NULL, 0, MIB);
	bed_req(&b, &q[0], REQ_READ, 0, 512, buf);
	bed_req(&b, &q[1], REQ_READ, 2 * MIB, 512, buf);
	bed_req(&b, &q[2], REQ_WRITE, 0, 4096, buf);
	bed_req(&b, &q[3], REQ_WRITE, 0, 0, NULL);
	bed_req(&b, &q[4], REQ_FLUSH, 0, 0, NULL);
	bed_req(&b, &q[5], REQ_READ, 1, 512, buf);
	bed_submit(&b, q, 6);
	assert_int_equal(b.done, 6);
	static const unsigned want[] = { REQ_OK, REQ_RANGE, REQ_OK, REQ_RANGE, REQ_OK, REQ_RANGE };

	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(q[i].status, want[i]);
	const struct lane_stats *s = b.lane->stats;

	assert_int_equal(s->op[REQ_READ].errors, 2);
	assert_int_equal(s->op[REQ_WRITE].bytes, 4096);
	assert_int_equal(hist_total(&s->latency[REQ_READ]), 3);
	assert_int_equal(hist_total(&s->latency[REQ_FLUSH]), 1);
	bed_close(&b);
}

static void refuses_operations_the_medium_has_not(void **state)
{
	struct scripted *s = script_new(MIB);
	struct bed b;

	s->m.caps.discard_gran_b = 0;
	s->m.caps.zeroes = false;
	bed_open(&b, &s->m);
	assert_int_equal(bed_do(&b, REQ_DISCARD, 0, 0, 4096, NULL), REQ_UNSUPP);
	assert_int_equal(bed_do(&b, REQ_ZEROES, 0, 0, 4096, NULL), REQ_UNSUPP);
	assert_int_equal(s->nseen, 0);
	bed_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_senseless_disks),
		cmocka_unit_test(refuses_blocks_smaller_than_the_mediums),
		cmocka_unit_test(takes_what_the_medium_has),
		cmocka_unit_test(sorts_a_batch),
		cmocka_unit_test(refuses_operations_the_medium_has_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
