/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper goes on as another program: it executes it and stays the same process, so that its
 * descriptors stay open, its children stay its own and guests notice nothing; the worker goes on
 * meanwhile. What each descriptor is, is in a memfd: a row of struct item, each with text behind
 * it, the head first. The new program has been asked before whether it can read that.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/child.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/private.h"

#define BATON_MAX_B (256 * MIB)

enum baton_kind {
	BATON_HEAD = 1, /* n: version, restarts, back-off, since when the worker serves */
	BATON_STORE,	/* fd: directory, lock */
	BATON_CONTROL,	/* fd; n: device and number of its file */
	BATON_UPGRADE,	/* the same */
	BATON_ASKER,	/* fd of who waits for the upgrade; text: what it is told */
	BATON_CALLER,	/* fd */
	BATON_KEPT,	/* fd; text: key */
	BATON_SOCKET,	/* fd; n: device and number of its file, number in the vault; text: path */
	BATON_PROGRAM,	/* fd: socket, pidfd; n: pid, jail; text: struct keeper_request */
	BATON_WORKER,	/* fd: request, event, hold, life; n: pid; text: struct keeper_intro */
};

struct item {
	uint32_t kind, text_b;
	int32_t fd[4]; /* -1: none */
	uint64_t n[4];
};
static_assert(sizeof(struct item) == 56, "read by other versions");

static int write_item(int to, const struct item *it, const void *text)
{
	int err = fd_write_all(to, it, sizeof(*it));

	return err || !it->text_b ? err : fd_write_all(to, text, it->text_b);
}

static int write_fd(int to, enum baton_kind kind, int fd, const struct own_file *file)
{
	struct item it = { kind, 0, { fd, -1, -1, -1 }, { 0 } };

	if (file) {
		it.n[0] = file->dev;
		it.n[1] = file->ino;
	}
	return fd < 0 ? 0 : write_item(to, &it, NULL);
}

static int write_office(const struct office *o, int to)
{
	struct item it = { BATON_STORE, 0, { o->store.dir_fd, o->store.lock_fd, -1, -1 }, { 0 } };
	int err = o->store.dir_fd < 0 ? 0 : write_item(to, &it, NULL);

	for (unsigned i = 0; !err && i < o->kept.n; i++) {
		const struct kept_one *one = o->kept.one[i];

		it = (struct item){ BATON_KEPT, (uint32_t)strlen(one->key) + 1,
				    { one->fd, -1, -1, -1 },
				    { 0 } };
		err = write_item(to, &it, one->key);
	}
	list_for_each(l, tmp, &o->sockets) {
		const struct kept_socket *s = list_entry(l, struct kept_socket, node);

		it = (struct item){ BATON_SOCKET, (uint32_t)strlen(s->path) + 1,
				    { s->fd, -1, -1, -1 },
				    { s->file.dev, s->file.ino, s->no } };
		if (!err)
			err = write_item(to, &it, s->path);
	}
	list_for_each(l, tmp, &o->programs.all) {
		const struct program *p = list_entry(l, struct program, node);

		it = (struct item){ BATON_PROGRAM, sizeof(p->req), { p->sock, p->pidfd, -1, -1 },
				    { (uint64_t)p->pid, p->jail } };
		if (!err)
			err = write_item(to, &it, &p->req);
	}
	return err;
}

static int write_all(const struct keeper *k, const char *done, int to)
{
	const struct worker *w = k->now;
	struct item it = { BATON_HEAD, 0, { -1, -1, -1, -1 },
			   { BATON_VERSION, k->restarts, k->backoff_ms, k->now_ns } };
	int err = write_item(to, &it, NULL);

	if (!err)
		err = write_office(&k->office, to);
	if (!err)
		err = write_fd(to, BATON_CONTROL, k->control.fd, &k->control_file);
	if (!err)
		err = write_fd(to, BATON_UPGRADE, k->upgrade.listen.fd, &k->upgrade.file);
	for (unsigned i = 0; !err && i < k->ncaller; i++)
		err = write_fd(to, BATON_CALLER, k->caller_fd[i], NULL);
	it = (struct item){ BATON_ASKER, (uint32_t)strlen(done) + 1,
			    { k->upgrade.conn.fd, -1, -1, -1 },
			    { 0 } };
	if (!err)
		err = write_item(to, &it, done);
	it = (struct item){ BATON_WORKER, sizeof(w->intro),
			    { w->request.fd, w->event_fd, w->hold_fd, death_page_fd(w->death) },
			    { (uint64_t)w->pid } };
	return err ? err : write_item(to, &it, &w->intro);
}

int baton_make(const struct keeper *k, const char *done)
{
	CLEANUP(fd_cleanup) int fd = memfd_create("postern-baton", MFD_CLOEXEC);
	int err = fd < 0 ? -errno : write_all(k, done, fd);

	return err ? err : fd_steal(&fd);
}

/* Reads all items and has @take have each. Return: 0; -EPROTO: it is none of ours; -errno. */
static int read_items(int fd, int (*take)(void *arg, const struct item *it, const char *text),
		      void *arg)
{
	CLEANUP(base_free) char *all = NULL;
	ssize_t len = lseek(fd, 0, SEEK_SET) ? -errno : fd_read_file(fd, BATON_MAX_B, &all);
	struct item it;
	bool first = true;

	if (len < 0)
		return (int)len;
	for (size_t at = 0, left = (size_t)len; left; first = false) {
		if (left < sizeof(it))
			return -EPROTO;
		memcpy(&it, all + at, sizeof(it));
		at += sizeof(it);
		left -= sizeof(it);
		if (it.text_b > left ||
		    (first && (it.kind != BATON_HEAD || it.n[0] != BATON_VERSION)))
			return -EPROTO;
		int err = take(arg, &it, all + at);
		if (err)
			return err;
		at += it.text_b;
		left -= it.text_b;
	}
	return first ? -EPROTO : 0;
}

static size_t text_min_b(uint32_t kind)
{
	return kind == BATON_PROGRAM ? sizeof(struct keeper_request) :
	       kind == BATON_WORKER  ? sizeof(struct keeper_intro) :
				       1;
}

/* Return: 0; -EPROTO. */
static int judge(void *arg, const struct item *it, const char *text)
{
	bool has_text = it->kind == BATON_ASKER || it->kind >= BATON_KEPT;

	if (it->kind < BATON_HEAD || it->kind > BATON_WORKER)
		return -EPROTO;
	if (has_text && it->text_b < text_min_b(it->kind))
		return -EPROTO;
	if (has_text && it->kind <= BATON_SOCKET && text[it->text_b - 1])
		return -EPROTO;
	if (it->kind == BATON_KEPT && !kept_key_ok(text))
		return -EPROTO;
	return 0;
}

int baton_check(int fd)
{
	return read_items(fd, judge, NULL) ? 1 : 0;
}

static struct own_file file_of(const struct item *it)
{
	return (struct own_file){ .dev = (dev_t)it->n[0], .ino = (ino_t)it->n[1] };
}

static int take_worker(struct keeper *k, const struct item *it, const char *text)
{
	struct keeper_intro intro;

	memcpy(&intro, text, sizeof(intro));
	return crew_adopt(k, (pid_t)it->n[0], it->fd, &intro);
}

static int take_item(void *arg, const struct item *it, const char *text)
{
	struct keeper *k = arg;
	int err = judge(NULL, it, text);

	if (err)
		return err;
	for (unsigned i = 0; i < ARRAY_SIZE(it->fd); i++)
		if (it->fd[i] >= 0 && fcntl(it->fd[i], F_SETFD, FD_CLOEXEC))
			return -errno;
	switch (it->kind) {
	case BATON_HEAD:
		k->restarts = (unsigned)it->n[1];
		k->backoff_ms = (unsigned)it->n[2];
		k->now_ns = it->n[3];
		return 0;
	case BATON_STORE:
		k->office.store = (struct store){ it->fd[0], it->fd[1] };
		return 0;
	case BATON_CONTROL:
		k->control.fd = it->fd[0];
		k->control_file = file_of(it);
		return 0;
	case BATON_UPGRADE:
		k->upgrade.listen.fd = it->fd[0];
		k->upgrade.file = file_of(it);
		return 0;
	case BATON_ASKER:
		upgrade_done(it->fd[0], text);
		return 0;
	case BATON_CALLER:
		if (k->ncaller == CALLERS_MAX)
			return -EPROTO;
		k->caller_fd[k->ncaller++] = it->fd[0];
		return 0;
	case BATON_KEPT:
		return kept_put(&k->office.kept, text, it->fd[0]);
	case BATON_SOCKET:
		return office_add_socket(&k->office, text, it->fd[0], file_of(it),
					 (unsigned)it->n[2]);
	case BATON_PROGRAM:
		return programs_adopt(&k->office.programs, (pid_t)it->n[0], it->fd,
				      (uint32_t)it->n[1],
				      (const struct keeper_request *)(const void *)text);
	}
	return take_worker(k, it, text);
}

int baton_take(struct keeper *k, int fd)
{
	return read_items(fd, take_item, k);
}

/* Every descriptor that the items name is inherited, or none is. */
static int inherit(void *arg, const struct item *it, const char *text)
{
	const int *flags = arg;

	for (unsigned i = 0; i < ARRAY_SIZE(it->fd); i++)
		if (it->fd[i] >= 0)
			fcntl(it->fd[i], F_SETFD, *flags);
	return 0;
}

static void run(const struct keeper_config *cfg, int program_fd, int baton_fd, const char *how)
{
	size_t n = 0, kept = 0;
	char word[64];

	while (cfg->argv[n])
		n++;
	char **argv = calloc(n + 2, sizeof(*argv));

	if (!argv)
		return;
	for (size_t i = 0; i < n; i++) /* but for those of the time before */
		if (strncmp(cfg->argv[i], KEEPER_BATON_ARG, strlen(KEEPER_BATON_ARG)))
			argv[kept++] = cfg->argv[i];
	snprintf(word, sizeof(word), KEEPER_BATON_ARG "%d%s", baton_fd, how);
	argv[kept] = word;
	fcntl(baton_fd, F_SETFD, 0);
	fexecve(program_fd, argv, environ);
	fcntl(baton_fd, F_SETFD, FD_CLOEXEC);
	free(argv);
}

pid_t baton_ask(const struct keeper *k, int program_fd, int baton_fd)
{
	pid_t pid = child_fork();

	if (pid)
		return pid < 0 ? -errno : pid;
	int keep[] = { program_fd, baton_fd };

	fd_close_but(keep, ARRAY_SIZE(keep)); /* as in exec_worker() */
	run(k->cfg, program_fd, baton_fd, ",check");
	_exit(1);
}

int baton_pass(const struct keeper *k, int program_fd, int baton_fd)
{
	int open = 0, closed = FD_CLOEXEC;

	read_items(baton_fd, inherit, &open);
	run(k->cfg, program_fd, baton_fd, "");
	int err = -errno;

	read_items(baton_fd, inherit, &closed);
	return err;
}
