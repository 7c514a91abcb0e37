/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock on an image: open file description locks at the bytes by which QEMU's
 * programs tell each other what they do with an image (100 + permission: "I use
 * it"; 200 + permission: "nobody else may"). A writer locks exclusively what QEMU
 * only shares among itself, so two Posterns exclude each other too, and the kernel
 * frees the lock when the last request of a dead process has ended. Readers share.
 * `qemu-img info -U` still works on an image in use.
 */
#pragma once

#include "media/file/file.h"

/* Context: control thread. Ownership: the lock lives as long as @fd's description.
 * Return: 0; -EBUSY or -errno with *ret_error. */
int lock_take(int fd, bool readonly, struct file_error *ret_error);

/* Lets go of it, whoever else has @fd's description still. Context: control thread; nothing is in
 * flight on it any more. */
void lock_drop(int fd);
