/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the keeper starts a program that is not its own: a storage function, which is
 * hostile. It gets a socket, the descriptors it was given, memory up to a bound, and one
 * thread; it can read its program and the system's libraries, and nothing else.
 */
#pragma once

#include "keeper/proto.h"

struct jail_conf {
	char *const *argv; /* argv[0]: the program's path */
	const char *name;  /* its environment has POSTERN_FUNCTION=name */
	int sock;	   /* becomes FN_SOCKET, and what is in files what follows */
	int files[KEEPER_FILES_MAX];
	unsigned nfile;
	uint32_t memory_mib;
	const char *cpus; /* NULL: all that we have */
	/* The tool that holds a machine: it is ours, and what it starts, QEMU, has to have files,
	 * sockets and /dev/kvm; but no privilege, and no way to get one. */
	bool is_machine;
};

/* The pieces of @text, divided by blanks; quotation marks keep some together. Ownership: one block,
 * the caller's to free. Return: 0; -EINVAL: none, or a quotation without end; -ENOMEM. */
int jail_split(const char *text, char ***ret_argv);

/* Finds a program that is named without a '/' in PATH. @room holds KEEPER_PATH_MAX. Return: 0;
 * -ENOENT. */
int jail_find(const char *name, char *room);

/* In a child of a process without threads: becomes the program. What holds is written to
 * @report_fd, as uint32_t; and, if it cannot be started, -errno behind it. Does not return. */
void jail_enter(const struct jail_conf *c, int report_fd) __attribute__((noreturn));
