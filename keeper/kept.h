/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named descriptors that outlive a worker. The keeper has the table; the worker has
 * one of what it knows to be there. Keys are ordered, so that what lies below a key
 * lies together. Ownership: a table owns the descriptors in it. One thread at a time.
 */
#pragma once

#include "core/keep.h"

#define KEPT_MAX 16384

/* Descriptors that keeper and worker are likely to have at most, for fd_make_room(). */
#define KEPT_ROOM 8192

struct kept_one {
	int fd; /* -1, in the worker's: it is kept, and was handed out here already */
	char key[];
};

struct kept {
	struct kept_one **one; /* by key */
	unsigned n, room;
};

/* Whether @key is names of [A-Za-z0-9._-] with a '/' between, shorter than KEEP_KEY_MAX. */
bool kept_key_ok(const char *key);
/* Whether @fd is something whose closing never makes its keeper wait: a Unix socket, a pipe, an
 * eventfd, or memory (memfd, tmpfs, hugetlbfs). */
bool kept_fd_ok(int fd);

/* Whether @key is @top or lies below it. */
bool kept_is_below(const char *key, const char *top);

/* Return: NULL: there is none. It is the table's, until that changes. */
struct kept_one *kept_find(const struct kept *k, const char *key);
/* Puts @fd (or -1) there instead of what was. Ownership: @fd is the table's, when this is 0.
 * Return: 0; -EMFILE: there are KEPT_MAX; -ENOMEM. */
int kept_put(struct kept *k, const char *key, int fd);
/* Drops @key and all that lies below it. */
void kept_drop(struct kept *k, const char *key);
void kept_fini(struct kept *k);
