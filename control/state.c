/* SPDX-License-Identifier: Apache-2.0 */
#include "control/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct state {
	json_t *doc;
	state_save_fn *save;
	void *arg;
};

struct state *state_new(state_save_fn *save, void *arg)
{
	struct state *s = malloc(sizeof(*s));

	if (!s)
		return NULL;
	*s = (struct state){ json_pack("{s:i}", "version", STATE_VERSION), save, arg };
	if (!s->doc) {
		free(s);
		return NULL;
	}
	return s;
}

void state_free(struct state *s)
{
	if (!s)
		return;
	json_decref(s->doc);
	free(s);
}

int state_load(struct state *s, const char *text, size_t len_b, struct ctl_error *err)
{
	json_error_t why;
	json_t *doc = json_loadb(text, len_b, JSON_REJECT_DUPLICATES, &why);
	json_t *version = json_object_get(doc, "version"), *all;
	const char *noun;

	if (!doc)
		return ctl_fail(err, -EINVAL, "state_broken", "state", "line %d: %s", why.line,
				why.text);
	if (json_integer_value(version) > STATE_VERSION) {
		ctl_fail(err, 0, "state_version", "state",
			 "version %lld is newer than this program's %d",
			 (long long)json_integer_value(version), STATE_VERSION);
		json_decref(doc);
		return -EPROTONOSUPPORT;
	}
	bool good = json_is_object(doc) && json_integer_value(version) > 0;

	json_object_foreach(doc, noun, all) {
		const char *name;
		json_t *object;

		if (all == version)
			continue;
		good = good && json_is_object(all);
		json_object_foreach(all, name, object)
			good = good && json_is_object(object);
	}
	if (!good) {
		json_decref(doc);
		return ctl_fail(err, -EINVAL, "state_broken", "state",
				"it is not {\"version\": %d, NOUN: {NAME: {...}}}", STATE_VERSION);
	}
	json_decref(s->doc);
	s->doc = doc;
	return 0;
}

const json_t *state_all(const struct state *s, const char *noun)
{
	return json_object_get(s->doc, noun);
}

const json_t *state_get(const struct state *s, const char *noun, const char *name)
{
	return json_object_get(state_all(s, noun), name);
}

static int save(struct state *s, json_t *doc)
{
	CLEANUP(base_free) char *text = json_dumps(doc, JSON_INDENT(1));

	if (!text)
		return -ENOMEM;
	if (!s->save)
		return 0;
	if (strlen(text) > STATE_MAX_B)
		return -EFBIG;
	return s->save(s->arg, text, strlen(text));
}

/* Saves @doc (taken over; NULL: no memory) and, if that went well, makes it the state. */
static int commit(struct state *s, json_t *doc, struct ctl_error *err)
{
	int ret = doc ? save(s, doc) : -ENOMEM;

	if (ret) {
		json_decref(doc);
		return ctl_fail(err, ret, "state_failed", NULL, "the state cannot be saved: %s",
				strerror(-ret));
	}
	json_decref(s->doc);
	s->doc = doc;
	return 0;
}

/* Return: the document with @object in it; NULL without memory. */
static json_t *with(const struct state *s, const char *noun, const char *name, const json_t *object)
{
	json_t *doc = json_deep_copy(s->doc), *all = json_object_get(doc, noun);

	if (!all) {
		all = json_object();
		json_object_set_new(doc, noun, all);
	}
	if (json_object_set_new(all, name, json_deep_copy(object))) {
		json_decref(doc);
		doc = NULL;
	}
	return doc;
}

int state_put(struct state *s, const char *noun, const char *name, const json_t *object,
	      struct ctl_error *err)
{
	return commit(s, with(s, noun, name, object), err);
}

int state_put_back(struct state *s, const char *noun, const char *name, const json_t *object,
		   struct ctl_error *err)
{
	json_t *doc = with(s, noun, name, object);
	int ret = commit(s, json_incref(doc), err);

	if (ret && doc) {
		json_decref(s->doc);
		s->doc = json_incref(doc);
	}
	json_decref(doc);
	return ret;
}

int state_del(struct state *s, const char *noun, const char *name, struct ctl_error *err)
{
	if (!state_get(s, noun, name))
		return 0;
	json_t *doc = json_deep_copy(s->doc);

	json_object_del(json_object_get(doc, noun), name);
	return commit(s, doc, err);
}

static bool differs_at(const json_t *have, const json_t *want, const char *key, const char *sep,
		       char *ret_key, size_t len)
{
	char inner[64] = "";

	if (have && want && json_equal(have, want))
		return false;
	if (json_typeof(have ? have : want) == json_typeof(want ? want : have) && have && want)
		state_differs(have, want, inner, sizeof(inner));
	snprintf(ret_key, len, "%.60s%s%.60s", key, *inner && *inner != '[' ? sep : "", inner);
	return true;
}

static bool array_differs(const json_t *have, const json_t *want, char *ret_key, size_t len)
{
	size_t n = json_array_size(have) > json_array_size(want) ? json_array_size(have) :
								   json_array_size(want);
	char key[32];

	for (size_t i = 0; i < n; i++) {
		snprintf(key, sizeof(key), "[%zu]", i);
		if (differs_at(json_array_get(have, i), json_array_get(want, i), key, ".", ret_key,
			       len))
			return true;
	}
	return false;
}

bool state_differs(const json_t *have, const json_t *want, char *ret_key, size_t len)
{
	const char *key;
	json_t *value;

	if (json_is_array(have) && json_is_array(want))
		return array_differs(have, want, ret_key, len);
	json_object_foreach((json_t *)have, key, value)
		if (differs_at(value, json_object_get(want, key), key, ".", ret_key, len))
			return true;
	json_object_foreach((json_t *)want, key, value)
		if (!json_object_get(have, key))
			return differs_at(NULL, value, key, ".", ret_key, len);
	return false;
}
