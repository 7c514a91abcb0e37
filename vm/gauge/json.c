/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/gauge/json.h"

#include <string.h>

#include "vm/gauge/serial.h"

#define VERSION 1

static char buffer[1024];
static size_t used;
static bool comma; /* something stands before what comes next, on its level */

static void flush(void)
{
	serial_write(COM1, buffer, used);
	used = 0;
}

static void put(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (used == sizeof(buffer))
			flush();
		buffer[used++] = s[i];
	}
}

static void put_text(const char *s)
{
	put("\"", 1);
	put(s, strlen(s));
	put("\"", 1);
}

static void put_number(uint64_t v, unsigned base)
{
	char digits[20];
	size_t n = sizeof(digits);

	do {
		digits[--n] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	put(digits + n, sizeof(digits) - n);
}

static void put_key(const char *key)
{
	if (comma)
		put(",", 1);
	comma = true;
	if (!key)
		return;
	put_text(key);
	put(":", 1);
}

void json_begin(void)
{
	comma = false;
	put("{", 1);
	json_number("gauge", VERSION);
}

void json_end(void)
{
	put("}\n", 2);
	flush();
}

void json_event(const char *event, const char *why)
{
	json_begin();
	json_text("event", event);
	if (why)
		json_text("why", why);
	json_end();
}

void json_open(const char *key, char bracket)
{
	put_key(key);
	put(&bracket, 1);
	comma = false;
}

void json_close(char bracket)
{
	put(&bracket, 1);
	comma = true;
}

void json_text(const char *key, const char *text)
{
	put_key(key);
	put_text(text);
}

void json_hex(const char *key, uint64_t v)
{
	put_key(key);
	put("\"0x", 3);
	put_number(v, 16);
	put("\"", 1);
}

void json_number(const char *key, uint64_t v)
{
	put_key(key);
	put_number(v, 10);
}

void json_bool(const char *key, bool v)
{
	put_key(key);
	put(v ? "true" : "false", v ? 4 : 5);
}
