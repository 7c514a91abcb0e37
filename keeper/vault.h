/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the keeper's own descriptors outlive the keeper: systemd's store, or a `posternd
 * --keep`. What goes in is what workers have put (by its key) and the sockets that they
 * listen on ("socket/NUMBER"). Never waits for longer than a second, and then goes on
 * without. The keeper's main thread.
 */
#pragma once

#include "base/base.h"

#define VAULT_SYSTEMD "systemd"
#define VAULT_SOCKET "socket/" /* how keys of sockets begin; no part's scope does */

struct vault {
	const char *at; /* NULL: there is none */
	/* a datagram socket for systemd's; or connected to a `posternd --keep`; -1 */
	int sock;
};

/* Opens @at (VAULT_SYSTEMD or the path of a socket; NULL: none) and gives what is there to
 * @take(@arg, key, fd), whose descriptors they are then. Return: 0; -errno. */
int vault_open(struct vault *v, const char *at, void (*take)(void *arg, const char *key, int fd),
	       void *arg);
/* Puts @fd there instead of what was. Return: 0; -errno: it will not outlive the keeper. */
int vault_put(struct vault *v, const char *key, int fd);
int vault_drop(struct vault *v, const char *key);
/* A `posternd --keep` that has gone; what it had is in the keeper only until it is opened again. */
bool vault_is_lost(const struct vault *v);
/* Waits, at most 5 s, until all that was put is there. */
void vault_settle(struct vault *v);
void vault_close(struct vault *v);

/* `posternd --keep`: holds what keepers put, one of them at a time, for the next. Runs until
 * SIGTERM or SIGINT. Return: the exit status. */
int vault_run(const char *path);
