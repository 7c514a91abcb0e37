/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/parse.h"
#include "bin/cli.h"

static bool is_type(const json_t *param, const char *type)
{
	const char *have = ctl_str(param, "type");

	return have && !strcmp(have, type);
}

/* The shell's directory is not posternd's. */
static json_t *absolute(const char *path)
{
	CLEANUP(base_free) char *cwd = NULL, *whole = NULL;

	if (path[0] == '/' || !path[0])
		return json_string(path);
	cwd = getcwd(NULL, 0);
	if (!cwd || asprintf(&whole, "%s/%s", cwd, path) < 0)
		return NULL;
	return json_string(whole);
}

/* @path as a part of a command line's word. */
static void quote(const char *path, char *ret)
{
	for (; *path; path++) {
		bool is_plain = !strchr(PARSE_BLANKS "\"'", *path);
		char mark = *path == '"' ? '\'' : '"';

		if (!is_plain)
			*ret++ = mark;
		*ret++ = *path;
		if (!is_plain)
			*ret++ = mark;
	}
	*ret = '\0';
}

/* As absolute(), for a command line's program: a name without '/' is posternd's to look for. */
static json_t *absolute_program(const char *line)
{
	const char *first = line + strspn(line, PARSE_BLANKS);
	CLEANUP(base_free) char *word = malloc(strlen(first) + 1), *cwd = getcwd(NULL, 0);
	CLEANUP(base_free) char *dir = cwd ? malloc(3 * strlen(cwd) + 1) : NULL, *whole = NULL;
	char *end = word;

	if (!word || !dir)
		return NULL;
	if (!parse_word(first, &end) || *word == '/' || !strchr(word, '/'))
		return json_string(line);
	quote(cwd, dir);
	if (asprintf(&whole, "%s/%s", dir, first) < 0)
		return NULL;
	return json_string(whole);
}

/* A word that stands where a path could. */
static bool is_choice(const json_t *param, const char *text)
{
	json_t *choice;
	size_t i;

	json_array_foreach(json_object_get(param, "choices"), i, choice)
		if (!strcmp(text, json_string_value(choice)))
			return true;
	return false;
}

static void resolve_kind_paths(const json_t *schema, const json_t *param, json_t *value)
{
	const json_t *kind = cli_find_param(cli_kinds(schema, ctl_str(param, "set")),
					    ctl_str(value, "kind"));
	json_t *p;
	size_t i;

	json_array_foreach(json_object_get(kind, "params"), i, p) {
		const char *text = ctl_str(value, ctl_str(p, "name"));

		if (text && is_type(p, "path"))
			json_object_set_new(value, ctl_str(p, "name"), absolute(text));
	}
}

static json_t *read_value(const json_t *schema, const json_t *param, const char *text,
			  struct ctl_error *err)
{
	json_t *value;

	if (is_type(param, "kind")) {
		value = ctl_kind_from_text(text, ctl_str(param, "name"), err);
		if (value)
			resolve_kind_paths(schema, param, value);
		return value;
	}
	value = is_type(param, "path") && !is_choice(param, text) ? absolute(text) :
		ctl_bool(param, "command") ? absolute_program(text) : json_string(text);
	if (!value)
		ctl_fail(err, 0, "bad_value", ctl_str(param, "name"), "the text is not UTF-8");
	return value;
}

static int add(const json_t *schema, const json_t *param, const char *name, const char *text,
	       json_t *out, struct ctl_error *err)
{
	bool list = ctl_bool(param, "list");
	json_t *have = json_object_get(out, name), *value;

	if (have && !list)
		return ctl_fail(err, -EINVAL, "bad_value", name, "is given twice");
	/* none, instead of those there are */
	if (list && !have && !*text && is_type(param, "kind"))
		return json_object_set_new(out, name, json_array());
	/* An unknown one goes as it is: whoever runs the command says what is allowed. */
	value = read_value(schema, param, text, err);
	if (!value)
		return -EINVAL;
	if (!list)
		return json_object_set_new(out, name, value);
	if (!have) {
		have = json_array();
		json_object_set_new(out, name, have);
	}
	return json_array_append_new(have, value);
}

/* IMAGE[,KEY=VALUE]..., of which each is a parameter of the command. */
static int add_opened(const json_t *schema, const json_t *params, const json_t *param,
		      const char *text, json_t *out, struct ctl_error *err)
{
	const char *name = ctl_str(param, "name"), *key;
	json_t *all = ctl_kind_from_text(text, name, err), *value;
	int code = all ? 0 : -EINVAL;

	json_object_foreach(all, key, value) {
		bool is_first = !strcmp(key, "kind");

		if (!code)
			code = add(schema, is_first ? param : cli_find_param(params, key),
				   is_first ? name : key, json_string_value(value), out, err);
	}
	json_decref(all);
	return code;
}

static int add_text(const json_t *schema, const json_t *params, const char *key, const char *text,
		    json_t *out, struct ctl_error *err)
{
	const json_t *p = cli_find_param(params, key);

	return ctl_bool(p, "opens") ? add_opened(schema, params, p, text, out, err) :
				      add(schema, p, key, text, out, err);
}

/* The first positional parameter that is not in @out. */
static const json_t *next_positional(const json_t *params, const json_t *out)
{
	json_t *p;
	size_t i;

	json_array_foreach(params, i, p)
		if (ctl_bool(p, "positional") && !ctl_has(out, ctl_str(p, "name")))
			return p;
	return NULL;
}

static int add_word(const json_t *schema, const json_t *params, const char *word, json_t *out,
		    struct ctl_error *err)
{
	const char *eq = strchr(word, '=');
	const json_t *p = eq ? NULL : next_positional(params, out);
	char key[64];

	if (p)
		return add(schema, p, ctl_str(p, "name"), word, out, err);
	if (!eq || eq == word || (size_t)(eq - word) >= sizeof(key))
		return ctl_fail(err, -EINVAL, "bad_value", NULL, "'%.100s' is not KEY=VALUE", word);
	memcpy(key, word, (size_t)(eq - word));
	key[eq - word] = '\0';
	return add_text(schema, params, key, eq + 1, out, err);
}

/* "--full", "--html FILE" or "--html=FILE" for full=on and html=FILE. @next: the word behind it, or
 * NULL. Return: 0; 1: it took that one, too; -EINVAL. */
static int add_option(const json_t *schema, const json_t *params, const char *word,
		      const char *next, json_t *out, struct ctl_error *err)
{
	const char *eq = strchr(word, '='), *name = word + 2;
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	char key[64];

	snprintf(key, sizeof(key), "%.*s", (int)min_u64(len, sizeof(key) - 1), name);
	const json_t *p = cli_find_param(params, key);

	if (!p)
		return ctl_fail(err, -EINVAL, "bad_option", word,
				"there is no such option: --control, "
				"--json, --help and --version are, and --KEY for each parameter");
	if (eq)
		return add_text(schema, params, key, eq + 1, out, err);
	if (is_type(p, "bool"))
		return add(schema, p, key, "on", out, err);
	if (!next)
		return ctl_fail(err, -EINVAL, "bad_option", word, "a value is needed behind it");
	int code = add_text(schema, params, key, next, out, err);

	return code ? code : 1;
}

json_t *cli_params(const json_t *schema, const json_t *cmd, char *const *words, int n,
		   struct ctl_error *err)
{
	json_t *out = json_object();

	for (int i = 0; i < n; i++) {
		const json_t *params = json_object_get(cmd, "params");
		int used = strncmp(words[i], "--", 2) ?
			   add_word(schema, params, words[i], out, err) :
			   add_option(schema, params, words[i], i + 1 < n ? words[i + 1] : NULL,
				      out, err);

		if (used < 0) {
			json_decref(out);
			return NULL;
		}
		i += used;
	}
	return out;
}
