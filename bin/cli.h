/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the command-line tool share. A command is known by its schema:
 * posternd's, which the build embeds, and that of the commands that postern runs
 * itself (machines, bench, compare). One thread.
 */
#pragma once

#include <stdio.h>

#include "control/client.h"

/* What the words before the command say. */
struct cli {
	const char *control; /* NULL: the default place */
	bool json;
	json_t *schema;
};

/* Commands that run here and not in posternd; their ctl argument is the struct cli. */
extern const struct ctl_tables cli_local;
extern const struct ctl_cmd bench_cmds[], compare_cmds[], upgrade_cmds[];
extern const struct ctl_kind_set compare_sets[];

/* posternd's schema with the local commands in it. Ownership: a new reference. */
json_t *cli_schema(void);
/* Return: the command's schema, borrowed; NULL. */
const json_t *cli_find(const json_t *schema, const char *noun, const char *verb);
bool cli_has_noun(const json_t *schema, const char *noun);
/* A kind's or command's parameter by name. Return: borrowed; NULL. */
const json_t *cli_find_param(const json_t *params, const char *name);
/* The kinds of a set by its name. Return: borrowed; NULL. */
const json_t *cli_kinds(const json_t *schema, const char *set);

/* The @n words behind noun and verb as parameters for @cmd, with paths made absolute. Return: a new
 * reference; NULL with @err. */
json_t *cli_params(const json_t *schema, const json_t *cmd, char *const *words, int n,
		   struct ctl_error *err);

/* Help for all, for @noun, or for @noun @verb (NULL: not given). */
void cli_help(const json_t *schema, const char *noun, const char *verb, FILE *out);

/* Prints what the last of @words may become, a line each. */
void cli_complete(const struct cli *cli, char *const *words, int n);

/* Shows a result: a table of @columns (blank-divided keys), or as it is nested when NULL. */
void cli_print(const json_t *result, const char *columns);

/* Asks posternd. As ctl_client_call(). */
int cli_call(const struct cli *cli, const char *method, const json_t *params, json_t **ret,
	     struct ctl_error *err);

/* Waits until what *now, posternd's answer about a function, says to be under way has come to an
 * end; *now is the last answer then. Return: 0; -errno. */
int cli_await_function(const struct cli *cli, json_t **now, struct ctl_error *err);

/* For local commands: what posternd knows about the disk @name. As above. */
int cli_disk(const struct cli *cli, const char *name, json_t **ret, struct ctl_error *err);
