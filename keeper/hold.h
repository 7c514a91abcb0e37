/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that shares the worker's memory and does nothing. While it lives, the death of
 * the worker ends its threads and closes its descriptors, and leaves the memory alone:
 * taking down the page tables of what guests have touched takes 80 ms and more for each
 * 2 GiB, and the kernel would do it before it closes an image and lets go of its lock.
 */
#pragma once

/* Starts it, a child of the keeper. It ends, and takes the memory down at a low priority, when no
 * process has the other end of the pipe @fd open any more. Ownership: @fd is taken. Context: the
 * only thread, before filter_enter(). Return: 0; -errno: the worker goes on without. */
int hold_start(int fd);
