/* SPDX-License-Identifier: Apache-2.0 */
#include "front/vhost_blk/dirty.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "guest/fault.h"
#include "guest/gmem.h"

int dirty_open(const struct vhost_user_log *d, int fd, struct dirty_log **ret_log)
{
	struct stat st;

	if (!d->size_b || d->size_b > SIZE_MAX / 2 || d->off_b > SIZE_MAX / 2)
		return -EINVAL;
	if (fstat(fd, &st))
		return -errno;
	if (!range_inside(d->off_b, d->size_b, (uint64_t)st.st_size))
		return -ERANGE;
	struct dirty_log *l = malloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	/* from 0: the offset need not be a page's */
	*l = (struct dirty_log){ .off_b = d->off_b, .size_b = d->size_b,
				 .map_len_b = d->off_b + d->size_b };
	l->map = mmap(NULL, l->map_len_b, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (l->map == MAP_FAILED) {
		int err = -errno;

		free(l);
		return err;
	}
	/* a hugepage's file has blocks of its size */
	int err = fault_guard(l->map, l->map_len_b, st.st_blksize > (blksize_t)MIB ?
						    (size_t)st.st_blksize : 4096);
	if (err) {
		munmap(l->map, l->map_len_b);
		free(l);
		return err;
	}
	*ret_log = l;
	return 0;
}

void dirty_close(struct dirty_log *l)
{
	if (!l)
		return;
	fault_unguard(l->map);
	munmap(l->map, l->map_len_b);
	free(l);
}

void dirty_mark(struct dirty_log *l, uint64_t gpa, uint64_t len_b)
{
	uint8_t *bits = l->map + l->off_b;

	if (!len_b || len_b - 1 > UINT64_MAX - gpa)
		return;
	uint64_t page = gpa / VHOST_USER_LOG_PAGE_B;
	uint64_t last = (gpa + len_b - 1) / VHOST_USER_LOG_PAGE_B;

	/* relaxed: the order that counts, data before its bit before the used ring, is made by
	 * dirty_begin() and the release with which the used ring is published */
	for (; page <= last && page / 8 < l->size_b; page++)
		if (!dirty_is_set(bits, page))
			__atomic_fetch_or(&bits[page / 8], (uint8_t)(1u << (page % 8)),
					  __ATOMIC_RELAXED);
}
