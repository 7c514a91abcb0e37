/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/machine.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wire/function.h"

#define TOOL "postern"

/* What is said to the tool before the worker's words; the name takes the place of NULL. */
static char *const fixed[] = { "vm", "run", NULL, "foreground=on", "function_port=" FN_PORT,
			       "function_memory=/dev/fd/4" };
static_assert(FN_FIRST_FILE == 4, "it is the one descriptor that comes with the request");

/* Which words there may be. What is not a path, the tool judges by itself before QEMU sees it. */
static const struct word {
	const char *key;
	bool is_path;
	enum machine_part part;
} words[] = {
	{ "image", true, MACHINE_READS },
	{ "kernel", true, MACHINE_READS },
	{ "initrd", true, MACHINE_READS },
	{ "read", true, MACHINE_READS },
	{ "file", true, MACHINE_WRITES },
	{ "function_socket", true, MACHINE_CONNECTS },
	{ .key = "snapshot" },
	{ .key = "append" },
	{ .key = "cpus" },
	{ .key = "memory" },
	{ .key = "hugepages" },
	{ .key = "cores" },
	{ .key = "accel" },
};

static int judge(struct programs *ps, const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		size_t n = strlen(words[i].key);

		if (strncmp(word, words[i].key, n) || word[n] != '=')
			continue;
		if (!words[i].is_path)
			return 0;
		if (word[n + 1] != '/')
			return -EACCES;
		return ps->may_have(ps, words[i].part, word + n + 1);
	}
	return -EACCES;
}

/* Beside this program. Return: 0; -ENOENT. */
static int find_tool(char *room)
{
	ssize_t n = readlink("/proc/self/exe", room, PATH_MAX - sizeof(TOOL));

	if (n < 0)
		return -ENOENT;
	room[n] = '\0';
	strcpy(strrchr(room, '/') + 1, TOOL);
	return access(room, X_OK) ? -ENOENT : 0;
}

static_assert(PATH_MAX == KEEPER_PATH_MAX, "one room");

int machine_command(struct programs *ps, const char *text, char *room, char ***ret_argv)
{
	size_t len = strlen(text) + 1, n = 0, max = ARRAY_SIZE(fixed) + 3;

	for (const char *at = text; (at = strchr(at, '\n')); at++)
		max++;
	char **argv = malloc(max * sizeof(*argv) + len);
	char *line = (char *)(argv + max), *rest;
	int err = argv ? 0 : -ENOMEM;

	if (!err && ps->tool)
		snprintf(room, KEEPER_PATH_MAX, "%s", ps->tool);
	else if (!err)
		err = find_tool(room);
	if (err) {
		free(argv);
		return err;
	}
	memcpy(line, text, len);
	char *name = strtok_r(line, "\n", &rest);

	argv[n++] = room;
	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
		argv[n++] = fixed[i] ? fixed[i] : name;
	/* it stands where an option, or another command's word, could */
	if (!name || *name == '-' || strchr(name, '='))
		err = -EINVAL;
	for (char *word; !err && (word = strtok_r(NULL, "\n", &rest));) {
		err = judge(ps, word);
		argv[n++] = word;
	}
	argv[n] = NULL;
	if (err)
		free(argv);
	else
		*ret_argv = argv;
	return err;
}
