/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory that comes and goes while queues run, and the dirty log of a migration. */
#include "tests/fake/guest.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/fault.h"

/* Hot-plugged memory: one region, mapped here too. */
struct extra {
	int fd;
	uint8_t *host;
	struct vhost_user_mem_single m;
};

#define EXTRA_B (2 * MIB)
#define EXTRA_GPA(i) (0x800000000ull + (i) * 2 * EXTRA_B)

static struct extra extra_open(unsigned i)
{
	struct extra e = { .fd = memfd_create("extra", MFD_CLOEXEC) };

	assert_true(e.fd >= 0);
	assert_int_equal(ftruncate(e.fd, EXTRA_B), 0);
	e.host = mmap(NULL, EXTRA_B, PROT_READ | PROT_WRITE, MAP_SHARED, e.fd, 0);
	assert_ptr_not_equal(e.host, MAP_FAILED);
	e.m.region = (struct vhost_user_mem_region){ EXTRA_GPA(i), EXTRA_B, (uintptr_t)e.host, 0 };
	return e;
}

static void extra_close(struct extra *e)
{
	munmap(e->host, EXTRA_B);
	fd_close(e->fd);
}

static int add(struct fake *g, const struct extra *e)
{
	return fake_tell(g, VHOST_USER_ADD_MEM_REG, &e->m, sizeof(e->m), &e->fd, 1);
}

static int rem(struct fake *g, const struct extra *e)
{
	return fake_tell(g, VHOST_USER_REM_MEM_REG, &e->m, sizeof(e->m), NULL, 0);
}

/* A request whose data lies at guest address @gpa. */
static struct fake_req put_at(struct fake *g, uint32_t type, uint64_t gpa)
{
	struct fake_req r = fake_req(g, type, 0, 0);
	struct fake_desc d[] = { fake_out(g, r.hdr, 16),
				 { gpa, 512, type == VIRTIO_BLK_T_IN ? VIRTQ_DESC_F_WRITE : 0 },
				 fake_in(g, r.status, 1) };

	r.id = fake_put(g->q[0], d, 3);
	fake_publish(g->q[0]);
	fake_settle(g);
	return r;
}

static void uses_memory_that_was_added_under_a_running_queue(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state) });
	struct extra e = extra_open(0);

	memset(e.host, 0x3c, 512);
	assert_int_equal(add(g, &e), 0);
	struct fake_req r = put_at(g, VIRTIO_BLK_T_OUT, EXTRA_GPA(0));

	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	assert_memory_equal(g->medium->store, e.host, 512);
	assert_int_equal(g->medium->regions, 2);
	/* said again after a lost reply */
	assert_int_equal(add(g, &e), 0);
	assert_int_equal(g->medium->regions, 2);
	extra_close(&e);
	fake_close(g);
}

static void no_longer_reaches_memory_that_was_removed(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state) });
	struct extra e = extra_open(0);

	assert_int_equal(add(g, &e), 0);
	assert_int_equal(rem(g, &e), 0);
	assert_int_equal(rem(g, &e), -EREMOTEIO);
	assert_int_equal(g->medium->regions, 1);
	assert_null(fake_broken(g, 0));
	put_at(g, VIRTIO_BLK_T_OUT, EXTRA_GPA(0));
	assert_string_equal(fake_broken(g, 0), "address outside memory");
	extra_close(&e);
	fake_close(g);
}

static void takes_509_regions_and_no_more(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state) });
	struct extra e = extra_open(0);
	struct vhost_user_msg m;

	assert_int_equal(fake_ask(g, VHOST_USER_GET_MAX_MEM_SLOTS, NULL, 0, &m), 0);
	assert_int_equal(m.payload.u64, 509);
	for (unsigned i = 0; i < 509; i++) {
		struct extra piece = e;

		piece.m.region = (struct vhost_user_mem_region){
			EXTRA_GPA(0) + i * 8192, 4096, (uintptr_t)e.host + i * 4096, i * 4096 };
		assert_int_equal(add(g, &piece), i < 508 ? 0 : -EREMOTEIO);
		memset(e.host + i * 4096, (int)i, 512);
	}
	for (unsigned i = 0; i < 508; i += 101) {
		struct fake_req r = put_at(g, VIRTIO_BLK_T_OUT, EXTRA_GPA(0) + i * 8192);

		assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
		assert_int_equal(g->medium->store[0], i & 0xff);
		fake_reap_all(g->q[0]);
	}
	extra_close(&e);
	fake_close(g);
}

/* What is in flight goes on with the table under which it was taken. */
static void changes_the_table_under_requests_in_flight(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.when = SCRIPT_HELD });
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct extra e = extra_open(0);

	memset(g->medium->store, 0x66, 512);
	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	fake_settle(g);
	script_release(g->medium, 0, REQ_OK); /* ends while the front waits */
	assert_int_equal(add(g, &e), 0);
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	assert_int_equal(r.data[0], 0x66);
	g->medium->when = SCRIPT_NOW;
	fake_reap_all(g->q[0]);
	fake_assert_alive(g, 0);
	/* the same memory again, as QEMU says it at each change */
	unsigned adds = g->medium->region_adds;

	assert_int_equal(rem(g, &e), 0);
	assert_int_equal(fake_share_mem(g), 0);
	assert_int_equal(g->medium->region_adds, adds);
	fake_assert_alive(g, 0);
	extra_close(&e);
	fake_close(g);
}

/* A medium that never answers holds the reply for a second, not for ever; then the guest's memory
 * is let go, and what the medium does later goes nowhere. */
static void lets_memory_go_from_a_stalled_medium(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.when = SCRIPT_HELD });
	struct extra e = extra_open(0);

	assert_int_equal(add(g, &e), 0);
	memset(e.host, 0x11, 512);
	memset(g->medium->store, 0x99, 512);
	struct fake_req r = put_at(g, VIRTIO_BLK_T_IN, EXTRA_GPA(0));

	assert_int_equal(script_waiting(g->medium), 1);
	uint64_t before_ns = clock_ns();

	assert_int_equal(rem(g, &e), 0);
	uint64_t took_ns = clock_ns() - before_ns;

	assert_true(took_ns >= SESSION_MEMORY_WAIT_NS);
	assert_non_null(g->s->zombies);
	g->medium->when = SCRIPT_NOW;
	fake_assert_alive(g, 0); /* the queue works meanwhile */
	script_release(g->medium, 0, REQ_OK);
	fake_settle(g);
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	assert_int_equal(e.host[0], 0x11); /* the guest's page was not written */
	extra_close(&e);
	fake_close(g);
}

/* The numbers of tables come round while one request is held all the time. */
static void changes_the_table_more_often_than_it_can_count(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.when = SCRIPT_HELD });
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct vq *q = fake_vq(g, 0);

	fake_put_req(g->q[0], &r);
	fake_publish(g->q[0]);
	fake_settle(g);
	for (uint64_t i = 0; i < UINT64_MAX / VQ_GEN_STEP; i++)
		assert_int_equal(vq_set_memory(q, g->s->mem, &g->s->queue[0]->at), 0);
	assert_false(vq_memory_idle(q, 0));
	script_release(g->medium, 0, REQ_OK); /* it is waited for now, and ends */
	assert_int_equal(vq_set_memory(q, g->s->mem, &g->s->queue[0]->at), 0);
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	assert_true(vq_memory_idle(q, 0));
	g->medium->when = SCRIPT_NOW;
	fake_reap_all(g->q[0]);
	fake_assert_alive(g, 0);
	fake_close(g);
}

static void takes_nothing_from_a_ring_that_is_no_longer_there(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state) });
	struct extra e = extra_open(0);
	struct vhost_user_mem_table t = { .num_regions = 1, .region = { e.m.region } };

	assert_int_equal(fake_tell(g, VHOST_USER_SET_MEM_TABLE, &t,
				   VHOST_USER_MEM_TABLE_BYTES(1), &e.fd, 1), -EREMOTEIO);
	assert_true(fake_vq(g, 0)->draining);
	fake_settle(g);
	extra_close(&e);
	fake_close(g);
}

static void refuses_regions_that_make_no_sense(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state) });
	struct extra e = extra_open(0), bad;
	struct vhost_user_mem_region own = fake_region(g, 0);
	const struct vhost_user_mem_region r[] = {
		{ EXTRA_GPA(0), 0, e.m.region.user_addr, 0 },		 /* empty */
		{ EXTRA_GPA(0), EXTRA_B + 4096, e.m.region.user_addr, 0 }, /* beyond its file */
		{ EXTRA_GPA(0), 4096, e.m.region.user_addr, EXTRA_B },
		{ EXTRA_GPA(0), 4096, e.m.region.user_addr, UINT64_MAX - 4095 },
		{ EXTRA_GPA(0), UINT64_MAX, e.m.region.user_addr, 0 },
		{ UINT64_MAX - 4094, 4096, e.m.region.user_addr, 0 }, /* wraps */
		{ EXTRA_GPA(0), 4096, UINT64_MAX - 4094, 0 },
		{ own.guest_addr, 4096, e.m.region.user_addr, 0 }, /* overlaps */
		{ own.guest_addr + own.size_b - 1, 4096, e.m.region.user_addr, 0 },
		{ own.guest_addr - 4095, 4096, e.m.region.user_addr, 0 },
		{ EXTRA_GPA(0), 4096, own.user_addr, 0 },
		{ EXTRA_GPA(0), 4096, own.user_addr - 4095, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(r); i++) {
		bad = e;
		bad.m.region = r[i];
		assert_int_equal(add(g, &bad), -EREMOTEIO);
		fake_assert_alive(g, 0);
	}
	/* right up to the end of the addresses is fine */
	bad.m.region = (struct vhost_user_mem_region){ UINT64_MAX - 4095, 4096,
						       e.m.region.user_addr, 0 };
	assert_int_equal(add(g, &bad), 0);
	extra_close(&e);
	fake_close(g);
}

/* Memory at the very end of the addresses, and at 0: a buffer does not go from one to the other. */
static void breaks_on_buffer_that_goes_round_the_end(void **state)
{
	/* the last with a header that is refused: it would not be mapped */
	static const uint64_t at[] = { UINT64_MAX - 255, UINT64_MAX - 4095, UINT64_MAX - 255 };

	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state) });
		struct extra top = extra_open(0), zero = extra_open(1);

		top.m.region.guest_addr = UINT64_MAX - EXTRA_B + 1;
		zero.m.region.guest_addr = 0;
		assert_int_equal(add(g, &top), 0);
		assert_int_equal(add(g, &zero), 0);
		struct fake_req r = put_at(g, VIRTIO_BLK_T_OUT, UINT64_MAX - 511);

		assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
		r = fake_req(g, VIRTIO_BLK_T_OUT, 0, 0);
		struct fake_desc d[] = { fake_out(g, r.hdr, i == 2 ? 8 : 16),
					 { at[i], 8192, i == 2 ? VIRTQ_DESC_F_WRITE : 0 },
					 fake_in(g, r.status, 1) };

		fake_put(g->q[0], d, 3);
		fake_publish(g->q[0]);
		fake_settle(g);
		assert_string_equal(fake_broken(g, 0), "address outside memory");
		extra_close(&top);
		extra_close(&zero);
		fake_close(g);
	}
}

static void refuses_memory_that_is_an_ordinary_file(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state) });
	char name[] = "/var/tmp/postern-test-XXXXXX";
	struct extra e = extra_open(0);
	int fd = mkstemp(name);

	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(ftruncate(fd, EXTRA_B), 0);
	assert_int_equal(fake_tell(g, VHOST_USER_ADD_MEM_REG, &e.m, sizeof(e.m), &fd, 1),
			 -EREMOTEIO);
	g->front.conf.memory = GMEM_ANY;
	assert_int_equal(fake_tell(g, VHOST_USER_ADD_MEM_REG, &e.m, sizeof(e.m), &fd, 1), 0);
	fd_close(fd);
	extra_close(&e);
	fake_close(g);
}

/* A VMM that truncates what it shares, or whose file system is full, costs only itself. */
static void outlives_a_vmm_that_truncates_its_memory(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state) });
	struct extra e = extra_open(0);

	assert_int_equal(fault_init(), 0);
	assert_int_equal(add(g, &e), 0);
	assert_int_equal(ftruncate(e.fd, 4096), 0);
	/* nothing there any more, to read from or to write to */
	struct fake_req w = put_at(g, VIRTIO_BLK_T_OUT, EXTRA_GPA(0) + 8192);
	struct fake_req r = put_at(g, VIRTIO_BLK_T_IN, EXTRA_GPA(0) + EXTRA_B - 512);

	assert_int_equal(*w.status, VIRTIO_BLK_S_OK);
	assert_int_equal(g->medium->store[0], 0);
	assert_int_equal(*r.status, VIRTIO_BLK_S_OK);
	/* what is left is still the guest's */
	memset(g->medium->store, 0x77, 512);
	put_at(g, VIRTIO_BLK_T_IN, EXTRA_GPA(0));
	assert_int_equal(e.host[0], 0x77);
	fake_reap_all(g->q[0]);
	fake_assert_alive(g, 0);
	signal(SIGBUS, SIG_DFL);
	extra_close(&e);
	fake_close(g);
}

static unsigned mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned n = 0;

	for (int c; (c = getc(f)) != EOF;)
		n += c == '\n';
	fclose(f);
	return n;
}

/* A process has so many mappings and no more; a VMM must not be able to use them up. */
static void mends_few_pages_one_by_one(void **state)
{
	enum { PAGES = 2000 };
	int fd = memfd_create("gone", MFD_CLOEXEC);
	char *at;

	assert_int_equal(fault_init(), 0);
	assert_int_equal(ftruncate(fd, PAGES * 4096), 0);
	at = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	assert_int_equal(fault_guard(at, PAGES * 4096, 4096), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	unsigned before = mappings();

	/* every other one, so that what replaces them does not become one mapping */
	for (unsigned i = 0; i < PAGES; i += 2)
		*(volatile char *)(at + i * 4096) = 1;
	assert_true(mappings() < before + 64);
	fault_unguard(at);
	signal(SIGBUS, SIG_DFL);
	munmap(at, PAGES * 4096);
	fd_close(fd);
}

struct log {
	int fd;
	uint8_t *bits;
	struct vhost_user_log d;
};

static struct log log_open(struct fake *g)
{
	uint64_t top = CLIENT_MEM_GUEST_BASE + g->mem.len_b;
	struct log l = { .fd = memfd_create("log", MFD_CLOEXEC),
			 .d = { .size_b = top / VHOST_USER_LOG_PAGE_B / 8 + 1, .off_b = 64 } };

	assert_int_equal(ftruncate(l.fd, (off_t)(l.d.size_b + l.d.off_b)), 0);
	l.bits = mmap(NULL, l.d.size_b + 64, PROT_READ | PROT_WRITE, MAP_SHARED, l.fd, 0);
	assert_ptr_not_equal(l.bits, MAP_FAILED);
	return l;
}

static int log_set(struct fake *g, const struct log *l)
{
	struct vhost_user_msg m;
	unsigned none = 0;

	assert_int_equal(vu_send(g->sock, VHOST_USER_SET_LOG_BASE, 0, &l->d, sizeof(l->d), &l->fd,
				 1), 0);
	int err = fake_handle(g);

	if (!err)
		assert_int_equal(vu_recv(g->sock, &m, NULL, &none), 0);
	return err;
}

static bool is_dirty(const struct log *l, uint64_t gpa)
{
	uint64_t page = gpa / VHOST_USER_LOG_PAGE_B;

	return l->bits[l->d.off_b + page / 8] >> (page % 8) & 1;
}

static unsigned count_dirty(const struct log *l)
{
	unsigned n = 0;

	for (uint64_t i = 0; i < l->d.size_b; i++)
		n += (unsigned)__builtin_popcount(l->bits[l->d.off_b + i]);
	return n;
}

static void log_close(struct log *l)
{
	munmap(l->bits, l->d.size_b + 64);
	fd_close(l->fd);
}

static void logs_the_pages_that_it_wrote(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state) });
	struct log l = log_open(g);
	uint8_t *buf = fake_alloc(g, 4 * 4096, 4096), *line = fake_alloc(g, 4096, 4096);
	struct virtio_blk_hdr h = { htole32(VIRTIO_BLK_T_IN), 0, 0 };
	/* from the middle of one page to the middle of the third */
	struct fake_desc d[] = { fake_out(g, line, 16), fake_in(g, buf + 2048, 8192),
				 fake_in(g, line + 64, 1) };

	memcpy(line, &h, sizeof(h));
	assert_int_equal(log_set(g, &l), 0);
	fake_assert_alive(g, 0);
	assert_int_equal(count_dirty(&l), 0); /* LOG_ALL is not on yet */
	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES,
				       g->features | FAKE_BIT(VHOST_F_LOG_ALL)), 0);
	assert_true(fake_run(g->q[0], d, 3));
	for (unsigned i = 0; i < 3; i++)
		assert_true(is_dirty(&l, fake_gpa(g, buf + i * 4096)));
	assert_false(is_dirty(&l, fake_gpa(g, buf + 3 * 4096)));
	assert_true(is_dirty(&l, fake_gpa(g, line)));
	assert_true(is_dirty(&l, fake_gpa(g, g->conf.packed ? (void *)g->q[0]->desc :
							      (void *)g->q[0]->used)));
	assert_int_equal(count_dirty(&l), 5);
	/* and off again */
	memset(l.bits, 0, l.d.size_b + 64);
	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES, g->features), 0);
	fake_assert_alive(g, 0);
	assert_int_equal(count_dirty(&l), 0);
	log_close(&l);
	fake_close(g);
}

/* Decided when it completes: what was taken before the log was on is in it. */
static void logs_what_completes_after_the_log_came(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state),
							.when = SCRIPT_HELD });
	struct log l = log_open(g);
	struct fake_req r = fake_req(g, VIRTIO_BLK_T_IN, 0, 512);
	struct fake_req w = fake_req(g, VIRTIO_BLK_T_OUT, 0, 4096);

	w.data = fake_alloc(g, 8192, 4096);
	fake_put_req(g->q[0], &r);
	fake_put_req(g->q[0], &w);
	fake_publish(g->q[0]);
	fake_settle(g);
	assert_int_equal(log_set(g, &l), 0);
	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES,
				       g->features | FAKE_BIT(VHOST_F_LOG_ALL)), 0);
	script_release_all(g->medium, REQ_OK);
	fake_settle(g);
	assert_true(is_dirty(&l, fake_gpa(g, r.data)));
	assert_false(is_dirty(&l, fake_gpa(g, w.data))); /* only read */
	log_close(&l);
	fake_close(g);
}

static void marks_nothing_beyond_the_log(void **state)
{
	struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state) });
	struct log l = log_open(g);

	/* the bitmap ends before our memory begins */
	l.d.size_b = CLIENT_MEM_GUEST_BASE / VHOST_USER_LOG_PAGE_B / 8;
	assert_int_equal(log_set(g, &l), 0);
	assert_int_equal(fake_tell_u64(g, VHOST_USER_SET_FEATURES,
				       g->features | FAKE_BIT(VHOST_F_LOG_ALL)), 0);
	fake_assert_alive(g, 0);
	assert_int_equal(count_dirty(&l), 0);
	l.d.size_b += (uint64_t)g->mem.len_b / VHOST_USER_LOG_PAGE_B / 8 + 1;
	assert_int_equal(count_dirty(&l), 0);
	log_close(&l);
	fake_close(g);
}

static void refuses_a_log_that_makes_no_sense(void **state)
{
	static const struct vhost_user_log bad[] = {
		{ 0, 0 }, { 1 << 20, 0 }, { 4096, 1 << 20 }, { UINT64_MAX, 0 },
		{ 4096, UINT64_MAX },
		{ UINT64_MAX, UINT64_MAX },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fake *g = fake_open(&(struct fake_conf){ .packed = fake_is_packed(state) });
		struct log l = { .fd = memfd_create("log", MFD_CLOEXEC), .d = bad[i] };

		assert_int_equal(ftruncate(l.fd, 8192), 0);
		assert_int_not_equal(log_set(g, &l), 0);
		fd_close(l.fd);
		fake_close(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FAKE_BOTH(uses_memory_that_was_added_under_a_running_queue),
		FAKE_BOTH(no_longer_reaches_memory_that_was_removed),
		FAKE_BOTH(takes_509_regions_and_no_more),
		FAKE_BOTH(changes_the_table_under_requests_in_flight),
		FAKE_BOTH(lets_memory_go_from_a_stalled_medium),
		FAKE_BOTH(changes_the_table_more_often_than_it_can_count),
		FAKE_BOTH(takes_nothing_from_a_ring_that_is_no_longer_there),
		FAKE_BOTH(refuses_regions_that_make_no_sense),
		FAKE_BOTH(breaks_on_buffer_that_goes_round_the_end),
		FAKE_BOTH(refuses_memory_that_is_an_ordinary_file),
		FAKE_BOTH(outlives_a_vmm_that_truncates_its_memory),
		cmocka_unit_test(mends_few_pages_one_by_one),
		FAKE_BOTH(logs_the_pages_that_it_wrote),
		FAKE_BOTH(logs_what_completes_after_the_log_came),
		FAKE_BOTH(marks_nothing_beyond_the_log),
		FAKE_BOTH(refuses_a_log_that_makes_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
