/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a function runs: the configuration of `function add` or `replace`, judged, and the machine
 * that goes with it, if it is in one. A host has one, or two while one replaces the other. Control
 * thread.
 */
#pragma once

#include "control/ctl.h"
#include "function/remote/host.h"
#include "function/remote/machine.h"

/* Who provides the program. */
enum spec_kind { SPEC_PROCESS, SPEC_BROUGHT, SPEC_MACHINE };

struct spec {
	json_t *conf;
	struct host *host;
	struct machine *machine; /* NULL: a process */
	bool is_second; /* it has the second of its function's two places: names, socket, memory */
};

enum spec_kind spec_kind(const json_t *conf);
/* Judges what ctl_check() cannot, and fills in what depends on the kind. @socket_dir: where
 * machines connect.
 * Return: 0; -EINVAL. */
int spec_judge(json_t *conf, const char *socket_dir, struct ctl_error *err);
/* What @params of `function replace` make of @was, not yet judged. Return: a new reference. */
json_t *spec_merge(const json_t *was, const json_t *params);

/* For @host, with a reference to @conf. @adopt: its machine, and memory, may be there since before
 * a restart; then it is known by itself which place it has. Return: 0; -errno. */
int spec_new(struct host *host, struct loop *loop, json_t *conf, bool second, bool adopt,
	     struct spec **ret, struct ctl_error *err);
/* @forget: nobody goes on with its machine. Return: as machine_close(). */
int spec_close(struct spec *s, bool forget);

/* As host_starter's. */
int spec_start(const char *name, void *spec, struct host_process *ret, char *why);
void spec_kill(void *spec, const struct host_process *p);
bool spec_how(void *spec, const struct host_process *p, char *ret, size_t size);
struct region *spec_region(void *spec);

/* What its machine is called in `vm list`. */
void spec_machine_name(const struct spec *s, char *ret, size_t size);
