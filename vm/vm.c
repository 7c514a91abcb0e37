/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/vm.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/proc.h"
#include "vm/machine.h"
#include "vm/qmp.h"

#define QMP_START_MS 5000
/* A busy host may keep QEMU from answering for a while, as may the command of another: one that is
 * taken for stuck too early is killed without having powered its guest down. */
#define QMP_ASK_MS 3000
#define QUIT_MS 5000
#define KILL_MS 5000
#define LOG_MAX_B (64 * KIB)

static const char *const machine_files[] = { VM_FILE_MACHINE, VM_FILE_PID, VM_FILE_LOG, VM_FILE_QMP,
					     VM_FILE_CONSOLE, VM_FILE_CONSOLE_LOG };

/* An empty one would take the place of one that says something. */
static void keep_console_log(const char *state_dir, const char *name)
{
	char from[PATH_MAX], to[PATH_MAX];
	struct stat st;

	if (vm_path(from, sizeof(from), state_dir, name, VM_FILE_CONSOLE_LOG) ||
	    vm_path(to, sizeof(to), state_dir, name, VM_FILE_CONSOLE_WAS))
		return;
	if (!stat(from, &st) && st.st_size)
		rename(from, to);
}

void vm_remove_dir(const char *state_dir, const char *name, bool keep_console)
{
	char path[PATH_MAX];

	if (keep_console)
		keep_console_log(state_dir, name);
	else if (!vm_path(path, sizeof(path), state_dir, name, VM_FILE_CONSOLE_WAS))
		unlink(path);
	for (size_t i = 0; i < ARRAY_SIZE(machine_files); i++)
		if (!vm_path(path, sizeof(path), state_dir, name, machine_files[i]))
			unlink(path);
	if (!vm_path(path, sizeof(path), state_dir, name, NULL))
		rmdir(path);
}

/* Makes every missing directory of @path, for the owner alone. */
static int make_dirs(const char *path)
{
	char at[PATH_MAX];

	if (strlen(path) >= sizeof(at))
		return -ENAMETOOLONG;
	strcpy(at, path);
	for (char *slash = strchr(at + 1, '/');; slash = strchr(slash + 1, '/')) {
		if (slash)
			*slash = 0;
		if (mkdir(at, 0700) && errno != EEXIST)
			return -errno;
		if (!slash)
			return 0;
		*slash = '/';
	}
}

/* The state directory, made if need be and locked: one start or removal at a time.
 * Return: a descriptor, whose closing unlocks; -errno. */
static int lock_state_dir(const char *state_dir, struct vm_error *err)
{
	char dir[PATH_MAX];
	int bad = vm_state_dir(dir, sizeof(dir));

	if (bad)
		return bad;
	if (!state_dir)
		state_dir = dir;
	bad = make_dirs(state_dir);
	if (bad)
		return vm_fail(err, bad, NULL, "cannot make %s: %s", state_dir, strerror(-bad));
	int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || (flock(fd, LOCK_EX) && errno != ENOTSUP)) {
		fd_close(fd);
		return vm_fail(err, -errno, NULL, "%s: %m", state_dir);
	}
	/* somebody else's directory under /tmp could plant sockets */
	if (st.st_uid != geteuid()) {
		fd_close(fd);
		return vm_fail(err, -EPERM, NULL, "%s belongs to another user", state_dir);
	}
	return fd;
}

/* Puts vCPU i on cores[i]. */
static int place_vcpus(struct qmp *q, const struct vm_config *cfg, struct vm_error *err)
{
	json_t *cpus = NULL;
	int bad = qmp_call(q, "query-cpus-fast", NULL, &cpus);

	for (size_t i = 0; !bad && i < json_array_size(cpus); i++) {
		json_t *cpu = json_array_get(cpus, i);
		json_int_t index, thread;
		cpu_set_t set;

		if (json_unpack(cpu, "{s:I, s:I}", "cpu-index", &index, "thread-id", &thread) ||
		    index < 0 || (size_t)index >= cfg->ncores) {
			bad = -EPROTO;
			break;
		}
		CPU_ZERO(&set);
		CPU_SET(cfg->cores[index], &set);
		if (sched_setaffinity((pid_t)thread, sizeof(set), &set))
			bad = vm_fail(err, -errno, "cores", "core %u: %m", cfg->cores[index]);
	}
	json_decref(cpus);
	return bad;
}

/* Which process QEMU is in the background. */
static int read_pid(const struct vm_config *cfg, struct vm_record *rec, struct vm_error *err)
{
	char path[PATH_MAX], *text = NULL;
	int bad = vm_path(path, sizeof(path), cfg->state_dir, cfg->name, VM_FILE_PID);
	CLEANUP(fd_cleanup) int fd = bad ? -1 : open(path, O_RDONLY | O_CLOEXEC);

	if (bad || fd < 0 || fd_read_file(fd, 64, &text) < 0)
		return vm_fail(err, -EIO, NULL, "QEMU left no pid file");
	rec->pid = atoi(text);
	free(text);
	return 0;
}

int vm_settle(const struct vm_config *cfg, struct vm_record *rec, struct vm_error *err)
{
	char path[PATH_MAX];
	struct proc now;
	int bad = 0;

	if (proc_look(rec->pid, &now))
		return vm_fail(err, -EIO, NULL, "QEMU ended at once");
	rec->start_ticks = now.start_ticks;
	rec->started_s = (uint64_t)time(NULL);
	if (cfg->ncores) {
		struct qmp *q = NULL;

		bad = vm_path(path, sizeof(path), cfg->state_dir, cfg->name, VM_FILE_QMP);
		if (!bad)
			bad = qmp_open(path, QMP_START_MS, &q);
		if (bad)
			return vm_fail(err, bad, NULL, "QEMU's control socket: %s", strerror(-bad));
		bad = place_vcpus(q, cfg, err);
		qmp_close(q);
	}
	return bad ? bad : vm_record_save(cfg->state_dir, cfg->name, rec);
}

void vm_read_log(const struct vm_config *cfg, char *ret_text, size_t size)
{
	char path[PATH_MAX], *text = NULL;
	size_t len;

	*ret_text = 0;
	if (vm_path(path, sizeof(path), cfg->state_dir, cfg->name, VM_FILE_LOG))
		return;
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && fd_read_file(fd, LOG_MAX_B, &text) >= 0)
		snprintf(ret_text, size, "%s", text);
	free(text);
	for (len = strlen(ret_text); len && ret_text[len - 1] == '\n';)
		ret_text[--len] = 0;
}

/* Runs QEMU until it is in the background or has refused. */
static int launch(const struct vm_config *cfg, struct vm_error *err)
{
	char **argv, said[sizeof(err->text) - 16];
	int bad = vm_argv(cfg, &argv, err);

	if (bad)
		return bad;
	int status = vm_run_program(argv, said, sizeof(said));

	vm_argv_free(argv);
	if (!status)
		return 0;
	if (status < 0)
		return vm_fail(err, status, NULL, "cannot start QEMU: %s", strerror(-status));
	if (!*said)
		vm_read_log(cfg, said, sizeof(said));
	size_t len = strlen(said);

	while (len && said[len - 1] == '\n')
		said[--len] = 0;
	return vm_fail(err, -EIO, NULL, "QEMU: %s", len ? said : "refused without a word");
}

static void end_process(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	poll(&p, 1, KILL_MS);
}

int vm_claim(struct vm_config *c, struct vm_record *ret, struct vm_error *err)
{
	char dir[PATH_MAX], **argv;

	if (c->accel == VM_ACCEL_AUTO)
		c->accel = vm_probe_kvm(err) ? VM_ACCEL_TCG : VM_ACCEL_KVM;
	/* judged before anything is touched */
	int bad = vm_argv(c, &argv, err);

	if (bad)
		return bad;
	vm_argv_free(argv);
	CLEANUP(fd_cleanup) int lock = lock_state_dir(c->state_dir, err);

	if (lock < 0)
		return lock;
	if (!vm_record_load(c->state_dir, c->name, ret)) {
		CLEANUP(fd_cleanup) int pidfd = vm_pidfd(ret);

		if (pidfd >= 0)
			return vm_fail(err, -EEXIST, "name", "%s runs already (pid %d)", c->name,
				       ret->pid);
	}
	vm_remove_dir(c->state_dir, c->name, true);
	bad = vm_path(dir, sizeof(dir), c->state_dir, c->name, NULL);
	if (bad || (mkdir(dir, 0700) && errno != EEXIST))
		return vm_fail(err, bad ? bad : -errno, "name",
			       "cannot make the machine's directory: "
			       "%m");
	*ret = (struct vm_record){ .memory_b = c->memory_b ? c->memory_b : VM_MEMORY_DEFAULT_B,
				   .cpus = c->cpus ? c->cpus : 1, .kvm = c->accel == VM_ACCEL_KVM };
	return fd_steal(&lock);
}

int vm_start(const struct vm_config *cfg, struct vm_info *ret_info, struct vm_error *err)
{
	struct vm_config c = *cfg;
	struct vm_record rec;
	CLEANUP(fd_cleanup) int lock = vm_claim(&c, &rec, err);

	if (lock < 0)
		return lock;
	int bad = launch(&c, err);

	if (!bad)
		bad = read_pid(&c, &rec, err);
	if (!bad) {
		bad = vm_settle(&c, &rec, err);
		CLEANUP(fd_cleanup) int pidfd = bad ? vm_pidfd(&rec) : -1;

		if (pidfd >= 0)
			end_process(pidfd);
	}
	if (bad)
		vm_remove_dir(c.state_dir, c.name, false);
	else if (ret_info)
		bad = vm_get(c.state_dir, c.name, ret_info);
	return bad;
}

/* QEMU's word for the machine's state. */
static void ask_state(const char *state_dir, const char *name, struct vm_info *info)
{
	char path[FD_SOCKET_PATH_MAX + 1];
	json_t *status = NULL;
	struct qmp *q = NULL;

	snprintf(info->state, sizeof(info->state), "no answer");
	if (vm_path(path, sizeof(path), state_dir, name, VM_FILE_QMP) ||
	    qmp_open(path, QMP_ASK_MS, &q))
		return;
	if (!qmp_call(q, "query-status", NULL, &status)) {
		const char *word = json_string_value(json_object_get(status, "status"));

		snprintf(info->state, sizeof(info->state), "%s", word ? word : "unknown");
	}
	json_decref(status);
	vm_ask_disks(q, info);
	qmp_close(q);
}

int vm_get(const char *state_dir, const char *name, struct vm_info *ret_info)
{
	struct vm_record rec;
	struct vm_info info = { .state = "ended" };

	if (vm_name_check(name, NULL) || vm_record_load(state_dir, name, &rec))
		return -ENOENT;
	CLEANUP(fd_cleanup) int pidfd = vm_pidfd(&rec);

	snprintf(info.name, sizeof(info.name), "%s", name);
	snprintf(info.accel, sizeof(info.accel), "%s", rec.kvm ? "kvm" : "tcg");
	info.cpus = rec.cpus;
	info.memory_b = rec.memory_b;
	info.started_s = rec.started_s;
	if (pidfd >= 0) {
		info.pid = rec.pid;
		ask_state(state_dir, name, &info);
	}
	*ret_info = info;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct vm_info *)a)->name, ((const struct vm_info *)b)->name);
}

ssize_t vm_list(const char *state_dir, struct vm_info **ret)
{
	char dir[PATH_MAX];
	int err = vm_state_dir(dir, sizeof(dir));

	if (!state_dir && err)
		return err;
	DIR *d = opendir(state_dir ? state_dir : dir);
	struct vm_info *all = NULL;
	size_t n = 0;

	*ret = NULL;
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	for (struct dirent *e = readdir(d); e; e = readdir(d)) {
		struct vm_info info;

		if (vm_get(state_dir, e->d_name, &info))
			continue;
		struct vm_info *more = realloc(all, (n + 1) * sizeof(*all));

		if (!more) {
			free(all);
			closedir(d);
			return -ENOMEM;
		}
		all = more;
		all[n++] = info;
	}
	closedir(d);
	if (n)
		qsort(all, n, sizeof(*all), by_name);
	*ret = all;
	return (ssize_t)n;
}

/* Waits for the end of the process. Return: whether it came. */
static bool wait_end(int pidfd, unsigned ms)
{
	uint64_t deadline_ns = clock_ns() + ms * NS_PER_MS;

	for (uint64_t now_ns = clock_ns(); now_ns < deadline_ns; now_ns = clock_ns()) {
		struct pollfd p = { .fd = pidfd, .events = POLLIN };
		int n = poll(&p, 1, (int)((deadline_ns - now_ns) / NS_PER_MS) + 1);

		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
	}
	return false;
}

/* Says @command to QEMU and waits for its end. */
static bool end_by(const char *path, const char *command, int pidfd, unsigned ms)
{
	struct qmp *q = NULL;

	if (qmp_open(path, QMP_ASK_MS, &q))
		return false;
	/* QEMU may be gone before it has answered "quit" */
	qmp_call(q, command, NULL, NULL);
	qmp_close(q);
	return wait_end(pidfd, ms);
}

void vm_end(const char *state_dir, const char *name, int pidfd, unsigned grace_ms)
{
	char path[FD_SOCKET_PATH_MAX + 1];

	if (vm_path(path, sizeof(path), state_dir, name, VM_FILE_QMP) ||
	    (!(grace_ms && end_by(path, "system_powerdown", pidfd, grace_ms)) &&
	     !end_by(path, "quit", pidfd, QUIT_MS)))
		end_process(pidfd);
}

int vm_forget(const char *state_dir, const char *name, const struct vm_record *rec,
	      bool keep_console, struct vm_error *err)
{
	CLEANUP(fd_cleanup) int lock = lock_state_dir(state_dir, err);
	struct vm_record now;

	if (lock < 0)
		return lock;
	/* the name may have been taken anew meanwhile */
	if (!vm_record_load(state_dir, name, &now) && now.pid == rec->pid &&
	    now.start_ticks == rec->start_ticks)
		vm_remove_dir(state_dir, name, keep_console);
	return 0;
}

int vm_stop(const char *state_dir, const char *name, unsigned grace_ms, struct vm_error *err)
{
	struct vm_record rec;

	if (vm_name_check(name, err) || vm_record_load(state_dir, name, &rec))
		return vm_fail(err, -ENOENT, "name", "no machine %s", name);
	CLEANUP(fd_cleanup) int pidfd = vm_pidfd(&rec);

	if (pidfd >= 0)
		vm_end(state_dir, name, pidfd, grace_ms);
	return vm_forget(state_dir, name, &rec, false, err);
}
