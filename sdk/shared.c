/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that a machine shares with posternd, and what it says that no process does. */
#include "sdk/private.h"

bool postern_fn_shared_is(const void *at)
{
	return le64toh(((const struct fn_region *)at)->magic) == FN_REGION_MAGIC;
}

int postern_fn_shared_begin(struct pfn *p, const void *at)
{
	struct fn_msg born = { .magic = htole32(FN_MAGIC), .kind = htole16(FN_BORN) };

	p->memory_id = le64toh(((const struct fn_region *)at)->id);
	return p->transport->say(p, &born);
}

int postern_fn_shared_disk(uint8_t *at, struct arrival *a)
{
	uint64_t rings = le32toh(a->m.rings_page) * (uint64_t)FN_PAGE_B;
	uint64_t bufs = le32toh(a->m.bufs_page) * (uint64_t)FN_PAGE_B;

	if (rings > FN_SHARED_B - sizeof(struct fn_rings) || bufs > FN_SHARED_B - FN_BUFS_B)
		return -EPROTO;
	a->rings = (struct fn_rings *)(at + rings);
	a->bufs = at + bufs;
	a->wake_fd = -1;
	return 1;
}

void postern_fn_shared_unmap(struct fn_rings *rings, uint8_t *bufs, int wake_fd)
{
}

void postern_fn_shared_wake(struct chan *c)
{
	struct fn_msg kick = { .magic = htole32(FN_MAGIC), .kind = htole16(FN_KICK),
			       .channel = htole32(c->id) };

	c->pfn->transport->say(c->pfn, &kick);
}
