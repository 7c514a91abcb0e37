/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/kept.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

bool kept_key_ok(const char *key)
{
	size_t len = strnlen(key, KEEP_KEY_MAX), word = 0;

	if (len == KEEP_KEY_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool is_word = (key[i] >= 'a' && key[i] <= 'z') ||
			       (key[i] >= 'A' && key[i] <= 'Z') ||
			       (key[i] >= '0' && key[i] <= '9') || strchr("._-", key[i]);

		if (!is_word && (key[i] != '/' || !word))
			return false;
		word = is_word ? word + 1 : 0;
	}
	return word;
}

static bool is_unix_socket(int fd)
{
	int domain;
	socklen_t len = sizeof(domain);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX;
}

/* Asks nothing that a file system of somebody else's would have to answer. */
bool kept_fd_ok(int fd)
{
	static const char pipe[] = "pipe:[", eventfd[] = "anon_inode:[eventfd]";
	char link[32], what[sizeof(eventfd)] = "";

	/* only memory has seals */
	if (fcntl(fd, F_GET_SEALS) >= 0 || is_unix_socket(fd))
		return true;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (readlink(link, what, sizeof(what) - 1) < 0)
		return false;
	return !strncmp(what, pipe, sizeof(pipe) - 1) || !strcmp(what, eventfd);
}

bool kept_is_below(const char *key, const char *top)
{
	size_t len = strlen(top);

	return !strncmp(key, top, len) && (!key[len] || key[len] == '/');
}

/* Return: the first whose key is not below @key in order. */
static unsigned lower_bound(const struct kept *k, const char *key)
{
	unsigned low = 0, high = k->n;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (strcmp(k->one[mid]->key, key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct kept_one *kept_find(const struct kept *k, const char *key)
{
	unsigned at = lower_bound(k, key);

	return at < k->n && !strcmp(k->one[at]->key, key) ? k->one[at] : NULL;
}

static int make_room(struct kept *k)
{
	unsigned room = k->room ? 2 * k->room : 64;

	if (k->n == KEPT_MAX)
		return -EMFILE;
	if (k->n < k->room)
		return 0;
	struct kept_one **more = realloc(k->one, room * sizeof(struct kept_one *));
	if (!more)
		return -ENOMEM;
	k->one = more;
	k->room = room;
	return 0;
}

int kept_put(struct kept *k, const char *key, int fd)
{
	struct kept_one *o = kept_find(k, key);
	size_t len = strlen(key) + 1;

	if (o) {
		fd_close(o->fd);
		o->fd = fd;
		return 0;
	}
	int err = make_room(k);
	if (err)
		return err;
	o = malloc(sizeof(*o) + len);
	if (!o)
		return -ENOMEM;
	o->fd = fd;
	memcpy(o->key, key, len);
	unsigned at = lower_bound(k, key);
	memmove(k->one + at + 1, k->one + at, (k->n - at) * sizeof(struct kept_one *));
	k->one[at] = o;
	k->n++;
	return 0;
}

/* Those of [@from, @end) go. */
static void drop_range(struct kept *k, unsigned from, unsigned end)
{
	for (unsigned i = from; i < end; i++) {
		fd_close(k->one[i]->fd);
		free(k->one[i]);
	}
	if (k->n > end)
		memmove(k->one + from, k->one + end, (k->n - end) * sizeof(struct kept_one *));
	k->n -= end - from;
}

void kept_drop(struct kept *k, const char *key)
{
	char below[KEEP_KEY_MAX + 1];
	unsigned at = lower_bound(k, key);

	if (at < k->n && !strcmp(k->one[at]->key, key))
		drop_range(k, at, at + 1);
	/* "a/b" does not come right behind "a": "a-b" does. Behind '/' comes '0'. */
	size_t len = (size_t)snprintf(below, sizeof(below), "%s/", key);
	at = lower_bound(k, below);
	below[len - 1]++;
	drop_range(k, at, lower_bound(k, below));
}

void kept_fini(struct kept *k)
{
	drop_range(k, 0, k->n);
	free(k->one);
	*k = (struct kept){ 0 };
}
