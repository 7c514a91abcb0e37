/* SPDX-License-Identifier: Apache-2.0 */
#include "control/ctl.h"

static const char *const type_name[] = {
	[CTL_STRING] = "string", [CTL_NAME] = "name", [CTL_PATH] = "path", [CTL_SIZE] = "size",
	[CTL_TIME] = "time",
	[CTL_UINT] = "uint",	 [CTL_BOOL] = "bool", [CTL_ENUM] = "enum", [CTL_KIND] = "kind",
};

static void put(json_t *o, const char *key, const char *text)
{
	if (text)
		json_object_set_new(o, key, json_string(text));
}

static json_t *schema_param(const struct ctl_param *p)
{
	json_t *o = json_object();

	put(o, "name", p->name);
	put(o, "type", type_name[p->type]);
	put(o, "help", p->help);
	put(o, "set", p->kind_set);
	put(o, "default", p->value);
	if (p->choices) {
		json_t *list = json_array();

		for (const char *const *c = p->choices; *c; c++)
			json_array_append_new(list, json_string(*c));
		json_object_set_new(o, "choices", list);
	}
	if (p->min)
		json_object_set_new(o, "min", json_integer((json_int_t)p->min));
	if (p->max)
		json_object_set_new(o, "max", json_integer((json_int_t)p->max));
	if (p->required)
		json_object_set_new(o, "required", json_true());
	if (p->list)
		json_object_set_new(o, "list", json_true());
	if (p->positional)
		json_object_set_new(o, "positional", json_true());
	if (p->opens)
		json_object_set_new(o, "opens", json_true());
	if (p->command)
		json_object_set_new(o, "command", json_true());
	return o;
}

static json_t *schema_params(const struct ctl_param *p)
{
	json_t *list = json_array();

	for (; p && p->name; p++)
		json_array_append_new(list, schema_param(p));
	return list;
}

static json_t *schema_set(const struct ctl_kind_set *s)
{
	json_t *list = json_array();

	for (const struct ctl_kind *const *k = s->kinds; *k; k++) {
		json_t *o = json_object();

		put(o, "name", (*k)->name);
		put(o, "help", (*k)->help);
		json_object_set_new(o, "params", schema_params((*k)->params));
		json_array_append_new(list, o);
	}
	return list;
}

json_t *ctl_schema(const struct ctl_tables *tables, const char *version)
{
	json_t *out = json_object(), *cmds = json_array(), *sets = json_object();

	for (const struct ctl_cmd *const *t = tables->cmds; t && *t; t++) {
		for (const struct ctl_cmd *c = *t; c->noun; c++) {
			json_t *o = json_object();

			put(o, "noun", c->noun);
			put(o, "verb", c->verb);
			put(o, "help", c->help);
			put(o, "columns", c->columns);
			json_object_set_new(o, "params", schema_params(c->params));
			json_array_append_new(cmds, o);
		}
	}
	for (const struct ctl_kind_set *s = tables->sets; s && s->name; s++)
		json_object_set_new(sets, s->name, schema_set(s));
	put(out, "postern", version);
	json_object_set_new(out, "commands", cmds);
	json_object_set_new(out, "kinds", sets);
	return out;
}
