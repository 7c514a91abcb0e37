/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening: what kind of file it is, what it can do, and which way requests go.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/parse.h"
#include "media/file/lock.h"
#include "media/file/private.h"

#define SECTOR_B 512u

static int refuse(struct file_error *e, int err, const char *id, const char *param,
		  const char *fmt, ...) printf_like(5, 6);

static int refuse(struct file_error *e, int err, const char *id, const char *param,
		  const char *fmt, ...)
{
	va_list args;

	e->id = id;
	e->param = param;
	va_start(args, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, args);
	va_end(args);
	return err;
}

static int no_size(struct file_error *e, int err)
{
	return refuse(e, err, "open_failed", "path", "its size cannot be read: %s", strerror(-err));
}

/* Return: 0 with the size; -errno. */
static int size_of(const struct file *f, uint64_t *ret_b)
{
	struct stat st;

	if (f->is_block)
		return ioctl(f->fd, BLKGETSIZE64, ret_b) ? -errno : 0;
	if (fstat(f->fd, &st))
		return -errno;
	*ret_b = (uint64_t)st.st_size;
	return 0;
}

static int kind_of(struct file *f, struct file_error *e)
{
	struct stat st;

	if (fstat(f->fd, &st))
		return refuse(e, -errno, "open_failed", "path", "%s", strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return refuse(e, -EMEDIUMTYPE, "bad_value", "path",
			      "neither a regular file nor a block device");
	f->is_block = S_ISBLK(st.st_mode);
	f->media.caps.opt_io_b = (uint32_t)st.st_blksize;
	return 0;
}

static int lengthen(const struct file *f, uint64_t from_b, uint64_t to_b, struct file_error *e)
{
	char text[16];

	if (to_b > INT64_MAX || ftruncate(f->fd, (off_t)to_b)) {
		int err = to_b > INT64_MAX ? -EFBIG : -errno;

		return refuse(e, err, err == -ENOSPC ? "no_space" : "bad_value", "size",
			      "the file cannot be made %s long: %s", format_size(to_b, text),
			      strerror(-err));
	}
	/* the length is part of the configuration, which is durable when the command returns */
	if (fsync(f->fd)) {
		int err = -errno;

		(void)!ftruncate(f->fd, (off_t)from_b);
		return refuse(e, err, "io_error", "path", "the new length cannot be stored: %s",
			      strerror(-err));
	}
	return 0;
}

static int settle_size(struct file *f, const struct file_conf *c, struct file_error *e)
{
	uint64_t size_b;
	int err = size_of(f, &size_b);

	if (err)
		return no_size(e, err);
	if (c->size_b % SECTOR_B)
		return refuse(e, -EINVAL, "bad_value", "size", "a multiple of 512 bytes is needed");
	if (c->size_b > size_b && !f->is_block && !c->readonly) {
		err = lengthen(f, size_b, c->size_b, e);
		if (err)
			return err;
		size_b = c->size_b;
	}
	if (!size_b)
		return refuse(e, -EINVAL, "missing_param", "size",
			      "the file is empty; give a size to make it that long");
	if (size_b % SECTOR_B)
		return refuse(e, -EINVAL, "bad_value", "path",
			      "its length of %llu bytes is not a multiple of 512",
			      (unsigned long long)size_b);
	f->media.caps.size_b = size_b;
	return 0;
}

/* Alignment that direct I/O wants, when the kernel does not say: what a read of one sector says.
 * Return: 0 if even a page is refused. */
static uint32_t probe_alignment(const struct file *f)
{
	CLEANUP(base_free) void *page = aligned_alloc(8192, 8192);

	for (uint32_t align = SECTOR_B; page && align <= 4096; align *= 2)
		if (pread(f->fd, (char *)page + align, align, 0) >= 0)
			return align;
	return 0;
}

static uint32_t direct_alignment(const struct file *f)
{
	struct statx x;
	int block_b;

	if (!statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &x) &&
	    x.stx_mask & STATX_DIOALIGN && x.stx_dio_offset_align)
		return (uint32_t)max_u64(x.stx_dio_mem_align, x.stx_dio_offset_align);
	if (f->is_block && !ioctl(f->fd, BLKSSZGET, &block_b))
		return (uint32_t)block_b;
	return probe_alignment(f);
}

static bool set_direct(const struct file *f, bool on)
{
	int flags = fcntl(f->fd, F_GETFL);

	return flags >= 0 &&
	       !fcntl(f->fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT);
}

/* Turns O_DIRECT on if it can be. Return: whether it is on; if not, direct_why says why. */
static bool try_direct(struct file *f)
{
	struct media_caps *caps = &f->media.caps;

	if (!set_direct(f, true)) {
		snprintf(f->direct_why, sizeof(f->direct_why),
			 "the file system refuses O_DIRECT: %s", strerror(errno));
		return false;
	}
	uint32_t align = direct_alignment(f);
	if (align < SECTOR_B && align)
		align = SECTOR_B;
	if (is_pow2(align) && align <= 4096 && caps->size_b % align == 0) {
		caps->align_b = caps->blk_b = align;
		return true;
	}
	if (align)
		snprintf(f->direct_why, sizeof(f->direct_why),
			 "O_DIRECT works in blocks of %u bytes, the size is not a multiple", align);
	else
		snprintf(f->direct_why, sizeof(f->direct_why),
			 "O_DIRECT is accepted and then refused by reads");
	set_direct(f, false);
	return false;
}

static int choose_direct(struct file *f, const struct file_conf *c, struct file_error *e)
{
	int block_b = SECTOR_B;

	f->media.caps.align_b = 1;
	/* discards and zeroes of a device are in its blocks even through the page cache */
	if (f->is_block)
		ioctl(f->fd, BLKSSZGET, &block_b);
	f->media.caps.blk_b = (uint32_t)max_u64((uint64_t)block_b, SECTOR_B);
	if (c->direct == FILE_OFF) {
		set_direct(f, false);
		return 0;
	}
	f->direct = try_direct(f);
	if (!f->direct && c->direct == FILE_ON)
		return refuse(e, -EINVAL, "unsupported", "direct", "%s; direct=auto does without",
			      f->direct_why);
	return 0;
}

/* Whether reads can be started without waiting; if they cannot, a ring would hand every one of
 * them to the kernel's workers. Asked at the end, where there is nothing to be read: many disks may
 * be coming back, and the device may be busy. */
static bool starts_without_waiting(const struct file *f)
{
	CLEANUP(base_free) void *buf = aligned_alloc(4096, 4096);
	struct iovec iov = { buf, f->media.caps.blk_b };
	uint64_t end_b;

	return buf && !size_of(f, &end_b) &&
	       (preadv2(f->fd, &iov, 1, (off_t)align_up(end_b, 4096), RWF_NOWAIT) >= 0 ||
		errno != EOPNOTSUPP);
}

static int choose_engine(struct file *f, const struct file_conf *c, struct file_error *e)
{
	if (c->engine == FILE_ENGINE_THREADS) {
		snprintf(f->engine_why, sizeof(f->engine_why), "chosen");
		return 0;
	}
	int err = ring_probe();
	if (err)
		snprintf(f->engine_why, sizeof(f->engine_why), "io_uring refused: %s",
			 strerror(-err));
	else if (!starts_without_waiting(f))
		snprintf(f->engine_why, sizeof(f->engine_why),
			 "the file system cannot start I/O without waiting");
	else
		f->uring = true;
	if (!f->uring && c->engine == FILE_ENGINE_URING)
		return refuse(e, err ? err : -EOPNOTSUPP, "unsupported", "engine",
			      "%s; engine=auto does without", f->engine_why);
	return 0;
}

static void settle_discard(struct file *f, const struct file_conf *c)
{
	struct media_caps *caps = &f->media.caps;
	off_t end = (off_t)align_up(caps->size_b, 4096);

	caps->readonly = c->readonly;
	caps->volatile_cache = !c->readonly;
	caps->zeroes = !c->readonly;
	if (c->readonly)
		return;
	if (f->is_block) {
		caps->discard_gran_b = c->discard_gran_b;
		return;
	}
	/* a hole behind the end changes nothing and tells whether there are holes */
	f->no_punch = fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, 4096) &&
		      errno == EOPNOTSUPP;
	if (!f->no_punch)
		caps->discard_gran_b = (uint32_t)max_u64(caps->opt_io_b, SECTOR_B);
}

static enum req_status run(void *arg, struct req *r)
{
	return work_run(arg, r);
}

int file_open(int fd, const struct file_conf *c, struct media **ret_media,
	      struct file_error *ret_error)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f)
		return refuse(ret_error, -ENOMEM, "no_memory", NULL, "out of memory");
	f->fd = fd;
	f->media.ops = &file_ops;
	int err = kind_of(f, ret_error);
	if (!err)
		err = lock_take(fd, c->readonly, ret_error);
	if (!err)
		err = settle_size(f, c, ret_error);
	if (!err)
		err = choose_direct(f, c, ret_error);
	if (!err)
		err = choose_engine(f, c, ret_error);
	if (err)
		goto free_file;
	settle_discard(f, c);
	pool_init(&f->pool, fd, run, f);
	*ret_media = &f->media;
	return 0;
free_file:
	free(f);
	return err;
}

int file_resize(struct media *m, uint64_t size_b, struct file_error *ret_error)
{
	struct file *f = file_of(m);
	uint64_t have_b;
	char text[16];
	int err = size_of(f, &have_b);

	if (err)
		return no_size(ret_error, err);
	if (size_b % m->caps.blk_b)
		return refuse(ret_error, -EINVAL, "bad_value", "size",
			      "a multiple of %u bytes is needed", m->caps.blk_b);
	if (f->is_block && size_b > have_b)
		return refuse(ret_error, -EINVAL, "bad_value", "size",
			      "the device is %s long; make it longer first",
			      format_size(have_b, text));
	if (size_b > have_b && m->caps.readonly)
		return refuse(ret_error, -EROFS, "readonly", "size", "the medium is read-only");
	err = size_b > have_b ? lengthen(f, have_b, size_b, ret_error) : 0;
	if (!err)
		m->caps.size_b = max_u64(size_b, have_b);
	return err;
}

void file_info(const struct media *m, struct file_info *ret_info)
{
	const struct file *f = container_of(m, const struct file, media);

	*ret_info = (struct file_info){ .uring = f->uring, .direct = f->direct,
					.block_device = f->is_block, .failed = file_failed(f),
					.engine_why = f->engine_why, .direct_why = f->direct_why };
}
