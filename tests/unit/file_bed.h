/* SPDX-License-Identifier: Apache-2.0 */
/* Image files for tests of the file medium: made in the directory of the test run, gone after. */
#pragma once

#include "bed.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "media/file/file.h"

/* @dir: NULL for the current one. Return: a descriptor, open for reading and writing. */
static inline int image_new(const char *dir, uint64_t size_b, char *ret_path)
{
	int n = snprintf(ret_path, PATH_MAX, "%s/postern-test-XXXXXX", dir ? dir : ".");

	assert_in_range(n, 1, PATH_MAX - 1);
	int fd = mkstemp(ret_path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size_b), 0);
	return fd;
}

/* A nameless image opened as @c says; the medium owns the descriptor. *ret_fd is another one on
 * the same file, for looking at it, unless NULL. */
static inline struct media *image_medium(const char *dir, uint64_t size_b,
					 const struct file_conf *c, int *ret_fd)
{
	char path[PATH_MAX];
	struct file_error e;
	struct media *m;
	int fd = image_new(dir, size_b, path);

	if (ret_fd) {
		*ret_fd = open(path, O_RDWR | O_CLOEXEC);
		assert_true(*ret_fd >= 0);
	}
	unlink(path);
	if (file_open(fd, c, &m, &e))
		fail_msg("%s: %s", e.id, e.text);
	return m;
}

static inline void pattern(uint8_t *buf, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)((seed + i) * 0x9e3779b97f4a7c15ull >> 56);
}

static inline bool all_bytes(const uint8_t *buf, uint8_t what, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != what)
			return false;
	return true;
}
