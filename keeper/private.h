/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the keeper share; nobody else includes it. The keeper's one thread. */
#pragma once

#include "base/list.h"
#include "base/loop.h"
#include "keeper/clerk.h"
#include "keeper/death.h"
#include "keeper/keeper.h"
#include "keeper/kept.h"
#include "keeper/patience.h"
#include "keeper/programs.h"
#include "keeper/proto.h"
#include "keeper/vault.h"

/* The state directory: state.json, and a lock that one keeper holds. */
struct store {
	int dir_fd, lock_fd; /* -1: nothing is kept */
};

/* What answers the worker's requests. */
struct office {
	struct store store;
	const char *const *images; /* keeper_config's */
	struct list sockets; /* those that the worker asked for, kept for its successors */
	unsigned nsocket;
	/* The file that was made last for the worker, until a state is saved that may speak of
	 * it. */
	char made[KEEPER_PATH_MAX];
	struct own_file made_file;
	struct kept kept;
	struct vault vault;	 /* where all of it is once more */
	unsigned socket_no;	 /* the last one's, in the vault */
	bool stays;		 /* what is here is left to the vault at the end */
	struct programs programs;
};

struct keeper;

/* A worker process, from before its start until all that was its own has gone. */
struct worker {
	struct list node; /* the keeper's */
	struct keeper *keeper;
	pid_t pid;		   /* 0: reaped */
	struct loop_watch request; /* what it asks */
	struct loop_watch died;	   /* no thread of it can touch anything any more */
	struct death *death;
	int event_fd, hold_fd;	   /* while hold_fd is open somebody holds its memory */
	struct keeper_intro intro; /* op is 0 until it has come */
	bool has_served, is_ready, is_dead, is_replaced;
	bool is_paused; /* what it asks is not looked at, until the desk is free */
};

/* What a worker waits for; desk.c. */
struct desk {
	struct worker *asker;	   /* NULL: it has ended since */
	struct keeper_request req; /* what a clerk is at */
	struct errand errand;
	struct patience patience; /* with the clerk */
	uint64_t patience_ns;	  /* that it is given */
	struct loop_watch start; /* the report of a program */
	struct loop_watch timer;
};

/* A socket that the worker asked for, kept for its successors. */
struct kept_socket {
	struct list node;
	int fd;
	struct own_file file;
	unsigned no; /* its key's, in the vault */
	char path[];
};

/* Replacing the worker's program; upgrade.c. */
struct upgrade {
	enum { UPGRADE_NONE, UPGRADE_OPENING, UPGRADE_MEETING, UPGRADE_COUNTING, UPGRADE_PROBATION,
	       UPGRADE_ASKING, UPGRADE_PASSING } step;
	struct loop_watch listen, conn, timer;
	struct own_file file; /* of listen */
	char line[KEEPER_PATH_MAX + 16];
	size_t len;
	const char *path; /* in line: of the new program; empty: the same again */
	struct errand errand;
	int program_fd; /* the new one; -1 */
	struct worker *candidate;
	uint64_t since_ns; /* of the step */
	struct patience patience; /* with the process that a step waits for */
	unsigned healthy;  /* disks, before */
	unsigned healthy_now;
	bool is_healthy;
	bool with_keeper; /* it is to go on as that program, too */
	pid_t asked;	  /* a process of that program, whether it could */
};

#define CALLERS_MAX 16

struct keeper {
	const struct keeper_config *cfg;
	struct loop loop;
	struct loop_watch control, signals;
	struct loop_watch timer;  /* to the next start, or to the end of patience */
	struct loop_watch settle; /* to what can wait until guests go on */
	struct loop_watch vault;  /* that it is there; fd -1: it is not, or there is none */
	struct office office;
	struct clerks clerks;
	struct desk desk;
	struct own_file control_file;
	/* Callers that the worker has not acknowledged, oldest first: if it dies before it has read
	 * the message, its successor gets them. */
	int caller_fd[CALLERS_MAX];
	unsigned ncaller;

	struct list workers;
	struct worker *now;	/* who serves; NULL: none */
	struct worker *standby; /* who will, as soon as it is told to; NULL: none */
	struct worker *heir;	/* who will instead, once; NULL: none */
	int program_fd;		/* of the workers */
	struct keeper_intro intro; /* of a worker of it */
	struct upgrade upgrade;
	uint64_t now_ns;	/* since when */
	unsigned restarts, backoff_ms;
	uint64_t death_ns;	     /* of the last one */
	struct keeper_event past;    /* what is known of it */
	bool was_ready, stopping, is_killing;
	int status;
};

/* An entry without a process. Return: NULL without memory. */
struct worker *worker_new(struct keeper *k);
/* Starts a worker of the program, which waits for HELLO. Return: NULL, with the error in
 * *ret_err. */
struct worker *worker_spawn(struct keeper *k, int program_fd, int *ret_err);
/* Return: 0; -errno, which is the worker's trouble: the keeper never waits for it. */
int worker_tell(struct worker *w, const struct keeper_event *ev, int fd);
/* It says nothing more, and is told nothing more. */
void worker_mute(struct worker *w);
/* Ends one that has not served; it is reaped, and freed, later. */
void worker_drop(struct worker *w);
/* Ends it if need be, reaps it, and forgets it. May wait, as child_end() does, unless it is
 * reaped. */
void worker_free(struct worker *w);
/* Kills a child and reaps it, if that does not take long: for the keeper's own end. */
void child_end(pid_t pid);

/* Something that a worker asks; desk.c. */
void request_ready(struct loop_watch *watch, uint32_t events);
/* A worker waits for each answer, so it gets one on @sock: where the kernel does not pass on what
 * belongs to it, what it says of that. Return: 0, also if it has ended; -ENOTCONN: it does not read
 * them; -errno: it got a refusal. */
int worker_answer(int sock, const struct keeper_answer *a, const int *fds, unsigned nfd);
/* What is waited for takes too long. */
void desk_timer(struct keeper *k);
bool desk_is_busy(const struct keeper *k);
/* @w hears nothing more. */
void desk_forget(struct keeper *k, const struct worker *w);

/* The worker that serves, and those before and after it; crew.c. */

/* Starts the first. Return: 0; -errno. */
int crew_start(struct keeper *k);
/* A worker has introduced itself. */
void crew_met(struct worker *w);
/* The worker of now serves all its disks. */
void crew_ready(struct keeper *k);
/* Children have ended. */
void crew_reap(struct keeper *k);
void crew_timer(struct keeper *k);
void crew_settle(struct keeper *k);
/* Watches the vault; fills one again that has gone, as soon as it is back. */
void crew_mend(struct keeper *k);
/* Asks the worker to end, or ends it. */
void crew_stop(struct keeper *k);
/* Ends all. */
void crew_fini(struct keeper *k);
/* The process @pid, connected by @fds (request, event, hold, life), serves already. Ownership: they
 * are taken. Return: 0; -errno. */
int crew_adopt(struct keeper *k, pid_t pid, const int fds[4], const struct keeper_intro *intro);
/* @w takes over from the worker of now, which is ended. */
void crew_replace(struct keeper *k, struct worker *w);
/* Ends who stands by; another will before long. */
void crew_refresh(struct keeper *k);

/* Listens; without it posternd runs all the same. */
void upgrade_open(struct keeper *k);
void upgrade_close(struct keeper *k);
/* The worker has introduced itself; has died; serves so many disks. */
void upgrade_met(struct keeper *k, struct worker *w);
void upgrade_lost(struct keeper *k, struct worker *w);
void upgrade_counted(struct keeper *k, unsigned healthy);
/* Tells who waits on @conn_fd (-1: nobody; taken) that all is done. */
void upgrade_done(int conn_fd, const char *text);
/* Child @pid has ended. */
void upgrade_reaped(struct keeper *k, pid_t pid, int status);

/* What the keeper goes on with as another program, with what @done tells who waits for that.
 * Return: a memfd; -errno. */
int baton_make(const struct keeper *k, const char *done);
/* Has the program read it. Return: its process, whose exit status tells; -errno. */
pid_t baton_ask(const struct keeper *k, int program_fd, int baton_fd);
/* Goes on as the program. Return: only if that cannot be: -errno. */
int baton_pass(const struct keeper *k, int program_fd, int baton_fd);
/* Takes what an earlier program of this process has left. Return: 0; -errno. */
int baton_take(struct keeper *k, int fd);

void keeper_finish(struct keeper *k, int status);

/* @dir is created if missing (its parents too). Waits for what is left of a keeper that was
 * killed, at most 2 s. Return: 0; -EBUSY: another has it; -errno. */
int store_open(struct store *s, const char *dir);
void store_close(struct store *s);
/* Return: the state file, read-only; -ENOENT; -errno. */
int store_read(const struct store *s);
/* Makes the content of @fd, a regular file, the state, durably.
 * Return: 0; -EPROTO: @fd is no such file; -errno. */
int store_save(const struct store *s, int fd);
/* Whether @fd is one of the store's own files. */
bool store_owns(const struct store *s, int fd);

#define OFFICE_CLERK 1

/* Judges @req, which came with @fd (or -1; borrowed), and carries out what touches no path of the
 * worker's. *ret_fd: what goes with the answer, the office's, or -1.
 * Return: 0; -errno; OFFICE_CLERK: a clerk is to do the rest, *ret_order; -EPROTO: it made no
 * sense. */
int office_serve(struct office *o, const struct keeper_request *req, int fd, int *ret_fd,
		 struct clerk_order *ret_order);
/* That rest, in the clerk. Return: 0; -errno. */
int office_carry_out(const struct office *o, const struct clerk_order *order,
		     struct own_file *ret_file, int *ret_fd);
/* What it made is not wanted any more. */
void office_undo(const struct clerk_order *order, const struct clerk_report *r);
/* @req has been carried out; @fd, or -1, came of it, and is taken. *ret_fd as above. Return: 0;
 * -errno. */
int office_done(struct office *o, const struct keeper_request *req, const struct clerk_report *r,
		int fd, int *ret_fd);
/* Answers KEEPER_LIST on @sock: what is kept, then the sockets, from number @from on. Return: 0;
 * -errno of sending. */
int office_list(const struct office *o, unsigned from, int sock);
void office_init(struct office *o);
/* Has a vault at @at, and what is there. Return: 0; -errno. */
int office_open_vault(struct office *o, const char *at);
/* Ownership: @fd is taken. Return: 0; -ENOMEM. */
int office_add_socket(struct office *o, const char *path, int fd, struct own_file file,
		      unsigned no);
/* Puts everything into a vault that was lost and is back. Return: 0, also if it was not lost;
 * -errno. */
int office_mend_vault(struct office *o);
/* Lets go of everything but the store. */
void office_fini(struct office *o);

/* As fd_listen(), and the file belongs to @group, if there is one. Return: -ESRCH: no such. */
int listen_for_group(const char *path, mode_t mode, const char *group, struct own_file *ret_file);
/* Removes what is at @path if it is @file. Return: 0; -ENOENT. */
int own_file_unlink(const char *path, const struct own_file *file);

/* mkdir -p of all that comes before the last '/' in @path. Return: 0; -errno. */
int make_parents(const char *path, mode_t mode);

/* Tells systemd, if it wants to know; with @fd unless that is -1. Return: 0; -ENOTCONN: nobody
 * wants to; -errno. */
int notify_send_fd(const char *text, int fd);
void notify_send(const char *text);

/* Whether the peer of the connected @fd may call: own user, root, a member of @group.
 * Return: 0; -EPERM with its user in *ret_uid; -errno. */
int peer_check(int fd, const char *group, uid_t *ret_uid);
