/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `start`: how long a program takes from its start until its socket accepts.
 *   socket=PATH times=N exec PROGRAM ARGS...
 * Each start is ended with SIGTERM and waited for.
 */
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "tests/bench/tool.h"

#define GIVE_UP_NS (10 * NS_PER_S)
#define TIMES_MAX 100

extern char **environ;

/* Return: milliseconds; negative if it never accepted. */
static double start_once(const char *socket_path, char **argv)
{
	const struct timespec pause = { .tv_nsec = 50 * NS_PER_US };
	uint64_t start = clock_ns();
	double ms = -1;
	pid_t pid;

	unlink(socket_path);
	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ))
		die("start the target", errno);
	while (ms < 0 && clock_ns() - start < GIVE_UP_NS) {
		int sock = fd_connect(socket_path);

		if (sock >= 0)
			ms = (double)(clock_ns() - start) / 1e6;
		else
			nanosleep(&pause, NULL);
		fd_close(sock);
	}
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	return ms;
}

int tool_start(char **args)
{
	const char *socket_path = arg_text(args, "socket", "");
	unsigned times = (unsigned)min_u64(arg_num(args, "times", 15), TIMES_MAX);
	double ms[TIMES_MAX];

	while (*args && strcmp(*args, "exec"))
		args++;
	if (!*args || !args[1] || !times)
		die("nothing to start", EINVAL);
	for (unsigned i = 0; i < times; i++) {
		ms[i] = start_once(socket_path, args + 1);
		if (ms[i] < 0)
			die("the target never accepted", ETIMEDOUT);
	}
	double mid = median(ms, times);

	printf("{\"ms\": %.2f, \"min\": %.2f, \"max\": %.2f}\n", mid, ms[0], ms[times - 1]);
	return 0;
}
