/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a medium, a function and a front give to the control side besides their
 * data path: a name, parameters, and how to open one. Each part defines one such constant in
 * its *_ctl.c; bin/ lists them in its table. Control thread only.
 */
#pragma once

#include "control/ctl.h"

struct media;	 /* core/ */
struct function; /* core/ */
struct front;	 /* core/ */
struct disk;	 /* disk/ */
struct poller;	 /* core/ */
struct keep_scope; /* core/keep.h */

/* What the disk asks of its medium, beside the medium's own parameters. */
struct media_want {
	uint64_t size_b; /* 0: whatever the medium has */
	bool readonly;
	/* A new disk: what it is kept in may be made. False when a disk comes back from the kept
	 * state: a file that is not there is then an error, not an empty disk. */
	bool create;
	/* A disk that comes back from the kept state: what the medium held must still be there. A
	 * medium that has lost it fails (data_lost), under a guest that believes in what it
	 * wrote. */
	bool restored;
	const struct keep_scope *keep; /* the medium's, for what must outlive the process */
};

struct media_kind {
	struct ctl_kind ctl;
	/* @params are checked against ctl.params and are the caller's. May block. Errors name
	 * their parameter without a prefix ("path"); disk_ctl.c puts "medium." before it.
	 * Ownership: *ret is closed through the medium's own close operation.
	 * Return: 0; -errno with @err filled. */
	int (*open)(const json_t *params, const struct media_want *want, struct media **ret,
		    struct ctl_error *err);
	/* open() is to come soon, and many others': asks for what it will need, without waiting.
	 * Says nothing of errors. NULL: nothing is gained. */
	void (*ahead)(const json_t *params, const struct media_want *want);
	/* Makes an open medium @size_b long; 0 when it already is. NULL: it cannot change. */
	int (*resize)(struct media *m, uint64_t size_b, struct ctl_error *err);
	/* Adds to @into what an operator wants to know: the engine and why. NULL: nothing. */
	void (*show)(const struct media *m, json_t *into);
};

struct function_kind {
	struct ctl_kind ctl;
	/* As media_kind's. */
	int (*open)(const json_t *params, struct function **ret, struct ctl_error *err);
	/* Changes a live one to @params (all of them, checked); atomic. NULL: it cannot. */
	int (*set)(struct function *f, const json_t *params, struct ctl_error *err);
	void (*show)(const struct function *f, json_t *into);
};

/* What a disk gives to its front, beside the front's own parameters. */
struct front_want {
	struct disk *disk;
	struct poller *const *poller;
	unsigned npoller;
	mode_t socket_mode;
	const char *socket_group; /* NULL: none */
	/* Not to listen but to serve this connection, which becomes the front's; -1: listen. When
	 * it has ended, ended() is called on a thread of the front's. */
	int conn_fd;
	void (*ended)(void *arg);
	void *ended_arg;
	const struct keep_scope *keep; /* the front's; empty when it serves one connection */
};

struct front_kind {
	struct ctl_kind ctl;
	/* As media_kind's. The disk and the pollers outlive the front. */
	int (*open)(const json_t *params, const struct front_want *want, struct front **ret,
		    struct ctl_error *err);
	/* Takes away what open() left in the file system, once the front is closed for good. */
	void (*forget)(const json_t *params);
};

/* The kind behind what ctl_kind_of() finds in a set made of media_kind.ctl and its like. */
#define media_kind_of(ctl_kind) container_of(ctl_kind, const struct media_kind, ctl)
#define function_kind_of(ctl_kind) container_of(ctl_kind, const struct function_kind, ctl)
#define front_kind_of(ctl_kind) container_of(ctl_kind, const struct front_kind, ctl)
