/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/jail.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cpus.h"
#include "base/fd.h"
#include "base/parse.h"
#include "keeper/filter.h"
#include "keeper/sandbox.h"

/* Of the program: standard error for what it has to say, its socket, its files. */
#define FIRST_FD 3
/* Where descriptors are out of the way while they are put in order. */
#define FAR_FD 64
#define NOFILE_MAX 4096 /* each lane of its disks is one */

int jail_split(const char *text, char ***ret_argv)
{
	size_t len = strlen(text) + 1, max = len / 2 + 2, n = 0;
	char **argv = malloc(max * sizeof(*argv) + len + 1);
	char *to = (char *)(argv + max);

	if (!argv)
		return -ENOMEM;
	for (;;) {
		text += strspn(text, PARSE_BLANKS);
		if (!*text)
			break;
		argv[n++] = to;
		text = parse_word(text, &to);
		if (!text)
			break;
	}
	argv[n] = NULL;
	if (!text || !n) {
		free(argv);
		return -EINVAL;
	}
	*ret_argv = argv;
	return 0;
}

int jail_find(const char *name, char *room)
{
	const char *path = getenv("PATH");

	if (strchr(name, '/')) {
		snprintf(room, KEEPER_PATH_MAX, "%s", name);
		return *name != '/' ? -ENOENT : access(room, X_OK) ? -errno : 0;
	}
	for (path = path ? path : "/usr/local/bin:/usr/bin:/bin"; *path;) {
		size_t n = strcspn(path, ":");

		if (*path == '/' && n + strlen(name) + 2 < KEEPER_PATH_MAX) {
			snprintf(room, KEEPER_PATH_MAX, "%.*s/%s", (int)n, path, name);
			if (!access(room, X_OK))
				return 0;
		}
		path += n + (path[n] == ':');
	}
	return -ENOENT;
}

/* Descriptors in their places, and no others after exec. Return: where @report_fd is now. */
static int arrange(const struct jail_conf *c, int report_fd)
{
	int far[KEEPER_FILES_MAX + 1], at = FIRST_FD;
	int report = fcntl(report_fd, F_DUPFD_CLOEXEC, FAR_FD);
	int null = open("/dev/null", O_RDWR);

	far[0] = fcntl(c->sock, F_DUPFD_CLOEXEC, FAR_FD);
	for (unsigned i = 0; i < c->nfile; i++)
		far[i + 1] = fcntl(c->files[i], F_DUPFD_CLOEXEC, FAR_FD);
	dup2(null, STDIN_FILENO);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	for (unsigned i = 0; i <= c->nfile; i++)
		dup2(far[i], at++);
	syscall(SYS_close_range, at, ~0u, 1u << 2 /* CLOSE_RANGE_CLOEXEC */);
	return report;
}

static void limit(int what, rlim_t to)
{
	struct rlimit l = { to, to };

	setrlimit((__rlimit_resource_t)what, &l);
}

static int limit_memory(uint32_t mib)
{
	struct rlimit l = { mib * MIB, mib * MIB };

	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NOFILE, NOFILE_MAX);
	limit(RLIMIT_MEMLOCK, 0);
	return setrlimit(RLIMIT_DATA, &l) ? -errno : 0;
}

/* One that the system does not have is none to allow. */
static int forbid_files(const char *program)
{
	static const char *const libraries[] = { "/usr/lib", "/usr/lib64", "/lib", "/lib64",
						 "/usr/local/lib" };
	int abi;
	CLEANUP(fd_cleanup) int rules = sandbox_ruleset(&abi);

	if (rules < 0)
		return rules;
	for (size_t i = 0; i < ARRAY_SIZE(libraries); i++)
		sandbox_allow_below(rules, libraries[i], SANDBOX_READ | SANDBOX_EXECUTE);
	sandbox_allow_below(rules, "/etc/ld.so.cache", SANDBOX_READ);
	int err = sandbox_allow_below(rules, program, SANDBOX_READ | SANDBOX_EXECUTE);

	return err ? err : sandbox_restrict(rules);
}

/* An ordinary user needs a user name space for it, which not every host allows. */
static int forbid_network(void)
{
	int what = CLONE_NEWNET | CLONE_NEWIPC;

	return unshare(geteuid() ? what | CLONE_NEWUSER : what) ? -errno : 0;
}

static void go_where_told(const char *cpus)
{
	cpu_set_t set;

	if (cpus && !cpus_parse(cpus, &set))
		sched_setaffinity(0, sizeof(set), &set);
}

static void reset_signals(void)
{
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static uint32_t forbid_privileges(void)
{
	bool held = !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !sandbox_drop_capabilities();

	return (uint32_t)held << KEEPER_JAIL_PRIVS;
}

/* Becomes the program. Does not return. */
static void run(const struct jail_conf *c, char *const env[], int report) __attribute__((noreturn));

static void run(const struct jail_conf *c, char *const env[], int report)
{
	execve(c->argv[0], c->argv, env);
	int32_t err = -errno;

	(void)!write(report, &err, sizeof(err));
	_exit(127);
}

void jail_enter(const struct jail_conf *c, int report_fd)
{
	char name[KEEPER_GROUP_MAX + 32];
	char *env[] = { name, NULL };
	uint32_t held = 0;

	snprintf(name, sizeof(name), "POSTERN_FUNCTION=%s", c->name);
	reset_signals();
	/* Ctrl-C is the keeper's to act on */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	go_where_told(c->cpus);
	int report = arrange(c, report_fd);

	if (c->is_machine) {
		limit(RLIMIT_CORE, 0);
		held = forbid_privileges();
		(void)!write(report, &held, sizeof(held));
		run(c, environ, report); /* where machines are noted down depends on it */
	}
	held |= (uint32_t)!forbid_network() << KEEPER_JAIL_NETWORK;
	held |= (uint32_t)!limit_memory(c->memory_mib) << KEEPER_JAIL_MEMORY;
	held |= forbid_privileges();
	held |= (uint32_t)!forbid_files(c->argv[0]) << KEEPER_JAIL_FILES;
	/* the filter is the last, and what it is told to count as held the first thing it lets
	 * out */
	uint32_t calls = 1u << KEEPER_JAIL_CALLS;

	if (filter_enter_program(getpid()))
		calls = 0;
	held |= calls;
	(void)!write(report, &held, sizeof(held));
	run(c, env, report);
}
