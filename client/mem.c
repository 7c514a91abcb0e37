/* SPDX-License-Identifier: Apache-2.0 */
#include "client/mem.h"

#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"

#define HUGE_B (2 * MIB)

static int region_map(struct client_mem *m, unsigned i, bool hugepages)
{
	int fd = fd_memory("postern-client", m->region_b, hugepages ? MFD_HUGETLB : 0);

	if (fd < 0)
		return fd;
	m->fd[i] = fd;
	/* Resident from the start: a first touch costs 300 ns a page and would be measured. */
	void *at = mmap(m->host + i * m->region_b, m->region_b, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0);

	return at == MAP_FAILED ? -errno : 0;
}

int client_mem_init(struct client_mem *m, uint64_t len_b, unsigned regions, bool hugepages)
{
	if (!regions || regions > CLIENT_MEM_REGIONS_MAX || !len_b || len_b > (1ull << 40))
		return -EINVAL;
	*m = (struct client_mem){ .regions = regions };
	for (unsigned i = 0; i < CLIENT_MEM_REGIONS_MAX; i++)
		m->fd[i] = -1;
	m->region_b = align_up((len_b + regions - 1) / regions, HUGE_B);
	m->len_b = m->region_b * regions;

	/* Room for an aligned start: hugetlb mappings must begin on a hugepage. */
	uint8_t *room = mmap(NULL, m->len_b + HUGE_B, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (room == MAP_FAILED)
		return -errno;
	m->host = (uint8_t *)align_up((uintptr_t)room, HUGE_B);
	if (m->host != room)
		munmap(room, (size_t)(m->host - room));
	if (m->host != room + HUGE_B)
		munmap(m->host + m->len_b, (size_t)(room + HUGE_B - m->host));

	for (unsigned i = 0; i < regions; i++) {
		int rc = region_map(m, i, hugepages);

		if (rc < 0) {
			client_mem_fini(m);
			return rc;
		}
	}
	return 0;
}

void client_mem_fini(struct client_mem *m)
{
	if (!m->host)
		return;
	munmap(m->host, m->len_b);
	for (unsigned i = 0; i < m->regions; i++)
		fd_close(m->fd[i]);
	memset(m, 0, sizeof(*m));
}

void *client_mem_alloc(struct client_mem *m, uint64_t len_b, uint64_t align_b)
{
	uint64_t at_b = align_up(m->used_b, align_b);

	if (!range_inside(at_b, len_b, m->len_b))
		return NULL;
	m->used_b = at_b + len_b;
	return m->host + at_b;
}
