/* SPDX-License-Identifier: Apache-2.0 */
#include "function/remote/outbox.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/fd.h"

/* Two for each lane that comes and goes; one that has not read so many does not read at all. */
#define WAITING_MAX 4096u

struct letter {
	struct list link;
	struct fn_msg m;
	unsigned nfd;
	int fds[OUTBOX_FDS];
};

void outbox_init(struct outbox *o, int sock)
{
	*o = (struct outbox){ .sock = sock };
	pthread_mutex_init(&o->lock, NULL);
	list_init(&o->waiting);
}

static void letter_free(struct letter *t)
{
	while (t->nfd)
		fd_close(t->fds[--t->nfd]);
	free(t);
}

static struct letter *letter_new(const struct fn_msg *m, const int *fds, unsigned nfd)
{
	struct letter *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->m = *m;
	for (; t->nfd < nfd; t->nfd++) {
		t->fds[t->nfd] = fcntl(fds[t->nfd], F_DUPFD_CLOEXEC, 0);
		if (t->fds[t->nfd] < 0) {
			letter_free(t);
			return NULL;
		}
	}
	return t;
}

static void drop_all(struct outbox *o)
{
	for (struct list *n; (n = list_pop(&o->waiting));)
		letter_free(list_entry(n, struct letter, link));
	o->n = 0;
}

void outbox_fini(struct outbox *o)
{
	drop_all(o);
	pthread_mutex_destroy(&o->lock);
}

/* Context: the lock is held. */
static int await_room(struct outbox *o)
{
	return o->loop ? loop_mod(o->loop, o->watch, EPOLLIN | (o->n ? EPOLLOUT : 0u)) : 0;
}

static int keep(struct outbox *o, const struct fn_msg *m, const int *fds, unsigned nfd)
{
	if (o->n == WAITING_MAX)
		return -ENOBUFS;
	struct letter *t = letter_new(m, fds, nfd);

	if (!t)
		return -ENOMEM;
	list_add_tail(&o->waiting, &t->link);
	return o->n++ ? 0 : await_room(o);
}

int outbox_put(struct outbox *o, const struct fn_msg *m, const int *fds, unsigned nfd)
{
	int err = -EAGAIN;

	pthread_mutex_lock(&o->lock);
	if (!o->n)
		err = fd_send_now(o->sock, m, sizeof(*m), fds, nfd);
	if (err == -EAGAIN)
		err = keep(o, m, fds, nfd);
	pthread_mutex_unlock(&o->lock);
	return err;
}

bool outbox_flush(struct outbox *o)
{
	int err = 0;

	pthread_mutex_lock(&o->lock);
	bool had = o->n;

	while (o->n && !err) {
		struct letter *t = list_first(&o->waiting, struct letter, link);

		err = fd_send_now(o->sock, &t->m, sizeof(t->m), t->fds, t->nfd);
		if (err)
			break;
		list_del(&t->link);
		letter_free(t);
		o->n--;
	}
	if (err && err != -EAGAIN) /* nobody reads it any more */
		drop_all(o);
	if (had && !o->n)
		await_room(o);
	bool left = o->n;

	pthread_mutex_unlock(&o->lock);
	return left;
}

int outbox_watch(struct outbox *o, struct loop *loop, struct loop_watch *watch)
{
	int err = 0;

	pthread_mutex_lock(&o->lock);
	o->loop = watch ? loop : NULL;
	o->watch = watch;
	if (watch && o->n)
		err = await_room(o);
	pthread_mutex_unlock(&o->lock);
	return err;
}
