/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls that a worker, and a program, may make. Part of the sandbox; see filter.c for
 * the lists. */
#pragma once

/* Context: one thread. Return: 0; -errno. */
int filter_enter(void);
/* As filter_enter(), for a process that only waits to end; see hold.h. */
int filter_enter_hold(void);

/* As filter_enter(), for a program that process @pid is about to become: it may start that, once it
 * is allowed files, but no thread, process, socket or ring. */
int filter_enter_program(int pid);
