/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/link.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "core/life.h"

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
	kept_fini(&l->kept);
}

/* Sends @req with @fd (or -1) and waits. Return: -errno of either side; otherwise 0, with
 * *ret_fd the descriptor that came, or -1. */
static int ask_locked(struct link *l, const struct keeper_request *req, int fd, int *ret_fd)
{
	struct keeper_answer answer;
	unsigned nfd = 0;
	int got = -1;
	ssize_t n = fd_send(l->request_fd, req, sizeof(*req), &fd, fd >= 0);

	if (!n)
		n = fd_recv(l->request_fd, &answer, sizeof(answer), &got, 1, &nfd);
	if (n < 0)
		return (int)n;
	if (n != sizeof(answer))
		answer.err = -EPIPE;
	if (!nfd)
		got = -1;
	if (answer.err || !ret_fd)
		got = fd_close(got);
	if (ret_fd)
		*ret_fd = got;
	return answer.err;
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

static int fd_or(int err, int fd)
{
	if (err)
		return err;
	return fd >= 0 ? fd : -EPROTO;
}

int link_open(struct link *l, const char *path, int flags, mode_t mode)
{
	struct keeper_request req = { .op = KEEPER_OPEN, .flags = (uint32_t)flags, .mode = mode };
	int fd = -1, err = ask_path(l, &req, path, &fd);

	return fd_or(err, fd);
}

int link_listen(struct link *l, const char *path, mode_t mode, const char *group)
{
	struct keeper_request req = { .op = KEEPER_LISTEN, .mode = mode };
	int fd = -1;

	if (group && strlen(group) >= sizeof(req.group))
		return -ESRCH;
	if (group)
		memcpy(req.group, group, strlen(group) + 1);
	int err = ask_path(l, &req, path, &fd);

	return fd_or(err, fd);
}

int link_unlisten(struct link *l, const char *path)
{
	struct keeper_request req = { .op = KEEPER_UNLISTEN };

	return ask_path(l, &req, path, NULL);
}

static int ask_op(struct link *l, enum keeper_op op)
{
	struct keeper_request req = { .op = op };

	return ask(l, &req, -1, NULL);
}

int link_ready(struct link *l)
{
	return ask_op(l, KEEPER_READY);
}

int link_settled(struct link *l)
{
	return ask_op(l, KEEPER_SETTLED);
}

int link_unmake(struct link *l)
{
	return ask_op(l, KEEPER_UNMAKE);
}

int link_taken(struct link *l)
{
	return ask_op(l, KEEPER_TAKEN);
}

int link_spawn(struct link *l, bool adopt, const char *name, const char *run, uint32_t memory_mib,
	       const char *cpus, const int *files, unsigned nfile, struct link_program *ret)
{
	struct keeper_request req = { .op = adopt ? KEEPER_ADOPT : KEEPER_SPAWN,
				      .memory_mib = memory_mib };
	struct keeper_answer answer;
	int fds[2];
	unsigned nfd = 0;

	if (strlen(run) >= sizeof(req.path) || strlen(name) >= sizeof(req.group) ||
	    (cpus && strlen(cpus) >= sizeof(req.cpus)))
		return -ENAMETOOLONG;
	memcpy(req.path, run, strlen(run) + 1);
	memcpy(req.group, name, strlen(name) + 1);
	if (cpus)
		memcpy(req.cpus, cpus, strlen(cpus) + 1);
	pthread_mutex_lock(&l->lock);
	ssize_t n = fd_send(l->request_fd, &req, sizeof(req), files, nfile);
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

int link_kill(struct link *l, int32_t pid)
{
	struct keeper_request req = { .op = KEEPER_KILL, .flags = (uint32_t)pid };

	return ask(l, &req, -1, NULL);
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

static int put(struct keep *keep, const char *key, int fd)
{
	struct link *l = container_of(keep, struct link, keep);
	struct keeper_request req;
	int err = key_request(key, KEEPER_PUT, &req);

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
	int fd[KEEPER_KEPT_BATCH], err = fd_send(l->request_fd, &req, sizeof(req), NULL, 0);
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
