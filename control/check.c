/* SPDX-License-Identifier: Apache-2.0 */
#include "control/ctl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"

#define NAME_MAX_LEN 64
#define STRING_MAX_LEN 1024
#define PATH_MAX_LEN 4095
#define LIST_MAX 64
#define PARAM_ROOM sizeof(((struct ctl_error *)0)->param)

/* Where in the caller's object a check is: its tables, and the name to put into errors. */
struct check {
	const struct ctl_tables *tables;
	struct ctl_error *err;
};

int ctl_fail(struct ctl_error *err, int code, const char *id, const char *param, const char *fmt,
	     ...)
{
	va_list ap;

	snprintf(err->id, sizeof(err->id), "%s", id);
	snprintf(err->param, sizeof(err->param), "%s", param ? param : "");
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return code;
}

static int check_object(const struct check *c, const struct ctl_param *params, const json_t *in,
			const char *prefix, const char *what, json_t **ret);

/* Puts @value, which it takes over, behind *ret. */
static int keep(const struct check *c, json_t *value, json_t **ret)
{
	if (!value)
		return ctl_fail(c->err, -ENOMEM, "no_memory", NULL, "out of memory");
	*ret = value;
	return 0;
}

static int check_length(const struct check *c, const struct ctl_param *p, const char *where,
			const char *text, uint64_t type_max)
{
	uint64_t max = p->max ? min_u64(p->max, type_max) : type_max;
	size_t len = strlen(text);

	if (len > max)
		return ctl_fail(c->err, -ERANGE, "out_of_range", where,
				"%zu bytes are too long, at most %llu are allowed", len,
				(unsigned long long)max);
	if (len < max_u64(p->min, p->required))
		return ctl_fail(c->err, -ERANGE, "out_of_range", where,
				"at least %llu bytes are needed",
				(unsigned long long)max_u64(p->min, p->required));
	return 0;
}

static bool name_ok(const char *s)
{
	static const char first[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	static const char more[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	return *s && strchr(first, *s) && s[strspn(s, more)] == '\0';
}

/* The word of @p's that @in is, or stands for. Return: NULL: none. */
static const char *find_choice(const struct ctl_param *p, const json_t *in)
{
	const char *text = json_is_boolean(in) ? (json_is_true(in) ? "on" : "off") :
						 json_string_value(in);

	for (const char *const *w = p->choices; w && text && *w; w++)
		if (!strcmp(text, *w))
			return *w;
	return NULL;
}

static int check_text(const struct check *c, const struct ctl_param *p, const char *where,
		      const json_t *in, json_t **ret)
{
	const char *choice = p->type == CTL_PATH ? find_choice(p, in) : NULL;

	if (choice)
		return keep(c, json_string(choice), ret);
	static const uint64_t longest[] = { [CTL_STRING] = STRING_MAX_LEN,
					    [CTL_NAME] = NAME_MAX_LEN,
					    [CTL_PATH] = PATH_MAX_LEN };
	const char *text = json_string_value(in);

	if (!text || strlen(text) != json_string_length(in))
		return ctl_fail(c->err, -EINVAL, "bad_value", where, "a text is needed");
	int err = check_length(c, p, where, text, longest[p->type]);
	if (err)
		return err;
	if (p->type == CTL_NAME && !name_ok(text))
		return ctl_fail(c->err, -EINVAL, "bad_value", where,
				"'%s' is no name: letters, digits, '.', '_' and '-' are allowed, "
				"a letter or digit first", text);
	if (p->type == CTL_PATH && text[0] != '/')
		return ctl_fail(c->err, -EINVAL, "bad_value", where,
				"'%.200s' is not an absolute path", text);
	return keep(c, json_string(text), ret);
}

static void number_text(const struct ctl_param *p, uint64_t v, char *buf, size_t len)
{
	char scaled[24];

	if (p->type == CTL_TIME)
		snprintf(buf, len, "%s", unparse_ns(v, scaled));
	else if (p->type == CTL_SIZE && v >= KIB && v % KIB == 0)
		snprintf(buf, len, "%s", format_size(v, scaled));
	else
		snprintf(buf, len, "%llu", (unsigned long long)v);
}

static int check_number(const struct check *c, const struct ctl_param *p, const char *where,
			const json_t *in, json_t **ret)
{
	static int (*const parse[])(const char *text, uint64_t *ret) = { [CTL_SIZE] = parse_size,
									 [CTL_TIME] = parse_ns,
									 [CTL_UINT] = parse_u64 };
	static const char *const what[] = { [CTL_SIZE] = "size, such as 4096, 512M or 20GiB",
					    [CTL_TIME] = "time, such as 500us, 20ms or 10s",
					    [CTL_UINT] = "whole number" };
	uint64_t max = p->max ? p->max : INT64_MAX, v = 0;
	char lo[24], hi[24];
	int err = -EINVAL;

	if (json_is_integer(in)) {
		err = json_integer_value(in) < 0 ? -ERANGE : 0;
		v = (uint64_t)json_integer_value(in);
		if (p->type == CTL_TIME && v)
			err = -EINVAL; /* of what? */
	} else if (json_is_string(in) && json_string_length(in) == strlen(json_string_value(in))) {
		err = parse[p->type](json_string_value(in), &v);
	}
	if (err == -EINVAL) {
		CLEANUP(base_free) char *got = json_dumps(in, JSON_ENCODE_ANY);

		return ctl_fail(c->err, -EINVAL, "bad_value", where, "%.100s is not a %s",
				got ? got : "this", what[p->type]);
	}
	if (err || v < p->min || v > max) {
		number_text(p, p->min, lo, sizeof(lo));
		number_text(p, max, hi, sizeof(hi));
		return p->max ? ctl_fail(c->err, -ERANGE, "out_of_range", where,
					 "from %s to %s is allowed", lo, hi) :
				ctl_fail(c->err, -ERANGE, "out_of_range", where,
					 "at least %s, less than 2^63, is allowed", lo);
	}
	if (p->type == CTL_TIME)
		return keep(c, json_string(unparse_ns(v, lo)), ret);
	return keep(c, json_integer((json_int_t)v), ret);
}

static int check_bool(const struct check *c, const char *where, const json_t *in, json_t **ret)
{
	const char *text = json_string_value(in);

	if (json_is_boolean(in))
		return keep(c, json_boolean(json_is_true(in)), ret);
	if (text && (!strcmp(text, "on") || !strcmp(text, "true")))
		return keep(c, json_true(), ret);
	if (text && (!strcmp(text, "off") || !strcmp(text, "false")))
		return keep(c, json_false(), ret);
	return ctl_fail(c->err, -EINVAL, "bad_value", where, "on or off is allowed");
}

/* Adds ", word" to the list in @buf as far as there is room. */
static void list_word(char *buf, size_t room, const char *word)
{
	size_t used = strlen(buf);

	snprintf(buf + used, room - used, "%s%s", used ? ", " : "", word);
}

static int check_enum(const struct check *c, const struct ctl_param *p, const char *where,
		      const json_t *in, json_t **ret)
{
	const char *text = json_string_value(in);
	char allowed[256] = "";

	for (const char *const *w = p->choices; *w; w++) {
		if (text && !strcmp(text, *w))
			return keep(c, json_string(*w), ret);
		list_word(allowed, sizeof(allowed), *w);
	}
	return ctl_fail(c->err, -EINVAL, "bad_value", where, "'%.60s' is not one of: %s",
			text ? text : "this", allowed);
}

static const struct ctl_kind_set *set_find(const struct ctl_tables *tables, const char *name)
{
	for (const struct ctl_kind_set *s = tables->sets; s && s->name; s++)
		if (!strcmp(s->name, name))
			return s;
	return NULL;
}

static int check_kind(const struct check *c, const struct ctl_param *p, const char *where,
		      const json_t *in, json_t **ret)
{
	static const struct ctl_param none[] = { { .name = NULL } };
	const struct ctl_kind_set *set = set_find(c->tables, p->kind_set);
	json_t *parsed = NULL;
	char allowed[256] = "";
	int err;

	if (json_is_string(in)) {
		parsed = ctl_kind_from_text(json_string_value(in), where, c->err);
		if (!parsed)
			return -EINVAL;
		in = parsed;
	}
	const char *name = json_string_value(json_object_get(in, "kind"));
	for (const struct ctl_kind *const *k = set ? set->kinds : NULL; k && *k; k++) {
		if (name && !strcmp((*k)->name, name)) {
			err = check_object(c, (*k)->params ? (*k)->params : none, in, where,
					   (*k)->name, ret);
			json_decref(parsed);
			return err;
		}
		list_word(allowed, sizeof(allowed), (*k)->name);
	}
	err = ctl_fail(c->err, -EINVAL, "unknown_kind", where,
		       *allowed ? "'%.60s' is not one of: %s" :
		       "'%.60s' is unknown: there is none%s", name ? name : "this", allowed);
	json_decref(parsed);
	return err;
}

static int check_value(const struct check *c, const struct ctl_param *p, const char *where,
		       const json_t *in, json_t **ret)
{
	switch (p->type) {
	case CTL_STRING:
	case CTL_NAME:
	case CTL_PATH:
		return check_text(c, p, where, in, ret);
	case CTL_SIZE:
	case CTL_TIME:
	case CTL_UINT:
		return check_number(c, p, where, in, ret);
	case CTL_BOOL:
		return check_bool(c, where, in, ret);
	case CTL_ENUM:
		return check_enum(c, p, where, in, ret);
	case CTL_KIND:
		return check_kind(c, p, where, in, ret);
	}
	return ctl_fail(c->err, -EINVAL, "bad_value", where, "no such type");
}

static int check_list(const struct check *c, const struct ctl_param *p, const char *where,
		      const json_t *in, json_t **ret)
{
	size_t n = json_is_array(in) ? json_array_size(in) : 1;
	char item[PARAM_ROOM];
	json_t *out = NULL, *value = NULL;
	int err;

	if (n > LIST_MAX)
		return ctl_fail(c->err, -ERANGE, "out_of_range", where,
				"a list of %zu is too long, at most %d are allowed", n, LIST_MAX);
	err = keep(c, json_array(), &out);
	for (size_t i = 0; !err && i < n; i++) {
		snprintf(item, sizeof(item), "%.54s[%zu]", where, i);
		err = check_value(c, p, item, json_is_array(in) ? json_array_get(in, i) : in,
				  &value);
		if (!err && json_array_append_new(out, value))
			err = ctl_fail(c->err, -ENOMEM, "no_memory", NULL, "out of memory");
	}
	if (err) {
		json_decref(out);
		return err;
	}
	*ret = out;
	return 0;
}

/* One parameter of @in, or its default, into @out. */
static int check_param(const struct check *c, const struct ctl_param *p, const json_t *in,
		       const char *prefix, json_t *out)
{
	json_t *given = json_object_get(in, p->name), *fallback = NULL, *value = NULL;
	char where[PARAM_ROOM];
	int err;

	snprintf(where, sizeof(where), "%s%s%s", prefix, *prefix ? "." : "", p->name);
	if (!given && p->value)
		given = fallback = json_string(p->value);
	if (!given && p->required)
		return ctl_fail(c->err, -EINVAL, "missing_param", where, "is needed: %s", p->help);
	if (!given)
		return 0;
	err = p->list ? check_list(c, p, where, given, &value) :
			check_value(c, p, where, given, &value);
	json_decref(fallback);
	if (!err && json_object_set_new(out, p->name, value))
		err = ctl_fail(c->err, -ENOMEM, "no_memory", NULL, "out of memory");
	return err;
}

static int check_unknown(const struct check *c, const struct ctl_param *params, const json_t *in,
			 const char *prefix, const char *what)
{
	char where[PARAM_ROOM], allowed[300];
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)in, key, value) {
		const struct ctl_param *p = params;

		allowed[0] = '\0';
		while (p->name && strcmp(p->name, key)) {
			list_word(allowed, sizeof(allowed), p->name);
			p++;
		}
		if (p->name || (what && !strcmp(key, "kind")))
			continue;
		snprintf(where, sizeof(where), "%s%s%.40s", prefix, *prefix ? "." : "", key);
		return ctl_fail(c->err, -EINVAL, "unknown_param", where,
				*allowed ? "no such parameter%s%s, allowed: %s" :
					   "no such parameter%s%s, none is allowed%s",
				what ? " of " : "", what ? what : "", allowed);
	}
	return 0;
}

/* @what: the kind whose parameters these are, or NULL at the top. */
static int check_object(const struct check *c, const struct ctl_param *params, const json_t *in,
			const char *prefix, const char *what, json_t **ret)
{
	json_t *out = NULL;
	int err;

	if (!json_is_object(in))
		return ctl_fail(c->err, -EINVAL, "bad_value", prefix, "an object is needed");
	err = check_unknown(c, params, in, prefix, what);
	if (err)
		return err;
	err = keep(c, json_object(), &out);
	if (err)
		return err;
	if (what && json_object_set_new(out, "kind", json_string(what)))
		err = ctl_fail(c->err, -ENOMEM, "no_memory", NULL, "out of memory");
	for (const struct ctl_param *p = params; !err && p->name; p++)
		err = check_param(c, p, in, prefix, out);
	if (err) {
		json_decref(out);
		return err;
	}
	*ret = out;
	return 0;
}

int ctl_check(const struct ctl_tables *tables, const struct ctl_param *params, const json_t *in,
	      json_t **ret_params, struct ctl_error *err)
{
	static const struct ctl_param none[] = { { .name = NULL } };
	struct check c = { .tables = tables, .err = err };

	return check_object(&c, params ? params : none, in, "", NULL, ret_params);
}

const struct ctl_kind *ctl_kind_of(const struct ctl_tables *tables, const char *set,
				   const json_t *value)
{
	const struct ctl_kind_set *s = set_find(tables, set);
	const char *name = ctl_str(value, "kind");

	for (const struct ctl_kind *const *k = s ? s->kinds : NULL; k && *k && name; k++)
		if (!strcmp((*k)->name, name))
			return *k;
	return NULL;
}

const struct ctl_cmd *ctl_cmd_find(const struct ctl_tables *tables, const char *noun,
				   const char *verb)
{
	for (const struct ctl_cmd *const *t = tables->cmds; t && *t; t++)
		for (const struct ctl_cmd *c = *t; c->noun; c++)
			if (!strcmp(c->noun, noun) && !strcmp(c->verb, verb))
				return c;
	return NULL;
}

bool ctl_has(const json_t *params, const char *key)
{
	return json_object_get(params, key) != NULL;
}

const char *ctl_str(const json_t *params, const char *key)
{
	return json_string_value(json_object_get(params, key));
}

uint64_t ctl_u64(const json_t *params, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(params, key));
}

uint64_t ctl_ns(const json_t *params, const char *key)
{
	const char *text = ctl_str(params, key);
	uint64_t ns = 0;

	if (text)
		parse_ns(text, &ns);
	return ns;
}

bool ctl_bool(const json_t *params, const char *key)
{
	return json_is_true(json_object_get(params, key));
}
