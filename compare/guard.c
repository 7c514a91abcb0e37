/* SPDX-License-Identifier: Apache-2.0 */
#include "compare/guard.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"

#define PROCESSES_MAX 32
#define DIRS_MAX 8
#define END_MS 5000
#define PASSES_MAX 20
#define EXEC_MS 1000
#define NEW_MEMORY_MS 10000
#define PROC_MAX_B (4 * MIB)
#define MARK "POSTERN_GUARD"

/* One message; small enough to be written whole. */
struct word {
	pid_t pid; /* 0: a directory */
	char path[GUARD_PATH_MAX];
};

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

static struct {
	pid_t pid;
	int fd;
	char mark[48]; /* "NAME=VALUE" */
	volatile sig_atomic_t held, late;
} guard = { .fd = -1 };

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	remove(path);
	return 0;
}

/* Return: the environment of @pid with its NULs, to be freed, and its length; -1. */
static ssize_t read_environ(pid_t pid, char **ret_text)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -1 : fd_read_file(fd, PROC_MAX_B, ret_text);
}

/* How long it is worth looking again, if @len_b is what was read of @pid's environment. Less than
 * there is, or nothing, is read of a process that executes another program, or just did. Neither
 * what has ended nor a thread of the kernel has memory. Return: ms; 0: that was all. */
static unsigned exec_ms(pid_t pid, uint64_t len_b)
{
	struct proc p;

	if (proc_look(pid, &p) || !p.memory_b)
		return 0;
	if (!p.env_end) /* its new memory is being made, perhaps from a slow disk */
		return NEW_MEMORY_MS;
	if (!len_b && p.state != 'S') /* or it has none, and is busy */
		return EXEC_MS;
	return p.env_end - p.env_start == len_b ? 0 : EXEC_MS;
}

static bool holds_mark(const char *text, ssize_t len_b)
{
	size_t len = strlen(guard.mark);

	for (ssize_t at = 0; at < len_b; at += (ssize_t)strlen(text + at) + 1)
		if (!strncmp(text + at, guard.mark, len + 1))
			return true;
	return false;
}

/* Whether @pid was started under this guard. */
static bool is_marked(pid_t pid)
{
	for (unsigned looks = 0;; looks++) {
		char *text;
		ssize_t n = read_environ(pid, &text);

		if (n < 0)
			return false;
		bool found = holds_mark(text, n);

		free(text);
		if (found || looks >= exec_ms(pid, (uint64_t)n))
			return found;
		poll(NULL, 0, 1);
	}
}

static void kill_and_wait(int pidfd)
{
	struct pollfd ended = { .fd = pidfd, .events = POLLIN };

	if (pidfd < 0)
		return;
	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	poll(&ended, 1, END_MS);
	close(pidfd);
}

/* Return: how many there were. */
static unsigned kill_marked(void)
{
	DIR *d = opendir("/proc");
	unsigned n = 0;

	if (!d)
		return 0;
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		pid_t pid = atoi(e->d_name);

		if (!isdigit((unsigned char)e->d_name[0]) || !is_marked(pid))
			continue;
		/* looked at again once the descriptor is there: the number may have been given
		 * away */
		int fd = (int)syscall(SYS_pidfd_open, pid, 0);

		n++; /* even if it has ended meanwhile: it may have started another before */
		if (fd >= 0 && is_marked(pid))
			kill_and_wait(fd);
		else
			fd_close(fd);
	}
	closedir(d);
	return n;
}

/* The guard's whole life. */
static void watch(int fd)
{
	int process[PROCESSES_MAX];
	char dir[DIRS_MAX][GUARD_PATH_MAX];
	unsigned nprocess = 0, ndir = 0, passes = PASSES_MAX;
	struct word w;

	while (read(fd, &w, sizeof(w)) == sizeof(w)) {
		if (!w.pid && ndir < DIRS_MAX)
			memcpy(dir[ndir++], w.path, sizeof(w.path));
		/* a descriptor, as a number may come to mean another process */
		if (w.pid && nprocess < PROCESSES_MAX)
			process[nprocess++] = (int)syscall(SYS_pidfd_open, w.pid, 0);
	}
	for (unsigned i = 0; i < nprocess; i++)
		kill_and_wait(process[i]);
	/* what was just starting another is gone by the next pass */
	while (passes-- && kill_marked())
		;
	for (unsigned i = 0; i < ndir; i++)
		nftw(dir[i], remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void begin_guard(int fd)
{
	int null = open("/dev/null", O_RDWR);

	/* neither the terminal's signals nor a reader of our output shall wait for it */
	setsid();
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], SIG_IGN);
	for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
		dup2(null, i);
	watch(fd);
	_exit(0);
}

/* Async-signal-safe, as a signal may end us anywhere. */
void guard_end(void)
{
	if (!guard.pid)
		return;
	close(guard.fd);
	while (waitpid(guard.pid, NULL, 0) < 0 && errno == EINTR)
		;
	/* machines go to the background and become this process's children, see guard_start() */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	guard.pid = 0;
	guard.fd = -1;
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], SIG_DFL);
}

static void on_signal(int sig)
{
	if (guard.held) {
		guard.late = sig;
		return;
	}
	guard_end();
	raise(sig);
}

void guard_hold(void)
{
	guard.held = 1;
}

void guard_release(void)
{
	guard.held = 0;
	if (guard.late)
		on_signal(guard.late);
}

int guard_start(void)
{
	int ends[2];

	if (guard.pid)
		return -EBUSY;
	snprintf(guard.mark, sizeof(guard.mark), MARK "=%d-%llx", getpid(),
		 (unsigned long long)clock_ns());
	if (setenv(MARK, strchr(guard.mark, '=') + 1, 1))
		return -ENOMEM;
	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	fflush(NULL);
	pid_t pid = fork();

	if (pid < 0) {
		int err = -errno;

		close(ends[0]);
		close(ends[1]);
		return err;
	}
	if (!pid) {
		close(ends[1]);
		begin_guard(ends[0]);
	}
	close(ends[0]);
	guard.fd = ends[1];
	guard.pid = pid;
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], on_signal);
	return 0;
}

int guard_process(pid_t pid)
{
	struct word w = { .pid = pid };

	return fd_write_all(guard.fd, &w, sizeof(w));
}

int guard_dir(const char *path)
{
	struct word w = { 0 };

	if (strlen(path) >= sizeof(w.path))
		return -ENAMETOOLONG;
	strcpy(w.path, path);
	return fd_write_all(guard.fd, &w, sizeof(w));
}
