/* SPDX-License-Identifier: Apache-2.0 */
#include "base/proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define LINE_MAX_B 2048 /* 52 numbers and a name */

/* Which of the numbers. */
enum { STATE = 3, START_TICKS = 22, MEMORY_B = 23, ENV_START = 50, ENV_END, FIELDS };

int proc_look(pid_t pid, struct proc *ret)
{
	char path[32], text[LINE_MAX_B];
	uint64_t field[FIELDS] = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	/* the end of the second field, the program's name, which may hold any character */
	char *at = strrchr(text, ')');

	if (!at || at[1] != ' ')
		return -ESRCH;
	char state = at[2];

	for (unsigned i = STATE; at && i < FIELDS; i++) {
		at = strchr(at + 1, ' ');
		field[i] = at ? strtoull(at, NULL, 10) : 0;
	}
	*ret = (struct proc){ .state = state,
			      .start_ticks = field[START_TICKS], .memory_b = field[MEMORY_B],
			      .env_start = field[ENV_START], .env_end = field[ENV_END] };
	return 0;
}
