/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands and their parameters, declared once as data beside the part that runs
 * them. From these tables come the checking of what a caller sent, the schema
 * file, `--help` and the man pages. Flow: a JSON object comes in, ctl_check()
 * judges it against a table and hands back a normal form (types right, defaults
 * filled in, nothing unknown), the command's run() reads it with ctl_str() and
 * its like. Control thread only, except where said; nothing here is on the I/O path.
 */
#pragma once

#include <jansson.h>
#include <sys/types.h>

#include "base/base.h"

struct ctl;	   /* the control thread's own things; see control/server.h, control/state.h */
struct ctl_tables; /* below */

/* What a caller may write for a parameter, in JSON or as key=value. */
enum ctl_type {
	CTL_STRING, /* text; min and max bound its length */
	CTL_NAME,   /* [A-Za-z0-9][A-Za-z0-9._-]*, at most 64 */
	CTL_PATH,   /* absolute (the CLI resolves relative ones); max bounds its length */
	CTL_SIZE,   /* bytes: 4096, "20G", "4KiB" */
	CTL_TIME,   /* "500us", "10s", 0: kept as such a text, read with ctl_ns(); min, max in ns */
	CTL_UINT,   /* 42, "42", "0x2a" */
	CTL_BOOL,   /* true, false, "on", "off" */
	CTL_ENUM,   /* one of choices */
	CTL_KIND,   /* {"kind": "file", "path": ...}, or "file,path=...": one of a set of kinds */
};

/* One parameter. Tables end with an entry without a name. */
struct ctl_param {
	const char *name;
	enum ctl_type type;
	const char *help;	    /* one line, no full stop */
	/* CTL_ENUM; CTL_PATH: words that it may be instead. NULL-terminated */
	const char *const *choices;
	const char *kind_set;	    /* CTL_KIND: name of the set in the tables of bin/ */
	const char *value;	    /* written in when the caller gives none; NULL: left out */
	uint64_t min, max;	    /* inclusive; max 0: no bound but the type's own */
	bool required;
	bool list;	 /* many; a single value stands for a list of one */
	bool positional; /* the CLI takes it as the word after the verb */
	bool opens; /* the CLI takes others behind it, vm=IMAGE,cpus=2: they are the command's */
	bool command; /* CTL_STRING: a program and its words; the CLI resolves the former's path */
};

/* One of a set of things that a parameter may name, with parameters of its own:
 * a medium, a function, a front. */
struct ctl_kind {
	const char *name;
	const char *help;
	const struct ctl_param *params; /* NULL: none */
};

/* What went wrong: a stable id for programs ("disk_exists"), the parameter at fault or "",
 * and a sentence for people that says what is allowed. */
struct ctl_error {
	char id[32];
	char param[64];
	char text[400];
};

/* A command. run() gets @params as ctl_check() left them and returns 0 with *ret_result (a new
 * reference, or untouched for an empty answer), or -errno with @err filled by ctl_fail(). What it
 * changed is durable when it returns 0, and nothing is changed otherwise. */
struct ctl_cmd {
	const char *noun, *verb; /* verb "": the noun alone is the command */
	const char *help;
	const struct ctl_param *params; /* NULL: none */
	/* Columns of the table for people: keys of the result's objects, divided by blanks. A name
	 * ending in _b is shown as a size, in _ns as a time. NULL: one key a line, all of them; of
	 * an answer that is one object, these keys. */
	const char *columns;
	int (*run)(struct ctl *ctl, const json_t *params, json_t **ret_result,
		   struct ctl_error *err);
};

struct ctl_kind_set {
	const char *name;		     /* "medium" */
	const struct ctl_kind *const *kinds; /* NULL-terminated */
};

/* Everything that one program offers; bin/ writes it down in one place. */
struct ctl_tables {
	const struct ctl_cmd *const *cmds;	 /* NULL-terminated list of tables, each ended by
						  * an entry without a noun */
	const struct ctl_kind_set *sets;	 /* ended by an entry without a name */
};

/* Fills @err. @param may be NULL. Any thread. Return: @code, for "return ctl_fail(...)". */
int ctl_fail(struct ctl_error *err, int code, const char *id, const char *param, const char *fmt,
	     ...) printf_like(5, 6);

/* Judges the JSON object @in against @params. Errors have ids unknown_param, missing_param,
 * bad_value, out_of_range, unknown_kind; .param names a nested one as "medium.path" or
 * "function[0].iops".
 * Ownership: *ret_params is a new reference.
 * Return: 0; -EINVAL; -ERANGE; -ENOMEM. */
int ctl_check(const struct ctl_tables *tables, const struct ctl_param *params, const json_t *in,
	      json_t **ret_params, struct ctl_error *err);

/* "file,path=web,,1.img" (a comma in a value is doubled) as {"kind": "file", "path": "web,1.img"}.
 * Return: a new reference; NULL when no memory or not well formed, with @err filled. */
json_t *ctl_kind_from_text(const char *text, const char *param, struct ctl_error *err);

/* The kind that @value ({"kind": ...}, as ctl_check() left it) names. Return: NULL if none. */
const struct ctl_kind *ctl_kind_of(const struct ctl_tables *tables, const char *set,
				   const json_t *value);

/* Return: NULL if there is no such command. */
const struct ctl_cmd *ctl_cmd_find(const struct ctl_tables *tables, const char *noun,
				   const char *verb);

/* Whether @key can be read from checked @params, and reading it. The type has been seen to by
 * ctl_check(); a key that is absent reads as NULL, 0 or false. Any thread. */
bool ctl_has(const json_t *params, const char *key);
const char *ctl_str(const json_t *params, const char *key);
uint64_t ctl_u64(const json_t *params, const char *key);
bool ctl_bool(const json_t *params, const char *key);
uint64_t ctl_ns(const json_t *params, const char *key);

/* The tables as one JSON object: what `posternd --print-schema` prints. Return: new reference. */
json_t *ctl_schema(const struct ctl_tables *tables, const char *version);

struct ctl_spawn {
	const char *name, *run; /* the program's name, and it with its arguments */
	bool adopt;		/* one that runs since before a restart, or none */
	/* run: a machine's name and words of `postern vm run`, a line each; the memory that it
	 * shares is the one file */
	bool is_machine;
	uint32_t memory_mib;
	const char *cpus; /* NULL: anywhere */
	const int *files; /* the caller's */
	unsigned nfile;
	/* out */
	pid_t pid;
	uint32_t jail; /* what holds it, in the keeper's bits */
	int sock, pidfd;
};

/* Who opens things for a process that may not. The worker puts the keeper behind it; the default
 * opens directly, which is what tests use, or they bring their own. */
struct ctl_opener {
	void *arg;
	int (*open)(void *arg, const char *path, int flags, mode_t mode);
	/* As open(), for a call of it that comes soon; does not wait. NULL: nothing is gained. */
	void (*ahead)(void *arg, const char *path, int flags);
	int (*listen)(void *arg, const char *path, mode_t mode, const char *group);
	int (*unlisten)(void *arg, const char *path);
	int (*unmake)(void *arg);
	/* Return: 0; -ENOENT: no such program, or none to adopt; -errno. NULL: nobody starts
	 * any. */
	int (*spawn)(void *arg, struct ctl_spawn *s);
	/* As ctl_kill(). */
	bool (*kill)(void *arg, pid_t pid, int *ret_status);
	struct keep *keep; /* what outlives the process; NULL: nothing does */
};

/* @opener stays the caller's and outlives its use; NULL: the direct one. Before any thread. */
void ctl_set_opener(const struct ctl_opener *opener);

/* Where parts keep what must outlive the process; NULL: nowhere. */
struct keep *ctl_keep(void);

/* Opens @path with open(2)'s @flags (close-on-exec is added; O_CREAT makes mode 0600). @param is
 * what an error names. Error ids: not_found, denied, busy, open_failed. May block.
 * Return: fd, the caller's; -errno. */
int ctl_open_path(const char *path, int flags, const char *param, struct ctl_error *err);

/* Asks ahead for what ctl_open_path() will be asked for when a disk comes back; does not wait. */
void ctl_open_ahead(const char *path, int flags);

/* Removes the file that ctl_open_path() has made last with O_CREAT | O_EXCL, if any: the command
 * that it was for has failed. Does nothing once a state has been saved since. */
void ctl_unmake(void);

/* Starts a program, or adopts one; as ctl_opener.spawn. Return: 0; -ENOSYS; -errno. */
int ctl_spawn(struct ctl_spawn *s);
/* Ends it. Return: whether it is known how it had ended before: *ret_status, as waitpid() says. */
bool ctl_kill(pid_t pid, int *ret_status);

/* A listening Unix stream socket. @group may be NULL. Error ids: socket_in_use, path_too_long,
 * denied, no_group, listen_failed. ctl_unlisten() takes its file away and closes the keeper's copy;
 * the caller closes its own.
 * Return: fd, the caller's; -errno. */
int ctl_listen(const char *path, mode_t mode, const char *group, const char *param,
	       struct ctl_error *err);
void ctl_unlisten(const char *path);
