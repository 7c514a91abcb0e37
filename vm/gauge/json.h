/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON onto the first serial line, as it is said: nothing is kept but a little buffer. A key of
 * NULL is an element of a list. Text is sent as it is, so it must be such that needs no quoting.
 */
#pragma once

#include "base/base.h"

void json_begin(void); /* a line and its object, with the gauge's version */
void json_end(void); /* the object and the line, which is sent */
/* A whole line of nothing else; @why may be NULL. */
void json_event(const char *event, const char *why);
void json_open(const char *key, char bracket); /* '{' or '[' */
void json_close(char bracket);
void json_text(const char *key, const char *text);
void json_hex(const char *key, uint64_t v);
void json_number(const char *key, uint64_t v);
void json_bool(const char *key, bool v);
