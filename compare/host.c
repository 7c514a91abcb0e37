/* SPDX-License-Identifier: Apache-2.0 */
#include "compare/host.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/cpus.h"
#include "base/fd.h"
#include "compare/guard.h"

#define START_NS (10 * NS_PER_S)
#define LOG_MAX_B (256 * KIB)
#define BLOCK_B (1u << 20)

int host_open(struct host *h, struct ctl_error *err)
{
	int rc = guard_start();

	*h = (struct host){ .dir = "/tmp/postern-compare-XXXXXX" };
	if (rc)
		return ctl_fail(err, rc, "compare_failed", NULL, "a helper process: %s",
				strerror(-rc));
	guard_hold();
	rc = mkdtemp(h->dir) ? guard_dir(h->dir) : -errno;
	guard_release();
	if (!rc)
		return 0;
	guard_end();
	return ctl_fail(err, rc, "compare_failed", NULL, "%s: %s", h->dir, strerror(-rc));
}

void host_close(struct host *h)
{
	ctl_client_close(h->postern);
	guard_end();
}

/* In the child. Does not return. */
static void become(const struct host *h, char *const argv[], const char *log)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", h->dir, log);
	int out = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	int null = open("/dev/null", O_RDONLY);

	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	setsid();
	execvp(argv[0], argv);
	dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

int host_spawn(struct host *h, char *const argv[], const char *log, pid_t *ret_pid)
{
	guard_hold();
	pid_t pid = child_fork();

	if (!pid)
		become(h, argv, log);
	int rc = pid < 0 ? -errno : guard_process(pid);

	guard_release();
	if (!rc)
		*ret_pid = pid;
	return rc;
}

char *host_last_words(const struct host *h, const char *log, char *buf)
{
	char path[PATH_MAX], *text = NULL;

	*buf = '\0';
	snprintf(path, sizeof(path), "%s/%s", h->dir, log);
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fd_read_file(fd, LOG_MAX_B, &text) < 0)
		return buf;
	size_t len = strlen(text);

	while (len && text[len - 1] == '\n')
		text[--len] = '\0';
	char *line = strrchr(text, '\n');

	snprintf(buf, 200, "%s", line ? line + 1 : text);
	free(text);
	return buf;
}

int host_wait_socket(const char *socket, pid_t pid)
{
	uint64_t deadline_ns = clock_ns() + START_NS;

	for (;;) {
		int fd = fd_connect(socket);

		if (fd >= 0) {
			fd_close(fd);
			return 0;
		}
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return -ECHILD;
		if (clock_ns() > deadline_ns)
			return -ETIMEDOUT;
		nanosleep(&(struct timespec){ .tv_nsec = 5 * NS_PER_MS }, NULL);
	}
}

int host_find(const char *name, const char *beside, const char *lib, char *buf)
{
	char own[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);

	if (n > 0) {
		own[n] = '\0';
		*strrchr(own, '/') = '\0';
		if (snprintf(buf, PATH_MAX, "%s/%s%s", own, beside, name) < PATH_MAX &&
		    !access(buf, R_OK))
			return 0;
		if (lib && snprintf(buf, PATH_MAX, "%s/../%s/%s", own, lib, name) < PATH_MAX &&
		    !access(buf, R_OK))
			return 0;
	}
	return -ENOENT;
}

/* The worker joins the keeper's row of processes; -1: not there yet. */
static pid_t worker_of(struct host *h, struct ctl_error *err)
{
	json_t *status = NULL;

	if (ctl_client_call(h->postern, "status", NULL, &status, err))
		return -1;
	pid_t pid = (pid_t)ctl_u64(status, "worker_pid");

	json_decref(status);
	return pid;
}

int host_start_postern(struct host *h, struct ctl_error *err)
{
	char program[PATH_MAX], control[64], state[64], said[200];

	if (h->postern)
		return 0;
	if (host_find("posternd", "", NULL, program))
		strcpy(program, "posternd");
	snprintf(control, sizeof(control), "%s/control.sock", h->dir);
	snprintf(state, sizeof(state), "%s/state", h->dir);
	char *argv[] = { program, "--control", control, "--state", state, NULL };
	pid_t pid;
	int rc = host_spawn(h, argv, "posternd.log", &pid);

	if (!rc)
		rc = host_wait_socket(control, pid);
	if (rc)
		return ctl_fail(err, rc, "compare_failed", NULL, "posternd: %s: %s", strerror(-rc),
				host_last_words(h, "posternd.log", said));
	rc = ctl_client_open(control, &h->postern, err);
	if (rc)
		return rc;
	pid_t worker = worker_of(h, err);

	if (worker <= 0)
		return ctl_fail(err, -ECHILD, "compare_failed", NULL, "posternd has no worker");
	h->daemon = (struct host_pids){ .pid = { pid, worker }, .n = 2 };
	return guard_process(worker);
}

int host_disk(struct host *h, const char *name, const char *medium, uint64_t size_b,
	      struct ctl_error *err)
{
	char socket[64];

	snprintf(socket, sizeof(socket), "%s/%s.sock", h->dir, name);
	int rc = host_start_postern(h, err);

	if (rc || !access(socket, F_OK))
		return rc;
	json_t *front = json_pack("{s:s, s:s}", "kind", "vhost-user", "socket", socket);
	json_t *kind = ctl_kind_from_text(medium, "medium", err);

	if (!kind) {
		json_decref(front);
		return -EINVAL;
	}
	json_t *params = json_pack("{s:s, s:o, s:I, s:o}", "name", name, "medium", kind, "size",
				   (json_int_t)size_b, "front", front);
	json_t *answer = NULL;

	rc = ctl_client_call(h->postern, "disk.create", params, &answer, err);
	json_decref(params);
	json_decref(answer);
	return rc;
}

int host_poll(struct host *h, const char *name, const char *poll, struct ctl_error *err)
{
	json_t *params = json_pack("{s:s, s:s}", "name", name, "poll", poll), *answer = NULL;
	int rc = ctl_client_call(h->postern, "disk.set", params, &answer, err);

	json_decref(params);
	json_decref(answer);
	return rc;
}

int host_write_file(const char *path, uint64_t size_b)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CLEANUP(base_free) uint8_t *block = malloc(BLOCK_B);

	if (fd < 0)
		return -errno;
	if (!block)
		return -ENOMEM;
	for (size_t have = 0; have < BLOCK_B;) {
		ssize_t n = getrandom(block + have, BLOCK_B - have, 0);

		if (n < 0)
			return -errno;
		have += (size_t)n;
	}
	for (uint64_t at = 0; at < size_b; at += BLOCK_B) {
		int rc = fd_write_all(fd, block, (size_t)min_u64(BLOCK_B, size_b - at));

		if (rc)
			return rc;
	}
	return fsync(fd) ? -errno : 0;
}

uint64_t host_cpu_ns(const struct host_pids *pids)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < pids->n; i++) {
		struct timespec t;
		clockid_t clock;

		if (!clock_getcpuclockid(pids->pid[i], &clock) && !clock_gettime(clock, &t))
			sum += (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
	}
	return sum;
}

uint64_t host_busy_ns(void)
{
	unsigned long long user, nice, system, idle, iowait, irq, softirq, steal = 0;
	FILE *f = fopen("/proc/stat", "re");
	uint64_t ticks = 0;

	if (!f)
		return 0;
	if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
		   &iowait, &irq, &softirq, &steal) == 8)
		ticks = user + nice + system + irq + softirq + steal;
	fclose(f);
	return ticks * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* Whether @a and @b are threads of one core. */
static bool same_core(int a, int b)
{
	char path[96], list[64] = "";
	cpu_set_t set;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
		 a);
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	bool got = fgets(list, sizeof(list), f);

	fclose(f);
	list[strcspn(list, "\n")] = '\0';
	return got && !cpus_parse(list, &set) && CPU_ISSET((unsigned)b, &set);
}

void host_cpus(int *ret_client, int *ret_server)
{
	cpu_set_t set;
	int server = 0, client = -1, any = -1;

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof(set), &set);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET((unsigned)i, &set))
			server = i;
	for (int i = 0; i < server; i++) {
		if (!CPU_ISSET((unsigned)i, &set))
			continue;
		any = i;
		client = same_core(server, i) ? client : i;
	}
	*ret_server = server;
	*ret_client = client >= 0 ? client : any >= 0 ? any : server;
}
