/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An allow-list. What is not on it gets EPERM and not death: a newer C library
 * that tries a newer call first then falls back to one that is listed, instead of
 * taking every guest's disk with it; the call is refused either way. Starting a
 * program is the one thing that no version of a worker does and every intruder
 * tries: that kills.
 */
#include "keeper/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>

#include "base/base.h"

static const int plain[] = {
	/* I/O on descriptors that the keeper or a front end has given */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
	SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(preadv2),
	SCMP_SYS(pwritev2), SCMP_SYS(lseek), SCMP_SYS(fsync), SCMP_SYS(fdatasync),
	SCMP_SYS(sync_file_range), SCMP_SYS(fallocate), SCMP_SYS(ftruncate), SCMP_SYS(fadvise64),
	SCMP_SYS(fstat), SCMP_SYS(fstatfs), SCMP_SYS(fcntl), SCMP_SYS(close), SCMP_SYS(dup),
	SCMP_SYS(dup3), SCMP_SYS(close_range), SCMP_SYS(pipe2), SCMP_SYS(splice),
	SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register),
	/* connected and listening sockets; none is made */
	SCMP_SYS(accept4), SCMP_SYS(recvmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendmsg),
	SCMP_SYS(sendto), SCMP_SYS(shutdown), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
	SCMP_SYS(getsockname), SCMP_SYS(getpeername),
	/* waiting */
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6),
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2), SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime), SCMP_SYS(timerfd_gettime), SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(restart_syscall),
	/* memory */
	SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise),
	SCMP_SYS(brk), SCMP_SYS(mincore), SCMP_SYS(mlock), SCMP_SYS(mlock2), SCMP_SYS(munlock),
	SCMP_SYS(memfd_create), SCMP_SYS(msync), SCMP_SYS(mbind), SCMP_SYS(get_mempolicy),
	/* threads */
	SCMP_SYS(futex), SCMP_SYS(futex_waitv), SCMP_SYS(set_robust_list),
	SCMP_SYS(get_robust_list), SCMP_SYS(rseq), SCMP_SYS(membarrier), SCMP_SYS(sched_yield),
	SCMP_SYS(sched_setaffinity), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_getparam),
	SCMP_SYS(sched_getscheduler), SCMP_SYS(getcpu), SCMP_SYS(gettid), SCMP_SYS(set_tid_address),
	SCMP_SYS(prctl), SCMP_SYS(arch_prctl), SCMP_SYS(exit), SCMP_SYS(exit_group),
	/* signals to itself, time, identity, usage */
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack), SCMP_SYS(tgkill), SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres),
	SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getpid), SCMP_SYS(getppid),
	SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
	SCMP_SYS(getrandom), SCMP_SYS(getrusage), SCMP_SYS(times), SCMP_SYS(sysinfo),
	SCMP_SYS(uname), SCMP_SYS(getrlimit), SCMP_SYS(capget),
};

/* The questions and orders that a block device, a socket or a terminal understands. */
static const unsigned long ioctls[] = {
	BLKGETSIZE64, BLKSSZGET, BLKPBSZGET, BLKIOMIN, BLKIOOPT, BLKROTATIONAL, BLKROGET,
	BLKDISCARD, BLKZEROOUT, BLKDISCARDZEROES, FIONREAD, SIOCOUTQ, FIONBIO, TCGETS,
	FIGETBSZ,
};

/* What a program needs to be loaded, to work on what it has been given, and to sleep. */
static const int program[] = {
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
	SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(lseek), SCMP_SYS(fsync),
	SCMP_SYS(fdatasync), SCMP_SYS(fallocate), SCMP_SYS(ftruncate), SCMP_SYS(fadvise64),
	SCMP_SYS(fstat), SCMP_SYS(fstatfs), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(stat),
	SCMP_SYS(fcntl), SCMP_SYS(close), SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3),
	SCMP_SYS(close_range),
	SCMP_SYS(execve), SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(access), SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getcwd),
	SCMP_SYS(recvmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendmsg), SCMP_SYS(sendto),
	SCMP_SYS(shutdown), SCMP_SYS(getsockopt), SCMP_SYS(getsockname),
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6),
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
	SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
	SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep), SCMP_SYS(restart_syscall),
	SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise),
	SCMP_SYS(brk), SCMP_SYS(msync), SCMP_SYS(futex), SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq), SCMP_SYS(membarrier), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
	SCMP_SYS(getcpu), SCMP_SYS(gettid), SCMP_SYS(set_tid_address), SCMP_SYS(arch_prctl),
	SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getpid),
	SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
	SCMP_SYS(getegid), SCMP_SYS(getrandom), SCMP_SYS(getrusage), SCMP_SYS(sysinfo),
	SCMP_SYS(uname), SCMP_SYS(getrlimit),
};

static scmp_filter_ctx filter_new(void)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));

	/* A filter for a hundred calls is a tree, not a list: a tenth of the checks. */
	if (f)
		seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return f;
}

/* @err: of making @f, which is loaded if there is none. */
static int load(scmp_filter_ctx f, int err)
{
	if (!err)
		err = seccomp_load(f);
	seccomp_release(f);
	return err;
}

static int allow_plain(scmp_filter_ctx f, const int *call, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int err = seccomp_rule_add(f, SCMP_ACT_ALLOW, call[i], 0);

		/* EDOM: a call that this architecture does not have */
		if (err && err != -EDOM)
			return err;
	}
	return 0;
}

/* Reading limits, of itself alone. */
static int allow_own_limits(scmp_filter_ctx f)
{
	return seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
				SCMP_A0_32(SCMP_CMP_EQ, 0), SCMP_A2_64(SCMP_CMP_EQ, 0));
}

static int allow_judged(scmp_filter_ctx f)
{
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(ioctls); i++)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				       SCMP_A1_32(SCMP_CMP_EQ, (uint32_t)ioctls[i]));
	/* fstat() of newer C libraries, and statx() of descriptors */
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
				       SCMP_A3_32(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH,
						  AT_EMPTY_PATH));
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(statx), 1,
				       SCMP_A2_32(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH,
						  AT_EMPTY_PATH));
	if (!err)
		err = allow_own_limits(f);
	/* Threads, no processes. clone3 hides its flags in memory, where no filter sees them; it
	 * "does not exist", and the C library takes clone. */
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				       SCMP_A0_32(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, SCMP_SYS(execve), 0);
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, SCMP_SYS(execveat), 0);
	return err;
}

int filter_enter(void)
{
	scmp_filter_ctx f = filter_new();

	if (!f)
		return -ENOMEM;
	int err = allow_plain(f, plain, ARRAY_SIZE(plain));

	return load(f, err ? err : allow_judged(f));
}

int filter_enter_hold(void)
{
	static const int calls[] = { SCMP_SYS(futex), SCMP_SYS(read), SCMP_SYS(exit) };
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);

	return f ? load(f, allow_plain(f, calls, ARRAY_SIZE(calls))) : -ENOMEM;
}

int filter_enter_program(int pid)
{
	scmp_filter_ctx f = filter_new();

	if (!f)
		return -ENOMEM;
	int err = allow_plain(f, program, ARRAY_SIZE(program));

	/* signals of its own */
	if (!err)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				       SCMP_A0_32(SCMP_CMP_EQ, (uint32_t)pid));
	return load(f, err ? err : allow_own_limits(f));
}
