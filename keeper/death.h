/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Learning that no thread of a worker can touch anything any more, from the page in which
 * its threads hold cells (core/life.h), by a thread that waits. The worker may write
 * anything into that page: it can make itself look dead or alive, and nothing else; waitpid
 * tells in the end. The keeper's main thread, but for what it says.
 */
#pragma once

#include "base/base.h"

struct death;

/* Makes the page. Return: 0; -errno. */
int death_new(struct death **ret_death);
/* Begins to wait; the worker holds its first cell. Return: 0; -errno. */
int death_watch(struct death *d);
/* Readable once every cell is free. */
int death_fd(const struct death *d);
/* As death_new(), for a page that an earlier program of this process made. Ownership: @page_fd is
 * taken, also on failure. */
int death_adopt(int page_fd, struct death **ret_death);
int death_page_fd(const struct death *d); /* borrowed */
void death_free(struct death *d); /* NULL is fine */
