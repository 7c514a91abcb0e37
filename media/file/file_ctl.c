/* SPDX-License-Identifier: Apache-2.0 */
#include "media/file/file_ctl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fd.h"
#include "base/parse.h"
#include "media/file/file.h"

static const char *const engines[] = { "auto", "uring", "threads", NULL };
static const char *const choices[] = { "auto", "on", "off", NULL };

static const struct ctl_param file_params[] = {
	{ .name = "path", .type = CTL_PATH, .required = true,
	  .help = "Image file or block device; a new disk with a size makes the file" },
	{ .name = "direct", .type = CTL_ENUM, .choices = choices, .value = "auto",
	  .help = "Bypass the host's page cache (auto: where the file system can)" },
	{ .name = "engine", .type = CTL_ENUM, .choices = engines, .value = "auto",
	  .help = "How I/O reaches the kernel (auto: io_uring where it is allowed)" },
	{ 0 },
};

/* Index of @params' value of @key in @names; what ctl_check() let through is in there. */
static int choice(const json_t *params, const char *key, const char *const *names)
{
	const char *value = ctl_str(params, key);

	for (int i = 0; value && names[i]; i++)
		if (!strcmp(names[i], value))
			return i;
	return 0;
}

static int flags_of(const struct media_want *want)
{
	return want->readonly ? O_RDONLY : O_RDWR;
}

static void ahead_file(const json_t *params, const struct media_want *want)
{
	ctl_open_ahead(ctl_str(params, "path"), flags_of(want));
}

/* Opens @path, or makes it where that is asked for. Return: fd, *ret_created; -errno. */
static int open_or_create(const char *path, const struct media_want *want, struct ctl_error *err)
{
	int flags = flags_of(want);
	int fd = ctl_open_path(path, flags, "path", err);

	if (fd != -ENOENT || want->readonly)
		return fd;
	if (!want->create || !want->size_b)
		return ctl_fail(err, fd, "not_found", "path",
				want->create ? "'%.250s' does not exist; with a size it is made"
					     : "'%.250s' does not exist any more", path);
	/* said before there is a file, rather than after */
	if (want->size_b % 512 || want->size_b > INT64_MAX)
		return ctl_fail(err, -EINVAL, "bad_value", "size",
				"a multiple of 512 bytes is needed, at most 2^63 - 512");
	return ctl_open_path(path, flags | O_CREAT | O_EXCL, "path", err);
}

static uint32_t read_number(const char *path)
{
	struct ctl_error ignored;
	CLEANUP(fd_cleanup) int fd = ctl_open_path(path, O_RDONLY, NULL, &ignored);
	CLEANUP(base_free) char *text = NULL;

	if (fd < 0 || fd_read_file(fd, 64, &text) < 0)
		return 0;
	return (uint32_t)strtoul(text, NULL, 10);
}

/* What a block device says of its discards; a partition's queue is its disk's. 0: none. */
static uint32_t device_discard_gran_b(int fd)
{
	struct stat st;
	char path[96];

	if (fstat(fd, &st) || !S_ISBLK(st.st_mode))
		return 0;
	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/discard_granularity",
			 major(st.st_rdev), minor(st.st_rdev), i ? "../" : "");
		uint32_t b = read_number(path);

		if (b)
			return b;
	}
	return 0;
}

static int pass_on(const struct file_error *e, int code, const char *path, struct ctl_error *err)
{
	if (e->param && !strcmp(e->param, "path"))
		return ctl_fail(err, code, e->id, e->param, "'%.150s': %s", path, e->text);
	return ctl_fail(err, code, e->id, e->param, "%s", e->text);
}

static int open_file(const json_t *params, const struct media_want *want, struct media **ret,
		     struct ctl_error *err)
{
	const char *path = ctl_str(params, "path");
	struct file_conf c = {
		.size_b = want->size_b,
		.readonly = want->readonly,
		.direct = (enum file_choice)choice(params, "direct", choices),
		.engine = (enum file_engine)choice(params, "engine", engines),
	};
	struct file_error e;
	int fd = open_or_create(path, want, err);

	if (fd < 0)
		return fd;
	c.discard_gran_b = device_discard_gran_b(fd);
	int code = file_open(fd, &c, ret, &e);
	if (code) {
		fd_close(fd);
		return pass_on(&e, code, path, err);
	}
	return 0;
}

static int resize_file(struct media *m, uint64_t size_b, struct ctl_error *err)
{
	struct file_error e;
	char text[16];

	if (size_b < m->caps.size_b)
		return ctl_fail(err, -EINVAL, "bad_value", "size",
				"a file is never made shorter; it is %s long",
				format_size(m->caps.size_b, text));
	int code = file_resize(m, size_b, &e);
	return code ? ctl_fail(err, code, e.id, e.param, "%s", e.text) : 0;
}

static void show_why(json_t *into, const char *key, const char *what, const char *why)
{
	json_object_set_new(into, key, *why ? json_sprintf("%s: %s", what, why)
					    : json_string(what));
}

static void show_file(const struct media *m, json_t *into)
{
	struct file_info i;

	file_info(m, &i);
	show_why(into, "engine", i.uring ? "uring" : "threads", i.engine_why);
	show_why(into, "direct", i.direct ? "on" : "off", i.direct_why);
	json_object_set_new(into, "state", json_string(i.failed ? "failed" : "healthy"));
}

const struct media_kind file_kind = {
	.ctl = { .name = "file", .help = "Keep the data in a file or on a block device",
		 .params = file_params },
	.open = open_file,
	.ahead = ahead_file,
	.resize = resize_file,
	.show = show_file,
};
