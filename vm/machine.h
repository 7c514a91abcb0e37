/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of this room share and nobody else sees: errors, the machine's
 * directory, and its process known by pid and start time. Cold path; any thread.
 */
#pragma once

#include <limits.h>

#include "vm/vm.h"

#define VM_FILE_MACHINE "machine.json"
#define VM_FILE_PID "qemu.pid"
#define VM_FILE_LOG "qemu.log"
#define VM_FILE_QMP "qmp.sock"
#define VM_FILE_CONSOLE "console.sock"
#define VM_FILE_CONSOLE_LOG "console.log"
#define VM_FILE_CONSOLE_WAS "console.log.1" /* of the one before, unless that ended as asked */

/* Fills @err (unless NULL). Return: @code. */
int vm_fail(struct vm_error *err, int code, const char *param, const char *fmt, ...)
	printf_like(4, 5);

/* Return: 0; -EINVAL with @err naming "name". */
int vm_name_check(const char *name, struct vm_error *err);

/* "STATE_DIR/NAME[/FILE]"; @state_dir and @file may be NULL. Return: 0; -ENAMETOOLONG. */
int vm_path(char *ret_path, size_t size, const char *state_dir, const char *name,
	    const char *file);

/* What QEMU calls the places for disks that come later, and disks by name. */
#define VM_SPARE_ID "spare"
#define VM_DISK_ID "disk-"

struct qmp;
struct vm_record;

/* Judges @c, chooses its accelerator, locks the state directory, and makes the machine's own. *ret
 * is what is known of it so far. Return: a descriptor, whose closing unlocks; -EEXIST; as
 * vm_start(). */
int vm_claim(struct vm_config *c, struct vm_record *ret, struct vm_error *err);
/* QEMU, rec->pid, has set up its devices: its cores, and the note by which others find it. */
int vm_settle(const struct vm_config *cfg, struct vm_record *rec, struct vm_error *err);
/* Removes a machine's directory with everything that this room puts there. With @keep_console what
 * the guest said stays in it, as VM_FILE_CONSOLE_WAS; if it said nothing, what the one before
 * did. */
void vm_remove_dir(const char *state_dir, const char *name, bool keep_console);
/* The same, if it is still that of @rec. Return: 0; -errno. */
int vm_forget(const char *state_dir, const char *name, const struct vm_record *rec,
	      bool keep_console, struct vm_error *err);
/* What QEMU's log holds, without the line's end; "" if nothing. */
void vm_read_log(const struct vm_config *cfg, char *ret_text, size_t size);
/* Ends QEMU: powers the guest down with @grace_ms, then makes it quit, then kills it. */
void vm_end(const char *state_dir, const char *name, int pidfd, unsigned grace_ms);

/* Fills in the disks and spare places of @info. Return: 0; -errno of qmp_call(). */
int vm_ask_disks(struct qmp *q, struct vm_info *info);

/* What is written down of a running machine. */
struct vm_record {
	pid_t pid;
	uint64_t start_ticks; /* of the process, so that a reused pid is not taken for it */
	uint64_t started_s;
	uint64_t memory_b;
	unsigned cpus;
	bool kvm;
};

/* Return: 0; -ENOENT; -EBADMSG; -errno. */
int vm_record_load(const char *state_dir, const char *name, struct vm_record *ret);
int vm_record_save(const char *state_dir, const char *name, const struct vm_record *rec);

/* Return: a pidfd of the recorded process; -ESRCH when it has ended. */
int vm_pidfd(const struct vm_record *rec);

/* In a child: becomes @argv, with both outputs to @out. */
void vm_become(char *const argv[], int out) __attribute__((noreturn));

/* Runs @argv with nothing on its input, waits for it; *ret_text is what it wrote on both outputs
 * (NUL-terminated, cut at @size). Return: its exit status; 128 + signal; -errno. */
int vm_run_program(char *const argv[], char *ret_text, size_t size);
