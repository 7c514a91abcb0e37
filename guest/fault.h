/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens when memory that another process shares with us is no longer there: a
 * VMM truncated its file, or its file system is full, or its hugepages are gone. The
 * kernel answers a touch of such a page with SIGBUS, which would end us, and with us
 * every other guest's disks. A mapping that is declared here gets private zero pages in
 * that place instead, and soon in all places: who truncates its memory loses its own data,
 * and nobody else's.
 */
#pragma once

#include <stddef.h>

/* Ranges that can be declared at once: 64 connections with as many regions as there may be. */
#define FAULT_RANGES_MAX 32768

/* Takes the signal. Context: once, before any guest is served. Return: 0 or -errno. */
int fault_init(void);

/* Declares that [@at, @at + @len_b), a mapping whose pages are @page_b long, may lose pages.
 * Context: any thread. Return: 0; -ENOSPC: too many, and the mapping is not protected. */
int fault_guard(void *at, size_t len_b, size_t page_b);
/* Before the mapping goes, or is replaced. */
void fault_unguard(void *at);
