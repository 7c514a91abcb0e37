/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker that was broken into may ask the keeper for. The input is a series of requests
 * in a shorter form: how it is framed, operation, flags, mode, memory, group, path, number and
 * kinds of descriptors. Paths are in a directory of our own, or raw where none is opened; nothing
 * is started, and the clerk is this process. Each request is answered once, or its worker is ended.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/jail.h"
#include "keeper/machine.h"
#include "keeper/private.h"

#define REQUESTS_MAX 64

static char dir[] = "/dev/shm/postern-fuzz-XXXXXX";
static int kind[4]; /* memory, eventfd, a socket, a file */
static struct keeper k;
static struct worker worker;
static bool condemned;

/* What a clerk would be at. */
static struct {
	struct errand *errand; /* NULL: nothing */
	struct clerk_report report;
	int fd;
} given;

pid_t __wrap_fork(void);
int __wrap_kill(pid_t pid, int sig);
int __wrap_clerks_send(struct clerks *cs, struct errand *e, const struct clerk_order *o, int asker);
pid_t __wrap_clerks_pid(const struct errand *e);

/* No program is started. */
pid_t __wrap_fork(void)
{
	errno = EAGAIN;
	return -1;
}

int __wrap_kill(pid_t pid, int sig)
{
	condemned = true;
	return 0;
}

static bool is_ours(const char *path)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && path[n] == '/' && !strstr(path, "..");
}

int __wrap_clerks_send(struct clerks *cs, struct errand *e, const struct clerk_order *o, int asker)
{
	bool opens = o->req.op == KEEPER_OPEN;

	/* one at a time, and a path that ends */
	if (given.errand || !memchr(o->req.path, '\0', sizeof(o->req.path)))
		abort();
	if (!is_ours(o->req.path))
		return -ETIMEDOUT;
	given.errand = e;
	given.fd = -1;
	given.report = (struct clerk_report){ 0 };
	given.report.err = office_carry_out(cs->office, o, &given.report.file, &given.fd);
	if (opens) {
		struct keeper_answer a = { .err = given.report.err };

		given.report.told = worker_answer(asker, &a, &given.fd, given.fd >= 0);
		given.fd = fd_close(given.fd);
	}
	e->clerk = (struct clerk *)&given;
	return 0;
}

pid_t __wrap_clerks_pid(const struct errand *e)
{
	return getpid();
}

static void end_errand(void)
{
	struct errand *e = given.errand;

	if (!e)
		return;
	given.errand = NULL;
	e->clerk = NULL;
	e->done(e, &given.report, given.fd);
}

static void sweep(const char *path)
{
	DIR *d = opendir(path);

	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_type == DT_REG || e->d_type == DT_SOCK)
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
}

static void remove_dir(void)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/state", dir);
	sweep(path);
	rmdir(path);
	sweep(dir);
	rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char path[64];
	int pair[2];

	log_set_level(LOG_ERROR - 1u);
	kind[0] = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	kind[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!mkdtemp(dir) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ||
	    ftruncate(kind[0], 8))
		abort();
	atexit(remove_dir);
	kind[2] = pair[0];
	snprintf(path, sizeof(path), "%s/file", dir);
	kind[3] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return kind[3] < 0;
}

/* Return: the worker's end of a new connection. */
static int begin(void)
{
	char path[64];
	int pair[2];

	k = (struct keeper){ .program_fd = -1, .now = &worker, .control.fd = -1, .signals.fd = -1,
			     .timer.fd = -1, .settle.fd = -1, .desk.timer.fd = -1,
			     .upgrade = { .conn.fd = -1, .timer.fd = -1, .program_fd = -1 } };
	worker = (struct worker){ .keeper = &k, .pid = 1, .event_fd = -1, .hold_fd = -1,
				  .died.fd = -1, .intro.op = KEEPER_INTRO };
	condemned = false;
	office_init(&k.office);
	clerks_init(&k.clerks, &k.loop, &k.office);
	list_init(&k.workers);
	snprintf(path, sizeof(path), "%s/state", dir);
	if (loop_init(&k.loop) || store_open(&k.office.store, path) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		abort();
	worker.request = (struct loop_watch){ pair[0], request_ready };
	if (loop_add(&k.loop, &worker.request, EPOLLIN))
		abort();
	return pair[1];
}

/* A path of ours, or the bytes as they are, which is what keys are. */
static void compose_path(struct keeper_request *r, struct food *f)
{
	uint8_t how = food_byte(f), n = food_byte(f);
	char name[256] = "";

	food_eat(f, name, n);
	if (how & 1)
		snprintf(r->path, sizeof(r->path), "%s/%s", dir, name);
	else
		memcpy(r->path, name, sizeof(name));
	if (how == 2) { /* without an end */
		memset(r->path, 'a', sizeof(r->path));
		r->path[0] = '/';
	}
}

/* Return: the bytes that are sent. */
static size_t compose(struct keeper_request *r, struct food *f)
{
	uint8_t framing = food_byte(f);

	r->op = food_byte(f) % 20;
	food_eat(f, &r->flags, sizeof(r->flags));
	food_eat(f, &r->mode, 2);
	food_eat(f, &r->memory_mib, 1);
	food_eat(f, r->group, food_byte(f) % (sizeof(r->group) + 1));
	compose_path(r, f);
	if (framing < 8)
		return framing * 16;
	return framing & 1 ? sizeof(*r) :
			     KEEPER_REQUEST_MIN_B + strnlen(r->path, sizeof(r->path) - 1);
}

/* Takes all answers. Return: how many. */
static unsigned take_answers(int sock)
{
	struct keeper_list list; /* the longest */
	int fd[KEEPER_KEPT_BATCH];
	unsigned n = 0, nfd = 0;

	for (; fd_recv(sock, &list, sizeof(list), fd, ARRAY_SIZE(fd), &nfd) > 0; n++)
		while (nfd)
			fd_close(fd[--nfd]);
	return n;
}

static void ask(int sock, struct food *f)
{
	struct keeper_request r = { 0 };
	size_t len = compose(&r, f);
	uint8_t fds = food_byte(f);
	int fd[KEEPER_FILES_MAX + 1];
	unsigned nfd = fds % (ARRAY_SIZE(fd) + 1);

	for (unsigned i = 0; i < nfd; i++)
		fd[i] = kind[(fds >> 4 ^ i) & 3];
	if (!len || fd_send(sock, &r, len, fd, nfd))
		return;
	request_ready(&worker.request, EPOLLIN);
	end_errand();
	if (take_answers(sock) != !condemned)
		abort();
}

/* Of the worker's words what others are made of, by themselves. */
static int may_have(struct programs *ps, enum machine_part part, const char *path)
{
	return *path == '/' ? 0 : -EPERM;
}

static void split(struct food *f)
{
	char text[256] = "", room[KEEPER_PATH_MAX];
	struct programs ps = { .may_have = may_have, .tool = "/bin/true" };
	char **argv;

	food_eat(f, text, sizeof(text) - 1);
	if (!jail_split(text, &argv))
		free(argv);
	if (!machine_command(&ps, text, room, &argv)) {
		for (unsigned i = 0; argv[i]; i++)
			if (strchr(argv[i], '\n'))
				abort();
		free(argv);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct food f = { data, len };
	int before = dup(kind[1]);

	if (food_byte(&f) == 0) {
		split(&f);
		close(before);
		return 0;
	}
	close(before);
	int sock = begin();

	for (unsigned i = 0; i < REQUESTS_MAX && f.left && !condemned; i++)
		ask(sock, &f);
	fd_close(sock);
	fd_close(worker.request.fd);
	office_fini(&k.office);
	store_close(&k.office.store);
	loop_fini(&k.loop);
	sweep(dir);
	/* no descriptor is left */
	int after = dup(kind[1]);

	if (after != before)
		abort();
	close(after);
	return 0;
}
