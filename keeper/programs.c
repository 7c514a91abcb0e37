/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/programs.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/jail.h"
#include "keeper/machine.h"

#define PROGRAMS_MAX 256
#define START_MS 2000 /* until it is executed */

void programs_init(struct programs *ps)
{
	*ps = (struct programs){ 0 };
	list_init(&ps->all);
}

static void forget(struct programs *ps, struct program *p)
{
	list_del(&p->node);
	ps->n--;
	fd_close(p->sock);
	fd_close(p->pidfd);
	free(p);
}

void programs_fini(struct programs *ps)
{
	list_for_each(it, tmp, &ps->all) {
		struct program *p = list_entry(it, struct program, node);

		kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
		forget(ps, p);
	}
}

void programs_reaped(struct programs *ps, pid_t pid)
{
	list_for_each(it, tmp, &ps->all) {
		struct program *p = list_entry(it, struct program, node);

		if (p->pid == pid)
			forget(ps, p);
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

/* What the child says of its jail, until it is executed. Return: 0; -errno of why it is not. */
static int hear(int fd, uint32_t *ret_jail)
{
	struct pollfd w = { .fd = fd, .events = POLLIN };
	uint32_t said[2];
	size_t have = 0;

	while (have < sizeof(said)) {
		if (poll(&w, 1, START_MS) <= 0)
			return -ETIMEDOUT;
		ssize_t n = read(fd, (char *)said + have, sizeof(said) - have);

		if (n < 0)
			return -errno;
		if (!n)
			break;
		have += (size_t)n;
	}
	if (have < sizeof(said[0]))
		return -ECHILD;
	*ret_jail = said[0];
	return have < sizeof(said) ? 0 : (int)said[1];
}

/* Starts @conf's program. Return: its pid; -errno. */
static pid_t start(const struct jail_conf *conf, uint32_t *ret_jail)
{
	int report[2];

	if (pipe2(report, O_CLOEXEC))
		return -errno;
	pid_t pid = fork();

	if (!pid)
		jail_enter(conf, report[1]);
	int err = pid < 0 ? -errno : 0;

	fd_close(report[1]);
	if (!err) {
		err = hear(report[0], ret_jail);
		if (err) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
	}
	fd_close(report[0]);
	return err ? err : pid;
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

static int spawn(struct programs *ps, const struct keeper_request *req, const int *fds,
		 unsigned nfd, struct program **ret)
{
	CLEANUP(base_free) char **argv = NULL;
	CLEANUP(base_free) struct program *p = calloc(1, sizeof(*p));
	char path[KEEPER_PATH_MAX];
	int pair[2], err = p && ps->n < PROGRAMS_MAX ? command(ps, req, path, &argv) : -ENOMEM;

	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	struct jail_conf conf = { .argv = argv, .name = req->group, .sock = pair[1], .nfile = nfd,
				  .memory_mib = req->memory_mib,
				  .is_machine = req->mode == KEEPER_MACHINE,
				  .cpus = *req->cpus ? req->cpus : NULL };

	for (unsigned i = 0; i < nfd; i++)
		conf.files[i] = fds[i];
	p->pid = start(&conf, &p->jail);
	fd_close(pair[1]);
	p->sock = pair[0];
	p->pidfd = p->pid > 0 ? (int)syscall(SYS_pidfd_open, p->pid, 0) : -1;
	if (p->pidfd < 0) {
		err = p->pid < 0 ? p->pid : -errno;
		if (p->pid > 0) {
			kill(p->pid, SIGKILL);
			waitpid(p->pid, NULL, 0);
		}
		fd_close(p->sock);
		return err;
	}
	p->req = *req;
	list_add_tail(&ps->all, &p->node);
	ps->n++;
	*ret = p;
	p = NULL;
	return 0;
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

static int kill_one(const struct programs *ps, pid_t pid)
{
	list_for_each(it, tmp, &ps->all)
		if (list_entry(it, struct program, node)->pid == pid)
			return kill(pid, SIGKILL) ? -errno : 0;
	return -ESRCH;
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
		   unsigned nfd, struct keeper_answer *ret_answer, int ret_fds[2])
{
	struct keeper_answer answer = { 0 };
	struct program *p = NULL;

	if (req->op != KEEPER_KILL && !makes_sense(req, nfd))
		return -EPROTO;
	answer.err = req->op == KEEPER_KILL  ? kill_one(ps, (pid_t)req->flags) :
		     req->op == KEEPER_SPAWN ? spawn(ps, req, fds, nfd, &p) :
					       adopt(ps, req, &p);
	if (p) {
		p->claimed = true;
		answer.pid = p->pid;
		answer.jail = p->jail;
	}
	ret_fds[0] = p ? p->sock : -1;
	ret_fds[1] = p ? p->pidfd : -1;
	*ret_answer = answer;
	return 0;
}
