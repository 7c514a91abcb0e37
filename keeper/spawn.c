/* SPDX-License-Identifier: Apache-2.0 */
/* A worker process: how it starts, what connects it, how it ends. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/private.h"

#define END_MS 1000 /* what a process gets to end after SIGKILL, when we end, too */

/* The worker's ends of what connects it, in the order in which its command line names them. */
enum { END_REQUEST, END_EVENT, END_LIFE, END_HOLD, ENDS };

static void exec_worker(const struct keeper_config *cfg, int program_fd, const int ends[ENDS])
{
	char link[96];
	int no[ENDS];
	size_t n = 0;
	sigset_t none;

	while (cfg->argv[n])
		n++;
	char **argv = calloc(n + 2, sizeof(*argv));

	if (!argv)
		_exit(1);
	for (unsigned i = 0; i < ENDS; i++)
		no[i] = dup(ends[i]); /* without close-on-exec */
	snprintf(link, sizeof(link), KEEPER_LINK_ARG "%d,%d,%d,%d", no[END_REQUEST], no[END_EVENT],
		 no[END_LIFE], no[END_HOLD]);
	memcpy(argv, cfg->argv, n * sizeof(*argv));
	argv[n] = link;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Ctrl-C reaches the whole process group; the keeper is the one that acts on it. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	/* what the program lies on may not answer, and then nothing ends us: we hold nothing */
	int keep[] = { no[END_REQUEST], no[END_EVENT], no[END_LIFE], no[END_HOLD],
		       program_fd, cfg->hand_over_fd };

	fd_close_but(keep, ARRAY_SIZE(keep));
	fexecve(program_fd, argv, environ);
	log_error(NULL, "cannot start a worker: %s", strerror(errno));
	_exit(1);
}

/* A pair whose first end, the keeper's, never makes it wait. Return: 0; -errno. */
static int make_pair(int *ret_own, int *ret_end)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	*ret_own = pair[0];
	*ret_end = pair[1];
	return fcntl(pair[0], F_SETFL, O_NONBLOCK) ? -errno : 0;
}

static int make_ends(struct worker *w, int ends[ENDS])
{
	int hold[2], err = make_pair(&w->request.fd, &ends[END_REQUEST]);

	if (!err)
		err = make_pair(&w->event_fd, &ends[END_EVENT]);
	if (!err)
		err = death_new(&w->death);
	if (err)
		return err;
	/* a copy: the caller closes what is the worker's */
	ends[END_LIFE] = fcntl(death_page_fd(w->death), F_DUPFD_CLOEXEC, 0);
	if (ends[END_LIFE] < 0)
		return -errno;
	if (pipe2(hold, O_CLOEXEC))
		return -errno;
	ends[END_HOLD] = hold[0];
	w->hold_fd = hold[1];
	return 0;
}

struct worker *worker_new(struct keeper *k)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->keeper = k;
	w->request = (struct loop_watch){ -1, request_ready };
	w->died.fd = w->event_fd = w->hold_fd = -1;
	list_add_tail(&k->workers, &w->node);
	return w;
}

struct worker *worker_spawn(struct keeper *k, int program_fd, int *ret_err)
{
	int ends[ENDS] = { -1, -1, -1, -1 };
	struct worker *w = worker_new(k);

	if (!w) {
		*ret_err = -ENOMEM;
		return NULL;
	}
	int err = make_ends(w, ends);

	if (!err)
		err = loop_add(&k->loop, &w->request, EPOLLIN);
	if (!err) {
		w->pid = child_fork();
		err = w->pid < 0 ? -errno : 0;
		if (!w->pid)
			exec_worker(k->cfg, program_fd, ends);
	}
	for (unsigned i = 0; i < ENDS; i++)
		fd_close(ends[i]);
	if (err) {
		w->pid = 0;
		worker_free(w);
		*ret_err = err;
		return NULL;
	}
	return w;
}

int worker_tell(struct worker *w, const struct keeper_event *ev, int fd)
{
	return fd_send(w->event_fd, ev, sizeof(*ev), &fd, fd >= 0);
}

void worker_mute(struct worker *w)
{
	if (w->request.fd >= 0)
		loop_del(&w->keeper->loop, &w->request);
	if (w->died.fd >= 0)
		loop_del(&w->keeper->loop, &w->died);
	w->is_paused = false;
	desk_forget(w->keeper, w);
	w->request.fd = fd_close(w->request.fd);
	w->event_fd = fd_close(w->event_fd);
	w->died.fd = -1;
}

void child_end(pid_t pid)
{
	struct pollfd end = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };

	kill(pid, SIGKILL);
	/* one that is stuck in the kernel is nobody's to wait for */
	if (end.fd >= 0 && poll(&end, 1, END_MS) > 0)
		waitpid(pid, NULL, WNOHANG);
	fd_close(end.fd);
}

void worker_drop(struct worker *w)
{
	worker_mute(w);
	w->is_dead = w->is_replaced = true;
	kill(w->pid, SIGKILL);
}

void worker_free(struct worker *w)
{
	if (w->pid)
		child_end(w->pid);
	worker_mute(w);
	death_free(w->death);
	fd_close(w->hold_fd);
	list_del(&w->node);
	free(w);
}
