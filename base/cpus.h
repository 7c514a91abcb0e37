/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUs: lists of them as people write them ("2", "1-3", "0,2-3"), and staying on one. Any thread.
 */
#pragma once

#include <sched.h>

#include "base/base.h"

/* Return: 0; -EINVAL: not such a list, or empty; -ERANGE: beyond CPU_SETSIZE. */
int cpus_parse(const char *text, cpu_set_t *ret_set);

/* Writes @set into @buf of @len bytes, cut short if it must be. Return: @buf. */
char *cpus_format(const cpu_set_t *set, char *buf, size_t len);

/* Keeps the calling thread on @cpu. *ret_old, where it could run before, for a later
 * sched_setaffinity(); may be NULL. Return: 0; -EINVAL; -errno. */
int cpus_pin(unsigned cpu, cpu_set_t *ret_old);
