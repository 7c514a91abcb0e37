/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of regions, and how an address becomes a pointer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/gmem.h"

#define PAGE 4096ull

static int memory(uint64_t len_b)
{
	int fd = memfd_create("memory", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len_b), 0);
	return fd;
}

/* A table of one region for each base, a page each, one behind the other in a file. */
static struct gmem *table(const uint64_t *base, unsigned n, int fd)
{
	struct gmem *m = NULL;

	for (unsigned i = 0; i < n; i++) {
		struct gregion_desc d = { base[i], PAGE, 0x100000 + i * PAGE, i * PAGE };
		struct gregion *g;
		struct gmem *more;

		assert_int_equal(gregion_open(&d, fd, GMEM_SHARED_ONLY, &g), 0);
		assert_int_equal(gmem_new(m, g, NULL, &more), 0);
		gregion_put(g);
		gmem_free(m);
		m = more;
	}
	return m;
}

static const uint64_t bases[] = { 4 * PAGE, 0, 5 * PAGE, 9 * PAGE, UINT64_MAX - PAGE + 1 };

static void finds_the_region_of_an_address(void **state)
{
	int fd = memory(5 * PAGE);
	struct gmem *m = table(bases, 5, fd);

	assert_int_equal(m->n, 5);
	for (unsigned i = 1; i < 5; i++)
		assert_true(m->reg[i - 1]->base_b < m->reg[i]->base_b);
	for (unsigned i = 0; i < 5; i++) {
		static const uint64_t in[] = { 0, 1, PAGE - 1 };

		for (unsigned k = 0; k < 3; k++) {
			struct gregion *g = gmem_region(m, (gpa_t){ bases[i] + in[k] });

			assert_non_null(g);
			assert_int_equal(g->base_b, bases[i]);
		}
	}
	assert_null(gmem_region(m, (gpa_t){ PAGE }));
	assert_null(gmem_region(m, (gpa_t){ 6 * PAGE }));
	assert_null(gmem_region(m, (gpa_t){ UINT64_MAX - PAGE }));
	gmem_free(m);
	fd_close(fd);
}

static void maps_a_range_across_regions(void **state)
{
	int fd = memory(5 * PAGE);
	struct gmem *m = table(bases, 5, fd);
	struct gview v;
	struct seg s[4];

	gview_init(&v, m);
	assert_int_equal(gview_map(&v, (gpa_t){ 5 * PAGE - 100 }, 512, s, 4), 2);
	assert_int_equal(s[0].len_b, 100);
	assert_int_equal(s[1].len_b, 412);
	assert_int_equal(s[0].reg->base_b, 4 * PAGE);
	assert_int_equal(s[1].reg->base_b, 5 * PAGE);
	assert_ptr_equal(s[1].host, s[1].reg->host);
	assert_int_equal(gview_map(&v, (gpa_t){ 5 * PAGE - 100 }, 512, s, 1), -E2BIG);
	assert_int_equal(gview_map(&v, (gpa_t){ 0 }, 0, s, 0), 0);
	gmem_free(m);
	fd_close(fd);
}

static void maps_nothing_outside_memory(void **state)
{
	int fd = memory(5 * PAGE);
	struct gmem *m = table(bases, 5, fd);
	struct seg s[4];
	struct gview v;

	gview_init(&v, m);
	assert_int_equal(gview_map(&v, (gpa_t){ PAGE - 1 }, 2, s, 4), -EFAULT);
	assert_int_equal(gview_map(&v, (gpa_t){ 6 * PAGE - 1 }, 2, s, 4), -EFAULT);
	assert_int_equal(gview_map(&v, (gpa_t){ PAGE }, 1, s, 4), -EFAULT);
	assert_int_equal(gview_map(&v, (gpa_t){ 4 * PAGE }, UINT64_MAX, s, 4), -EFAULT);
	/* from the end of the addresses it does not go on at 0, where a region lies */
	assert_int_equal(gview_map(&v, (gpa_t){ UINT64_MAX - 9 }, 10, s, 4), 1);
	assert_int_equal(gview_map(&v, (gpa_t){ UINT64_MAX - 9 }, 11, s, 4), -EFAULT);
	gmem_free(m);
	/* nor anything without memory */
	gview_init(&v, NULL);
	assert_int_equal(gview_map(&v, (gpa_t){ 0 }, 1, s, 4), -EFAULT);
	fd_close(fd);
}

static void finds_the_address_of_a_vmm(void **state)
{
	int fd = memory(5 * PAGE);
	struct gmem *m = table(bases, 5, fd);
	gpa_t at = { 0 };

	assert_non_null(gmem_of_vmm(m, 0x100000 + 2 * PAGE + 5, 10, &at));
	assert_int_equal(at.v, 5 * PAGE + 5);
	assert_null(gmem_of_vmm(m, 0x100000 - 1, 1, NULL));
	assert_null(gmem_of_vmm(m, 0x100000, PAGE + 1, NULL)); /* in one region */
	assert_null(gmem_of_vmm(m, 0x100000 + 8, UINT64_MAX, NULL));
	gmem_free(m);
	fd_close(fd);
}

static void finds_the_guest_address_of_a_pointer(void **state)
{
	int fd = memory(5 * PAGE);
	struct gmem *m = table(bases, 5, fd);

	for (unsigned i = 0; i < m->n; i++)
		assert_int_equal(gmem_of_host(m, m->reg[i]->host + 7).v, m->reg[i]->base_b + 7);
	gmem_free(m);
	fd_close(fd);
}

/* A file offset that is no page's. */
static void maps_a_region_in_the_middle_of_a_page(void **state)
{
	int fd = memory(4 * PAGE);
	struct gregion_desc d = { 0, PAGE, 0x5000, 100 };
	struct gregion *g;

	assert_int_equal(pwrite(fd, "x", 1, 100), 1);
	assert_int_equal(gregion_open(&d, fd, GMEM_SHARED_ONLY, &g), 0);
	assert_int_equal(g->host[0], 'x');
	gregion_put(g);
	gregion_put(NULL);
	fd_close(fd);
}

/* Mapped by hugepages, whatever part of one the region is. */
static void maps_a_region_of_hugepages(void **state)
{
	const uint64_t huge_b = 2 * MIB;
	int fd = memfd_create("memory", MFD_CLOEXEC | MFD_HUGETLB);
	struct gregion_desc d = { GIB, huge_b + PAGE, 0x40000000, huge_b - PAGE };
	struct gregion *g;

	if (fd < 0 || ftruncate(fd, (off_t)(2 * huge_b)) ||
	    fallocate(fd, 0, 0, (off_t)(2 * huge_b))) {
		fd_close(fd);
		print_message("# no hugepages are reserved\n");
		skip();
	}
	assert_int_equal(gregion_open(&d, fd, GMEM_SHARED_ONLY, &g), 0);
	assert_int_equal(g->map_len_b, 2 * huge_b);
	g->host[0] = 'a';
	g->host[PAGE] = 'b';
	assert_int_equal(gregion_detach(g), 0);
	assert_int_equal(g->host[PAGE], 0);
	gregion_put(g);
	assert_int_equal(gregion_open(&d, fd, GMEM_SHARED_ONLY, &g), 0);
	assert_int_equal(g->host[0], 'a');
	assert_int_equal(g->host[PAGE], 'b');
	gregion_put(g);
	fd_close(fd);
}

static void refuses_what_cannot_be_mapped(void **state)
{
	struct gregion_desc d = { 0, PAGE, 0x5000, 0 };
	struct gregion *g;
	int fd = memory(PAGE);

	assert_int_equal(gregion_open(&d, -1, GMEM_ANY, &g), -EBADF);
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(gregion_open(&d, p[0], GMEM_ANY, &g), -ERANGE);
	assert_int_equal(gregion_open(&d, p[0], GMEM_SHARED_ONLY, &g), -EMEDIUMTYPE);
	fd_close(p[0]);
	fd_close(p[1]);
	/* open for reading only */
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int readonly = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(gregion_open(&d, readonly, GMEM_ANY, &g), -EACCES);
	fd_close(readonly);
	fd_close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_region_of_an_address),
		cmocka_unit_test(maps_a_range_across_regions),
		cmocka_unit_test(maps_nothing_outside_memory),
		cmocka_unit_test(finds_the_address_of_a_vmm),
		cmocka_unit_test(finds_the_guest_address_of_a_pointer),
		cmocka_unit_test(maps_a_region_in_the_middle_of_a_page),
		cmocka_unit_test(maps_a_region_of_hugepages),
		cmocka_unit_test(refuses_what_cannot_be_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
