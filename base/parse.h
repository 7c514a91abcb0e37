/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers, sizes and command lines as people write and read them. Pure; any thread.
 */
#pragma once

#include "base/base.h"

/* Decimal or 0x hexadecimal, the whole string. Return: 0; -EINVAL; -ERANGE. */
int parse_u64(const char *text, uint64_t *ret_value);

/* Bytes: a number and at most one of K M G T P (powers of 1024), with an optional "iB" or "B"
 * behind it: "20G", "512", "4KiB". Return: 0; -EINVAL; -ERANGE. */
int parse_size(const char *text, uint64_t *ret_b);

/* A time: a number and one of ns us ms s: "500us", "2ms"; "0" needs no unit. Return: 0; -EINVAL;
 * -ERANGE. */
int parse_ns(const char *text, uint64_t *ret_ns);

/* Back into such a text, exactly: "1500ms", "2s", "0". @buf holds 24 bytes. Return: @buf. */
char *unparse_ns(uint64_t ns, char *buf);

#define PARSE_BLANKS " \t\n" /* what divides words */

/* Copies the word that @text begins with, and a NUL, to *@at, which goes on behind that. What is in
 * '...' or "..." belongs to it with its blanks and without those marks.
 * Return: what follows the word; NULL: a quotation has no end. */
const char *parse_word(const char *text, char **at);

/* "20 GiB", "1.5 MiB", "512 B": three digits at most. @buf holds 16 bytes. Return: @buf. */
char *format_size(uint64_t b, char *buf);

/* "850 ns", "6.6 us", "12 ms", "3.0 s". @buf holds 16 bytes. Return: @buf. */
char *format_ns(uint64_t ns, char *buf);
