/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "bin/cli.h"

#define COLUMNS_MAX 32
#define CELL 256

static bool ends_in(const char *key, const char *end)
{
	size_t n = strlen(key), m = strlen(end);

	return n > m && !strcmp(key + n - m, end);
}

/* The key without its unit, which its value says. */
static void title(const char *key, char *buf)
{
	static const char *const unit[] = { "_b", "_ns", "_kind" };

	snprintf(buf, CELL, "%s", key);
	for (size_t i = 0; i < ARRAY_SIZE(unit); i++)
		if (ends_in(key, unit[i]))
			buf[strlen(key) - strlen(unit[i])] = '\0';
	for (char *c = buf; *c; c++)
		*c = *c == '_' ? ' ' : *c;
}

static void number_text(const char *key, const json_t *v, char *buf)
{
	/* of a function: as it was said when it was added */
	if ((ends_in(key, "_b") || !strcmp(key, "memory")) && json_is_integer(v))
		format_size((uint64_t)json_integer_value(v), buf);
	else if (ends_in(key, "_ns"))
		format_ns((uint64_t)json_number_value(v), buf);
	else if (json_is_integer(v))
		snprintf(buf, CELL, "%lld", (long long)json_integer_value(v));
	else
		snprintf(buf, CELL, "%.*f", json_real_value(v) >= 100 ? 0 : 2, json_real_value(v));
}

static void value_text(const char *key, const json_t *v, char *buf)
{
	json_t *item;
	size_t i;

	buf[0] = '\0';
	if (json_is_string(v))
		snprintf(buf, CELL, "%s", json_string_value(v));
	else if (json_is_boolean(v))
		snprintf(buf, CELL, "%s", json_is_true(v) ? "yes" : "no");
	else if (json_is_number(v))
		number_text(key, v, buf);
	else if (json_is_array(v))
		json_array_foreach(v, i, item) {
			char one[CELL];
			size_t used = strlen(buf);

			value_text(key, item, one);
			snprintf(buf + used, CELL - used, "%s%s", i ? ", " : "", one);
		}
	if (!*buf)
		strcpy(buf, "-");
}

static bool is_flat(const json_t *v)
{
	json_t *item;
	size_t i;

	if (!json_is_array(v))
		return !json_is_object(v);
	json_array_foreach(v, i, item)
		if (json_is_object(item) || json_is_array(item))
			return false;
	return true;
}

/* A table as it is printed: rows of cells, the first row its titles. */
struct table {
	unsigned ncol, width[COLUMNS_MAX];
	bool right[COLUMNS_MAX]; /* numbers */
	char key[COLUMNS_MAX][64];
};

static void add_column(struct table *t, const char *key, size_t len)
{
	if (t->ncol == COLUMNS_MAX || len >= sizeof(t->key[0]))
		return;
	memcpy(t->key[t->ncol], key, len);
	t->key[t->ncol++][len] = '\0';
}

static bool has_column(const struct table *t, const char *key)
{
	for (unsigned i = 0; i < t->ncol; i++)
		if (!strcmp(t->key[i], key))
			return true;
	return false;
}

static void measure(struct table *t, const json_t *row)
{
	char text[CELL];

	for (unsigned i = 0; i < t->ncol; i++) {
		const json_t *v = json_object_get(row, t->key[i]);

		value_text(t->key[i], v, text);
		if (strlen(text) > t->width[i])
			t->width[i] = (unsigned)strlen(text);
		t->right[i] = t->right[i] || json_is_number(v);
	}
}

static void print_cell(const struct table *t, unsigned i, const char *text)
{
	bool last = i + 1 == t->ncol;

	if (t->right[i])
		printf("%*s%s", (int)t->width[i], text, last ? "\n" : "  ");
	else if (last)
		printf("%s\n", text);
	else
		printf("%-*s  ", (int)t->width[i], text);
}

static void print_table(struct table *t, const json_t *rows, const char *indent)
{
	char text[CELL];
	json_t *row;
	size_t r;

	for (unsigned i = 0; i < t->ncol; i++) {
		title(t->key[i], text);
		t->width[i] = (unsigned)strlen(text);
	}
	json_array_foreach(rows, r, row)
		measure(t, row);
	fputs(indent, stdout);
	for (unsigned i = 0; i < t->ncol; i++) {
		title(t->key[i], text);
		for (char *c = text; *c; c++)
			*c = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
		print_cell(t, i, text);
	}
	json_array_foreach(rows, r, row) {
		fputs(indent, stdout);
		for (unsigned i = 0; i < t->ncol; i++) {
			value_text(t->key[i], json_object_get(row, t->key[i]), text);
			print_cell(t, i, text);
		}
	}
}

/* All flat keys that any row has, in order. */
static void columns_of(struct table *t, const json_t *rows)
{
	const char *key;
	json_t *row, *v;
	size_t i;

	json_array_foreach(rows, i, row)
		json_object_foreach(row, key, v)
			if (is_flat(v) && !has_column(t, key))
				add_column(t, key, strlen(key));
}

static void print_object(const json_t *o, unsigned depth);

/* A list of objects: a line each, or blocks if they hold more than lines can. */
static void print_list(const json_t *rows, unsigned depth)
{
	struct table t = { 0 };
	char indent[32];

	snprintf(indent, sizeof(indent), "%*s", (int)(2 * depth), "");
	columns_of(&t, rows);
	print_table(&t, rows, indent);
}

/* {"read": {...}, "write": {...}}: a table whose rows have names. Return: NULL if it is not. */
static json_t *named_rows(const json_t *o)
{
	json_t *rows = json_array(), *v;
	const char *key;

	json_object_foreach((json_t *)o, key, v) {
		json_t *row = json_is_object(v) && json_object_size(v) > 3 ? json_object() : NULL;

		if (!row) {
			json_decref(rows);
			return NULL;
		}
		json_object_set_new(row, "name", json_string(key));
		json_object_update_missing(row, v);
		json_array_append_new(rows, row);
	}
	if (json_array_size(rows))
		return rows;
	json_decref(rows);
	return NULL;
}

static void print_object(const json_t *o, unsigned depth)
{
	char name[CELL], text[CELL];
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)o, key, v) {
		json_t *rows = json_is_object(v) ? named_rows(v) : NULL;

		title(key, name);
		printf("%*s", (int)(2 * depth), "");
		if (is_flat(v)) {
			/* a text is shown whole, however long */
			value_text(key, v, text);
			printf("%s: %s\n", name, json_is_string(v) ? json_string_value(v) : text);
		} else if (rows || json_is_array(v)) {
			printf("%s:\n", name);
			print_list(rows ? rows : v, depth + 1);
		} else {
			printf("%s:%s\n", name, json_object_size(v) ? "" : " -");
			print_object(v, depth + 1);
		}
		json_decref(rows);
	}
}

/* Of @o the keys in @columns, which blanks divide: a new reference. */
static json_t *chosen(const json_t *o, const char *columns)
{
	json_t *some = json_object();

	while (*columns) {
		size_t n = strcspn(columns, " ");
		char key[CELL];

		snprintf(key, sizeof(key), "%.*s", (int)n, columns);
		if (json_object_get(o, key))
			json_object_set(some, key, json_object_get(o, key));
		columns += n + (columns[n] == ' ');
	}
	return some;
}

void cli_print(const json_t *result, const char *columns)
{
	struct table t = { 0 };

	if (!json_is_array(result)) {
		json_t *some = columns ? chosen(result, columns) : NULL;

		print_object(some ? some : result, 0);
		json_decref(some);
		return;
	}
	while (columns && *columns) {
		size_t n = strcspn(columns, " ");

		add_column(&t, columns, n);
		columns += n + (columns[n] == ' ');
	}
	if (!t.ncol)
		columns_of(&t, result);
	print_table(&t, result, "");
}
