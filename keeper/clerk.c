/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/clerk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/child.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/private.h"

#define CLERKS_MAX 16
#define ORDER_MIN_B (offsetof(struct clerk_order, req.path) + 1)

/* Whether the keeper waits for what is being done. Each side changes WAITED once, by exchange, so
 * one of them is the last to have a say in it; the messages around it order everything else. */
enum { WAITED, DONE, LATE };

struct clerk {
	struct list node;
	struct clerks *clerks;
	struct loop_watch watch;
	uint32_t *word; /* one of the above; shared with the process */
	pid_t pid;
	bool is_busy, is_slow;
	struct errand *errand;	    /* NULL: nobody waits for what it is at */
	char path[KEEPER_PATH_MAX]; /* of that */
};

static bool settle(uint32_t *word, uint32_t to)
{
	uint32_t was = WAITED;

	return __atomic_compare_exchange_n(word, &was, to, false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED);
}

/* ---- the process ---- */

/* Return: whether it was told to go on. */
static bool serve(const struct office *o, int sock, uint32_t *word)
{
	struct clerk_order order;
	struct clerk_report r = { 0 };
	unsigned nfd = 0;
	int asker = -1, fd = -1;
	ssize_t n = fd_recv(sock, &order, sizeof(order), &asker, 1, &nfd);

	if (n < (ssize_t)ORDER_MIN_B)
		return false;
	r.err = office_carry_out(o, &order, &r.file, &fd);
	bool opens = order.req.op == KEEPER_OPEN;

	if (!settle(word, DONE)) {
		office_undo(&order, &r);
	} else if (opens) {
		struct keeper_answer a = { .err = r.err };

		r.told = worker_answer(asker, &a, &fd, fd >= 0);
	}
	int err = fd_send(sock, &r, sizeof(r), &fd, fd >= 0 && !opens);

	/* this may wait as long as opening it */
	fd_close(fd);
	fd_close(asker);
	return !err;
}

/* Has no descriptor but these: what it is stuck in may outlive us, and must hold nothing of
 * ours. */
static void run(const struct office *o, int sock, uint32_t *word) __attribute__((noreturn));

static void run(const struct office *o, int sock, uint32_t *word)
{
	int keep[] = { sock, o->store.dir_fd };

	prctl(PR_SET_NAME, "postern-clerk");
	fd_close_but(keep, ARRAY_SIZE(keep));
	while (serve(o, sock, word))
		;
	_exit(0);
}

/* ---- the keeper's half ---- */

void clerks_init(struct clerks *cs, struct loop *loop, const struct office *office)
{
	*cs = (struct clerks){ .loop = loop, .office = office };
	list_init(&cs->all);
}

/* Its process reads of the end of the socket, if ever it comes to that, and ends. */
static void forget(struct clerk *c)
{
	struct clerks *cs = c->clerks;

	list_del(&c->node);
	cs->n--;
	cs->nlate -= c->is_busy && !c->errand;
	if (c->watch.fd >= 0)
		loop_del(cs->loop, &c->watch);
	fd_close(c->watch.fd);
	munmap(c->word, sizeof(*c->word));
	free(c);
}

void clerks_fini(struct clerks *cs)
{
	list_for_each(it, tmp, &cs->all)
		forget(list_entry(it, struct clerk, node));
}

static bool has_idle(const struct clerks *cs, const struct clerk *but)
{
	list_for_each(it, tmp, &cs->all) {
		const struct clerk *c = list_entry(it, struct clerk, node);

		if (c != but && !c->is_busy)
			return true;
	}
	return false;
}

static void report_ready(struct loop_watch *w, uint32_t events)
{
	struct clerk *c = container_of(w, struct clerk, watch);
	struct clerks *cs = c->clerks;
	struct errand *e = c->errand;
	struct clerk_report r;
	unsigned nfd = 0;
	int fd = -1;
	ssize_t n = fd_recv(w->fd, &r, sizeof(r), &fd, 1, &nfd);

	if (n == -EAGAIN)
		return;
	if (n != sizeof(r)) { /* killed, perhaps while it answered, which nobody can know */
		bool silent = e && settle(c->word, LATE);

		r = (struct clerk_report){ .err = -EIO,
					   .told = silent ? CLERK_SILENT : -ENOTCONN };
	}
	if (c->is_slow && n == sizeof(r))
		log_info(NULL, "'%s' answers again", c->path);
	cs->nlate -= c->is_busy && !e;
	c->is_busy = c->is_slow = false;
	c->errand = NULL;
	if (n != sizeof(r) || has_idle(cs, c))
		forget(c);
	if (!e) {
		fd_close(fd);
		return;
	}
	e->clerk = NULL;
	e->done(e, &r, fd);
}

/* Return: NULL with *ret_err. */
static struct clerk *start(struct clerks *cs, int *ret_err)
{
	struct clerk *c = calloc(1, sizeof(*c));
	int pair[2];

	*ret_err = -ENOMEM;
	if (!c)
		return NULL;
	c->word = mmap(NULL, sizeof(*c->word), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (c->word == MAP_FAILED || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		*ret_err = -errno;
		if (c->word != MAP_FAILED)
			munmap(c->word, sizeof(*c->word));
		free(c);
		return NULL;
	}
	c->clerks = cs;
	c->watch = (struct loop_watch){ pair[0], report_ready };
	list_add_tail(&cs->all, &c->node);
	cs->n++;
	*ret_err = fcntl(pair[0], F_SETFL, O_NONBLOCK) ? -errno :
							 loop_add(cs->loop, &c->watch, EPOLLIN);
	pid_t pid = *ret_err ? 0 : child_fork();

	if (!pid && !*ret_err)
		run(cs->office, pair[1], c->word);
	if (pid < 0)
		*ret_err = -errno;
	c->pid = pid;
	fd_close(pair[1]);
	if (!*ret_err)
		return c;
	forget(c);
	return NULL;
}

/* Return: NULL with *ret_err. */
static struct clerk *find(struct clerks *cs, const char *path, int *ret_err)
{
	struct clerk *idle = NULL;

	list_for_each(it, tmp, &cs->all) {
		struct clerk *c = list_entry(it, struct clerk, node);

		if (!c->is_busy)
			idle = c;
		else if (!c->errand && !strcmp(c->path, path)) {
			*ret_err = -ETIMEDOUT;
			return NULL;
		}
	}
	*ret_err = -ETIMEDOUT;
	return idle ? idle : cs->n < CLERKS_MAX ? start(cs, ret_err) : NULL;
}

int clerks_send(struct clerks *cs, struct errand *e, const struct clerk_order *o, int asker)
{
	int err;
	struct clerk *c = find(cs, o->req.path, &err);

	if (!c)
		return err;
	__atomic_store_n(c->word, WAITED, __ATOMIC_RELAXED);
	err = fd_send(c->watch.fd, o, ORDER_MIN_B + strlen(o->req.path), &asker, asker >= 0);
	if (err == -EPIPE || err == -ECONNRESET) { /* it has been killed; another does it */
		forget(c);
		return clerks_send(cs, e, o, asker);
	}
	if (err)
		return err;
	memcpy(c->path, o->req.path, strlen(o->req.path) + 1);
	c->is_busy = true;
	c->errand = e;
	e->clerk = c;
	return 0;
}

pid_t clerks_pid(const struct errand *e)
{
	return e->clerk->pid;
}

bool clerks_give_up(struct clerks *cs, struct errand *e, bool is_slow)
{
	struct clerk *c = e->clerk;

	if (!settle(c->word, LATE))
		return false;
	if (is_slow)
		log_warn(NULL, "'%s' does not answer", c->path);
	c->is_slow = is_slow;
	c->errand = NULL;
	e->clerk = NULL;
	cs->nlate++;
	return true;
}
