/* SPDX-License-Identifier: Apache-2.0 */
/* The client of QEMU's control socket against a server that follows a script: vm/qmp.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "vm/qmp.h"

#define PLENTY_MS 30000
#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
#define DONE "{\"return\": {}}\r\n"

/* What the server says: first at once, then one part for each line that it hears. At the end of
 * the parts it hangs up, or with @mute waits until the client does. */
struct script {
	const char *parts[6];
	bool mute;
	char path[64];
	char heard[6][128];
	int listener;
	pthread_t thread;
};

static void hear_line(int fd, char *line, size_t size)
{
	size_t n = 0;

	while (n < size - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
		n++;
	line[n] = 0;
}

static void *serve(void *arg)
{
	struct script *s = arg;
	struct pollfd p = { .fd = s->listener, .events = POLLIN };

	poll(&p, 1, PLENTY_MS);
	int fd = accept(s->listener, NULL, NULL);

	for (int i = 0; fd >= 0 && s->parts[i]; i++) {
		fd_send(fd, s->parts[i], strlen(s->parts[i]), NULL, 0);
		if (s->parts[i + 1])
			hear_line(fd, s->heard[i], sizeof(s->heard[i]));
	}
	if (s->mute) {
		char last[128];

		hear_line(fd, last, sizeof(last));
		hear_line(fd, last, sizeof(last));
	}
	fd_close(fd);
	return NULL;
}

static void start(struct script *s)
{
	snprintf(s->path, sizeof(s->path), "/tmp/postern-qmp-%d.sock", getpid());
	s->listener = fd_listen(s->path, 0600);
	assert_true(s->listener >= 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void finish(struct script *s)
{
	pthread_join(s->thread, NULL);
	fd_close(s->listener);
	unlink(s->path);
}

static void greets_and_leaves_negotiation(void **state)
{
	struct script s = { .parts = { GREETING, DONE, "" } };
	struct qmp *q = NULL;

	start(&s);
	assert_int_equal(qmp_open(s.path, PLENTY_MS, &q), 0);
	assert_int_equal(qmp_call(q, "quit", NULL, NULL), -EPIPE);
	finish(&s);
	qmp_close(q);
	assert_non_null(strstr(s.heard[0], "\"qmp_capabilities\""));
	assert_non_null(strstr(s.heard[1], "\"quit\""));
}

static void skips_events_and_returns_the_answer(void **state)
{
	struct script s = { .parts = { GREETING, DONE,
				       "{\"event\": \"RESUME\", \"timestamp\": {}}\r\n"
				       "{\"return\": {\"status\": \"running\"}}\r\n" } };
	json_t *value = NULL;
	struct qmp *q = NULL;

	start(&s);
	assert_int_equal(qmp_open(s.path, PLENTY_MS, &q), 0);
	assert_int_equal(qmp_call(q, "query-status", json_pack("{s:i}", "x", 1), &value), 0);
	finish(&s);
	assert_string_equal(json_string_value(json_object_get(value, "status")), "running");
	assert_non_null(strstr(s.heard[1], "\"arguments\":{\"x\":1}"));
	json_decref(value);
	qmp_close(q);
}

static void waits_for_an_event(void **state)
{
	struct script s = { .parts = { GREETING, DONE, "{\"return\": {}}\r\n"
				       "{\"event\": \"DEVICE_DELETED\", \"data\": {}}\r\n" },
			    .mute = true };
	json_t *event = NULL;
	struct qmp *q = NULL;

	start(&s);
	assert_int_equal(qmp_open(s.path, PLENTY_MS, &q), 0);
	assert_int_equal(qmp_call(q, "device_del", NULL, NULL), 0);
	assert_int_equal(qmp_event(q, PLENTY_MS, &event), 0);
	assert_string_equal(json_string_value(json_object_get(event, "event")), "DEVICE_DELETED");
	json_decref(event);
	assert_int_equal(qmp_event(q, 1, &event), -ETIMEDOUT);
	qmp_close(q);
	finish(&s);
}

static void tells_why_qemu_refused(void **state)
{
	struct script s = { .parts = { GREETING, DONE, "{\"error\": {\"class\": \"GenericError\", "
				       "\"desc\": \"no such thing\"}}\r\n" } };
	struct qmp *q = NULL;

	start(&s);
	assert_int_equal(qmp_open(s.path, PLENTY_MS, &q), 0);
	assert_int_equal(qmp_call(q, "device_del", NULL, NULL), -EREMOTEIO);
	finish(&s);
	assert_string_equal(qmp_reason(q), "no such thing");
	qmp_close(q);
}

static void refuses_a_server_that_is_no_qemu(void **state)
{
	static const char *const wrong[] = { "SSH-2.0-OpenSSH\r\n", "{\"hello\": 1}\r\n" };

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct script s = { .parts = { wrong[i] } };
		struct qmp *q = NULL;

		start(&s);
		assert_int_equal(qmp_open(s.path, PLENTY_MS, &q), -EPROTO);
		finish(&s);
	}
}

static void gives_up_on_a_silent_server(void **state)
{
	struct script s = { .mute = true };
	struct qmp *q = NULL;

	start(&s);
	assert_int_equal(qmp_open(s.path, 1, &q), -ETIMEDOUT);
	finish(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(greets_and_leaves_negotiation),
		cmocka_unit_test(skips_events_and_returns_the_answer),
		cmocka_unit_test(waits_for_an_event),
		cmocka_unit_test(tells_why_qemu_refused),
		cmocka_unit_test(refuses_a_server_that_is_no_qemu),
		cmocka_unit_test(gives_up_on_a_silent_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
