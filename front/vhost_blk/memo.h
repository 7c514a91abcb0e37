/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a connection leaves to a successor of this process: the kept page (wire/kept.h)
 * and the descriptors that it names, all in the front's scope of the keep (core/keep.h):
 *
 *   sock            the connection
 *   page            the page; put last, so a socket without a page is one to begin anew with
 *   pipe/in, /out   by which replies leave
 *   1, 2, ...       slots
 *
 * Where nothing is kept, the page is there all the same and nobody ever reads it. When the keep
 * fails (no descriptors left; memory that cannot be kept), all of it is dropped and the connection
 * goes on: it then ends with this process, and the VMM connects again.
 *
 * A crash stops a process between two instructions, never between two stores of one thread as
 * another process sees them later, so the order is kept against the compiler alone.
 * Context: the front's thread; replay[] of the page also the pollers'.
 */
#pragma once

#include "base/fd.h"
#include "core/keep.h"
#include "wire/kept.h"

struct memo {
	struct keep_scope scope;
	char name[64]; /* of the disk, for log lines */
	struct kept_page *page;
	int page_fd;
	int pipe[2];	/* holds at most one reply */
	bool is_kept;	/* a successor would find it */
};

/* A descriptor and its slot. */
struct kept_fd {
	int fd;	       /* -1: none, or it is kept only */
	uint16_t slot; /* 0: none */
};
#define NO_KEPT_FD ((struct kept_fd){ -1, 0 })

/* The slot is given up with the next memo_commit(), not here. */
static inline void kept_fd_close(struct kept_fd *k)
{
	fd_close(k->fd);
	*k = NO_KEPT_FD;
}

static inline struct kept_fd kept_fd_steal(struct kept_fd *k)
{
	struct kept_fd all = *k;

	*k = NO_KEPT_FD;
	return all;
}

/* Begins the page of the connection @sock, which stays the caller's. Return: 0; -errno. */
int memo_new(const struct keep_scope *scope, const char *name, int sock, struct memo **ret_memo);
/* Opens the page that a predecessor left, whatever is in it. @ret_page becomes a copy of it, to be
 * judged and then freed by the caller. Return: 0; -ENOENT: there is none; -EINVAL: it is no page;
 * -EPROTONOSUPPORT: of another version; -errno. */
int memo_open(const struct keep_scope *scope, const char *name, struct memo **ret_memo,
	      struct kept_page **ret_page);
/* The connection is over: nothing of it is kept any more. NULL is fine. */
void memo_end(struct memo *m);

/* Keeps @fd. Return: its slot; 0: nothing is kept. */
uint16_t memo_put(struct memo *m, int fd);
/* What a predecessor has kept in @slot. Return: a descriptor; -ENOENT. */
int memo_get(const struct memo *m, uint16_t slot);

/* The copy of the state that is not current, to be filled. */
struct kept_state *memo_draft(struct memo *m);
/* Makes it current, and drops the slots that nothing speaks of any more. */
void memo_commit(struct memo *m);
/* Records that the message @in has come, with the descriptors @fd. */
void memo_take(struct memo *m, const struct vhost_user_msg *in, const struct kept_fd *fd,
	       unsigned nfd);
/* Records the answer of the message at hand, for when its effect is committed; NULL: none. */
void memo_answer(struct memo *m, const struct vhost_user_msg *out);
void memo_step(struct memo *m, enum kept_step step);
