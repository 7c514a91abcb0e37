/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the keeper share; nobody else includes it. The keeper's one thread. */
#pragma once

#include "base/list.h"
#include "base/loop.h"
#include "keeper/keeper.h"
#include "keeper/kept.h"
#include "keeper/proto.h"

/* The state directory: state.json, and a lock that one keeper holds. */
struct store {
	int dir_fd, lock_fd; /* -1: nothing is kept */
};

/* A file that we have made, so that no other is removed that has its name by now. */
struct own_file {
	dev_t dev;
	ino_t ino; /* 0: none */
};

/* What answers the worker's requests. */
struct office {
	struct store store;
	struct list sockets; /* those that the worker asked for, kept for its successors */
	unsigned nsocket;
	/* The file that was made last for the worker, until a state is saved that may speak of it. */
	char made[KEEPER_PATH_MAX];
	struct own_file made_file;
	struct kept kept;
};

/* @dir is created if missing (its parents too). Return: 0; -EBUSY: another has it; -errno. */
int store_open(struct store *s, const char *dir);
void store_close(struct store *s);
/* Return: the state file, read-only; -ENOENT; -errno. */
int store_read(const struct store *s);
/* Makes the content of @fd, a regular file, the state, durably.
 * Return: 0; -EPROTO: @fd is no such file; -errno. */
int store_save(const struct store *s, int fd);
/* Whether @fd is one of the store's own files. */
bool store_owns(const struct store *s, int fd);

/* Carries out @req, which came with @fd (or -1; borrowed). *ret_fd: what goes with the answer, or
 * -1; *ret_close: whether to close it afterwards.
 * Return: 0; -errno; -EPROTO: it made no sense. */
int office_serve(struct office *o, const struct keeper_request *req, int fd, int *ret_fd,
		 bool *ret_close);
/* Answers KEEPER_LIST on @sock: what is kept from number @from on. Return: 0; -errno of sending. */
int office_list(const struct office *o, unsigned from, int sock);
/* A new worker claims its sockets anew. */
void office_unclaim(struct office *o);
/* Lets go of the sockets that no worker has claimed, and of their files. */
void office_sweep(struct office *o);
/* Lets go of everything but the store. */
void office_fini(struct office *o);

/* As fd_listen(), and the file belongs to @group, if there is one. Return: -ESRCH: no such. */
int listen_for_group(const char *path, mode_t mode, const char *group, struct own_file *ret_file);
/* Removes what is at @path if it is @file. Return: 0; -ENOENT. */
int own_file_unlink(const char *path, const struct own_file *file);

/* mkdir -p of all that comes before the last '/' in @path. Return: 0; -errno. */
int make_parents(const char *path, mode_t mode);

/* Tells systemd, if it wants to know. */
void notify_send(const char *text);

/* Whether the peer of the connected @fd may call: own user, root, a member of @group.
 * Return: 0; -EPERM with its user in *ret_uid; -errno. */
int peer_check(int fd, const char *group, uid_t *ret_uid);
