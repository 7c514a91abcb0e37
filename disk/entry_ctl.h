/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One disk as control holds it: what its user asked for, and the open parts. For
 * disk_ctl.c (commands), entry_ctl.c (opening and closing) and show_ctl.c. Control
 * thread only.
 */
#pragma once

#include "base/list.h"
#include "control/kinds.h"
#include "core/keep.h"
#include "disk/disk.h"

/* What follows when a disk that is being closed has closed. */
enum closing { CLOSING_NOT, CLOSING_TO_REOPEN, CLOSING_FOR_GOOD };

struct entry {
	struct list node;
	struct keep_scope keep; /* "disk/NAME": what outlives the process */
	json_t *conf;	     /* as ctl_check() left it; what is kept in the state */
	struct ctl_error why; /* of a disk that is not open */
	bool is_new;	      /* it has never been open: its medium may be made */
	bool waits;	      /* not open: another still has its medium */
	bool was_kept;	      /* it comes from the state: what memory held of it is lost */
	enum closing closing; /* still open, for what has not ended */
	bool has_stopped;     /* its front has; under the lock of entry_ctl.c */
	bool is_halted, is_overdue; /* its log says so; timed_out: how many it speaks of */
	uint64_t timed_out;

	/* open, or NULL */
	struct disk *disk;
	struct front *front;
	const struct media_kind *media_kind;
	struct media *media; /* the disk's */
	const struct function_kind *limit_kind;
	struct function *limit; /* ahead of the chain; NULL: there is no such kind */
	const struct function_kind *function_kind[CHAIN_MAX];
	struct function *function[CHAIN_MAX]; /* the disk's */
	unsigned nfunction, npoller;
	struct poller *poller[FRONT_QUEUES_MAX]; /* queue i is on poller[i % npoller] */
};

/* What a disk is served by that does not listen. */
struct entry_conn {
	int fd; /* -1: none */
	void (*ended)(void *arg);
	void *arg;
};

/* Return: a closed entry of @conf, which it keeps a reference of; NULL without memory. */
struct entry *entry_new(json_t *conf);
void entry_free(struct entry *e); /* closed */

/* Asks ahead for what entry_open() of a disk of the kept state will need. Does not wait. */
void entry_ahead(struct ctl *ctl, const struct entry *e);
/* Opens medium, functions, disk and front; all or nothing. Return: 0; -errno with @err. */
int entry_open(struct ctl *ctl, struct entry *e, const struct entry_conn *conn,
	       struct ctl_error *err);
/* Opens one function, the @i-th of a disk's. Return: 0; -errno with @err. */
int entry_open_function(struct ctl *ctl, const json_t *value, unsigned i, struct function **ret,
			const struct function_kind **ret_kind, struct ctl_error *err);
/* Waits for the medium, unless the front has stopped. */
void entry_close(struct entry *e);
/* Begins to close an open disk; does not wait. Once the front has stopped entry_close() does not
 * wait either, and the descriptor of entry_set_wake() is written to. */
void entry_stop(struct entry *e);
/* Waits until the front of @e has stopped, at most to @until_ns. Return: whether it has. */
bool entry_wait(struct entry *e, uint64_t until_ns);
/* An eventfd, written to when a front has stopped or entry_look() has something to do; -1, as at
 * first: none. */
void entry_set_wake(int fd);
/* Takes away what the disk's front has in the file system, and what is kept for a successor: the
 * disk goes, or is to begin anew. */
void entry_forget(struct ctl *ctl, const struct entry *e);

/* "size: ..." of disk_error as an error of the command. Return: -EINVAL. */
int entry_disk_fail(const struct disk_error *why, struct ctl_error *err);

/* All disks, through their node. */
struct list *entry_all(void);
/* The open disk of a command. Return: 0; -ENOENT, -EBUSY or -ENODEV with @err. */
int entry_get_open(const char *name, struct entry **ret_entry, struct ctl_error *err);
const char *entry_name(const struct entry *e);
enum poll_mode entry_mode(const json_t *conf);
struct disk_care entry_care(const json_t *conf);

/* The limit's own parameters in @conf, judged. Return: 0 with a new reference; -errno with @err. */
int entry_limit(struct ctl *ctl, const json_t *conf, json_t **ret_params, struct ctl_error *err);

/* Writes into the log what has become of an open disk since the last time; stops all of one that
 * has stopped in part. */
void entry_look(struct entry *e);

#define ENTRY_HOLDER_MAX 80
/* Who has the oldest request of an open disk: "its medium", "its function 'NAME'". */
void entry_holder(const struct entry *e, const struct disk_stats *st, char *ret, size_t len);
/* What `disk requests` answers: a new reference. */
json_t *entry_requests(const struct entry *e);
/* "running" and its like. */
const char *entry_queue_state(enum front_queue_state state);
/* All about @e: what `disk show` answers, or only a line of `disk list`. A new reference. */
json_t *entry_show(const struct entry *e, bool all);
