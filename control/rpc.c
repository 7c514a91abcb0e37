/* SPDX-License-Identifier: Apache-2.0 */
#include "control/rpc.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_MAX 64

enum rpc_code {
	RPC_PARSE = -32700,
	RPC_REQUEST = -32600,
	RPC_METHOD = -32601,
	RPC_PARAMS = -32602,
	RPC_FAILED = -32000, /* the command itself */
};

struct ctl {
	const struct ctl_tables *tables;
	struct state *state;
};

struct ctl *ctl_new(const struct ctl_tables *tables, struct state *state)
{
	struct ctl *c = malloc(sizeof(*c));

	if (c)
		*c = (struct ctl){ tables, state };
	return c;
}

void ctl_free(struct ctl *ctl)
{
	free(ctl);
}

const struct ctl_tables *ctl_tables(const struct ctl *ctl)
{
	return ctl->tables;
}

struct state *ctl_state(struct ctl *ctl)
{
	return ctl->state;
}

/* A text of the caller's may have been cut inside a character, which is no JSON. */
static json_t *text_json(const char *text, const char *instead)
{
	json_t *t = json_string(text);

	return t ? t : json_string(instead);
}

static json_t *error_answer(json_t *id, enum rpc_code code, const struct ctl_error *err)
{
	return json_pack("{s:s, s:O?, s:{s:i, s:o, s:{s:s, s:o}}}", "jsonrpc", "2.0", "id", id,
			 "error", "code", code, "message",
			 text_json(err->text, "the text of this error is not UTF-8"), "data", "id",
			 err->id, "param", text_json(err->param, "?"));
}

static const struct ctl_cmd *find_method(const struct ctl_tables *t, const char *method)
{
	char noun[64];
	size_t len = strcspn(method, ".");

	if (len >= sizeof(noun))
		return NULL;
	memcpy(noun, method, len);
	noun[len] = '\0';
	return ctl_cmd_find(t, noun, method[len] ? method + len + 1 : "");
}

static int run(struct ctl *ctl, const struct ctl_cmd *cmd, const json_t *params,
	       json_t **ret_result, enum rpc_code *ret_code, struct ctl_error *err)
{
	json_t *none = json_object(), *checked = NULL;
	int ret = ctl_check(ctl->tables, cmd->params, params ? params : none, &checked, err);

	*ret_code = RPC_PARAMS;
	if (!ret) {
		*ret_code = RPC_FAILED;
		ret = cmd->run(ctl, checked, ret_result, err);
	}
	json_decref(checked);
	json_decref(none);
	return ret;
}

/* Return: the answer; NULL for a notification. */
static json_t *answer_one(struct ctl *ctl, const json_t *req)
{
	json_t *id = json_object_get(req, "id"), *result = NULL, *out;
	const char *method = ctl_str(req, "method"), *version = ctl_str(req, "jsonrpc");
	json_t *params = json_object_get(req, "params");
	struct ctl_error err = { 0 };
	enum rpc_code code = RPC_REQUEST;

	if (!method || !version || strcmp(version, "2.0") || json_is_object(id) ||
	    json_is_array(id) || json_is_boolean(id)) {
		ctl_fail(&err, 0, "invalid_request", NULL,
			 "not a JSON-RPC 2.0 request: {\"jsonrpc\": \"2.0\", \"id\": 1, "
			 "\"method\": \"noun.verb\", \"params\": {}}");
		return error_answer(NULL, code, &err);
	}
	const struct ctl_cmd *cmd = find_method(ctl->tables, method);

	if (!cmd) {
		code = RPC_METHOD;
		ctl_fail(&err, 0, "unknown_command", NULL, "there is no command '%.60s'", method);
	} else if (!run(ctl, cmd, params, &result, &code, &err)) {
		out = id ? json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id", id, "result",
				     result ? result : json_object()) : NULL;
		if (!id)
			json_decref(result);
		return out;
	}
	return id ? error_answer(id, code, &err) : NULL;
}

static json_t *answer_batch(struct ctl *ctl, const json_t *batch)
{
	struct ctl_error err = { 0 };
	json_t *out, *one, *item;
	size_t i;

	if (!json_array_size(batch) || json_array_size(batch) > BATCH_MAX) {
		ctl_fail(&err, 0, "invalid_request", NULL, "a batch has 1 to %d requests",
			 BATCH_MAX);
		return error_answer(NULL, RPC_REQUEST, &err);
	}
	out = json_array();
	json_array_foreach(batch, i, item) {
		one = answer_one(ctl, item);
		if (one)
			json_array_append_new(out, one);
	}
	if (json_array_size(out))
		return out;
	json_decref(out);
	return NULL;
}

/* Takes @answer over. */
static char *to_line(json_t *answer, size_t *ret_len_b)
{
	CLEANUP(base_free) char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	char *line = text ? malloc(len + 1) : NULL;

	json_decref(answer);
	if (!line)
		return NULL;
	memcpy(line, text, len);
	line[len] = '\n';
	*ret_len_b = len + 1;
	return line;
}

char *rpc_refusal(const char *id, const char *text, size_t *ret_len_b)
{
	struct ctl_error err = { 0 };

	ctl_fail(&err, 0, id, NULL, "%s", text);
	return to_line(error_answer(NULL, RPC_REQUEST, &err), ret_len_b);
}

char *rpc_line(struct ctl *ctl, const char *line, size_t len_b, size_t *ret_len_b)
{
	struct ctl_error err = { 0 };
	json_error_t why;
	json_t *req, *answer;

	if (len_b > RPC_LINE_MAX_B)
		return rpc_refusal("line_too_long", "a line may have 65536 bytes", ret_len_b);
	req = json_loadb(line, len_b, JSON_REJECT_DUPLICATES, &why);
	if (!req) {
		ctl_fail(&err, 0, "parse_error", NULL, "column %d: %s", why.column, why.text);
		return to_line(error_answer(NULL, RPC_PARSE, &err), ret_len_b);
	}
	answer = json_is_array(req) ? answer_batch(ctl, req) : answer_one(ctl, req);
	json_decref(req);
	return to_line(answer, ret_len_b);
}
