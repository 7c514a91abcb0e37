/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const level_name[] = { "error", "warn", "info", "debug" };
static int max_level = LOG_INFO; /* relaxed: a late change only delays a line */

void log_set_level(enum log_level level)
{
	__atomic_store_n(&max_level, (int)level, __ATOMIC_RELAXED);
}

enum log_level log_get_level(void)
{
	return (enum log_level)__atomic_load_n(&max_level, __ATOMIC_RELAXED);
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
	for (unsigned i = 0; i < ARRAY_SIZE(level_name); i++) {
		if (!strcmp(name, level_name[i])) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
	return level_name[level];
}

/* Guest-chosen strings may reach a line; a control byte must not forge another. */
static void blank_control_bytes(char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
			s[i] = '?';
}

/* Whoever reads our lines may have stopped, and pollers and the keeper must not: a guest that
 * breaks its ring again and again would hold up all others' disks. */
static bool is_read(void)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

	return poll(&p, 1, 0) != 0;
}

void log_write(enum log_level level, const char *object, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (level > log_get_level())
		return;
	int n = snprintf(line, sizeof(line) - 1, "postern: %s: %s%s%s", level_name[level],
			 object ? "[" : "", object ? object : "", object ? "] " : "");
	size_t len = (size_t)(n < 0 ? 0 : n);
	if (len < sizeof(line) - 1) {
		va_start(ap, fmt);
		n = vsnprintf(line + len, sizeof(line) - 1 - len, fmt, ap);
		va_end(ap);
		len += (size_t)(n < 0 ? 0 : n);
	}
	len = min_u64(len, sizeof(line) - 2);
	blank_control_bytes(line, len);
	line[len++] = '\n';
	if (is_read())
		(void)!write(STDERR_FILENO, line, len);
}
