/* SPDX-License-Identifier: Apache-2.0 */
/* Lines in, lines out, and the connections that carry them: control/rpc.c, server.c, client.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "control/client.h"
#include "control/server.h"

static int count;

static int say_run(struct ctl *ctl, const json_t *params, json_t **ret, struct ctl_error *err)
{
	count++;
	if (ctl_bool(params, "fail"))
		return ctl_fail(err, -EBUSY, "busy", "fail", "told to fail");
	*ret = json_pack("{s:s}", "said", ctl_str(params, "text"));
	return 0;
}

static const struct ctl_param say_params[] = {
	{ .name = "text", .type = CTL_STRING, .help = "what to say", .value = "hello" },
	{ .name = "fail", .type = CTL_BOOL, .help = "or not" },
	{ 0 },
};
static const struct ctl_cmd cmds[] = {
	{ .noun = "test", .verb = "say", .params = say_params, .run = say_run },
	{ 0 },
};
static const struct ctl_cmd *const all[] = { cmds, NULL };
static const struct ctl_tables tables = { .cmds = all };

static void answers_n(const char *line, size_t len, const char *want)
{
	struct ctl *ctl = ctl_new(&tables, NULL);
	size_t len_b = 0;
	char *got = rpc_line(ctl, line, len, &len_b);

	if (!want) {
		assert_null(got);
	} else {
		assert_non_null(got);
		assert_int_equal(got[len_b - 1], '\n');
		got[len_b - 1] = '\0';
		if (!strstr(got, want))
			fail_msg("'%s' has no '%s'", got, want);
		assert_null(memchr(got, '\n', len_b - 1));
	}
	free(got);
	ctl_free(ctl);
}

static void answers(const char *line, const char *want)
{
	answers_n(line, strlen(line), want);
}

#define REQ(id, method, params) \
	"{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"" method "\",\"params\":" params "}"

static void answers_a_call(void **state)
{
	answers(REQ("7", "test.say", "{\"text\":\"hi\"}"),
		"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"said\":\"hi\"}}");
	answers("{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"test.say\"}", "\"said\":\"hello\"");
}

static void answers_errors_with_id_and_parameter(void **state)
{
	answers(REQ("1", "test.say", "{\"fail\":true}"),
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"told to fail\","
		"\"data\":{\"id\":\"busy\",\"param\":\"fail\"}}}");
	answers(REQ("1", "test.say", "{\"txt\":\"\"}"), "\"code\":-32602");
	answers(REQ("1", "test.eat", "{}"), "unknown_command");
	answers(REQ("1", "test", "{}"), "unknown_command");
	answers(REQ("1", "test.say", "[1]"), "bad_value");
}

static void answers_every_malformed_line(void **state)
{
	static const char *const bad[] = { "{", "nonsense", "3", "null", "\"x\"", "{}", "[]",
					   "[[]]",
		"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"test.say\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"test.say\"}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}",
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"test.say\"}" };

	count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		answers(bad[i], "\"id\":null,\"error\":");
	answers_n("\0{}", 3, "parse_error");
	answers_n("\"\xff\"", 3, "parse_error");
	assert_int_equal(count, 0);
}

static void answers_even_when_the_error_text_was_cut_inside_a_character(void **state)
{
	char line[300] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"test.say\",\"params\":{\"x";

	for (int i = 0; i < 60; i++)
		strcat(line, "\xc3\xa4");
	strcat(line, "\":1}}");
	answers(line, "\"id\":\"unknown_param\"");
}

static void says_nothing_to_a_notification(void **state)
{
	count = 0;
	answers("{\"jsonrpc\":\"2.0\",\"method\":\"test.say\"}", NULL);
	answers("[{\"jsonrpc\":\"2.0\",\"method\":\"test.say\"}]", NULL);
	assert_int_equal(count, 2);
}

static void answers_a_batch_in_order(void **state)
{
	answers("[" REQ("1", "test.say", "{}") ",5," REQ("2", "test.say", "{\"text\":\"b\"}") "]",
		"[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"said\":\"hello\"}},{\"jsonrpc\":\"2.0\","
		"\"id\":null,\"error\":");
}

/* A server whose loop the test turns by hand. */
struct rig {
	struct loop loop;
	struct ctl *ctl;
	struct server *server;
	int fd; /* the caller's end of one connection */
};

static int rig_setup(void **state)
{
	static struct rig r;
	int pair[2];

	assert_int_equal(loop_init(&r.loop), 0);
	r.ctl = ctl_new(&tables, NULL);
	r.server = server_new(&r.loop, r.ctl);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	server_adopt(r.server, pair[0]);
	r.fd = pair[1];
	*state = &r;
	return 0;
}

static int rig_teardown(void **state)
{
	struct rig *r = *state;

	fd_close(r->fd);
	server_free(r->server);
	ctl_free(r->ctl);
	loop_fini(&r->loop);
	return 0;
}

static void turn_until_idle(struct rig *r)
{
	while (loop_turn(&r->loop, 0) > 0)
		;
}

static size_t hear(struct rig *r, char *buf, size_t room)
{
	turn_until_idle(r);
	ssize_t n = recv(r->fd, buf, room - 1, MSG_DONTWAIT);

	buf[n < 0 ? 0 : n] = '\0';
	return n < 0 ? 0 : (size_t)n;
}

static void serves_a_line_that_comes_in_pieces(void **state)
{
	struct rig *r = *state;
	const char *req = REQ("1", "test.say", "{}") "\n";
	char buf[512];

	for (const char *p = req; *p; p++) {
		assert_int_equal(hear(r, buf, sizeof(buf)), 0);
		assert_int_equal(send(r->fd, p, 1, 0), 1);
	}
	hear(r, buf, sizeof(buf));
	assert_non_null(strstr(buf, "\"said\":\"hello\""));
}

static void serves_many_lines_at_once_in_order(void **state)
{
	struct rig *r = *state;
	const char *req = REQ("1", "test.say", "{}") "\n\n" REQ("2", "test.say", "{}") "\n";
	char buf[512];

	assert_int_equal(send(r->fd, req, strlen(req), 0), strlen(req));
	hear(r, buf, sizeof(buf));
	char *second = strchr(buf, '\n');
	assert_non_null(strstr(buf, "\"id\":1"));
	assert_non_null(strstr(second, "\"id\":2"));
}

static void refuses_a_line_without_end_and_closes(void **state)
{
	struct rig *r = *state;
	char buf[512], *junk = malloc(RPC_LINE_MAX_B + 1);

	memset(junk, 'x', RPC_LINE_MAX_B + 1);
	for (size_t sent = 0; sent < RPC_LINE_MAX_B + 1;) {
		ssize_t n = send(r->fd, junk + sent, RPC_LINE_MAX_B + 1 - sent, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		turn_until_idle(r);
	}
	hear(r, buf, sizeof(buf));
	assert_non_null(strstr(buf, "line_too_long"));
	assert_int_equal(recv(r->fd, buf, 1, MSG_DONTWAIT), 0);
	free(junk);
}

static void stops_reading_from_a_caller_that_does_not_read(void **state)
{
	struct rig *r = *state;
	const char *req = REQ("1", "test.say", "{}") "\n";
	char buf[65536];
	unsigned sent = 0, got = 0;

	while (send(r->fd, req, strlen(req), MSG_DONTWAIT) == (ssize_t)strlen(req)) {
		sent++;
		turn_until_idle(r);
	}
	assert_true(sent > 100);
	for (size_t n; (n = hear(r, buf, sizeof(buf))) > 0;)
		for (size_t i = 0; i < n; i++)
			got += buf[i] == '\n';
	assert_in_range(got, sent, sent);
}

static void refuses_one_connection_too_many(void **state)
{
	struct rig *r = *state;
	int pair[2], ends[SERVER_CONN_MAX];
	char buf[512] = "";

	for (unsigned i = 0; i < SERVER_CONN_MAX; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		server_adopt(r->server, pair[0]);
		ends[i] = pair[1];
	}
	assert_true(recv(ends[SERVER_CONN_MAX - 1], buf, sizeof(buf) - 1, MSG_DONTWAIT) > 0);
	assert_non_null(strstr(buf, "too_many_connections"));
	assert_int_equal(recv(ends[SERVER_CONN_MAX - 1], buf, 1, MSG_DONTWAIT), 0);
	assert_int_equal(recv(ends[0], buf, 1, MSG_DONTWAIT), -1);
	for (unsigned i = 0; i < SERVER_CONN_MAX; i++)
		fd_close(ends[i]);
}

static void forgets_a_connection_that_is_closed(void **state)
{
	struct rig *r = *state;

	shutdown(r->fd, SHUT_RDWR);
	turn_until_idle(r);
	int pair[2];
	char buf[64];
	for (unsigned i = 0; i < 2 * SERVER_CONN_MAX; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		server_adopt(r->server, pair[0]);
		assert_int_equal(recv(pair[1], buf, 1, MSG_DONTWAIT), -1);
		close(pair[1]);
		turn_until_idle(r);
	}
}

/* The client, against a server on a thread of its own. */
static char dir[] = "/tmp/postern-test-XXXXXX";
static char path[64];

struct host {
	struct rig *rig;
	struct loop_watch watch;
};

static void host_ready(struct loop_watch *w, uint32_t events)
{
	struct host *h = container_of(w, struct host, watch);
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0)
		server_adopt(h->rig->server, fd);
	else
		loop_stop(&h->rig->loop); /* the listening socket was shut down */
}

static void *host_main(void *arg)
{
	struct host *h = arg;

	loop_run(&h->rig->loop);
	return NULL;
}

static void client_reads_results_and_typed_errors(void **state)
{
	struct host h = { .rig = *state };
	struct ctl_client *c;
	struct ctl_error err;
	json_t *params = json_pack("{s:b}", "fail", 1), *result = NULL;
	pthread_t thread;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/c.sock", dir);
	h.watch = (struct loop_watch){ fd_listen(path, 0600), host_ready };
	assert_true(h.watch.fd >= 0);
	assert_int_equal(loop_add(&h.rig->loop, &h.watch, EPOLLIN), 0);
	pthread_create(&thread, NULL, host_main, &h);

	assert_int_equal(ctl_client_open(path, &c, &err), 0);
	assert_int_equal(ctl_client_call(c, "test.say", NULL, &result, &err), 0);
	assert_string_equal(ctl_str(result, "said"), "hello");
	assert_int_equal(ctl_client_call(c, "test.say", params, NULL, &err), -EREMOTEIO);
	assert_string_equal(err.id, "busy");
	assert_string_equal(err.param, "fail");
	ctl_client_close(c);

	shutdown(h.watch.fd, SHUT_RDWR);
	pthread_join(thread, NULL);
	loop_del(&h.rig->loop, &h.watch);
	fd_close(h.watch.fd);
	assert_int_equal(ctl_client_open(path, &c, &err), -ECONNREFUSED);
	assert_string_equal(err.id, "no_daemon");
	unlink(path);
	rmdir(dir);
	json_decref(params);
	json_decref(result);
}

static void client_refuses_a_path_of_108_bytes(void **state)
{
	struct ctl_client *c;
	struct ctl_error err;
	char longest[109];

	memset(longest, 'a', 108);
	longest[0] = '/';
	longest[108] = '\0';
	assert_int_equal(ctl_client_open(longest, &c, &err), -ENAMETOOLONG);
	assert_string_equal(err.id, "path_too_long");
}

int main(void)
{
#define WITH_RIG(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_a_call),
		cmocka_unit_test(answers_errors_with_id_and_parameter),
		cmocka_unit_test(answers_every_malformed_line),
		cmocka_unit_test(answers_even_when_the_error_text_was_cut_inside_a_character),
		cmocka_unit_test(says_nothing_to_a_notification),
		cmocka_unit_test(answers_a_batch_in_order),
		WITH_RIG(serves_a_line_that_comes_in_pieces),
		WITH_RIG(serves_many_lines_at_once_in_order),
		WITH_RIG(refuses_a_line_without_end_and_closes),
		WITH_RIG(stops_reading_from_a_caller_that_does_not_read),
		WITH_RIG(refuses_one_connection_too_many),
		WITH_RIG(forgets_a_connection_that_is_closed),
		WITH_RIG(client_reads_results_and_typed_errors),
		cmocka_unit_test(client_refuses_a_path_of_108_bytes),
	};

	return cmocka_run_group_tests_name("control_rpc", tests, NULL, NULL);
}
