/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path of the file medium, through both engines. The system calls of the
 * helpers are wrapped by the linker (see meson.build), so that a test can make the
 * kernel slow, short or broken.
 */
#include "file_bed.h"

#include <semaphore.h>
#include <sys/uio.h>

#include "media/file/ring.h"

#define SIZE_B (8 * MIB)
#define ALIGNED __attribute__((aligned(4096)))

/* What the wrapped calls do; set before requests are submitted. */
static struct {
	unsigned syncs, transfers; /* calls seen */
	int sync_err, write_err, fallocate_err;
	size_t most_b;	   /* one call transfers no more than this; 0: no limit */
	int write_flags;   /* of the last write */
	int fallocate_mode; /* of the last one that was let through */
	bool gated;	   /* a sync waits for the gate */
	sem_t begun, gate;
} sys;

int __real_fdatasync(int fd);
ssize_t __real_preadv64v2(int fd, const struct iovec *iov, int n, off_t at, int flags);
ssize_t __real_pwritev64v2(int fd, const struct iovec *iov, int n, off_t at, int flags);
int __real_fallocate64(int fd, int mode, off_t at, off_t len);
int __wrap_fdatasync(int fd);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int n, off_t at, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int n, off_t at, int flags);
int __wrap_fallocate64(int fd, int mode, off_t at, off_t len);

int __wrap_fdatasync(int fd)
{
	__atomic_fetch_add(&sys.syncs, 1, __ATOMIC_RELAXED);
	if (sys.gated) {
		sem_post(&sys.begun);
		while (sem_wait(&sys.gate))
			;
	}
	errno = sys.sync_err;
	return sys.sync_err ? -1 : __real_fdatasync(fd);
}

static struct iovec cut(const struct iovec *iov)
{
	struct iovec one = *iov;

	if (one.iov_len > sys.most_b)
		one.iov_len = sys.most_b;
	return one;
}

ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int n, off_t at, int flags)
{
	struct iovec one;

	__atomic_fetch_add(&sys.transfers, 1, __ATOMIC_RELAXED);
	if (!sys.most_b)
		return __real_preadv64v2(fd, iov, n, at, flags);
	one = cut(iov);
	return __real_preadv64v2(fd, &one, 1, at, flags);
}

ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int n, off_t at, int flags)
{
	struct iovec one;

	__atomic_fetch_add(&sys.transfers, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&sys.write_flags, flags, __ATOMIC_RELAXED);
	if (sys.write_err) {
		errno = sys.write_err;
		return -1;
	}
	if (!sys.most_b)
		return __real_pwritev64v2(fd, iov, n, at, flags);
	one = cut(iov);
	return __real_pwritev64v2(fd, &one, 1, at, flags);
}

int __wrap_fallocate64(int fd, int mode, off_t at, off_t len)
{
	if (sys.fallocate_err) {
		errno = sys.fallocate_err;
		return -1;
	}
	sys.fallocate_mode = mode;
	return __real_fallocate64(fd, mode, at, len);
}

static int reset(void **state)
{
	memset(&sys, 0, sizeof(sys));
	sem_init(&sys.begun, 0, 0);
	sem_init(&sys.gate, 0, 0);
	return 0;
}

static bool is_uring(struct bed *b)
{
	struct file_info i;

	file_info(disk_media(b->disk), &i);
	return i.uring;
}

static bool is_direct(struct bed *b)
{
	struct file_info i;

	file_info(disk_media(b->disk), &i);
	return i.direct;
}

static void open_bed(struct bed *b, enum file_engine engine, enum file_choice direct, int *ret_fd)
{
	struct file_conf c = { .engine = engine, .direct = direct };

	bed_open(b, image_medium(NULL, SIZE_B, &c, ret_fd));
}

/* Every way that there is on this machine: engines, with and without the page cache. */
static void each_way(void (*test)(enum file_engine engine, enum file_choice direct))
{
	static const enum file_engine engine[] = { FILE_ENGINE_AUTO, FILE_ENGINE_THREADS };
	static const enum file_choice direct[] = { FILE_AUTO, FILE_OFF };

	for (unsigned i = 0; i < 2; i++)
		for (unsigned k = 0; k < 2; k++) {
			reset(NULL);
			test(engine[i], direct[k]);
		}
}

static void write_and_read(enum file_engine engine, enum file_choice direct)
{
	static uint8_t out[1 * MIB] ALIGNED, in[1 * MIB] ALIGNED;
	static const struct { uint64_t off_b; uint32_t len_b; unsigned seg_b; } shape[] = {
		{ 0, 512, 512 }, { 4096, 4096, 4096 }, { 512, 8192, 512 },
		{ 65536, 1 * MIB, 1 * MIB },
		{ SIZE_B - 512, 512, 512 }, { 12288, 3072, 1024 },
	};
	struct bed b;
	int fd;

	open_bed(&b, engine, direct, &fd);
	for (unsigned i = 0; i < ARRAY_SIZE(shape); i++) {
		static uint8_t seen[1 * MIB];

		pattern(out, shape[i].len_b, i);
		memset(in, 0, sizeof(in));
		for (unsigned op = 0; op < 2; op++) {
			struct bed_req q;
			struct req *r = bed_req(&b, &q, op ? REQ_READ : REQ_WRITE, shape[i].off_b,
						shape[i].len_b, op ? in : out);

			r->nseg = 0;
			if (shape[i].len_b / shape[i].seg_b > REQ_INLINE_SEGS)
				slab_long_get(&b.poller->slab, r);
			for (uint32_t at = 0; at < shape[i].len_b; at += shape[i].seg_b)
				r->seg[r->nseg++] = (struct seg){ (op ? in : out) + at,
								  shape[i].seg_b, NULL };
			bed_submit(&b, &q, 1);
			bed_run(&b, b.done + (q.status == BED_NOT_DONE));
			assert_int_equal(q.status, REQ_OK);
		}
		assert_memory_equal(in, out, shape[i].len_b);
		assert_int_equal(bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL), REQ_OK);
		assert_int_equal(pread(fd, seen, shape[i].len_b, (off_t)shape[i].off_b),
				 shape[i].len_b);
		assert_memory_equal(seen, out, shape[i].len_b);
	}
	bed_close(&b);
	close(fd);
}

static void stores_and_returns_data_of_any_shape(void **state)
{
	each_way(write_and_read);
}

static void any_alignment(enum file_engine engine, enum file_choice direct)
{
	static uint8_t out[4096 + 64] ALIGNED, in[4096 + 64] ALIGNED;
	struct bed b;

	open_bed(&b, engine, direct, NULL);
	pattern(out, sizeof(out), 7);
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 4096, 4096, out + 3), REQ_OK);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 4096, 4096, in + 5), REQ_OK);
	assert_memory_equal(in + 5, out + 3, 4096);
	assert_int_equal(stat_get(&b.lane->stats->copies), is_direct(&b) ? 2 : 0);
	bed_close(&b);
}

static void takes_buffers_that_direct_io_cannot(void **state)
{
	each_way(any_alignment);
}

#define MANY (RING_CQ + 100)

static void deep(enum file_engine engine, enum file_choice direct)
{
	static uint8_t buf[MANY][512] ALIGNED, back[MANY][512] ALIGNED;
	static struct bed_req q[MANY];
	struct bed b;

	open_bed(&b, engine, direct, NULL);
	for (unsigned op = 0; op < 2; op++) {
		for (unsigned i = 0; i < MANY; i++) {
			pattern(buf[i], 512, i);
			bed_req(&b, &q[i], op ? REQ_READ : REQ_WRITE, (uint64_t)i * 512, 512,
				op ? back[i] : buf[i]);
		}
		/* no turn in between: the ring cannot take them all */
		for (unsigned i = 0; i < MANY; i += POLLER_BATCH)
			bed_submit(&b, q + i, (unsigned)min_u64(POLLER_BATCH, MANY - i));
		bed_run(&b, (op + 1) * MANY);
		for (unsigned i = 0; i < MANY; i++)
			assert_int_equal(q[i].status, REQ_OK);
	}
	assert_memory_equal(buf, back, sizeof(buf));
	bed_close(&b);
}

static void queues_more_than_the_ring_holds(void **state)
{
	each_way(deep);
}

/* More segments in a batch than there are iovecs for one submission. */
static void many_segments(enum file_engine engine, enum file_choice direct)
{
	enum { N = 8, SEGS = REQ_MAX_SEGS };
	static uint8_t buf[N][SEGS][512] ALIGNED, back[N][SEGS][512] ALIGNED;
	struct bed_req q[N];
	struct bed b;

	open_bed(&b, engine, direct, NULL);
	pattern(buf[0][0], sizeof(buf), 9);
	for (unsigned op = 0; op < 2; op++) {
		for (unsigned i = 0; i < N; i++) {
			struct req *r = bed_req(&b, &q[i], op ? REQ_READ : REQ_WRITE,
						(uint64_t)i * SEGS * 512, SEGS * 512, NULL);

			slab_long_get(&b.poller->slab, r);
			for (r->nseg = 0; r->nseg < SEGS; r->nseg++)
				r->seg[r->nseg] = (struct seg){
					(op ? back : buf)[i][SEGS - 1 - r->nseg], 512, NULL };
		}
		bed_submit(&b, q, N);
		bed_run(&b, (op + 1) * N);
	}
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(q[i].status, REQ_OK);
	assert_memory_equal(buf, back, sizeof(buf));
	bed_close(&b);
}

static void submits_a_batch_of_long_lists(void **state)
{
	each_way(many_segments);
}

static void shrunk(enum file_engine engine, enum file_choice direct)
{
	static uint8_t buf[8192] ALIGNED;
	struct bed b;
	int fd;

	open_bed(&b, engine, direct, &fd);
	memset(buf, 1, sizeof(buf));
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 0, 8192, buf), REQ_OK);
	assert_int_equal(ftruncate(fd, 4096), 0);
	memset(buf, 0xee, sizeof(buf));
	assert_int_equal(bed_do(&b, REQ_READ, 0, 0, 8192, buf), REQ_IOERR); /* half of it */
	assert_int_equal(bed_do(&b, REQ_READ, 0, 1 * MIB, 4096, buf), REQ_IOERR);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 0, 4096, buf), REQ_OK);
	bed_close(&b);
	close(fd);
}

static void never_makes_up_zeros_beyond_the_end(void **state)
{
	each_way(shrunk);
}

static void continues_short_transfers(void **state)
{
	static uint8_t out[8192] ALIGNED, in[8192] ALIGNED;
	struct bed b;

	open_bed(&b, FILE_ENGINE_THREADS, FILE_OFF, NULL);
	sys.most_b = 1000;
	pattern(out, sizeof(out), 5);
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 512, 8192, out), REQ_OK);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 512, 8192, in), REQ_OK);
	assert_memory_equal(in, out, 8192);
	assert_int_equal(sys.transfers, 18);
	bed_close(&b);
}

static void reports_a_full_file_system(void **state)
{
	static uint8_t buf[4096] ALIGNED;
	struct bed b;

	open_bed(&b, FILE_ENGINE_THREADS, FILE_OFF, NULL);
	sys.write_err = ENOSPC;
	assert_int_equal(bed_do(&b, REQ_WRITE, REQ_F_FUA, 0, 4096, buf), REQ_NOSPC);
	sys.write_err = EDQUOT;
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 0, 4096, buf), REQ_NOSPC);
	sys.write_err = EIO;
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 0, 4096, buf), REQ_IOERR);
	sys.write_err = 0;
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 0, 4096, buf), REQ_OK); /* none was final */
	bed_close(&b);
}

static void a_failed_flush_fails_the_medium(void **state)
{
	static uint8_t buf[4096] ALIGNED;
	struct file_info i;
	struct bed b;

	open_bed(&b, FILE_ENGINE_AUTO, FILE_AUTO, NULL);
	assert_int_equal(bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL), REQ_OK);
	sys.sync_err = EIO;
	assert_int_equal(bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL), REQ_IOERR);
	sys.sync_err = 0; /* the kernel would now say that all is well */
	assert_int_equal(bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL), REQ_IOERR);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 0, 4096, buf), REQ_IOERR);
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 0, 4096, buf), REQ_IOERR);
	file_info(disk_media(b.disk), &i);
	assert_true(i.failed);
	bed_close(&b);
}

static void a_failed_buffered_write_through_fails_the_medium(void **state)
{
	static uint8_t buf[4096] ALIGNED;
	struct bed b;

	open_bed(&b, FILE_ENGINE_THREADS, FILE_OFF, NULL);
	sys.write_err = EIO;
	assert_int_equal(bed_do(&b, REQ_WRITE, REQ_F_FUA, 0, 4096, buf), REQ_IOERR);
	sys.write_err = 0;
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 0, 4096, buf), REQ_IOERR);
	bed_close(&b);
}

static void write_through_asks_the_kernel_for_it(void **state)
{
	static uint8_t buf[4096] ALIGNED;
	struct bed b;

	open_bed(&b, FILE_ENGINE_THREADS, FILE_AUTO, NULL);
	assert_int_equal(bed_do(&b, REQ_WRITE, REQ_F_FUA, 0, 4096, buf), REQ_OK);
	assert_int_equal(sys.write_flags, RWF_DSYNC);
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 0, 4096, buf), REQ_OK);
	assert_int_equal(sys.write_flags, 0);
	assert_int_equal(sys.syncs, 0);
	assert_int_equal(bed_do(&b, REQ_ZEROES, REQ_F_FUA, 0, 4096, NULL), REQ_OK);
	assert_int_equal(sys.syncs, 1);
	bed_close(&b);
}

/* One sync serves all flushes that wait for it, and none that came after it began. */
static void flushes_share_a_sync_that_begins_after_them(void **state)
{
	struct bed_req q[6];
	struct bed b;

	open_bed(&b, FILE_ENGINE_AUTO, FILE_AUTO, NULL);
	sys.gated = true;
	for (unsigned i = 0; i < 6; i++)
		bed_req(&b, &q[i], REQ_FLUSH, 0, 0, NULL);
	bed_submit(&b, q, 1);
	sem_wait(&sys.begun);
	bed_submit(&b, q + 1, 5);
	sem_post(&sys.gate); /* the first */
	bed_run(&b, 1);
	sem_wait(&sys.begun); /* the second has begun, for all the others */
	assert_int_equal(b.done, 1);
	sem_post(&sys.gate);
	bed_run(&b, 6);
	assert_int_equal(sys.syncs, 2);
	bed_close(&b);
}

static void a_stuck_flush_holds_up_nothing_else(void **state)
{
	static uint8_t buf[4096] ALIGNED;
	struct bed_req flush;
	struct bed b;

	open_bed(&b, FILE_ENGINE_AUTO, FILE_AUTO, NULL);
	sys.gated = true;
	bed_req(&b, &flush, REQ_FLUSH, 0, 0, NULL);
	bed_submit(&b, &flush, 1);
	sem_wait(&sys.begun);
	/* ring, helpers and sleep, all while the flush hangs */
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 0, 4096, buf), REQ_OK);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 0, 4096, buf), REQ_OK);
	assert_int_equal(bed_do(&b, REQ_DISCARD, 0, 0, 4096, NULL), REQ_OK);
	assert_int_equal(flush.status, BED_NOT_DONE);
	sem_post(&sys.gate);
	bed_run(&b, 4);
	assert_int_equal(flush.status, REQ_OK);
	bed_close(&b);
}

static blkcnt_t blocks_of(int fd)
{
	struct stat st;

	fsync(fd);
	fstat(fd, &st);
	return st.st_blocks;
}

/* Give or take what the file system needs to remember the pieces. */
#define assert_blocks(fd, len_b) \
	assert_in_range(blocks_of(fd), (len_b) / 512, (len_b) / 512 + 16)

static void discard(enum file_engine engine, enum file_choice direct)
{
	static uint8_t buf[1 * MIB] ALIGNED;
	struct bed b;
	int fd;

	open_bed(&b, engine, direct, &fd);
	memset(buf, 0xab, sizeof(buf));
	for (unsigned i = 0; i < SIZE_B / MIB; i++)
		assert_int_equal(bed_do(&b, REQ_WRITE, 0, i * MIB, MIB, buf), REQ_OK);
	assert_blocks(fd, SIZE_B);
	assert_int_equal(bed_do(&b, REQ_DISCARD, 0, MIB, 2 * MIB, NULL), REQ_OK);
	assert_blocks(fd, SIZE_B - 2 * MIB);
	assert_int_equal(bed_do(&b, REQ_READ, 0, MIB, MIB, buf), REQ_OK);
	assert_true(all_bytes(buf, 0, MIB));
	/* zeroes: the space stays, unless it may go */
	assert_int_equal(bed_do(&b, REQ_ZEROES, 0, 4 * MIB + 512, MIB, NULL), REQ_OK);
	assert_blocks(fd, SIZE_B - 2 * MIB);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 4 * MIB, MIB, buf), REQ_OK);
	assert_true(all_bytes(buf, 0xab, 512));
	assert_true(all_bytes(buf + 512, 0, MIB - 512));
	assert_int_equal(bed_do(&b, REQ_ZEROES, REQ_F_UNMAP, 6 * MIB, MIB, NULL), REQ_OK);
	assert_blocks(fd, SIZE_B - 3 * MIB);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 6 * MIB, MIB, buf), REQ_OK);
	assert_true(all_bytes(buf, 0, MIB));
	bed_close(&b);
	close(fd);
}

static void discard_and_zeroes_do_what_they_say(void **state)
{
	each_way(discard);
}

static void writes_zeros_where_the_file_system_cannot(void **state)
{
	static uint8_t buf[256 * KIB] ALIGNED;
	struct bed b;

	open_bed(&b, FILE_ENGINE_AUTO, FILE_AUTO, NULL);
	memset(buf, 0xab, sizeof(buf));
	assert_int_equal(bed_do(&b, REQ_WRITE, 0, 0, sizeof(buf), buf), REQ_OK);
	sys.fallocate_err = EOPNOTSUPP;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(bed_do(&b, REQ_ZEROES, i ? REQ_F_UNMAP : 0, 512 + i * 70 * KIB,
					70 * KIB, NULL), REQ_OK);
	assert_int_equal(bed_do(&b, REQ_READ, 0, 0, sizeof(buf), buf), REQ_OK);
	assert_true(all_bytes(buf, 0xab, 512));
	assert_true(all_bytes(buf + 512, 0, 140 * KIB));
	assert_int_equal(buf[512 + 140 * KIB], 0xab);
	bed_close(&b);
}

static void offers_no_discard_where_there_are_no_holes(void **state)
{
	struct bed b;

	sys.fallocate_err = EOPNOTSUPP;
	open_bed(&b, FILE_ENGINE_AUTO, FILE_AUTO, NULL);
	assert_int_equal(disk_media(b.disk)->caps.discard_gran_b, 0);
	assert_int_equal(bed_do(&b, REQ_DISCARD, 0, 0, 4096, NULL), REQ_UNSUPP);
	bed_close(&b);
}

static void a_full_file_system_is_told_of_zeroes_too(void **state)
{
	struct bed b;

	open_bed(&b, FILE_ENGINE_AUTO, FILE_AUTO, NULL);
	sys.fallocate_err = ENOSPC;
	assert_int_equal(bed_do(&b, REQ_ZEROES, 0, 0, 4096, NULL), REQ_NOSPC);
	bed_close(&b);
}

/* Allocated and written blocks: what the ring takes, no helper sees. */
static void the_ring_leaves_nothing_to_the_helpers(void **state)
{
	static uint8_t buf[64][4096] ALIGNED;
	struct bed_req q[POLLER_BATCH];
	struct bed b;

	open_bed(&b, FILE_ENGINE_AUTO, FILE_AUTO, NULL);
	if (!is_uring(&b) || !is_direct(&b)) {
		bed_close(&b);
		skip(); /* io_uring or O_DIRECT is not to be had in this directory */
	}
	for (unsigned i = 0; i < SIZE_B / sizeof(buf); i++)
		assert_int_equal(bed_do(&b, REQ_WRITE, 0, i * sizeof(buf), sizeof(buf), buf),
				 REQ_OK);
	assert_int_equal(bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL), REQ_OK);
	unsigned before = __atomic_load_n(&sys.transfers, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < POLLER_BATCH; i++)
		bed_req(&b, &q[i], i & 1 ? REQ_WRITE : REQ_READ, i * 4096, 4096, buf[i]);
	unsigned done = b.done;
	bed_submit(&b, q, POLLER_BATCH);
	bed_run(&b, done + POLLER_BATCH);
	assert_int_equal(sys.transfers, before);
	bed_close(&b);
}

/* Two lanes of one medium, each on its own poller, with a stuck flush on one. */
static void lanes_share_the_helpers(void **state)
{
	struct bed_req one, two;
	struct lane *other;
	struct poller *p;
	struct bed b;

	open_bed(&b, FILE_ENGINE_AUTO, FILE_AUTO, NULL);
	assert_int_equal(poller_open("other", &p), 0);
	assert_int_equal(disk_lane_get(b.disk, p, &other), 0);
	bed_req(&b, &one, REQ_FLUSH, 0, 0, NULL);
	bed_req(&b, &two, REQ_FLUSH, 0, 0, NULL)->lane = other;
	struct req *r[] = { two.r };
	disk_submit(other, r, 1);
	bed_submit(&b, &one, 1);
	bed_run(&b, 1);
	assert_int_equal(one.status, REQ_OK);
	assert_int_equal(two.status, BED_NOT_DONE); /* it comes back on its own poller only */
	for (uint64_t end = clock_ns() + BED_LIMIT_NS; b.done < 2 && clock_ns() < end;)
		if (!poller_turn(p))
			poller_sleep(p, BED_LIMIT_NS);
	assert_int_equal(two.status, REQ_OK);
	disk_lane_put(b.disk, other);
	poller_close(p);
	bed_close(&b);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup(t, reset)
	const struct CMUnitTest tests[] = {
		TEST(stores_and_returns_data_of_any_shape),
		TEST(takes_buffers_that_direct_io_cannot),
		TEST(queues_more_than_the_ring_holds),
		TEST(submits_a_batch_of_long_lists),
		TEST(never_makes_up_zeros_beyond_the_end),
		TEST(continues_short_transfers),
		TEST(reports_a_full_file_system),
		TEST(a_failed_flush_fails_the_medium),
		TEST(a_failed_buffered_write_through_fails_the_medium),
		TEST(write_through_asks_the_kernel_for_it),
		TEST(flushes_share_a_sync_that_begins_after_them),
		TEST(a_stuck_flush_holds_up_nothing_else),
		TEST(discard_and_zeroes_do_what_they_say),
		TEST(writes_zeros_where_the_file_system_cannot),
		TEST(offers_no_discard_where_there_are_no_holes),
		TEST(a_full_file_system_is_told_of_zeroes_too),
		TEST(the_ring_leaves_nothing_to_the_helpers),
		TEST(lanes_share_the_helpers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
