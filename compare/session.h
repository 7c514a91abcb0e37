/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A comparison under way: what has been started for it, and measuring one load on one of its paths.
 * One thread.
 */
#pragma once

#include "compare/compare.h"
#include "compare/host.h"
#include "compare/machine.h"

struct session {
	const struct compare_conf *conf;
	struct compare_report *r;
	struct host host;
	char file[240]; /* what QEMU's disks lie on, and bare loops read; "": null */
	char backing[400]; /* the same as QEMU's -blockdev takes it */
	uint64_t size_b;
	struct host_pids qsd;
	char qsd_socket[96];
	struct machine *machine[2]; /* placed or not */
	struct client *client; /* of path "client" */
	int client_cpu, server_cpu;
	const char *polled; /* disk that is polled without end just now; NULL: none */
	uint64_t span_ns, busy_ns, ours_ns; /* all measuring: how long, all CPUs, ours */
};

/* Starts what the rows of the report need; a row that cannot be measured gets its reason. Return:
 * 0; -errno with @err when nothing can be. */
int session_open(struct session *s, struct ctl_error *err);
void session_close(struct session *s);

/* Runs @load on the path of @row. Return: 0; -errno, with the reason in row->skipped. */
int session_measure(struct session *s, struct compare_row *row, const struct client_load *load,
		    struct compare_sample *ret);

/* Brings the pattern onto the disk of @row and reads it back: ret->verified_b. As above. */
int session_verify(struct session *s, struct compare_row *row, struct compare_sample *ret);

/* Whether the medium keeps what is written. */
static inline bool session_stores(const struct session *s)
{
	return *s->file;
}
