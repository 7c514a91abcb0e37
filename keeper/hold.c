/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/hold.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/filter.h"

#define STACK_B (64 * KIB)
#define HOLD_NICE 10 /* a tenth of an ordinary process's share */

static struct {
	int fd;
	int32_t done; /* 1: it is set up; -errno. A futex */
} hold;

static int set_up(void)
{
	prctl(PR_SET_NAME, "postern-hold");
	if (dup2(hold.fd, STDIN_FILENO) < 0 || close_range(STDIN_FILENO + 1, ~0u, 0))
		return -errno;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return filter_enter_hold();
}

/* Has the worker's memory and even its main thread's own, which waits until this is set up; after
 * that nothing of the C library is used. */
static int run(void *arg)
{
	int err = set_up();
	char byte;

	__atomic_store_n(&hold.done, err ? err : 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &hold.done, FUTEX_WAKE, 1);
	while (!err && syscall(SYS_read, STDIN_FILENO, &byte, 1))
		;
	syscall(SYS_exit, 0);
	return 0;
}

int hold_start(int fd)
{
	static char stack[STACK_B] __attribute__((aligned(16)));

	hold.fd = fd;
	pid_t pid = clone(run, stack + sizeof(stack), CLONE_VM | CLONE_PARENT, NULL);
	int err = pid < 0 ? -errno : 0;

	/* pairs with the release in run() */
	while (!err && !__atomic_load_n(&hold.done, __ATOMIC_ACQUIRE))
		syscall(SYS_futex, &hold.done, FUTEX_WAIT, 0, NULL);
	/* Not before: it would set itself up late. And not of the idle class: such a process may
	 * wait a second for each other one that wants its CPU, and the next worker for what it has
	 * in the kernel meanwhile: 64 disks paused twice as long. */
	if (!err)
		setpriority(PRIO_PROCESS, (id_t)pid, HOLD_NICE);
	fd_close(fd);
	return err ? err : hold.done < 0 ? hold.done : 0;
}
