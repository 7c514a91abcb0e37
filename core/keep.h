/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of recovery: a place where descriptors outlive this process, so that
 * its successor, after a crash, a restart or an upgrade, goes on where it stopped.
 * In posternd that place is the keeper; in tests a table.
 *
 * Keys are paths: "disk/web/medium", "disk/web/front/3". A part is given a scope, the
 * path that is its own, and names what it keeps below that. What a descriptor holds that
 * changes (indices, a connection's state) is in a memfd that is kept once and mapped.
 *
 * An image file's own descriptor is never kept: that the kernel closes the last one is how
 * a successor learns that the last request of its predecessor has ended.
 */
#pragma once

#include <stdio.h>

#include "base/base.h"

#define KEEP_KEY_MAX 128 /* with its NUL */

/* Versions of the layouts of what parts keep: the oldest that is read, and that which is
 * written. */
#define KEEP_VERSION_MIN 1
#define KEEP_VERSION 1

struct keep;

struct keep_ops {
	/* Keeps a duplicate of @fd as @key, instead of what was there. When this returns, a
	 * successor will find it. Any thread; waits for the keeper, never for a guest or a medium.
	 * Return: 0; -EMFILE: too many are kept; -EOPNOTSUPP: not of a kind that is kept (Unix
	 * sockets, pipes, eventfds, memory are); -EPIPE: the keeper has gone; -errno. */
	int (*put)(struct keep *k, const char *key, int fd);
	/* Forgets @key and all that lies below it ("key/..."). What is not there is forgotten. */
	int (*drop)(struct keep *k, const char *key);
	/* Hands over what a predecessor has kept as @key; it stays kept. Any thread; does not wait.
	 * Return: a descriptor, the caller's; -ENOENT; -EMFILE. */
	int (*get)(struct keep *k, const char *key);
};

struct keep {
	const struct keep_ops *ops;
};

/* A part's own place. A zeroed one keeps nothing: put and drop succeed, get finds nothing. */
struct keep_scope {
	struct keep *keep;
	char path[KEEP_KEY_MAX];
};

/* The scope @name within @parent. Return: 0; -ENAMETOOLONG. */
static inline int keep_scope_in(const struct keep_scope *parent, const char *name,
				struct keep_scope *ret_scope)
{
	struct keep_scope s = { .keep = parent->keep };
	int n = snprintf(s.path, sizeof(s.path), "%s%s%s", parent->path, *parent->path ? "/" : "",
			 name);

	if (n < 0 || (size_t)n >= sizeof(s.path))
		return -ENAMETOOLONG;
	*ret_scope = s;
	return 0;
}

/* As keep_ops, with a key below @s. */
static inline int keep_put(const struct keep_scope *s, const char *name, int fd)
{
	struct keep_scope at;
	int err = s->keep ? keep_scope_in(s, name, &at) : 0;

	return err || !s->keep ? err : s->keep->ops->put(s->keep, at.path, fd);
}

static inline int keep_drop(const struct keep_scope *s, const char *name)
{
	struct keep_scope at;
	int err = s->keep ? keep_scope_in(s, name, &at) : 0;

	return err || !s->keep ? err : s->keep->ops->drop(s->keep, at.path);
}

/* Forgets all that @s has kept. */
static inline int keep_drop_all(const struct keep_scope *s)
{
	return s->keep ? s->keep->ops->drop(s->keep, s->path) : 0;
}

static inline int keep_get(const struct keep_scope *s, const char *name)
{
	struct keep_scope at;
	int err = s->keep ? keep_scope_in(s, name, &at) : -ENOENT;

	return err ? err : s->keep->ops->get(s->keep, at.path);
}
