/* SPDX-License-Identifier: Apache-2.0 */
#include "bed.h"

#include <jansson.h>
#include <stdio.h>

#include "media/ram/ram.h"
#include "media/ram/ram_ctl.h"
#include "tests/fake/keep.h"

#define SIZE_B (64 * MIB)

static void open_ram_bed(struct bed *b)
{
	struct ram_conf c = { .size_b = SIZE_B };
	struct media *m;

	assert_int_equal(ram_open(&c, &m), 0);
	bed_open(b, m);
}

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

static bool all_zero(const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i])
			return false;
	return true;
}

static void reads_back_what_was_written_at_any_layout(void **state)
{
	static const uint32_t cut[][3] = { { 100, 412, 3584 }, { 1, 4095, 0 }, { 4096, 0, 0 },
					   { 2048, 1025, 1023 } };
	static uint8_t out[4096 + 64], in[4096 + 64];
	struct bed b;

	open_ram_bed(&b);
	for (unsigned i = 0; i < ARRAY_SIZE(cut); i++) {
		for (unsigned op = 0; op < 2; op++) {
			uint8_t *at = (op ? in : out) + i; /* odd addresses too */
			struct bed_req q;
			struct req *r = bed_req(&b, &q, op ? REQ_READ : REQ_WRITE, i * 8192 + 512,
						4096, at);

			if (!op)
				fill(out, sizeof(out), i);
			r->nseg = 0;
			for (unsigned s = 0; s < 3; s++)
				if (cut[i][s]) {
					r->seg[r->nseg++] = (struct seg){ at, cut[i][s], NULL };
					at += cut[i][s];
				}
			bed_submit(&b, &q, 1);
			assert_int_equal(q.status, REQ_OK); /* done when submit returns */
		}
		assert_memory_equal(in + i, out + i, 4096);
	}
	bed_close(&b);
}

static void completes_a_whole_batch_in_submit(void **state)
{
	static uint8_t buf[POLLER_BATCH][4096], back[POLLER_BATCH][4096];
	struct bed_req q[POLLER_BATCH];
	struct bed b;

	open_ram_bed(&b);
	for (unsigned i = 0; i < POLLER_BATCH; i++) {
		fill(buf[i], 4096, i);
		bed_req(&b, &q[i], REQ_WRITE, (uint64_t)(POLLER_BATCH - i) * 8192, 4096, buf[i]);
	}
	bed_submit(&b, q, POLLER_BATCH);
	assert_int_equal(b.done, POLLER_BATCH);
	for (unsigned i = 0; i < POLLER_BATCH; i++)
		bed_req(&b, &q[i], REQ_READ, (uint64_t)(POLLER_BATCH - i) * 8192, 4096, back[i]);
	bed_submit(&b, q, POLLER_BATCH);
	assert_int_equal(b.done, 2 * POLLER_BATCH);
	assert_memory_equal(buf, back, sizeof(buf));
	assert_int_equal(bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL), REQ_OK);
	bed_close(&b);
}

static void discard_frees_memory_and_leaves_zeros(void **state)
{
	static uint8_t buf[MIB];
	struct bed b;

	open_ram_bed(&b);
	struct media *m = disk_media(b.disk);
	memset(buf, 0xab, sizeof(buf));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(bed_do(&b, REQ_WRITE, 0, i * MIB, MIB, buf), REQ_OK);
	assert_int_equal(ram_used_b(m), 8 * MIB);
	/* begins and ends inside pages, and is longer than a turn's piece */
	assert_int_equal(bed_do(&b, REQ_DISCARD, 0, MIB + 512, 5 * MIB, NULL), REQ_OK);
	assert_int_equal(ram_used_b(m), 3 * MIB + 4096);
	assert_int_equal(bed_do(&b, REQ_READ, 0, MIB, MIB, buf), REQ_OK);
	assert_int_equal(buf[511], 0xab);
	assert_true(all_zero(buf + 512, MIB - 512));
	assert_int_equal(bed_do(&b, REQ_READ, 0, 6 * MIB, MIB, buf), REQ_OK);
	assert_true(all_zero(buf, 512));
	assert_int_equal(buf[512], 0xab);
	bed_close(&b);
}

static void zeroes_keep_the_memory_unless_unmap_is_allowed(void **state)
{
	static uint8_t buf[2 * MIB];
	struct bed b;

	open_ram_bed(&b);
	struct media *m = disk_media(b.disk);
	memset(buf, 0xab, sizeof(buf));
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 0, sizeof(buf), buf), REQ_OK);
	assert_int_equal(bed_do(&b, REQ_ZEROES, 0, 512, MIB + 1024, NULL), REQ_OK);
	assert_int_equal(ram_used_b(m), 2 * MIB);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 0, sizeof(buf), buf), REQ_OK);
	assert_int_equal(buf[511], 0xab);
	assert_true(all_zero(buf + 512, MIB + 1024));
	assert_int_equal(buf[512 + MIB + 1024], 0xab);
	assert_int_equal(bed_do(&b, REQ_ZEROES, REQ_F_UNMAP, 0, 2 * MIB, NULL), REQ_OK);
	assert_int_equal(ram_used_b(m), 0);
	bed_close(&b);
}

static void a_long_discard_takes_many_turns(void **state)
{
	struct bed_req q, other;
	uint8_t sector[512];
	struct bed b;

	open_ram_bed(&b);
	bed_req(&b, &q, REQ_DISCARD, 0, SIZE_B, NULL);
	bed_submit(&b, &q, 1);
	for (unsigned i = 1; i < SIZE_B / MIB; i++) {
		poller_turn(b.poller);
		assert_int_equal(q.status, BED_NOT_DONE);
	}
	bed_req(&b, &other, REQ_READ, 0, 512, sector);
	bed_submit(&b, &other, 1);
	assert_int_equal(other.status, REQ_OK); /* not behind the discard */
	poller_turn(b.poller);
	assert_int_equal(q.status, REQ_OK);
	bed_close(&b);
}

/* A guest with much memory may ask for a copy that takes a second; others get their turn. */
static void a_long_copy_takes_many_turns(void **state)
{
	size_t len = 3 * MIB + 512;
	uint8_t *from = malloc(len), *to = calloc(1, len);
	struct bed_req q, other;
	uint8_t sector[512];
	struct bed b;

	open_ram_bed(&b);
	fill(from, len, 3);
	bed_req(&b, &q, REQ_WRITE, 1024, len, from);
	bed_submit(&b, &q, 1);
	for (unsigned i = 0; i < 3; i++) {
		poller_turn(b.poller);
		assert_int_equal(q.status, BED_NOT_DONE);
	}
	bed_req(&b, &other, REQ_READ, 0, 512, sector);
	bed_submit(&b, &other, 1);
	assert_int_equal(other.status, REQ_OK); /* not behind the copy */
	poller_turn(b.poller);
	assert_int_equal(q.status, REQ_OK);
	bed_req(&b, &q, REQ_READ, 1024, len, to);
	/* in two segments that no piece fits */
	q.r->nseg = 2;
	q.r->seg[0].len_b = MIB + 100;
	q.r->seg[1] = (struct seg){ to + MIB + 100, (uint32_t)(len - MIB - 100), NULL };
	bed_submit(&b, &q, 1);
	for (unsigned i = 0; i < 4; i++)
		poller_turn(b.poller);
	assert_int_equal(q.status, REQ_OK);
	assert_memory_equal(to, from, len);
	free(from);
	free(to);
	bed_close(&b);
}

static void grows_in_place_and_never_shrinks(void **state)
{
	uint8_t sector[512], back[512];
	struct disk_error e;
	struct bed b;

	open_ram_bed(&b);
	struct media *m = disk_media(b.disk);
	fill(sector, 512, 3);
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, SIZE_B - 512, 512, sector), REQ_OK);
	assert_int_equal(ram_resize(m, SIZE_B - 512), -EINVAL);
	assert_int_equal(ram_resize(m, SIZE_B + 100), -EINVAL);
	assert_int_equal(ram_resize(m, ram_max_b(m) + 512), -E2BIG);
	assert_int_equal(m->caps.size_b, SIZE_B);
	assert_int_equal(ram_resize(m, 2 * SIZE_B + 512), 0);
	assert_int_equal(disk_resize(b.disk, 2 * SIZE_B + 512, &e), 0);
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 2 * SIZE_B, 512, sector), REQ_OK);
	assert_int_equal(bed_do(&b, REQ_READ, 0, SIZE_B - 512, 512, back), REQ_OK);
	assert_memory_equal(back, sector, 512);
	/* the rest of the last page, after it has grown once more within that page */
	assert_int_equal(ram_resize(m, 2 * SIZE_B + 1024), 0);
	bed_close(&b);
}

static int open_wanted(const char *hugepages, const struct media_want *want, struct media **ret,
		       struct ctl_error *err)
{
	json_t *p = json_pack("{s:b}", "hugepages", !strcmp(hugepages, "on"));
	int code = ram_kind.open(p, want, ret, err);

	json_decref(p);
	return code;
}

static int open_by_kind(const char *hugepages, uint64_t size_b, struct media **ret,
			struct ctl_error *err)
{
	struct keep_scope nowhere = { 0 };
	struct media_want want = { .size_b = size_b, .create = true, .keep = &nowhere };

	return open_wanted(hugepages, &want, ret, err);
}

static void refuses_senseless_sizes_by_name(void **state)
{
	struct ctl_error err;
	struct media *m;

	assert_int_equal(open_by_kind("off", 0, &m, &err), -EINVAL);
	assert_string_equal(err.param, "size");
	assert_int_equal(open_by_kind("off", 1000, &m, &err), -EINVAL);
	assert_int_equal(open_by_kind("off", 1ull << 60, &m, &err), -ENOMEM);
	assert_string_equal(err.id, "no_memory");
	/* sparse: address space only */
	assert_int_equal(open_by_kind("off", 1ull << 40, &m, &err), 0);
	m->ops->close(m);
}

/* What the kernel says of its pages of 2 MiB: "nr" there are, "free" ones; 0: it has none. */
static unsigned long hugepages(const char *which)
{
	char path[80];
	unsigned long n = 0;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-2048kB/%s_hugepages",
		 which);
	FILE *f = fopen(path, "re");
	if (f && fscanf(f, "%lu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

static void refuses_hugepages_by_name_when_too_few_are_reserved(void **state)
{
	/* of all that there are: other programs may give some back just now */
	uint64_t more_than_there_are = (hugepages("nr") + hugepages("nr_overcommit") + 1) * 2 * MIB;
	struct ctl_error err;
	struct media *m;

	assert_int_equal(open_by_kind("on", more_than_there_are, &m, &err), -ENOMEM);
	assert_string_equal(err.id, "no_hugepages");
	assert_string_equal(err.param, "hugepages");
	assert_non_null(strstr(err.text, "vm.nr_hugepages="));
}

static void hugepages_serve_and_offer_no_discard(void **state)
{
	static uint8_t out[4096], in[4096];
	struct ctl_error err;
	struct media *m;
	struct bed b;

	int code = open_by_kind("on", 3 * MIB, &m, &err);
	if (code && hugepages("free") < 2)
		skip(); /* the host has reserved none: vm.nr_hugepages; or others have them */
	assert_int_equal(code, 0);
	assert_int_equal(m->caps.discard_gran_b, 0);
	bed_open(&b, m);
	fill(out, sizeof(out), 1);
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, MIB, 4096, out), REQ_OK);
	assert_int_equal(bed_do(&b, REQ_READ, 0, MIB, 4096, in), REQ_OK);
	assert_memory_equal(in, out, 4096);
	assert_int_equal(bed_do(&b, REQ_DISCARD, 0, 0, MIB, NULL), REQ_UNSUPP);
	assert_int_equal(bed_do(&b, REQ_ZEROES, REQ_F_UNMAP, 0, 2 * MIB, NULL), REQ_OK);
	assert_int_equal(bed_do(&b, REQ_READ, 0, MIB, 4096, in), REQ_OK);
	assert_true(all_zero(in, 4096));
	bed_close(&b);
}

static void data_outlives_the_process_in_what_is_kept(void **state)
{
	static uint8_t out[4096], in[4096];
	struct fake_keep keep;
	struct keep_scope scope = { &keep.keep, "disk/a/medium" };
	struct media_want want = { .size_b = MIB, .create = true, .keep = &scope };
	struct ctl_error err;
	struct media *m;
	struct bed b;

	fake_keep_init(&keep);
	assert_int_equal(open_wanted("off", &want, &m, &err), 0);
	assert_int_equal(fake_keep_count(&keep, "disk/a/medium"), 1);
	bed_open(&b, m);
	fill(out, sizeof(out), 3);
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 8192, 4096, out), REQ_OK);
	bed_close(&b);
	/* grown since: the configuration was durable before the memory was */
	want = (struct media_want){ .size_b = 2 * MIB, .restored = true, .keep = &scope };
	assert_int_equal(open_wanted("off", &want, &m, &err), 0);
	bed_open(&b, m);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 8192, 4096, in), REQ_OK);
	assert_memory_equal(in, out, 4096);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 2 * MIB - 4096, 4096, in), REQ_OK);
	assert_true(all_zero(in, 4096));
	bed_close(&b);
	fake_keep_fini(&keep);
}

static void a_disk_whose_data_was_not_kept_does_not_come_back_empty(void **state)
{
	struct fake_keep keep;
	struct keep_scope scope = { &keep.keep, "disk/a/medium" };
	struct media_want want = { .size_b = MIB, .restored = true, .keep = &scope };
	struct ctl_error err;
	struct media *m;

	fake_keep_init(&keep);
	assert_int_equal(open_wanted("off", &want, &m, &err), -ENODATA);
	assert_string_equal(err.id, "data_lost");
	fake_keep_fini(&keep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_back_what_was_written_at_any_layout),
		cmocka_unit_test(completes_a_whole_batch_in_submit),
		cmocka_unit_test(discard_frees_memory_and_leaves_zeros),
		cmocka_unit_test(zeroes_keep_the_memory_unless_unmap_is_allowed),
		cmocka_unit_test(a_long_discard_takes_many_turns),
		cmocka_unit_test(a_long_copy_takes_many_turns),
		cmocka_unit_test(grows_in_place_and_never_shrinks),
		cmocka_unit_test(refuses_senseless_sizes_by_name),
		cmocka_unit_test(refuses_hugepages_by_name_when_too_few_are_reserved),
		cmocka_unit_test(hugepages_serve_and_offer_no_discard),
		cmocka_unit_test(data_outlives_the_process_in_what_is_kept),
		cmocka_unit_test(a_disk_whose_data_was_not_kept_does_not_come_back_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
