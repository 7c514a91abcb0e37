/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program is told, and has no room for yet: a bounded number of messages that wait for it to
 * read, in order. Nobody waits for that. Any thread, but for outbox_watch() and outbox_flush().
 */
#pragma once

#include <pthread.h>

#include "base/list.h"
#include "base/loop.h"
#include "wire/function.h"

#define OUTBOX_FDS 3

struct outbox {
	int sock;
	pthread_mutex_t lock; /* the rest */
	struct list waiting;
	unsigned n;
	struct loop *loop; /* NULL: nobody flushes when there is room */
	struct loop_watch *watch;
};

void outbox_init(struct outbox *o, int sock);
void outbox_fini(struct outbox *o); /* what waits is not said any more */

/* The descriptors stay the caller's. Return: 0: @m is on its way, now or later; -ENOBUFS: far too
 * much waits; -ENOMEM, -EMFILE; what the socket says. */
int outbox_put(struct outbox *o, const struct fn_msg *m, const int *fds, unsigned nfd);

/* Says what there is room for. Return: whether something is left. Context: control thread. */
bool outbox_flush(struct outbox *o);
/* @watch, of @loop, is told of EPOLLOUT while anything waits, to flush it then; NULL: not any more.
 * Context: control thread. Return: 0 or -errno, and it is not watched. */
int outbox_watch(struct outbox *o, struct loop *loop, struct loop_watch *watch);
