/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/gmem.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "guest/fault.h"

/* A segment's length has 32 bits; a longer run becomes several, cut where any medium can. */
#define SEG_MAX_B (1u << 31)

static int check_file(const struct gregion_desc *d, int fd, enum gmem_policy policy,
		      struct stat *ret_st, size_t *ret_page_b)
{
	struct statfs fs;

	if (fstat(fd, ret_st) || fstatfs(fd, &fs))
		return -errno;
	if (policy == GMEM_SHARED_ONLY && fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC)
		return -EMEDIUMTYPE;
	/* beyond its end a mapping would kill whoever touches it */
	if (!range_inside(d->file_off_b, d->len_b, (uint64_t)ret_st->st_size))
		return -ERANGE;
	*ret_page_b = fs.f_type == HUGETLBFS_MAGIC ? (size_t)fs.f_bsize :
						     (size_t)sysconf(_SC_PAGESIZE);
	return 0;
}

int gregion_open(const struct gregion_desc *d, int fd, enum gmem_policy policy,
		 struct gregion **ret_region)
{
	struct stat st;
	size_t page_b = 0;

	if (!d->len_b || d->len_b - 1 > UINT64_MAX - d->base_b ||
	    d->len_b - 1 > UINT64_MAX - d->uaddr_b)
		return -EINVAL;
	int err = check_file(d, fd, policy, &st, &page_b);
	if (err)
		return err;
	uint64_t lead_b = d->file_off_b & (page_b - 1);
	size_t map_len_b = align_up(d->len_b + lead_b, page_b);
	struct gregion *g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	/* NORESERVE: the memory is the guest's; a dump of ours should not hold it either */
	void *map = mmap(NULL, map_len_b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
			 (off_t)(d->file_off_b - lead_b));
	if (map == MAP_FAILED) {
		err = -errno;
		free(g);
		return err;
	}
	madvise(map, map_len_b, MADV_DONTDUMP);
	err = fault_guard(map, map_len_b, page_b);
	if (err) {
		munmap(map, map_len_b);
		free(g);
		return err;
	}
	*g = (struct gregion){
		.base_b = d->base_b, .len_b = d->len_b, .uaddr_b = d->uaddr_b,
		.host = (uint8_t *)map + lead_b,
		.starts_of_16 = d->len_b > 15 ? d->len_b - 15 : 0,
		.to_host = (uintptr_t)map + lead_b - d->base_b, .map = map, .map_len_b = map_len_b,
		.dev = st.st_dev, .ino = st.st_ino, .file_off_b = d->file_off_b, .refs = 1,
	};
	*ret_region = g;
	return 0;
}

void gregion_put(struct gregion *g)
{
	if (!g || --g->refs)
		return;
	fault_unguard(g->map);
	munmap(g->map, g->map_len_b);
	free(g);
}

int gregion_detach(struct gregion *g)
{
	void *p = mmap(g->map, g->map_len_b, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

	return p == MAP_FAILED ? -errno : 0;
}

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b ? b - a < a_len : a - b < b_len;
}

static int check_overlap(const struct gmem *old, const struct gregion *add,
			 const struct gregion *del)
{
	for (unsigned i = 0; i < old->n; i++) {
		const struct gregion *g = old->reg[i];

		if (g != del && (overlap(g->base_b, g->len_b, add->base_b, add->len_b) ||
				 overlap(g->uaddr_b, g->len_b, add->uaddr_b, add->len_b)))
			return -EEXIST;
	}
	return 0;
}

int gmem_new(const struct gmem *old, struct gregion *add, const struct gregion *del,
	     struct gmem **ret_table)
{
	unsigned room = (old ? old->n : 0) + 1;

	if (old && add && check_overlap(old, add, del))
		return -EEXIST;
	struct gmem *m = malloc(sizeof(*m) + room * sizeof(struct gregion *));
	if (!m)
		return -ENOMEM;
	m->next = NULL;
	m->n = 0;
	for (unsigned i = 0; i < room; i++) {
		struct gregion *g = i < room - 1 ? old->reg[i] : NULL;

		if (add && (!g || add->base_b < g->base_b)) {
			m->reg[m->n++] = add;
			add = NULL;
		}
		if (g && g != del)
			m->reg[m->n++] = g;
	}
	if (m->n > GMEM_REGIONS_MAX) {
		free(m);
		return -ENOSPC;
	}
	for (unsigned i = 0; i < m->n; i++)
		m->reg[i]->refs++;
	*ret_table = m;
	return 0;
}

int gmem_grow(struct gmem **m, struct gregion *g)
{
	struct gmem *more;
	int err = gmem_new(*m, g, NULL, &more);

	gregion_put(g);
	if (err)
		return err;
	gmem_free(*m);
	*m = more;
	return 0;
}

void gmem_free(struct gmem *m)
{
	for (unsigned i = 0; m && i < m->n; i++)
		gregion_put(m->reg[i]);
	free(m);
}

struct gregion *gmem_region(const struct gmem *m, gpa_t at)
{
	unsigned lo = 0, hi = m->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		struct gregion *g = m->reg[mid];

		if (at.v < g->base_b)
			hi = mid;
		else if (at.v - g->base_b < g->len_b)
			return g;
		else
			lo = mid + 1;
	}
	return NULL;
}

gpa_t gmem_of_host(const struct gmem *m, const void *host)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct gregion *g = m->reg[i];
		uint64_t off_b = (uintptr_t)host - (uintptr_t)g->host;

		if (off_b < g->len_b)
			return (gpa_t){ g->base_b + off_b };
	}
	return (gpa_t){ 0 };
}

struct gregion *gmem_find(const struct gmem *m, const struct gregion_desc *d)
{
	struct gregion *g = gmem_region(m, (gpa_t){ d->base_b });

	return g && g->base_b == d->base_b && g->uaddr_b == d->uaddr_b && g->len_b == d->len_b ?
		       g : NULL;
}

void *gmem_of_vmm(const struct gmem *m, uint64_t uaddr_b, uint64_t len_b, gpa_t *ret_at)
{
	for (unsigned i = 0; i < m->n; i++) {
		struct gregion *g = m->reg[i];
		uint64_t off_b = uaddr_b - g->uaddr_b;

		if (uaddr_b < g->uaddr_b || !range_inside(off_b, len_b, g->len_b))
			continue;
		if (ret_at)
			ret_at->v = g->base_b + off_b;
		return g->host + off_b;
	}
	return NULL;
}

void gview_init(struct gview *v, const struct gmem *mem)
{
	static struct gregion nowhere; /* no address is inside */

	*v = (struct gview){ mem, &nowhere };
}

struct gregion *gview_search(struct gview *v, gpa_t at)
{
	struct gregion *g = v->mem ? gmem_region(v->mem, at) : NULL;

	if (g)
		v->last = g;
	return g;
}

bool gview_run_elsewhere(struct gview *v, gpa_t at, uint64_t len_b, void *ret_host)
{
	const struct gregion *g = gview_search(v, at);

	if (!g || !gregion_has(g, at, len_b))
		return false;
	*(uint8_t **)ret_host = gregion_host(g, at);
	return true;
}

int gview_map(struct gview *v, gpa_t at, uint64_t len_b, struct seg *ret_seg, unsigned max)
{
	unsigned n = 0;

	/* memory at the very end of the addresses does not go on at 0 */
	if (unlikely(len_b && len_b - 1 > UINT64_MAX - at.v))
		return -EFAULT;
	while (len_b) {
		struct gregion *g = gview_region(v, at);

		if (unlikely(!g || n == max))
			return g ? -E2BIG : -EFAULT;
		uint64_t off_b = at.v - g->base_b;
		uint64_t run_b = min_u64(min_u64(len_b, g->len_b - off_b), SEG_MAX_B);

		ret_seg[n++] = (struct seg){ g->host + off_b, (uint32_t)run_b, g };
		at.v += run_b;
		len_b -= run_b;
	}
	return (int)n;
}
