/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "bin/cli.h"
#include "bin/version.h"

/* The build's output of `posternd --print-schema`. */
extern const char posternd_schema[];

json_t *cli_schema(void)
{
	json_t *schema = json_loads(posternd_schema, 0, NULL);
	json_t *own = ctl_schema(&cli_local, POSTERN_VERSION), *cmd;
	size_t i;

	json_array_foreach(json_object_get(own, "commands"), i, cmd)
		json_object_set_new(cmd, "local", json_true());
	json_array_extend(json_object_get(schema, "commands"), json_object_get(own, "commands"));
	json_object_update(json_object_get(schema, "kinds"), json_object_get(own, "kinds"));
	json_decref(own);
	return schema;
}

const json_t *cli_find(const json_t *schema, const char *noun, const char *verb)
{
	json_t *cmd;
	size_t i;

	json_array_foreach(json_object_get(schema, "commands"), i, cmd)
		if (!strcmp(ctl_str(cmd, "noun"), noun) && !strcmp(ctl_str(cmd, "verb"), verb))
			return cmd;
	return NULL;
}

bool cli_has_noun(const json_t *schema, const char *noun)
{
	json_t *cmd;
	size_t i;

	json_array_foreach(json_object_get(schema, "commands"), i, cmd)
		if (!strcmp(ctl_str(cmd, "noun"), noun))
			return true;
	return false;
}

const json_t *cli_find_param(const json_t *params, const char *name)
{
	json_t *p;
	size_t i;

	json_array_foreach(params, i, p)
		if (!strcmp(ctl_str(p, "name"), name))
			return p;
	return NULL;
}

const json_t *cli_kinds(const json_t *schema, const char *set)
{
	return json_object_get(json_object_get(schema, "kinds"), set);
}
