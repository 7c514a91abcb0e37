/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a comparison starts on the host: a private directory, a posternd with its control socket,
 * qemu-storage-daemon, scratch files; and how much processor time whom costs. All of it is told to
 * the guard, so that nothing outlives this process. One thread; may block.
 */
#pragma once

#include "control/client.h"

#define HOST_PIDS_MAX 8

/* Processes that a path needs, whose time is its cost. */
struct host_pids {
	pid_t pid[HOST_PIDS_MAX];
	unsigned n;
};

struct host {
	char dir[40]; /* private, short, because sockets lie in it */
	struct ctl_client *postern;
	struct host_pids daemon; /* posternd's two processes */
};

/* Starts the guard and makes the directory. Ownership: host_close(). Return: 0; -errno with
 * @err. */
int host_open(struct host *h, struct ctl_error *err);
/* Ends everything, removes everything. */
void host_close(struct host *h);

/* Runs @argv with its output in DIR/@log; it ends with this process. Return: 0; -errno. */
int host_spawn(struct host *h, char *const argv[], const char *log, pid_t *ret_pid);
/* The last line of DIR/@log, for people; "" if there is none. @buf holds 200 bytes. Return:
 * @buf. */
char *host_last_words(const struct host *h, const char *log, char *buf);
/* Waits up to 10 s until somebody listens at @socket or @pid has ended. Return: 0; -ECHILD (ended);
 * -ETIMEDOUT. */
int host_wait_socket(const char *socket, pid_t pid);

/* Starts posternd, the one beside this program or else of PATH. As host_open(). */
int host_start_postern(struct host *h, struct ctl_error *err);
/* Makes disk @name of @medium ("null", "ram", "file,path=...") on it, unless it is there. */
int host_disk(struct host *h, const char *name, const char *medium, uint64_t size_b,
	      struct ctl_error *err);
/* Sets how the disk @name is polled. */
int host_poll(struct host *h, const char *name, const char *poll, struct ctl_error *err);

/* A file of @size_b random bytes at @path, all written, none a hole. Return: 0; -errno. */
int host_write_file(const char *path, uint64_t size_b);

/* The program @name that lies beside this one (or in @beside, from there), or in @lib (NULL: none)
 * as installed. @buf holds PATH_MAX. Return: 0; -ENOENT. */
int host_find(const char *name, const char *beside, const char *lib, char *buf);

/* Nanoseconds that these processes have used with all their threads, ended ones too. A process that
 * is gone counts 0. */
uint64_t host_cpu_ns(const struct host_pids *pids);
/* Nanoseconds that all CPUs together were busy since boot, and were taken by a hypervisor above. */
uint64_t host_busy_ns(void);

/* Two CPUs of those that this process may use, on two cores where there are: for a client, and for
 * what serves it (the last; the same with one CPU). */
void host_cpus(int *ret_client, int *ret_server);
