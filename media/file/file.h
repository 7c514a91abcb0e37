/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file medium: a regular file or a block device. Requests reach the kernel in
 * one of two ways. A ring (io_uring, one per lane) takes what the kernel can start
 * without waiting; helper threads (a small pool per medium) take the rest: flushes,
 * discards, what the file system would have to wait for, and everything where
 * io_uring is refused. Nothing is left to the kernel's own io_uring workers, which
 * all disks of a poller would share: a stuck flush delays its own disk alone.
 *
 * Guarantees: a completed flush covers every write completed before it was taken; a
 * failed one fails the medium until it is opened anew, because a later success would
 * prove nothing. A short transfer is continued or reported, and nothing is read
 * beyond the end of the file. One open file description, under an exclusive lock
 * that QEMU's tools respect (lock.h); no copy of it leaves the process.
 */
#pragma once

#include "core/media.h"

enum file_choice { FILE_AUTO, FILE_ON, FILE_OFF };
enum file_engine { FILE_ENGINE_AUTO, FILE_ENGINE_URING, FILE_ENGINE_THREADS };

struct file_conf {
	uint64_t size_b; /* a regular file that is shorter is extended; 0: as it is */
	bool readonly;
	enum file_choice direct;
	enum file_engine engine;
	uint32_t discard_gran_b; /* block devices: what sysfs says, 0: no discard */
};

/* Why opening failed: stable id, parameter at fault or NULL, a sentence. */
struct file_error {
	const char *id, *param;
	char text[256];
};

struct file_info {
	bool uring, direct, block_device, failed;
	const char *engine_why, *direct_why; /* static or the medium's; "" where nothing is odd */
};

/* Opens a medium on @fd, which must be open for writing unless readonly. Context: control thread;
 * may block. Ownership: @fd is the medium's on success, the caller's on failure.
 * Return: 0; -EBUSY: locked by another; -errno, always with *ret_error. */
int file_open(int fd, const struct file_conf *c, struct media **ret_media,
	      struct file_error *ret_error);

/* Makes a regular file longer, or takes notice that a device is. Context: control thread.
 * Return: 0; -errno with *ret_error. */
int file_resize(struct media *m, uint64_t size_b, struct file_error *ret_error);

/* Any thread. */
void file_info(const struct media *m, struct file_info *ret_info);
