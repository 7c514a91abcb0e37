/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON-RPC 2.0 without sockets: a line comes in, a line goes out. The method is
 * "noun.verb" of the command tables, params an object (or absent). An error carries
 * {"id": "disk_exists", "param": "size"} as its data. Batches are answered as such.
 * Control thread only.
 */
#pragma once

#include "control/ctl.h"
#include "control/state.h"

#define RPC_LINE_MAX_B 65536 /* a longer line is answered with line_too_long */

/* What every command's run() is given. @tables and @state stay the caller's. */
struct ctl *ctl_new(const struct ctl_tables *tables, struct state *state);
void ctl_free(struct ctl *ctl);
const struct ctl_tables *ctl_tables(const struct ctl *ctl);
struct state *ctl_state(struct ctl *ctl);

/* Answers one line (no newline in it). May block as long as the command does.
 * Ownership: the answer, with its newline, is the caller's to free.
 * Return: NULL when there is none to give (a notification, or no memory). */
char *rpc_line(struct ctl *ctl, const char *line, size_t len_b, size_t *ret_len_b);

/* The line for an error that no request could be made out of. As above. */
char *rpc_refusal(const char *id, const char *text, size_t *ret_len_b);
