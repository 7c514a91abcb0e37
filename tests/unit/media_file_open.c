/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a file medium: sizes, locks, what the file system and the kernel allow, and
 * what is refused by name.
 */
#include "file_bed.h"

#include <jansson.h>
#include <linux/loop.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "media/file/file_ctl.h"

#define SIZE_B (1 * MIB)

/* A file whose name goes with the test. */
struct named {
	char path[PATH_MAX];
	int fd;
};

static struct named *named_new(uint64_t size_b)
{
	struct named *n = calloc(1, sizeof(*n));
	char *full;

	n->fd = image_new(NULL, size_b, n->path);
	full = realpath(n->path, NULL);
	snprintf(n->path, sizeof(n->path), "%s", full);
	free(full);
	return n;
}

static void named_free(struct named *n)
{
	unlink(n->path);
	fd_close(n->fd);
	free(n);
}

struct asked {
	const char *path, *direct, *engine;
	uint64_t size_b;
	bool readonly, create;
};

static int open_kind(struct asked a, struct media **ret, struct ctl_error *err)
{
	json_t *p = json_pack("{s:s, s:s, s:s}", "path", a.path, "direct",
			      a.direct ? a.direct : "auto", "engine", a.engine ? a.engine : "auto");
	struct media_want want = { .size_b = a.size_b, .readonly = a.readonly, .create = a.create };
	int code = file_kind.open(p, &want, ret, err);

	json_decref(p);
	return code;
}

static int open_sized(const struct named *n, uint64_t size_b, struct media **ret,
		      struct ctl_error *err)
{
	return open_kind((struct asked){ .path = n->path, .size_b = size_b }, ret, err);
}

static uint64_t length_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? UINT64_MAX : (uint64_t)st.st_size;
}

static void makes_a_new_disks_file_and_no_other(void **state)
{
	struct named *n = named_new(0);
	struct asked a = { .path = n->path, .size_b = SIZE_B };
	struct ctl_error err;
	struct media *m;

	unlink(n->path);
	assert_int_equal(open_kind(a, &m, &err), -ENOENT); /* a disk that comes back */
	assert_string_equal(err.id, "not_found");
	assert_string_equal(err.param, "path");
	assert_int_equal(length_of(n->path), UINT64_MAX);
	a.create = true;
	a.readonly = true;
	assert_int_equal(open_kind(a, &m, &err), -ENOENT);
	a.readonly = false;
	a.size_b = 0;
	assert_int_equal(open_kind(a, &m, &err), -ENOENT); /* how long? */
	a.size_b = 1000;
	assert_int_equal(open_kind(a, &m, &err), -EINVAL);
	assert_string_equal(err.param, "size");
	assert_int_equal(length_of(n->path), UINT64_MAX);
	a.size_b = SIZE_B;
	assert_int_equal(open_kind(a, &m, &err), 0);
	assert_int_equal(length_of(n->path), SIZE_B);
	assert_int_equal(m->caps.size_b, SIZE_B);
	m->ops->close(m);
	named_free(n);
}

static void lengthens_and_never_shortens(void **state)
{
	struct named *n = named_new(SIZE_B);
	struct ctl_error err;
	struct media *m;

	assert_int_equal(open_sized(n, 2 * SIZE_B, &m, &err), 0);
	assert_int_equal(length_of(n->path), 2 * SIZE_B);
	assert_int_equal(file_kind.resize(m, SIZE_B, &err), -EINVAL);
	assert_string_equal(err.param, "size");
	assert_int_equal(file_kind.resize(m, 2 * SIZE_B + 100, &err), -EINVAL);
	assert_int_equal(file_kind.resize(m, 1ull << 62, &err), -EFBIG);
	assert_string_equal(err.param, "size");
	assert_int_equal(length_of(n->path), 2 * SIZE_B);
	assert_int_equal(file_kind.resize(m, 3 * SIZE_B, &err), 0);
	assert_int_equal(m->caps.size_b, 3 * SIZE_B);
	assert_int_equal(length_of(n->path), 3 * SIZE_B);
	m->ops->close(m);
	assert_int_equal(open_sized(n, SIZE_B, &m, &err), 0);
	assert_int_equal(length_of(n->path), 3 * SIZE_B);
	m->ops->close(m);
	assert_int_equal(open_kind((struct asked){ .path = n->path, .size_b = 4 * SIZE_B,
						   .readonly = true }, &m, &err), 0);
	assert_int_equal(m->caps.size_b, 3 * SIZE_B);
	assert_int_equal(file_kind.resize(m, 4 * SIZE_B, &err), -EROFS);
	m->ops->close(m);
	named_free(n);
}

static void refuses_by_name_what_cannot_be_a_disk(void **state)
{
	struct named *n = named_new(1000);
	struct ctl_error err;
	struct media *m;

	assert_int_equal(open_sized(n, 0, &m, &err), -EINVAL);
	assert_string_equal(err.param, "path"); /* not a multiple of 512 */
	assert_int_equal(ftruncate(n->fd, 0), 0);
	assert_int_equal(open_sized(n, 0, &m, &err), -EINVAL);
	assert_string_equal(err.id, "missing_param");
	assert_int_equal(open_sized(n, 1000, &m, &err), -EINVAL);
	assert_string_equal(err.param, "size");
	assert_int_equal(open_sized(n, 1ull << 62, &m, &err),
			 -EFBIG);
	assert_string_equal(err.param, "size");
	assert_int_equal(open_kind((struct asked){ .path = "/dev/null" }, &m, &err), -EMEDIUMTYPE);
	assert_int_equal(open_kind((struct asked){ .path = "/" }, &m, &err), -EISDIR);
	assert_string_equal(err.param, "path");
	named_free(n);
}

static void one_writer_or_many_readers(void **state)
{
	struct named *n = named_new(SIZE_B);
	struct asked writer = { .path = n->path }, reader = { .path = n->path, .readonly = true };
	struct ctl_error err;
	struct media *m, *m2;

	assert_int_equal(open_kind(writer, &m, &err), 0);
	assert_int_equal(open_kind(writer, &m2, &err), -EBUSY);
	assert_string_equal(err.id, "busy");
	assert_string_equal(err.param, "path");
	assert_non_null(strstr(err.text, "lock \"write\""));
	assert_int_equal(open_kind(reader, &m2, &err), -EBUSY);
	m->ops->close(m);
	assert_int_equal(open_kind(reader, &m, &err), 0);
	assert_int_equal(open_kind(reader, &m2, &err), 0);
	m2->ops->close(m2);
	assert_int_equal(open_kind(writer, &m2, &err), -EBUSY);
	m->ops->close(m);
	assert_int_equal(open_kind(writer, &m, &err), 0);
	m->ops->close(m);
	named_free(n);
}

/* A helper has ended, and the kernel has not closed what it had open. */
static void lets_go_of_its_lock_before_its_last_descriptor_is_closed(void **state)
{
	struct named *n = named_new(SIZE_B);
	int fd = open(n->path, O_RDWR | O_CLOEXEC), helpers = dup(fd);
	struct file_conf c = { 0 };
	struct file_error e;
	struct ctl_error err;
	struct media *m;

	assert_int_equal(file_open(fd, &c, &m, &e), 0);
	assert_int_equal(open_sized(n, 0, &m, &err), -EBUSY);
	m->ops->close(m);
	assert_int_equal(open_sized(n, 0, &m, &err), 0);
	m->ops->close(m);
	close(helpers);
	named_free(n);
}

static void lock_byte(int fd, short type, int byte)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	assert_int_equal(fcntl(fd, F_OFD_SETLK, &l), 0);
}

/* What QEMU locks, shared, for each thing that it does or forbids. */
static void respects_the_locks_of_qemu(void **state)
{
	static const struct { int byte[4]; bool writer, reader; } t[] = {
		{ { 100, 101, 201, 203 }, false, false }, /* a machine that writes */
		{ { 100, 201, 203 }, false, true },	  /* one that reads */
		{ { 100 }, true, true },		  /* qemu-img info -U */
		{ { 200 }, false, false },		  /* wants nobody to read */
	};
	struct named *n = named_new(SIZE_B);
	struct ctl_error err;
	struct media *m;

	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		for (unsigned k = 0; k < 4 && t[i].byte[k]; k++)
			lock_byte(n->fd, F_RDLCK, t[i].byte[k]);
		for (unsigned k = 0; k < 2; k++) {
			bool allowed = k ? t[i].reader : t[i].writer;
			int code = open_kind((struct asked){ .path = n->path, .readonly = k }, &m,
					     &err);

			assert_int_equal(code, allowed ? 0 : -EBUSY);
			if (allowed)
				m->ops->close(m);
		}
		for (unsigned k = 0; k < 4 && t[i].byte[k]; k++)
			lock_byte(n->fd, F_UNLCK, t[i].byte[k]);
	}
	named_free(n);
}

/* Return: exit status; 127: there is no such program. */
static int run_quietly(const char *const *argv)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void qemu_respects_our_lock(void **state)
{
	struct named *n = named_new(SIZE_B);
	const char *const resize[] = { "qemu-img", "resize", "-f", "raw", n->path, "2M", NULL };
	const char *const info[] = { "qemu-img", "info", "-U", n->path, NULL };
	struct ctl_error err;
	struct media *m;

	assert_int_equal(open_sized(n, 0, &m, &err), 0);
	int code = run_quietly(resize);
	if (code == 127) {
		m->ops->close(m);
		named_free(n);
		skip(); /* there is no qemu-img */
	}
	assert_int_equal(code, 1);
	assert_int_equal(run_quietly(info), 0);
	assert_int_equal(length_of(n->path), SIZE_B);
	m->ops->close(m);
	assert_int_equal(run_quietly(resize), 0);
	assert_int_equal(length_of(n->path), 2 * SIZE_B);
	named_free(n);
}

static void shows_what_was_chosen(void **state)
{
	struct named *n = named_new(SIZE_B);
	json_t *o = json_object();
	struct ctl_error err;
	struct media *m;

	assert_int_equal(open_kind((struct asked){ .path = n->path, .engine = "threads",
						   .direct = "off" }, &m, &err), 0);
	file_kind.show(m, o);
	assert_string_equal(ctl_str(o, "engine"), "threads: chosen");
	assert_string_equal(ctl_str(o, "direct"), "off");
	assert_string_equal(ctl_str(o, "state"), "healthy");
	assert_int_equal(m->caps.align_b, 1);
	assert_int_equal(m->caps.blk_b, 512);
	assert_true(m->caps.volatile_cache && m->caps.zeroes);
	m->ops->close(m);
	json_decref(o);
	named_free(n);
}

/* Runs @test in a process of its own, which does not come back. */
static void in_child(void (*test)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		test();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip(); /* this machine does not let the test have what it needs */
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* For children, where cmocka's assertions have nobody to report to. */
#define MUST(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			_exit(1); \
		} \
	} while (0)

static void deny(int call)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);

	MUST(f && !seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), call, 0) && !seccomp_load(f));
	seccomp_release(f);
}

/* Opens a nameless image as @c says. Return: -errno of file_open(). */
static int open_image(const char *dir, uint64_t size_b, struct file_conf c, struct media **ret_m,
		      struct file_error *e)
{
	char path[PATH_MAX];
	int fd = image_new(dir, size_b, path);

	unlink(path);
	int code = file_open(fd, &c, ret_m, e);
	if (code)
		close(fd);
	return code;
}

/* As in a container whose seccomp profile knows nothing of io_uring. */
static void without_io_uring(void)
{
	struct file_conf c = { 0 };
	struct file_error e;
	struct file_info i;
	struct media *m;
	struct bed b;

	deny(SCMP_SYS(io_uring_setup));
	c.engine = FILE_ENGINE_URING;
	MUST(open_image(NULL, SIZE_B, c, &m, &e) == -EPERM);
	MUST(!strcmp(e.param, "engine") && !strcmp(e.id, "unsupported"));
	c.engine = FILE_ENGINE_AUTO;
	MUST(open_image(NULL, SIZE_B, c, &m, &e) == 0);
	file_info(m, &i);
	MUST(!i.uring);
	MUST(!strcmp(i.engine_why, "io_uring refused: Operation not permitted"));
	bed_open(&b, m);
	MUST(bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL) == REQ_OK);
	bed_close(&b);
}

static void takes_threads_where_io_uring_is_refused(void **state)
{
	in_child(without_io_uring);
}

/* A filter that comes after the ring is there: what it has not taken goes to the helpers. */
static void io_uring_taken_away(void)
{
	static uint8_t out[POLLER_BATCH][4096] __attribute__((aligned(4096)));
	static uint8_t in[POLLER_BATCH][4096] __attribute__((aligned(4096)));
	struct file_conf c = { 0 };
	struct bed_req q[POLLER_BATCH];
	struct file_error e;
	struct file_info i;
	struct media *m;
	struct bed b;

	MUST(open_image(NULL, SIZE_B, c, &m, &e) == 0);
	file_info(m, &i);
	if (!i.uring)
		_exit(77);
	bed_open(&b, m);
	deny(SCMP_SYS(io_uring_enter));
	pattern(out[0], sizeof(out), 3);
	for (unsigned op = 0; op < 2; op++) {
		for (unsigned k = 0; k < POLLER_BATCH; k++)
			bed_req(&b, &q[k], op ? REQ_READ : REQ_WRITE, k * 4096, 4096,
				op ? in[k] : out[k]);
		bed_submit(&b, q, POLLER_BATCH);
		bed_run(&b, (op + 1) * POLLER_BATCH);
		for (unsigned k = 0; k < POLLER_BATCH; k++)
			MUST(q[k].status == REQ_OK);
	}
	MUST(!memcmp(in, out, sizeof(out)));
	bed_close(&b);
}

static void goes_on_with_threads_when_io_uring_is_taken_away(void **state)
{
	in_child(io_uring_taken_away);
}

/* A file system of 1 MiB, of this process alone. */
static void enter_small_tmpfs(const char *dir)
{
	if (unshare(geteuid() ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
		_exit(77);
}

static void on_a_full_file_system(void)
{
	static uint8_t buf[2 * MIB] __attribute__((aligned(4096)));
	char dir[] = "./postern-test-dir-XXXXXX";
	struct file_conf c = { 0 };
	struct file_error e;
	struct file_info i;
	struct media *m;
	struct bed b;

	MUST(mkdtemp(dir));
	enter_small_tmpfs(dir);
	MUST(open_image(dir, 8 * MIB, c, &m, &e) == 0);
	file_info(m, &i);
	MUST(!i.uring && !strcmp(i.engine_why, "the file system cannot start I/O without waiting"));
	c.engine = FILE_ENGINE_URING;
	bed_open(&b, m);
	MUST(bed_do(&b, REQ_WRITE, 0, 0, 512 * KIB, buf) == REQ_OK);
	MUST(bed_do(&b, REQ_WRITE, 0, 1 * MIB, 2 * MIB, buf) == REQ_NOSPC);
	MUST(bed_do(&b, REQ_DISCARD, 0, 0, 4 * MIB, NULL) == REQ_OK); /* makes room */
	MUST(bed_do(&b, REQ_WRITE, 0, 0, 512 * KIB, buf) == REQ_OK);
	MUST(bed_do(&b, REQ_ZEROES, 0, 0, 256 * KIB, NULL) == REQ_OK);
	bed_close(&b);
	MUST(open_image(dir, SIZE_B, c, &m, &e) == -EOPNOTSUPP);
	MUST(!strcmp(e.param, "engine"));
	umount(dir);
	rmdir(dir);
}

static void tells_the_guest_of_a_full_file_system(void **state)
{
	in_child(on_a_full_file_system);
}

/* A loop device over @n. Return: fd, -1 when this machine gives none. */
static int loop_new(const struct named *n, char *ret_path)
{
	CLEANUP(fd_cleanup) int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int nr = ctl < 0 ? -1 : ioctl(ctl, LOOP_CTL_GET_FREE);

	if (nr < 0)
		return -1;
	snprintf(ret_path, PATH_MAX, "/dev/loop%d", nr);
	int fd = open(ret_path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && ioctl(fd, LOOP_SET_FD, n->fd)) {
		close(fd);
		return -1;
	}
	return fd;
}

static void check_device(struct media *m, const struct named *n)
{
	static uint8_t buf[64 * KIB] __attribute__((aligned(4096)));
	struct file_info i;
	struct bed b;

	file_info(m, &i);
	assert_true(i.block_device);
	assert_int_equal(m->caps.size_b, SIZE_B);
	assert_in_range(m->caps.discard_gran_b, 512, 64 * KIB);
	bed_open(&b, m);
	memset(buf, 0xab, sizeof(buf));
	for (unsigned at = 0; at < SIZE_B; at += sizeof(buf))
		assert_int_equal(bed_do(&b, REQ_WRITE, at ? 0 : REQ_F_FUA, at, sizeof(buf), buf),
				 REQ_OK);
	assert_int_equal(bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL), REQ_OK);
	for (unsigned k = 0; k < 3; k++) {
		assert_int_equal(bed_do(&b, k ? REQ_ZEROES : REQ_DISCARD, k == 1 ? REQ_F_UNMAP : 0,
					k * 256 * KIB, sizeof(buf), NULL), REQ_OK);
		assert_int_equal(bed_do(&b, REQ_READ, 0, k * 256 * KIB, sizeof(buf), buf), REQ_OK);
		assert_true(all_bytes(buf, 0, sizeof(buf)));
		assert_int_equal(bed_do(&b, REQ_READ, 0, k * 256 * KIB + 64 * KIB, 4096, buf),
				 REQ_OK);
		assert_true(all_bytes(buf, 0xab, 4096));
	}
	assert_int_equal(bed_do(&b, REQ_FLUSH, 0, 0, 0, NULL), REQ_OK);
	struct stat st;
	fstat(n->fd, &st);
	/* of three, two are holes, but for what the file system needs to remember the pieces */
	assert_true(st.st_blocks * 512 <= (blkcnt_t)(SIZE_B - 2 * sizeof(buf) + 8 * KIB));
	bed_close(&b);
}

static void serves_a_block_device(void **state)
{
	static const char *const direct[] = { "on", "off" };
	static const char *const engine[] = { "auto", "threads" };
	struct ctl_error err;
	struct media *m;

	for (unsigned i = 0; i < 4; i++) {
		struct named *n = named_new(SIZE_B);
		char path[PATH_MAX];
		int loop = loop_new(n, path);

		if (loop < 0) {
			named_free(n);
			skip(); /* no loop device: not root, or none in this container */
		}
		int code = open_kind((struct asked){ .path = path, .direct = direct[i & 1],
						     .engine = engine[i >> 1] }, &m, &err);
		if (!code) {
			struct ctl_error busy;
			struct media *m2;

			assert_int_equal(open_kind((struct asked){ .path = path }, &m2, &busy),
					 -EBUSY);
			assert_int_equal(file_kind.resize(m, 2 * SIZE_B, &busy), -EINVAL);
			check_device(m, n);
		}
		ioctl(loop, LOOP_CLR_FD);
		close(loop);
		named_free(n);
		if (code)
			fail_msg("%s: %s", err.id, err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(makes_a_new_disks_file_and_no_other),
		cmocka_unit_test(lengthens_and_never_shortens),
		cmocka_unit_test(refuses_by_name_what_cannot_be_a_disk),
		cmocka_unit_test(one_writer_or_many_readers),
		cmocka_unit_test(lets_go_of_its_lock_before_its_last_descriptor_is_closed),
		cmocka_unit_test(respects_the_locks_of_qemu),
		cmocka_unit_test(qemu_respects_our_lock),
		cmocka_unit_test(shows_what_was_chosen),
		cmocka_unit_test(takes_threads_where_io_uring_is_refused),
		cmocka_unit_test(goes_on_with_threads_when_io_uring_is_taken_away),
		cmocka_unit_test(tells_the_guest_of_a_full_file_system),
		cmocka_unit_test(serves_a_block_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
