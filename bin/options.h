/* SPDX-License-Identifier: Apache-2.0 */
/* posternd's command line. */
#pragma once

#include "base/base.h"

#define IMAGES_MAX 16

struct options {
	const char *images[IMAGES_MAX + 1]; /* where images may be; none: anywhere */
	const char *control, *control_group, *state; /* NULL: none */
	const char *cpus;			     /* NULL: not given */
	unsigned pollers;
	/* the conventions of QEMU's backend programs */
	const char *socket_path, *blk_file;
	int fd; /* -1: not given */
	bool read_only;
	const char *kept_at; /* 'systemd', or an absolute path; NULL: nothing outlives the keeper */
	const char *keep;    /* this is what another's kept_at means; NULL: it is not */
	const char *baton; /* a keeper's word to the program that it goes on as; NULL: none */
	const char *worker_link; /* the keeper's word to its worker; NULL: this is the keeper */
};

/* Reads @argv. Prints what --help, --version, --print-schema and --print-capabilities ask for; says
 * on standard error, in one line, what is wrong. Allocates what lives as long as the process.
 * Return: 0: run; 1: done, exit with status 0; -EINVAL: exit with status 1. */
int options_parse(int argc, char **argv, struct options *ret);
