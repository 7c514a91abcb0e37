/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept over a restart: control/state.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "control/state.h"

/* A disk that keeps what was saved, or fails as told. */
struct shelf {
	char text[4096];
	int fail, saves;
};

static int shelve(void *arg, const char *text, size_t len_b)
{
	struct shelf *sh = arg;

	if (sh->fail)
		return sh->fail;
	assert_true(len_b < sizeof(sh->text));
	memcpy(sh->text, text, len_b);
	sh->text[len_b] = '\0';
	sh->saves++;
	return 0;
}

static json_t *disk(int queues)
{
	return json_pack("{s:i, s:{s:s, s:s}}", "queues", queues, "medium", "kind", "file", "path",
			 "/a");
}

static void put_is_saved_and_comes_back(void **state)
{
	struct shelf sh = { 0 };
	struct ctl_error err;
	struct state *a = state_new(shelve, &sh), *b = state_new(NULL, NULL);
	json_t *d = disk(4);

	assert_int_equal(state_put(a, "disk", "web", d, &err), 0);
	assert_int_equal(sh.saves, 1);
	assert_int_equal(state_load(b, sh.text, strlen(sh.text), &err), 0);
	assert_true(json_equal(state_get(b, "disk", "web"), d));
	assert_int_equal(json_object_size(state_all(b, "disk")), 1);
	assert_null(state_all(b, "poller"));
	json_decref(d);
	state_free(a);
	state_free(b);
}

static void failed_save_changes_nothing(void **state)
{
	struct shelf sh = { 0 };
	struct ctl_error err;
	struct state *s = state_new(shelve, &sh);
	json_t *d4 = disk(4), *d8 = disk(8);

	assert_int_equal(state_put(s, "disk", "web", d4, &err), 0);
	sh.fail = -ENOSPC;
	assert_int_equal(state_put(s, "disk", "web", d8, &err), -ENOSPC);
	assert_string_equal(err.id, "state_failed");
	assert_int_equal(state_del(s, "disk", "web", &err), -ENOSPC);
	assert_true(json_equal(state_get(s, "disk", "web"), d4));
	json_decref(d4);
	json_decref(d8);
	state_free(s);
}

static void put_back_is_saved_with_the_next_change(void **state)
{
	struct shelf sh = { 0 };
	struct ctl_error err;
	struct state *s = state_new(shelve, &sh), *after = state_new(NULL, NULL);
	json_t *d4 = disk(4), *d8 = disk(8);

	assert_int_equal(state_put(s, "disk", "web", d4, &err), 0);
	assert_int_equal(state_put(s, "disk", "web", d8, &err), 0);
	sh.fail = -ENOSPC;
	assert_int_equal(state_put_back(s, "disk", "web", d4, &err), -ENOSPC);
	assert_string_equal(err.id, "state_failed");
	assert_true(json_equal(state_get(s, "disk", "web"), d4));
	sh.fail = 0;
	assert_int_equal(state_put(s, "disk", "db", d8, &err), 0);
	assert_int_equal(state_load(after, sh.text, strlen(sh.text), &err), 0);
	assert_true(json_equal(state_get(after, "disk", "web"), d4));
	assert_true(json_equal(state_get(after, "disk", "db"), d8));
	/* and at once where it can be */
	assert_int_equal(state_put_back(s, "disk", "db", d4, &err), 0);
	assert_int_equal(sh.saves, 4);
	json_decref(d4);
	json_decref(d8);
	state_free(s);
	state_free(after);
}

static void del_is_saved_and_idempotent(void **state)
{
	struct shelf sh = { 0 };
	struct ctl_error err;
	struct state *s = state_new(shelve, &sh);
	json_t *d = disk(4);

	assert_int_equal(state_put(s, "disk", "web", d, &err), 0);
	assert_int_equal(state_del(s, "disk", "web", &err), 0);
	assert_null(strstr(sh.text, "web"));
	assert_int_equal(state_del(s, "disk", "web", &err), 0);
	assert_int_equal(sh.saves, 2);
	json_decref(d);
	state_free(s);
}

static void load_refuses(const char *text, int code, const char *id)
{
	struct ctl_error err;
	struct state *s = state_new(NULL, NULL);

	assert_int_equal(state_load(s, text, strlen(text), &err), code);
	assert_string_equal(err.id, id);
	assert_null(state_all(s, "disk"));
	state_free(s);
}

static void load_refuses_what_no_save_wrote(void **state)
{
	load_refuses("", -EINVAL, "state_broken");
	load_refuses("{\"version\": 1, \"disk\": {\"web\"", -EINVAL, "state_broken");
	load_refuses("[]", -EINVAL, "state_broken");
	load_refuses("{\"disk\": {}}", -EINVAL, "state_broken");
	load_refuses("{\"version\": 1, \"disk\": []}", -EINVAL, "state_broken");
	load_refuses("{\"version\": 1, \"disk\": {\"web\": 3}}", -EINVAL, "state_broken");
}

static void load_refuses_a_newer_version(void **state)
{
	load_refuses("{\"version\": 2, \"disk\": {}}", -EPROTONOSUPPORT, "state_version");
}

static void differs(const char *have, const char *want, const char *key)
{
	char got[64] = "";
	json_t *a = json_loads(have, 0, NULL), *b = json_loads(want, 0, NULL);

	assert_int_equal(state_differs(a, b, got, sizeof(got)), *key != '\0');
	assert_string_equal(got, key);
	json_decref(a);
	json_decref(b);
}

static void names_the_key_that_differs(void **state)
{
	differs("{\"a\":1,\"m\":{\"p\":\"x\"}}", "{\"m\":{\"p\":\"x\"},\"a\":1}", "");
	differs("{\"a\":1}", "{\"a\":2}", "a");
	differs("{\"a\":1}", "{}", "a");
	differs("{}", "{\"b\":1}", "b");
	differs("{\"m\":{\"p\":\"x\"}}", "{\"m\":{\"p\":\"y\"}}", "m.p");
	differs("{\"f\":[{\"i\":1},{\"i\":2}]}", "{\"f\":[{\"i\":1},{\"i\":3}]}", "f[1].i");
	differs("{\"f\":[{\"i\":1}]}", "{\"f\":[]}", "f[0]");
	differs("{\"f\":[]}", "{\"f\":\"x\"}", "f");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(put_is_saved_and_comes_back),
		cmocka_unit_test(failed_save_changes_nothing),
		cmocka_unit_test(put_back_is_saved_with_the_next_change),
		cmocka_unit_test(del_is_saved_and_idempotent),
		cmocka_unit_test(load_refuses_what_no_save_wrote),
		cmocka_unit_test(load_refuses_a_newer_version),
		cmocka_unit_test(names_the_key_that_differs),
	};

	return cmocka_run_group_tests_name("control_state", tests, NULL, NULL);
}
