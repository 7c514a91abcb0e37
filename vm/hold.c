/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine that somebody holds: QEMU is a child of this process and ends with it, so whoever
 * started this process and ends it ends the machine, and learns of its end by waiting for this
 * process.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"
#include "vm/machine.h"
#include "vm/qmp.h"

#define START_NS (30 * NS_PER_S) /* until QEMU answers: a busy machine's disks take their time */
#define ENDING_NS (15 * NS_PER_S) /* that predecessors get */
#define LOOK_MS 20
#define QMP_MS 5000

/* @events: QEMU has the second one. Return: QEMU's pid; -errno. */
static pid_t launch(const struct vm_config *cfg, const int events[2], struct vm_error *err)
{
	char path[PATH_MAX], **argv;
	struct vm_config c = *cfg;
	int bad = vm_path(path, sizeof(path), cfg->state_dir, cfg->name, VM_FILE_LOG);

	c.events_fd = events[1];
	if (!bad)
		bad = vm_argv(&c, &argv, err);
	if (bad)
		return bad;
	CLEANUP(fd_cleanup) int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	pid_t pid = fd < 0 ? -1 : child_fork();

	if (!pid) {
		fcntl(events[1], F_SETFD, 0);
		vm_become(argv, fd);
	}
	vm_argv_free(argv);
	return pid < 0 ? -errno : pid;
}

static bool has_ended(int pidfd, int wait_ms)
{
	struct pollfd w = { .fd = pidfd, .events = POLLIN };

	return poll(&w, 1, wait_ms) > 0;
}

/* What QEMU said last, or how it ended. Return: -ECHILD. */
static int ended(const struct vm_config *cfg, pid_t pid, struct vm_error *err)
{
	char said[sizeof(err->text) - 64];
	int status = 0;

	waitpid(pid, &status, 0);
	vm_read_log(cfg, said, sizeof(said));
	if (*said)
		return vm_fail(err, -ECHILD, NULL, "QEMU: %s", said);
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return vm_fail(err, -ECHILD, NULL, "its guest has stopped");
	child_how(status, said, sizeof(said));
	return vm_fail(err, -ECHILD, NULL, "QEMU %s", said);
}

/* Waits until QEMU answers on its control socket, which is when it has set up its devices. */
static int await_up(const struct vm_config *cfg, int pidfd, struct vm_error *err)
{
	uint64_t until_ns = clock_ns() + START_NS;
	char path[FD_SOCKET_PATH_MAX + 1];
	struct qmp *q = NULL;
	int bad = vm_path(path, sizeof(path), cfg->state_dir, cfg->name, VM_FILE_QMP);

	while (!bad && !has_ended(pidfd, 0)) {
		if (!qmp_open(path, QMP_MS, &q)) {
			qmp_close(q);
			return 0;
		}
		if (clock_ns() > until_ns)
			return vm_fail(err, -ETIMEDOUT, NULL, "QEMU does not answer");
		has_ended(pidfd, LOOK_MS);
	}
	return bad ? bad : -ECHILD;
}

/* Whether the end was asked for before there was anything to end. */
static bool is_unwanted(int wish_fd)
{
	char word;

	return recv(wish_fd, &word, 1, MSG_PEEK | MSG_DONTWAIT) == 1 && word != VM_WISH_TELL;
}

/* As vm_claim(). Predecessors of the same name that have been told to end are given the time for
 * it. Return: also -ECANCELED, when nobody wants it any more. */
static int claim(struct vm_config *c, int wish_fd, struct vm_record *rec, struct vm_error *err)
{
	uint64_t until_ns = clock_ns() + ENDING_NS;
	struct vm_error why = { 0 };
	int lock;

	if (c->accel == VM_ACCEL_AUTO)
		c->accel = vm_probe_kvm(err) ? VM_ACCEL_TCG : VM_ACCEL_KVM;
	while ((lock = vm_claim(c, rec, &why)) == -EEXIST && clock_ns() < until_ns) {
		CLEANUP(fd_cleanup) int pidfd = vm_pidfd(rec);

		has_ended(pidfd, LOOK_MS);
		if (is_unwanted(wish_fd))
			return -ECANCELED;
	}
	if (lock >= 0 && is_unwanted(wish_fd)) {
		vm_remove_dir(c->state_dir, c->name, false);
		fd_close(lock);
		return -ECANCELED;
	}
	if (lock < 0)
		*err = why;
	return lock;
}

/* Return: VM_WISH_END, VM_WISH_KILL; 0: it goes on. */
static char take_wish(const struct vm_config *cfg, const struct vm_holder *h)
{
	struct vm_info info;
	char word;
	ssize_t n = recv(h->wish_fd, &word, 1, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return VM_WISH_END; /* nobody wants it any more */
	if (word == VM_WISH_TELL && h->up && !vm_get(cfg->state_dir, cfg->name, &info))
		h->up(h->arg, &info);
	return word == VM_WISH_END || word == VM_WISH_KILL ? word : 0;
}

/* What QEMU has told of. Return: whether it goes on telling. */
static bool take_events(struct qmp *q, const struct vm_holder *h)
{
	json_t *event;
	int err, open;

	while (!(err = qmp_event(q, 1, &event))) {
		const char *kind = json_string_value(json_object_get(event, "event"));

		/* the one port that there is */
		if (kind && !strcmp(kind, "VSERPORT_CHANGE") &&
		    !json_unpack(event, "{s:{s:b}}", "data", "open", &open) && !open && h->left)
			h->left(h->arg);
		json_decref(event);
	}
	return err == -ETIMEDOUT;
}

/* Waits for the end of QEMU, or for somebody to wish it. Return: as vm_hold(). *ret_wish: what was
 * wished, if anything. */
static int watch(const struct vm_config *cfg, const struct vm_record *rec, int pidfd,
		 struct qmp *events, const struct vm_holder *h, char *ret_wish,
		 struct vm_error *err)
{
	struct pollfd w[] = { { .fd = pidfd, .events = POLLIN },
			      { .fd = h->wish_fd, .events = POLLIN },
			      { .fd = events ? qmp_fd(events) : -1, .events = POLLIN } };
	char wish = 0;

	*ret_wish = 0;
	while (!wish) {
		if (poll(w, ARRAY_SIZE(w), -1) < 0 && errno != EINTR)
			return -errno;
		if (w[0].revents)
			return ended(cfg, rec->pid, err);
		if (w[1].revents)
			wish = take_wish(cfg, h);
		if (w[2].revents && !take_events(events, h))
			w[2].fd = -1;
	}
	if (wish == VM_WISH_KILL)
		kill(rec->pid, SIGKILL);
	else
		vm_end(cfg->state_dir, cfg->name, pidfd, h->grace_ms);
	waitpid(rec->pid, NULL, 0);
	*ret_wish = wish;
	return 0;
}

/* Context: the state directory is locked, and the machine's own is made. *ret_events: NULL if QEMU
 * does not tell of anything. */
static int begin(const struct vm_config *cfg, struct vm_record *rec, int *ret_pidfd,
		 struct qmp **ret_events, struct vm_error *err)
{
	int events[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, events))
		return -errno;
	pid_t pid = launch(cfg, events, err);

	fd_close(events[1]);
	CLEANUP(fd_cleanup) int events_fd = events[0];

	if (pid < 0)
		return pid;
	rec->pid = pid;
	/* a child that nobody has waited for: its number is still its own */
	*ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int bad = *ret_pidfd < 0 ? -errno : await_up(cfg, *ret_pidfd, err);

	if (!bad)
		bad = vm_settle(cfg, rec, err);
	if (bad == -ECHILD || (*ret_pidfd >= 0 && has_ended(*ret_pidfd, 0)))
		return ended(cfg, pid, err);
	if (bad) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	} else if (qmp_take(fd_steal(&events_fd), QMP_MS, ret_events)) {
		*ret_events = NULL;
	}
	return bad;
}

int vm_hold(const struct vm_config *config, const struct vm_holder *h, struct vm_error *err)
{
	struct qmp *events = NULL;
	CLEANUP(fd_cleanup) int pidfd = -1;
	struct vm_config c = *config;
	struct vm_record rec;
	struct vm_info info;
	char wish;

	c.held = true;
	int lock = claim(&c, h->wish_fd, &rec, err);
	int bad = lock < 0 ? lock : begin(&c, &rec, &pidfd, &events, err);

	if (lock >= 0 && bad)
		vm_remove_dir(c.state_dir, c.name, true);
	fd_close(lock);
	if (bad)
		return bad == -ECANCELED ? 0 : bad;
	if (h->up && !vm_get(c.state_dir, c.name, &info))
		h->up(h->arg, &info);
	bad = watch(&c, &rec, pidfd, events, h, &wish, err);
	qmp_close(events);
	/* of one that went wrong, what its guest said may say why */
	vm_forget(c.state_dir, c.name, &rec, wish != VM_WISH_END, NULL);
	return bad;
}
