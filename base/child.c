/* SPDX-License-Identifier: Apache-2.0 */
#include "base/child.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t child_fork(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) /* it ended before the line above: no signal comes */
		_exit(127);
	return 0;
}

void child_how(int status, char *ret_text, size_t size)
{
	int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	const char *name = sig ? sigabbrev_np(sig) : NULL;

	if (name)
		snprintf(ret_text, size, "was killed by SIG%s", name);
	else if (sig)
		snprintf(ret_text, size, "was killed by signal %d", sig);
	else
		snprintf(ret_text, size, "exited with status %d", WEXITSTATUS(status));
}
