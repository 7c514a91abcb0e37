/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls that a worker may make. Part of the sandbox; see filter.c for the list. */
#pragma once

/* Context: one thread. Return: 0; -errno. */
int filter_enter(void);
/* As filter_enter(), for a process that only waits to end; see hold.h. */
int filter_enter_hold(void);
