/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/machine.h"

#include <ctype.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/fd.h"
#include "base/proc.h"

/* machine.json is a line that this program wrote */
#define RECORD_MAX_B 4096

int vm_fail(struct vm_error *err, int code, const char *param, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	err->param = param;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return code;
}

int vm_name_check(const char *name, struct vm_error *err)
{
	size_t len = name ? strlen(name) : 0;
	bool good = len && len <= VM_NAME_MAX && *name != '.' && *name != '-';

	for (size_t i = 0; good && i < len; i++)
		good = isalnum((unsigned char)name[i]) || strchr("._-", name[i]);
	if (good)
		return 0;
	return vm_fail(err, -EINVAL, "name", "1 to %d letters, digits, '.', '_' and '-', the first "
		       "neither '.' nor '-'", VM_NAME_MAX);
}

int vm_state_dir(char *ret_path, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int n;

	if (runtime && *runtime == '/')
		n = snprintf(ret_path, size, "%s/postern/vm", runtime);
	else if (!geteuid())
		n = snprintf(ret_path, size, "/run/postern/vm");
	else
		n = snprintf(ret_path, size, "/tmp/postern-%u/vm", geteuid());
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int vm_path(char *ret_path, size_t size, const char *state_dir, const char *name,
	    const char *file)
{
	char dir[PATH_MAX];

	if (!state_dir) {
		int err = vm_state_dir(dir, sizeof(dir));

		if (err)
			return err;
		state_dir = dir;
	}
	int n = snprintf(ret_path, size, "%s/%s%s%s", state_dir, name, file ? "/" : "",
			 file ? file : "");

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

int vm_pidfd(const struct vm_record *rec)
{
	CLEANUP(fd_cleanup) int fd = (int)syscall(SYS_pidfd_open, rec->pid, 0);
	struct pollfd ended = { .fd = fd, .events = POLLIN };
	struct proc now;

	/* looked at after the opening: from here on the descriptor cannot mean another process */
	if (fd < 0 || proc_look(rec->pid, &now) || now.start_ticks != rec->start_ticks)
		return -ESRCH;
	/* ended, and nobody has collected its status: so in containers without an init */
	if (poll(&ended, 1, 0))
		return -ESRCH;
	return fd_steal(&fd);
}

int vm_record_load(const char *state_dir, const char *name, struct vm_record *ret)
{
	char path[PATH_MAX], *text = NULL;
	int err = vm_path(path, sizeof(path), state_dir, name, VM_FILE_MACHINE);

	if (err)
		return err;
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ssize_t n = fd_read_file(fd, RECORD_MAX_B, &text);

	if (n < 0)
		return (int)n;
	json_t *json = json_loads(text, 0, NULL);
	json_int_t pid, ticks, started_s, memory_b, cpus;
	int kvm;

	err = json_unpack(json, "{s:I, s:I, s:I, s:I, s:I, s:b}", "pid", &pid, "start_ticks",
			  &ticks,
			  "started_s", &started_s, "memory_b", &memory_b, "cpus", &cpus, "kvm",
			  &kvm);
	json_decref(json);
	free(text);
	if (err)
		return -EBADMSG;
	*ret = (struct vm_record){ .pid = (pid_t)pid, .start_ticks = (uint64_t)ticks,
				   .started_s = (uint64_t)started_s, .memory_b = (uint64_t)memory_b,
				   .cpus = (unsigned)cpus, .kvm = kvm };
	return 0;
}

int vm_record_save(const char *state_dir, const char *name, const struct vm_record *rec)
{
	char path[PATH_MAX];
	int err = vm_path(path, sizeof(path), state_dir, name, VM_FILE_MACHINE);

	if (err)
		return err;
	json_t *json = json_pack("{s:I, s:I, s:I, s:I, s:I, s:b}", "pid", (json_int_t)rec->pid,
				 "start_ticks", (json_int_t)rec->start_ticks, "started_s",
				 (json_int_t)rec->started_s, "memory_b", (json_int_t)rec->memory_b,
				 "cpus", (json_int_t)rec->cpus, "kvm", (int)rec->kvm);
	err = json_dump_file(json, path, JSON_COMPACT) ? -EIO : 0;
	json_decref(json);
	return err;
}

void vm_become(char *const argv[], int out)
{
	int null = open("/dev/null", O_RDONLY);

	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	execvp(argv[0], argv);
	dprintf(STDERR_FILENO, "%s: %m\n", argv[0]);
	_exit(127);
}

int vm_run_program(char *const argv[], char *ret_text, size_t size)
{
	int pipe_fd[2];
	size_t have_b = 0;

	if (pipe2(pipe_fd, O_CLOEXEC))
		return -errno;
	/* until it has gone to the background nobody else knows of it */
	pid_t pid = child_fork();

	if (pid == 0) {
		/* Ctrl-C at the terminal of the caller is not meant for what it started */
		setsid();
		vm_become(argv, pipe_fd[1]);
	}
	close(pipe_fd[1]);
	if (pid < 0) {
		close(pipe_fd[0]);
		return -EAGAIN;
	}
	/* to the end of the output, however long, so that the program never waits for us */
	for (;;) {
		char spill[256];
		bool room = have_b < size - 1;
		ssize_t n = read(pipe_fd[0], room ? ret_text + have_b : spill,
				 room ? size - 1 - have_b : sizeof(spill));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if (room)
			have_b += (size_t)n;
	}
	ret_text[have_b] = 0;
	close(pipe_fd[0]);
	int status;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
