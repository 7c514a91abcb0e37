/* SPDX-License-Identifier: Apache-2.0 */
#include "control/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define ANSWER_MAX_B (16 * MIB)

struct ctl_client {
	int fd;
	long long id;
	char *in; /* what has been read and not used */
	size_t in_b, room_b;
};

char *ctl_client_default_path(void)
{
	static const char system_wide[] = "/run/postern/control.sock";
	const char *dir = getenv("XDG_RUNTIME_DIR");
	char *path;

	if (!dir || dir[0] != '/')
		return strdup(system_wide);
	if (asprintf(&path, "%s/postern/control.sock", dir) < 0)
		return NULL;
	/* Nobody serves this user alone: then whoever serves the host. */
	if (access(path, F_OK) && !access(system_wide, F_OK)) {
		free(path);
		return strdup(system_wide);
	}
	return path;
}

int ctl_client_open(const char *path, struct ctl_client **ret, struct ctl_error *err)
{
	CLEANUP(base_free) char *fallback = path ? NULL : ctl_client_default_path();
	const char *at = path ? path : fallback;
	struct ctl_client *c = calloc(1, sizeof(*c));

	if (!c || !at) {
		free(c);
		return ctl_fail(err, -ENOMEM, "no_memory", NULL, "out of memory");
	}
	int fd = fd_connect(at);

	if (fd >= 0) {
		c->fd = fd;
		*ret = c;
		return 0;
	}
	free(c);
	if (fd == -ENAMETOOLONG)
		return ctl_fail(err, fd, "path_too_long", "control",
				"a socket path of %zu bytes is too long, at most %d are allowed",
				strlen(at), FD_SOCKET_PATH_MAX);
	if (fd == -EACCES)
		return ctl_fail(err, fd, "denied", "control", "'%s' may not be used by this user",
				at);
	return ctl_fail(err, fd, "no_daemon", "control",
			"no posternd answers at '%s' (%s): start posternd, or name its socket with "
			"--control", at, strerror(-fd));
}

void ctl_client_close(struct ctl_client *c)
{
	if (!c)
		return;
	fd_close(c->fd);
	free(c->in);
	free(c);
}

static int gone(struct ctl_error *err, int code)
{
	return ctl_fail(err, code ? code : -EPIPE, "no_daemon", "control",
			"posternd went away before it answered%s%s", code ? ": " : "",
			code ? strerror(-code) : "");
}

static int bad_answer(struct ctl_error *err)
{
	return ctl_fail(err, -EPROTO, "bad_answer", "control", "the answer makes no sense");
}

static int send_request(struct ctl_client *c, const char *method, const json_t *params,
			struct ctl_error *err)
{
	json_t *req = json_pack("{s:s, s:I, s:s, s:O*}", "jsonrpc", "2.0", "id",
				(json_int_t)++c->id, "method", method, "params", params);
	CLEANUP(base_free) char *text = req ? json_dumps(req, JSON_COMPACT) : NULL;
	int ret;

	json_decref(req);
	if (!text)
		return ctl_fail(err, -EINVAL, "bad_value", NULL, "the parameters are not UTF-8");
	size_t len = strlen(text);

	text[len] = '\n'; /* in place of the NUL */
	ret = fd_send(c->fd, text, len + 1, NULL, 0);
	return ret ? gone(err, ret) : 0;
}

/* Return: 0 with a line of *ret_len bytes, its newline included, at the start of c->in. */
static int read_line(struct ctl_client *c, size_t *ret_len, struct ctl_error *err)
{
	for (;;) {
		char *end = c->in_b ? memchr(c->in, '\n', c->in_b) : NULL;

		if (end) {
			*ret_len = (size_t)(end - c->in) + 1;
			return 0;
		}
		if (c->in_b == c->room_b) {
			size_t room = c->room_b ? 2 * c->room_b : 4096;
			char *more = room <= ANSWER_MAX_B ? realloc(c->in, room) : NULL;

			if (!more)
				return bad_answer(err);
			c->in = more;
			c->room_b = room;
		}
		ssize_t n = read(c->fd, c->in + c->in_b, c->room_b - c->in_b);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return gone(err, n ? -errno : 0);
		c->in_b += (size_t)n;
	}
}

static int read_error(const json_t *error, struct ctl_error *err)
{
	const json_t *data = json_object_get(error, "data");
	const char *id = ctl_str(data, "id"), *text = ctl_str(error, "message");

	if (!id || !text)
		return bad_answer(err);
	return ctl_fail(err, -EREMOTEIO, id, ctl_str(data, "param"), "%s", text);
}

int ctl_client_call(struct ctl_client *c, const char *method, const json_t *params,
		    json_t **ret_result, struct ctl_error *err)
{
	size_t len = 0;
	int ret = send_request(c, method, params, err);

	if (!ret)
		ret = read_line(c, &len, err);
	if (ret)
		return ret;
	json_t *answer = json_loadb(c->in, len, 0, NULL);
	json_t *result = json_object_get(answer, "result");

	c->in_b -= len;
	memmove(c->in, c->in + len, c->in_b);
	if (!result)
		ret = read_error(json_object_get(answer, "error"), err);
	else if (json_integer_value(json_object_get(answer, "id")) != c->id)
		ret = bad_answer(err);
	else if (ret_result)
		*ret_result = json_incref(result);
	json_decref(answer);
	return ret;
}
