/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/keep.h"

#include <fcntl.h>
#include <string.h>

#include "base/fd.h"

static bool is_below(const char *key, const char *top)
{
	size_t len = strlen(top);

	return !len || (!strncmp(key, top, len) && (!key[len] || key[len] == '/'));
}

static int find(const struct fake_keep *k, const char *key)
{
	for (unsigned i = 0; i < k->n; i++)
		if (!strcmp(k->kept[i].key, key))
			return (int)i;
	return -ENOENT;
}

static int put(struct keep *keep, const char *key, int fd)
{
	struct fake_keep *k = container_of(keep, struct fake_keep, keep);
	int at = find(k, key), own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (own < 0)
		return -errno;
	if (at >= 0) {
		fd_close(k->kept[at].fd);
	} else if (k->n == ARRAY_SIZE(k->kept)) {
		fd_close(own);
		return -EMFILE;
	} else {
		at = (int)k->n++;
		snprintf(k->kept[at].key, sizeof(k->kept[at].key), "%s", key);
	}
	k->kept[at].fd = own;
	return 0;
}

static int drop(struct keep *keep, const char *key)
{
	struct fake_keep *k = container_of(keep, struct fake_keep, keep);

	for (unsigned i = k->n; i-- > 0;) {
		if (!is_below(k->kept[i].key, key))
			continue;
		fd_close(k->kept[i].fd);
		k->kept[i] = k->kept[--k->n];
	}
	return 0;
}

static int get(struct keep *keep, const char *key)
{
	struct fake_keep *k = container_of(keep, struct fake_keep, keep);
	int at = find(k, key);
	int fd = at < 0 ? at : fcntl(k->kept[at].fd, F_DUPFD_CLOEXEC, 0);

	return at >= 0 && fd < 0 ? -errno : fd;
}

static const struct keep_ops fake_keep_ops = { .put = put, .drop = drop, .get = get };

void fake_keep_init(struct fake_keep *k)
{
	*k = (struct fake_keep){ .keep.ops = &fake_keep_ops };
}

void fake_keep_fini(struct fake_keep *k)
{
	drop(&k->keep, "");
}

unsigned fake_keep_count(const struct fake_keep *k, const char *key)
{
	unsigned n = 0;

	for (unsigned i = 0; i < k->n; i++)
		n += is_below(k->kept[i].key, key);
	return n;
}

struct fake_keep fake_keeper;

int fake_keeper_set_up(void **state)
{
	fake_keep_init(&fake_keeper);
	return 0;
}

int fake_keeper_tear_down(void **state)
{
	fake_keep_fini(&fake_keeper);
	return 0;
}
