/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What survives a restart: one JSON document {"version": 1, NOUN: {NAME: {...}}}.
 * A change is durable when state_put() or state_del() returns 0, and undone when it
 * does not. The document is small and written whole, so there is no half state.
 * Control thread only.
 */
#pragma once

#include "control/ctl.h"

#define STATE_VERSION 1
#define STATE_MAX_B (16 * MIB)

struct state;

/* Makes @text durable. Return: 0 or -errno. May block. */
typedef int state_save_fn(void *arg, const char *text, size_t len_b);

/* @save NULL: nothing is kept. Return: an empty state; NULL without memory. */
struct state *state_new(state_save_fn *save, void *arg);
void state_free(struct state *s);

/* Takes the document that an earlier save wrote. Error ids: state_broken, state_version.
 * Return: 0; -EINVAL; -EPROTONOSUPPORT: written by a newer version. */
int state_load(struct state *s, const char *text, size_t len_b, struct ctl_error *err);

/* Return: a borrowed reference, good until the next change; NULL if there is none. */
const json_t *state_get(const struct state *s, const char *noun, const char *name);
/* {NAME: {...}} of all of @noun, in the order they were put; borrowed; NULL when none. */
const json_t *state_all(const struct state *s, const char *noun);

/* @object stays the caller's; it is copied. Error id: state_failed. Return: 0 or -errno. */
int state_put(struct state *s, const char *noun, const char *name, const json_t *object,
	      struct ctl_error *err);
/* As state_put(), to take back a change that was saved and then could not be made. If it cannot be
 * saved the state has it all the same, and whatever is saved next saves it: until then what a
 * restart finds is the change. */
int state_put_back(struct state *s, const char *noun, const char *name, const json_t *object,
		   struct ctl_error *err);
/* 0 also when there was none. */
int state_del(struct state *s, const char *noun, const char *name, struct ctl_error *err);

/* Compares two checked objects. Return: true with the first key that differs ("size",
 * "medium.path", "function[1].iops") in @ret_key of @len bytes. */
bool state_differs(const json_t *have, const json_t *want, char *ret_key, size_t len);
