/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control connections: lines in, answers out, on the loop of the control thread.
 * A connection is served in order; one that does not read its answers is not read
 * from, so each holds at most one line and one answer.
 */
#pragma once

#include "base/loop.h"
#include "control/rpc.h"

#define SERVER_CONN_MAX 64

struct server;

/* @loop and @ctl stay the caller's and outlive it. Return: NULL without memory. */
struct server *server_new(struct loop *loop, struct ctl *ctl);
void server_free(struct server *s); /* closes all connections */

/* Serves the connected @fd, which becomes the server's. One too many is told so and closed. */
void server_adopt(struct server *s, int fd);
