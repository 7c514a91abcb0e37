/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/sandbox.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/filter.h"

static void say(char text[64], int err, const char *on)
{
	if (err)
		snprintf(text, 64, "off: %.50s", strerror(-err));
	else
		snprintf(text, 64, "%s", on);
}

int sandbox_drop_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };

	/* The bounding set first, which needs one of them; an ordinary user has none to drop it. */
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &head, none) ? -errno : 0;
}

/* The kernel's struct landlock_ruleset_attr of ABI 6; Debian 12's header ends before it does. */
struct landlock_attr {
	uint64_t access_fs, access_net, scoped;
};

/* All rights to files that ABI @abi knows: a ruleset that grants none of them. */
static struct landlock_attr landlock_all(int abi)
{
	static const unsigned nfs[] = { 0, 13, 14, 15, 15, 16 }; /* bits of access_fs by ABI */
	unsigned bits = nfs[abi < 5 ? abi : 5];

	return (struct landlock_attr){
		.access_fs = (1u << bits) - 1,
		.access_net = abi >= 4 ? 3 : 0, /* bind and connect TCP */
		.scoped = abi >= 6 ? 3 : 0,	/* abstract sockets and signals outside */
	};
}

int sandbox_ruleset(int *ret_abi)
{
	/* 444..446 on every architecture that postern runs on; glibc 2.36 has no wrappers */
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* version */);

	if (abi < 0)
		return -errno;
	struct landlock_attr attr = landlock_all((int)abi);
	size_t len = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
	int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, len, 0);

	*ret_abi = (int)abi;
	return fd < 0 ? -errno : fd;
}

/* The kernel's struct landlock_path_beneath_attr. */
struct landlock_path {
	uint64_t access;
	int32_t fd;
} __attribute__((packed));

int sandbox_allow_below(int ruleset, const char *path, uint64_t access)
{
	CLEANUP(fd_cleanup) int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path rule = { access, fd };

	if (fd < 0)
		return -errno;
	return syscall(SYS_landlock_add_rule, ruleset, 1 /* path beneath */, &rule, 0) ? -errno : 0;
}

int sandbox_restrict(int ruleset)
{
	return syscall(SYS_landlock_restrict_self, ruleset, 0) ? -errno : 0;
}

static int enter_landlock(int *ret_abi)
{
	CLEANUP(fd_cleanup) int fd = sandbox_ruleset(ret_abi);

	return fd < 0 ? fd : sandbox_restrict(fd);
}

void sandbox_enter(struct sandbox_report *ret)
{
	char on[32];
	int abi = 0, err;

	say(ret->no_new_privs, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0, "on");
	say(ret->capabilities, sandbox_drop_capabilities(), "on: none left");
	err = enter_landlock(&abi);
	snprintf(on, sizeof(on), "on: no files (ABI %d)", abi);
	say(ret->landlock, err, on);
	say(ret->seccomp, filter_enter(), "on");
}
