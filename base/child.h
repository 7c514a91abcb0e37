/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <sys/types.h>

/* fork() of a child that does not outlive the calling thread: however early that ends, the child
 * is killed (PR_SET_PDEATHSIG), or never returns from here. A change of its user or groups, and
 * executing a program with rights of its own, undo it: prctl(2). Return: as fork(). */
pid_t child_fork(void);

/* How one ended, from waitpid()'s @status: "was killed by SIGSEGV", "exited with status 3". */
void child_how(int status, char *ret_text, size_t size);
