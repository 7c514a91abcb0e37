/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cpus.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int take_cpu(const char **text, unsigned *ret_cpu)
{
	char *end;

	if (!isdigit((unsigned char)**text))
		return -EINVAL;
	unsigned long cpu = strtoul(*text, &end, 10);
	if (cpu >= CPU_SETSIZE)
		return -ERANGE;
	*text = end;
	*ret_cpu = (unsigned)cpu;
	return 0;
}

int cpus_parse(const char *text, cpu_set_t *ret_set)
{
	cpu_set_t set;
	unsigned first, last;

	CPU_ZERO(&set);
	for (;; text++) {
		int err = take_cpu(&text, &first);

		if (err)
			return err;
		last = first;
		if (*text == '-') {
			text++;
			err = take_cpu(&text, &last);
			if (err || last < first)
				return err ? err : -EINVAL;
		}
		for (unsigned i = first; i <= last; i++)
			CPU_SET(i, &set);
		if (!*text)
			break;
		if (*text != ',')
			return -EINVAL;
	}
	*ret_set = set;
	return 0;
}

char *cpus_format(const cpu_set_t *set, char *buf, size_t len)
{
	char word[32];

	buf[0] = '\0';
	for (unsigned i = 0; i < CPU_SETSIZE; i++) {
		unsigned last = i;

		if (!CPU_ISSET(i, set))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
			last++;
		snprintf(word, sizeof(word), last > i ? "%s%u-%u" : "%s%u", *buf ? "," : "", i,
			 last);
		if (strlen(buf) + strlen(word) < len)
			strcat(buf, word);
		i = last;
	}
	return buf;
}

int cpus_pin(unsigned cpu, cpu_set_t *ret_old)
{
	cpu_set_t one, old;

	if (cpu >= CPU_SETSIZE)
		return -EINVAL;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_getaffinity(0, sizeof(old), &old) || sched_setaffinity(0, sizeof(one), &one))
		return -errno;
	if (ret_old)
		*ret_old = old;
	return 0;
}
