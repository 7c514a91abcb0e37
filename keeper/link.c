/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/link.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "core/life.h"

#define AHEAD_UNREAD_MAX 128u

static const struct keep_ops link_keep_ops;

int link_init(struct link *l, const char *arg)
{
	char end;

	*l = (struct link){ .lock = PTHREAD_MUTEX_INITIALIZER, .keep.ops = &link_keep_ops };
	if (sscanf(arg, "%d,%d,%d,%d%c", &l->request_fd, &l->event_fd, &l->life_fd, &l->hold_fd,
		   &end) != 4)
		return -EINVAL;
	/* Whoever connects to the worker's files must not inherit these. */
	if (fcntl(l->request_fd, F_SETFD, FD_CLOEXEC) || fcntl(l->event_fd, F_SETFD, FD_CLOEXEC) ||
	    fcntl(l->life_fd, F_SETFD, FD_CLOEXEC) || fcntl(l->hold_fd, F_SETFD, FD_CLOEXEC))
		return -EINVAL;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		return -errno;
	/* A keeper that died before the line above sends no signal; its ends are closed then. */
	struct pollfd gone = { .fd = l->request_fd };

	return poll(&gone, 1, 0) > 0 ? -ESRCH : 0;
}

int link_introduce(struct link *l, const struct keeper_intro *intro)
{
	int err = life_begin(l->life_fd);

	l->life_fd = fd_close(l->life_fd);
	return err ? err : fd_send(l->request_fd, intro, sizeof(*intro), NULL, 0);
}

void link_fini(struct link *l)
{
	l->life_fd = fd_close(l->life_fd);
	l->hold_fd = fd_close(l->hold_fd);
	l->request_fd = fd_close(l->request_fd);
	l->event_fd = fd_close(l->event_fd);
	free(l->ahead);
	kept_fini(&l->kept);
}

static int fd_or(int err, int fd)
{
	if (err)
		return err;
	return fd >= 0 ? fd : -EPROTO;
}

static int send_request(const struct link *l, const struct keeper_request *req, int fd)
{
	return fd_send(l->request_fd, req, KEEPER_REQUEST_MIN_B + strlen(req->path), &fd, fd >= 0);
}

/* Return: -errno of either side; otherwise 0, with *ret_fd the descriptor that came, or -1. *ret is
 * as it was if none came. */
static int take_whole(const struct link *l, struct keeper_answer *ret, int *ret_fd)
{
	struct keeper_answer answer;
	unsigned nfd = 0;
	int got = -1;
	ssize_t n = fd_recv(l->request_fd, &answer, sizeof(answer), &got, 1, &nfd);

	if (n < 0)
		return (int)n;
	if (n != sizeof(answer))
		answer.err = -EPIPE;
	else
		*ret = answer;
	if (!nfd)
		got = -1;
	if (answer.err || !ret_fd)
		got = fd_close(got);
	if (ret_fd)
		*ret_fd = got;
	return answer.err;
}

static int take_answer(const struct link *l, int *ret_fd)
{
	struct keeper_answer answer;

	return take_whole(l, &answer, ret_fd);
}

static void take_ahead(struct link *l)
{
	struct link_ahead *a = &l->ahead[l->answered++];

	a->err = take_answer(l, &a->fd);
}

/* Answers come in order: those to what was asked ahead before any other's. */
static void take_all_ahead(struct link *l)
{
	while (l->answered < l->nahead)
		take_ahead(l);
}

/* Sends @req with @fd (or -1) and waits for its answer. */
static int ask_locked(struct link *l, const struct keeper_request *req, int fd, int *ret_fd)
{
	take_all_ahead(l);
	int err = send_request(l, req, fd);

	return err ? err : take_answer(l, ret_fd);
}

static int ask(struct link *l, const struct keeper_request *req, int fd, int *ret_fd)
{
	pthread_mutex_lock(&l->lock);
	int err = ask_locked(l, req, fd, ret_fd);

	pthread_mutex_unlock(&l->lock);
	return err;
}

static int ask_path(struct link *l, struct keeper_request *req, const char *path, int *ret_fd)
{
	if (strlen(path) >= sizeof(req->path))
		return -ENAMETOOLONG;
	memcpy(req->path, path, strlen(path) + 1);
	return ask(l, req, -1, ret_fd);
}

/* Return: 0 with a place for one more, @path in it; -ENOMEM. */
static int ahead_make(struct link *l, const char *path, int flags)
{
	struct link_ahead *more = realloc(l->ahead, (l->nahead + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	l->ahead = more;
	more[l->nahead] = (struct link_ahead){ strdup(path), flags, -1, 0 };
	return more[l->nahead].path ? 0 : -ENOMEM;
}

void link_open_ahead(struct link *l, const char *path, int flags)
{
	struct keeper_request req = { .op = KEEPER_OPEN, .flags = (uint32_t)flags };
	size_t len = strlen(path) + 1;

	if (len > sizeof(req.path))
		return;
	memcpy(req.path, path, len);
	pthread_mutex_lock(&l->lock);
	/* the keeper does not wait: what it answers must find room */
	if (l->nahead - l->answered == AHEAD_UNREAD_MAX)
		take_ahead(l);
	if (!ahead_make(l, path, flags)) {
		if (send_request(l, &req, -1))
			free(l->ahead[l->nahead].path);
		else
			l->nahead++;
	}
	pthread_mutex_unlock(&l->lock);
}

/* What was asked for ahead, once. Return: whether it was; *ret_fd as link_open(). */
static bool open_asked(struct link *l, const char *path, int flags, int *ret_fd)
{
	for (unsigned i = 0; i < l->nahead; i++) {
		struct link_ahead *a = &l->ahead[i];

		if (!a->path || a->flags != flags || strcmp(a->path, path))
			continue;
		while (l->answered <= i)
			take_ahead(l);
		free(a->path);
		a->path = NULL;
		*ret_fd = fd_or(a->err, fd_steal(&a->fd));
		return true;
	}
	return false;
}

static void forget_ahead(struct link *l)
{
	take_all_ahead(l);
	for (unsigned i = 0; i < l->nahead; i++) {
		free(l->ahead[i].path);
		fd_close(l->ahead[i].fd);
	}
	free(l->ahead);
	l->ahead = NULL;
	l->nahead = l->answered = 0;
}

int link_open(struct link *l, const char *path, int flags, mode_t mode)
{
	struct keeper_request req = { .op = KEEPER_OPEN, .flags = (uint32_t)flags, .mode = mode };
	int fd = -1;

	pthread_mutex_lock(&l->lock);
	bool was_asked = open_asked(l, path, flags, &fd);
	pthread_mutex_unlock(&l->lock);
	if (was_asked)
		return fd;
	int err = ask_path(l, &req, path, &fd);

	return fd_or(err, fd);
}

int link_listen(struct link *l, const char *path, mode_t mode, const char *group)
{
	struct keeper_request req = { .op = KEEPER_LISTEN, .mode = mode };
	int fd = -1, err = 0;

	if (group && strlen(group) >= sizeof(req.group))
		return -ESRCH;
	if (strlen(path) >= KEEP_KEY_MAX) /* nor is there such a socket */
		return -ENAMETOOLONG;
	if (group)
		memcpy(req.group, group, strlen(group) + 1);
	memcpy(req.path, path, strlen(path) + 1);
	pthread_mutex_lock(&l->lock);
	struct kept_one *one = kept_find(&l->kept, path);
	if (one && one->fd < 0)
		err = -EADDRINUSE;
	else if (one)
		fd = fd_steal(&one->fd);
	else
		err = ask_locked(l, &req, -1, &fd);
	if (!err && !one)
		err = kept_put(&l->kept, path, -1);
	pthread_mutex_unlock(&l->lock);
	if (err)
		fd = fd_close(fd);
	return fd_or(err, fd);
}

int link_unlisten(struct link *l, const char *path)
{
	struct keeper_request req = { .op = KEEPER_UNLISTEN };

	pthread_mutex_lock(&l->lock);
	kept_drop(&l->kept, path);
	pthread_mutex_unlock(&l->lock);
	return ask_path(l, &req, path, NULL);
}

static int ask_op(struct link *l, enum keeper_op op)
{
	struct keeper_request req = { .op = op };

	return ask(l, &req, -1, NULL);
}

int link_ready(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	forget_ahead(l);
	pthread_mutex_unlock(&l->lock);
	return ask_op(l, KEEPER_READY);
}

/* A kept socket that nobody has asked for. Return: whether there is one. */
static bool find_unclaimed(struct link *l, char ret_path[KEEP_KEY_MAX])
{
	bool found = false;

	/* fronts that have begun keep things meanwhile */
	pthread_mutex_lock(&l->lock);
	for (unsigned i = 0; i < l->kept.n && !found; i++) {
		const struct kept_one *one = l->kept.one[i];

		found = *one->key == '/' && one->fd >= 0;
		if (found)
			snprintf(ret_path, KEEP_KEY_MAX, "%s", one->key);
	}
	pthread_mutex_unlock(&l->lock);
	return found;
}

unsigned link_settled(struct link *l)
{
	char path[KEEP_KEY_MAX];
	unsigned dropped = 0;

	for (; find_unclaimed(l, path); dropped++)
		link_unlisten(l, path);
	ask_op(l, KEEPER_SETTLED);
	return dropped;
}

int link_unmake(struct link *l)
{
	return ask_op(l, KEEPER_UNMAKE);
}

int link_taken(struct link *l)
{
	return ask_op(l, KEEPER_TAKEN);
}

int link_healthy(struct link *l, unsigned disks)
{
	struct keeper_request req = { .op = KEEPER_HEALTHY, .flags = disks };

	return ask(l, &req, -1, NULL);
}

int link_spawn(struct link *l, const struct link_spawn *s, struct link_program *ret)
{
	struct keeper_request req = { .op = s->adopt ? KEEPER_ADOPT : KEEPER_SPAWN,
				      .mode = s->is_machine ? KEEPER_MACHINE : 0,
				      .memory_mib = s->memory_mib };
	struct keeper_answer answer;
	int fds[2];
	unsigned nfd = 0;

	if (strlen(s->run) >= sizeof(req.path) || strlen(s->name) >= sizeof(req.group) ||
	    (s->cpus && strlen(s->cpus) >= sizeof(req.cpus)))
		return -ENAMETOOLONG;
	strcpy(req.path, s->run);
	strcpy(req.group, s->name);
	strcpy(req.cpus, s->cpus ? s->cpus : "");
	pthread_mutex_lock(&l->lock);
	take_all_ahead(l);
	ssize_t n = fd_send(l->request_fd, &req, sizeof(req), s->files, s->nfile);
	if (!n)
		n = fd_recv(l->request_fd, &answer, sizeof(answer), fds, 2, &nfd);
	pthread_mutex_unlock(&l->lock);
	if (n == sizeof(answer) && !answer.err && nfd == 2) {
		*ret = (struct link_program){ answer.pid, answer.jail, fds[0], fds[1] };
		return 0;
	}
	while (nfd)
		fd_close(fds[--nfd]);
	if (n < 0)
		return (int)n;
	return n == sizeof(answer) && answer.err ? answer.err : -EPIPE;
}

int link_kill(struct link *l, int32_t pid, int *ret_status)
{
	struct keeper_request req = { .op = KEEPER_KILL, .flags = (uint32_t)pid };
	struct keeper_answer a = { 0 };

	pthread_mutex_lock(&l->lock);
	take_all_ahead(l);
	int err = send_request(l, &req, -1);
	if (!err)
		err = take_whole(l, &a, NULL);
	pthread_mutex_unlock(&l->lock);
	if (a.pid != pid)
		return err;
	*ret_status = (int)a.jail;
	return LINK_HAD_ENDED;
}

int link_save(struct link *l, const char *text, size_t len_b)
{
	struct keeper_request req = { .op = KEEPER_SAVE };
	CLEANUP(fd_cleanup) int fd = memfd_create("postern-state", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	int err = fd_write_all(fd, text, len_b);

	return err ? err : ask(l, &req, fd, NULL);
}

/* Keys are our own parts', so one that the keeper would refuse is refused here. */
static int key_request(const char *key, uint32_t op, struct keeper_request *ret)
{
	if (!kept_key_ok(key))
		return -EINVAL;
	*ret = (struct keeper_request){ .op = op };
	memcpy(ret->path, key, strlen(key) + 1);
	return 0;
}

/* Descriptors come from front ends, and closing a file may wait for whoever serves it. Where it
 * does that is this connection's trouble here, and everybody's in the keeper: it is sent what it
 * would keep, as far as that can be told without its files. */
static bool may_be_kept(int fd)
{
	struct stat st;
	int domain;
	socklen_t len = sizeof(domain);

	return fcntl(fd, F_GET_SEALS) >= 0 ||
	       !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) ||
	       (!fstat(fd, &st) && (S_ISFIFO(st.st_mode) || !(st.st_mode & S_IFMT)));
}

static int put(struct keep *keep, const char *key, int fd)
{
	struct link *l = container_of(keep, struct link, keep);
	struct keeper_request req;
	int err = key_request(key, KEEPER_PUT, &req);

	if (!err && !may_be_kept(fd))
		err = -EOPNOTSUPP;
	if (err)
		return err;
	pthread_mutex_lock(&l->lock);
	err = ask_locked(l, &req, fd, NULL);
	if (!err)
		err = kept_put(&l->kept, key, -1);
	pthread_mutex_unlock(&l->lock);
	return err;
}

static int drop(struct keep *keep, const char *key)
{
	struct link *l = container_of(keep, struct link, keep);
	struct keeper_request req;
	int err = key_request(key, KEEPER_DROP, &req);

	if (err)
		return err;
	pthread_mutex_lock(&l->lock);
	unsigned before = l->kept.n;
	kept_drop(&l->kept, key);
	/* nobody but us puts anything there */
	if (l->kept.n != before)
		err = ask_locked(l, &req, -1, NULL);
	pthread_mutex_unlock(&l->lock);
	return err;
}

static int get(struct keep *keep, const char *key)
{
	struct link *l = container_of(keep, struct link, keep);
	struct keeper_request req;
	int fd = -1, err = key_request(key, KEEPER_GET, &req);

	if (err)
		return err;
	pthread_mutex_lock(&l->lock);
	struct kept_one *one = kept_find(&l->kept, key);
	if (!one)
		err = -ENOENT;
	else if (one->fd >= 0)
		fd = fd_steal(&one->fd);
	else
		err = ask_locked(l, &req, -1, &fd);
	pthread_mutex_unlock(&l->lock);
	return fd_or(err, fd);
}

static const struct keep_ops link_keep_ops = { .put = put, .drop = drop, .get = get };

/* Return: how many came; -errno. */
static int recall_batch(struct link *l, unsigned from)
{
	struct keeper_request req = { .op = KEEPER_LIST, .flags = from };
	struct keeper_list list = { 0 };
	int fd[KEEPER_KEPT_BATCH], err = send_request(l, &req, -1);
	unsigned nfd = 0;
	ssize_t n = err ? err : fd_recv(l->request_fd, &list, sizeof(list), fd, ARRAY_SIZE(fd),
					&nfd);

	if (n < 0)
		return (int)n;
	err = !list.n || list.n != nfd ? -EPIPE : 0;
	for (unsigned i = 0; i < nfd; i++) {
		if (!err)
			err = kept_put(&l->kept, list.key[i], fd[i]);
		if (err)
			fd_close(fd[i]);
	}
	return err ? err : (int)nfd;
}

int link_recall(struct link *l, unsigned n)
{
	for (unsigned have = 0; have < n;) {
		int came = recall_batch(l, have);

		if (came < 0)
			return came;
		have += (unsigned)came;
	}
	return 0;
}

unsigned link_forget_others(struct link *l, const char *top,
			    bool (*knows)(void *arg, const char *name), void *arg)
{
	size_t len = strlen(top);
	unsigned dropped = 0;

	for (unsigned i = 0; i < l->kept.n;) {
		char own[KEEP_KEY_MAX];

		snprintf(own, sizeof(own), "%s", l->kept.one[i]->key);
		if (strncmp(own, top, len) || own[len] != '/') {
			i++;
			continue;
		}
		char *name = own + len + 1;
		size_t name_len = strcspn(name, "/");

		name[name_len] = '\0';
		if (knows(arg, name)) {
			i++;
			continue;
		}
		drop(&l->keep, own);
		dropped++;
	}
	return dropped;
}

int link_event(struct link *l, struct keeper_event *ret, int *ret_fd)
{
	struct keeper_event ev;
	unsigned nfd = 0;
	int fd = -1;
	ssize_t n = fd_recv(l->event_fd, &ev, sizeof(ev), &fd, 1, &nfd);

	if (n < 0)
		return (int)n;
	if (n != sizeof(ev)) {
		if (nfd)
			fd_close(fd);
		return -EPIPE;
	}
	*ret = ev;
	*ret_fd = nfd ? fd : -1;
	return 0;
}
