/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keeper and worker say to each other, over two SOCK_SEQPACKET pairs: the
 * worker asks on one and waits for the answer; the keeper tells on the other. Both
 * are the same program, so layouts need no version; the keeper judges each request
 * all the same, because the worker is the one that guests may have broken into.
 */
#pragma once

#include "core/keep.h"

#define KEEPER_PATH_MAX 4096 /* with its NUL */
#define KEEPER_GROUP_MAX 64
#define KEEPER_CPUS_MAX 64
#define KEEPER_FILES_MAX 8 /* descriptors with a request */
#define KEEPER_STATE_MAX_B (16 * MIB)
#define KEEPER_KEPT_BATCH 253 /* the most that one message carries: the kernel's SCM_MAX_FD */

/* The worker's first word, before it has been told anything, and without an answer: who it is and
 * what it can go on with. A program of another version may stand at either end here, so this never
 * changes but by growing at its end. */
struct keeper_intro {
	uint32_t op;	   /* KEEPER_INTRO */
	uint32_t protocol; /* KEEPER_PROTOCOL: all that follows is the same on both sides */
	/* versions of the state file that it reads; it writes the last */
	uint32_t state_min, state_max;
	uint32_t kept_min, kept_max;   /* versions of what parts keep; it writes the last */
	char version[32];	       /* for people */
	uint32_t baton_min, baton_max; /* of what a keeper goes on with; it leaves the last */
};

#define KEEPER_INTRO 0x6f727450u
#define KEEPER_PROTOCOL 1u
#define BATON_VERSION 1u

enum keeper_op {
	KEEPER_OPEN = 1, /* path, flags, mode -> a descriptor */
	KEEPER_UNMAKE,	 /* remove the file that OPEN made last, if no SAVE has come since */
	KEEPER_LISTEN,	 /* path, mode, group -> a descriptor */
	KEEPER_UNLISTEN, /* path */
	KEEPER_SAVE,	 /* with a memfd that holds the state */
	KEEPER_READY,	 /* all of the state's disks are back, or have said why not */
	KEEPER_TAKEN,	 /* the first control connection not yet acknowledged is the worker's now */
	KEEPER_PUT,	 /* keep the descriptor that comes with it as path, a key */
	KEEPER_DROP,	 /* path, and all that lies below it */
	KEEPER_GET,	 /* path -> a descriptor */
	KEEPER_LIST,	 /* what is kept, and sockets by their paths, from the one numbered flags on
			  * -> a struct keeper_list */
	/* start path, a program and its arguments, in a jail, as group's; the descriptors that come
	 * with it are the program's -> its socket, a pidfd. With mode KEEPER_MACHINE path is that
	 * of a machine: its name, then words of `postern vm run`, a line each; the memory that it
	 * shares comes with it */
	KEEPER_SPAWN,
	KEEPER_ADOPT,	 /* the same, of one that runs since an earlier worker */
	/* the program of process flags, by SIGKILL -> if it had ended before, and that is still
	 * known: pid, and in jail how, as waitpid() says */
	KEEPER_KILL,
	KEEPER_HEALTHY,	 /* flags disks are served */
	KEEPER_SETTLED,	 /* every disk is here: programs not asked for are nobody's */
};

struct keeper_request {
	uint32_t op;
	uint32_t flags; /* open(2)'s */
	uint32_t mode;
	char group[KEEPER_GROUP_MAX]; /* empty: none */
	/* SPAWN */
	uint32_t memory_mib;
	char cpus[KEEPER_CPUS_MAX]; /* where it may run; empty: where we may */
	char path[KEEPER_PATH_MAX]; /* the message ends with its NUL */
};

#define KEEPER_MACHINE 1u /* keeper_request.mode of SPAWN */

#define KEEPER_REQUEST_MIN_B (offsetof(struct keeper_request, path) + 1)

/* Every request has one answer, in order; a descriptor comes with it where one was asked for. */
struct keeper_answer {
	int32_t err; /* 0 or -errno */
	int32_t pid; /* SPAWN, ADOPT; KILL */
	uint32_t jail; /* KILL; SPAWN, ADOPT: 1 << enum keeper_jail of those that hold */
};

/* What keeps a program from the rest of the host. */
enum keeper_jail {
	KEEPER_JAIL_PRIVS,   /* no capability, and no way to get one */
	KEEPER_JAIL_FILES,   /* no file but its own program and libraries, to be read */
	KEEPER_JAIL_CALLS,   /* no system call that makes sockets, processes, threads or rings */
	KEEPER_JAIL_NETWORK, /* a network name space without any */
	KEEPER_JAIL_MEMORY,
	KEEPER_JAILS,
};

/* The answer to LIST, as long as it has keys, with a descriptor for each. */
struct keeper_list {
	uint32_t n;
	char key[KEEPER_KEPT_BATCH][KEEP_KEY_MAX];
};

enum keeper_event_op {
	KEEPER_HELLO = 1, /* once, first; with the state file, if there is one */
	KEEPER_CONN,	  /* with a control connection whose caller has been checked */
	KEEPER_STOP,	  /* let go of everything and exit with status 0 */
	KEEPER_PAST,	  /* what is known of the predecessor by now */
	KEEPER_COUNT,	  /* answer with HEALTHY */
};

struct keeper_event {
	uint32_t op;
	uint32_t restarts; /* HELLO: workers before this one */
	uint32_t nkept;	   /* HELLO: what they have left to be LISTed */
	uint64_t gap_ns;   /* PAST: from the predecessor's death to READY */
	char how[64];	   /* PAST: it died */
};
