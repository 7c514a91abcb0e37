/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/programs.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/fd.h"
#include "keeper/jail.h"
#include "keeper/machine.h"
#include "keeper/private.h"

#define PROGRAMS_MAX 256

void programs_init(struct programs *ps)
{
	*ps = (struct programs){ .report_fd = -1 };
	list_init(&ps->all);
}

static void dispose(struct program *p)
{
	fd_close(p->sock);
	fd_close(p->pidfd);
	free(p);
}

static void forget(struct programs *ps, struct program *p)
{
	list_del(&p->node);
	ps->n--;
	dispose(p);
}

void programs_fini(struct programs *ps)
{
	list_for_each(it, tmp, &ps->all) {
		struct program *p = list_entry(it, struct program, node);

		child_end(p->pid);
		forget(ps, p);
	}
	if (ps->starting) {
		if (!ps->starting->has_ended)
			child_end(ps->starting->pid);
		programs_give_up(ps);
	}
}

static void note_end(struct programs *ps, pid_t pid, int status)
{
	ps->ended[ps->nended % PROGRAMS_ENDED].pid = pid;
	ps->ended[ps->nended++ % PROGRAMS_ENDED].status = status;
}

void programs_reaped(struct programs *ps, pid_t pid, int status)
{
	list_for_each(it, tmp, &ps->all) {
		struct program *p = list_entry(it, struct program, node);

		if (p->pid != pid)
			continue;
		note_end(ps, pid, status);
		forget(ps, p);
	}
	if (ps->starting && ps->starting->pid == pid) {
		note_end(ps, pid, status);
		ps->starting->has_ended = true;
	}
}

bool programs_concerns(uint32_t op)
{
	return op == KEEPER_SPAWN || op == KEEPER_ADOPT || op == KEEPER_KILL;
}

void programs_unclaim(struct programs *ps)
{
	list_for_each(it, tmp, &ps->all)
		list_entry(it, struct program, node)->claimed = false;
}

void programs_sweep(struct programs *ps)
{
	list_for_each(it, tmp, &ps->all) {
		struct program *p = list_entry(it, struct program, node);

		if (!p->claimed)
			kill(p->pid, SIGKILL); /* and is reaped */
	}
}

/* The command line of @req. @room, of KEEPER_PATH_MAX, is its first word's. Return: 0; -errno. */
static int command(struct programs *ps, const struct keeper_request *req, char *room,
		   char ***ret_argv)
{
	if (req->mode == KEEPER_MACHINE)
		return machine_command(ps, req->path, room, ret_argv);
	int err = jail_split(req->path, ret_argv);

	if (!err)
		err = jail_find((*ret_argv)[0], room);
	if (!err)
		(*ret_argv)[0] = room;
	return err;
}

/* The child. It, and not the keeper, looks at the paths: they may lie where nobody answers. It has
 * nothing of the keeper's by then. */
static void be(struct programs *ps, const struct program *p, struct jail_conf *conf, int report_fd)
	__attribute__((noreturn));

static void be(struct programs *ps, const struct program *p, struct jail_conf *conf, int report_fd)
{
	char path[KEEPER_PATH_MAX];
	int keep[KEEPER_FILES_MAX + 3] = { conf->sock, report_fd,
					   ps->look_fd ? *ps->look_fd : -1 };
	char **argv;

	memcpy(keep + 3, conf->files, conf->nfile * sizeof(*keep));
	fd_close_but(keep, conf->nfile + 3);
	int32_t said[2] = { 0, command(ps, &p->req, path, &argv) };

	if (said[1]) {
		(void)!write(report_fd, said, sizeof(said));
		_exit(127);
	}
	conf->argv = argv;
	conf->name = p->req.group;
	conf->memory_mib = p->req.memory_mib;
	conf->is_machine = p->req.mode == KEEPER_MACHINE;
	conf->cpus = *p->req.cpus ? p->req.cpus : NULL;
	jail_enter(conf, report_fd);
}

/* It is killed, and is reaped when it has ended. */
static int abandon(struct program *p, int err)
{
	if (p->pid > 0 && !p->has_ended)
		kill(p->pid, SIGKILL);
	dispose(p);
	return err;
}

/* Return: PROGRAMS_STARTING; -errno. */
static int spawn(struct programs *ps, const struct keeper_request *req, const int *fds,
		 unsigned nfd)
{
	struct program *p = ps->n < PROGRAMS_MAX ? calloc(1, sizeof(*p)) : NULL;
	struct jail_conf conf = { .nfile = nfd };
	int pair[2] = { -1, -1 }, report[2] = { -1, -1 };

	if (!p)
		return -ENOMEM;
	p->sock = p->pidfd = -1;
	p->req = *req;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return abandon(p, -errno);
	p->sock = pair[0];
	conf.sock = pair[1];
	for (unsigned i = 0; i < nfd; i++)
		conf.files[i] = fds[i];
	int err = pipe2(report, O_CLOEXEC) || fcntl(report[0], F_SETFL, O_NONBLOCK) ? -errno : 0;

	if (!err) {
		p->pid = child_fork();
		err = p->pid < 0 ? -errno : 0;
		if (!p->pid)
			be(ps, p, &conf, report[1]);
	}
	fd_close(pair[1]);
	fd_close(report[1]);
	if (!err) {
		p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
		err = p->pidfd < 0 ? -errno : 0;
	}
	if (err) {
		fd_close(report[0]);
		return abandon(p, err);
	}
	ps->starting = p;
	ps->report_fd = report[0];
	ps->heard_b = 0;
	return PROGRAMS_STARTING;
}

/* Return: 0: it is executed; -EAGAIN: it has not said; -errno of why it is not. */
static int hear(struct programs *ps)
{
	while (ps->heard_b < sizeof(ps->said)) {
		ssize_t n = read(ps->report_fd, (char *)ps->said + ps->heard_b,
				 sizeof(ps->said) - ps->heard_b);

		if (n < 0)
			return -errno;
		if (!n)
			break;
		ps->heard_b += (size_t)n;
	}
	if (ps->heard_b == sizeof(ps->said))
		return (int)ps->said[1];
	return ps->heard_b < sizeof(ps->said[0]) ? -ECHILD : 0;
}

static void fill(struct program_result *r, const struct program *p, bool is_new)
{
	*r = (struct program_result){ .answer = { .pid = p->pid, .jail = p->jail },
				      .fds = { p->sock, p->pidfd }, .nfd = 2, .is_new = is_new };
}

int programs_hear(struct programs *ps, struct program_result *ret)
{
	struct program *p = ps->starting;
	int err = hear(ps);

	if (err == -EAGAIN)
		return err;
	ps->starting = NULL;
	if (err) {
		*ret = (struct program_result){ .answer.err = abandon(p, err) };
		return 0;
	}
	p->jail = ps->said[0];
	p->claimed = true;
	/* one that has ended already is told of all the same: its end is asked for next */
	fill(ret, p, !p->has_ended);
	if (p->has_ended) {
		ps->over = p;
		return 0;
	}
	list_add_tail(&ps->all, &p->node);
	ps->n++;
	return 0;
}

void programs_heard(struct programs *ps)
{
	ps->report_fd = fd_close(ps->report_fd);
	if (ps->over)
		dispose(ps->over);
	ps->over = NULL;
}

void programs_give_up(struct programs *ps)
{
	abandon(ps->starting, 0);
	ps->starting = NULL;
	programs_heard(ps);
}

bool programs_starting(const struct programs *ps)
{
	return ps->starting;
}

static int adopt(const struct programs *ps, const struct keeper_request *req, struct program **ret)
{
	list_for_each(it, tmp, &ps->all) {
		struct program *p = list_entry(it, struct program, node);

		if (p->claimed || strcmp(p->req.group, req->group) ||
		    strcmp(p->req.path, req->path))
			continue;
		*ret = p;
		return 0;
	}
	return -ENOENT;
}

int programs_adopt(struct programs *ps, pid_t pid, const int fds[2], uint32_t jail,
		   const struct keeper_request *req)
{
	struct program *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	*p = (struct program){ .pid = pid, .sock = fds[0], .pidfd = fds[1], .jail = jail,
			       .claimed = true };
	memcpy(&p->req, req, sizeof(p->req)); /* which may lie anywhere */
	list_add_tail(&ps->all, &p->node);
	ps->n++;
	return 0;
}

/* What is known of the end of process @pid, if it has ended. */
static void say_how(const struct programs *ps, pid_t pid, struct keeper_answer *a)
{
	unsigned n = min_u32(ps->nended, PROGRAMS_ENDED);

	for (unsigned i = 0; i < n; i++) { /* numbers are used again: the last one first */
		unsigned at = (ps->nended - 1 - i) % PROGRAMS_ENDED;

		if (ps->ended[at].pid != pid)
			continue;
		a->pid = pid;
		a->jail = (uint32_t)ps->ended[at].status;
		return;
	}
}

static void kill_one(struct programs *ps, pid_t pid, struct keeper_answer *ret)
{
	int status;

	*ret = (struct keeper_answer){ .err = -ESRCH };
	list_for_each(it, tmp, &ps->all) {
		if (list_entry(it, struct program, node)->pid != pid)
			continue;
		/* who asks may have heard of it before us */
		if (waitpid(pid, &status, WNOHANG) == pid) {
			programs_reaped(ps, pid, status);
			break;
		}
		ret->err = kill(pid, SIGKILL) ? -errno : 0;
		return;
	}
	say_how(ps, pid, ret);
}

static bool makes_sense(const struct keeper_request *req, unsigned nfd)
{
	return nfd <= KEEPER_FILES_MAX && *req->group && req->memory_mib &&
	       req->mode <= KEEPER_MACHINE &&
	       memchr(req->path, '\0', sizeof(req->path)) &&
	       memchr(req->group, '\0', sizeof(req->group)) &&
	       memchr(req->cpus, '\0', sizeof(req->cpus));
}

int programs_serve(struct programs *ps, const struct keeper_request *req, const int *fds,
		   unsigned nfd, struct program_result *ret)
{
	struct program *p = NULL;

	if (req->op != KEEPER_KILL && !makes_sense(req, nfd))
		return -EPROTO;
	if (req->op == KEEPER_KILL) {
		*ret = (struct program_result){ 0 };
		kill_one(ps, (pid_t)req->flags, &ret->answer);
		return 0;
	}
	int err = req->op == KEEPER_SPAWN ? spawn(ps, req, fds, nfd) : adopt(ps, req, &p);

	if (err == PROGRAMS_STARTING)
		return err;
	*ret = (struct program_result){ .answer.err = err };
	if (p) {
		p->claimed = true;
		fill(ret, p, false);
	}
	return 0;
}
