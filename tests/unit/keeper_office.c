/* SPDX-License-Identifier: Apache-2.0 */
/* What the keeper does for a worker, and what it refuses: keeper/office.c, kept.c, store.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "core/life.h"
#include "keeper/private.h"

static char dir[64], path[128];
static struct office office;

static int setup(void **state)
{
	strcpy(dir, "/tmp/postern-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	office_init(&office);
	snprintf(path, sizeof(path), "%s/a/state", dir);
	assert_int_equal(store_open(&office.store, path), 0);
	return 0;
}

static int teardown(void **state)
{
	char cmd[128];

	office_fini(&office);
	store_close(&office.store);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	return system(cmd);
}

static const char *at(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static struct keeper_request request(uint32_t op, const char *p, int flags, unsigned mode)
{
	struct keeper_request r = { .op = op, .flags = (uint32_t)flags, .mode = mode };

	snprintf(r.path, sizeof(r.path), "%s", p);
	return r;
}

/* Return: a descriptor (for requests that give one) or the error. */
static int serve(struct keeper_request r, int fd)
{
	struct clerk_order order;
	int got = -1, err = office_serve(&office, &r, fd, &got, &order);

	if (err == OFFICE_CLERK) { /* which is us */
		struct clerk_report report = { 0 };
		int made = -1;

		report.err = office_carry_out(&office, &order, &report.file, &made);
		bool opens = r.op == KEEPER_OPEN;
		err = office_done(&office, &order.req, &report, opens ? -1 : made, &got);
		if (opens)
			got = made;
	}
	return err ? err : got;
}

static int open_path(const char *p, int flags)
{
	return serve(request(KEEPER_OPEN, p, flags, 0600), -1);
}

static int memfd(const char *text)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	return fd;
}

static void opens_a_regular_file_that_blocks(void **state)
{
	int fd = open_path(at("disk"), O_RDWR | O_CREAT);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	close(fd);
	assert_int_equal(open_path(at("none"), O_RDWR), -ENOENT);
}

static void refuses_what_no_medium_is(void **state)
{
	assert_int_equal(mkfifo(at("fifo"), 0600), 0);
	assert_int_equal(open_path(path, O_RDONLY), -EMEDIUMTYPE);
	assert_int_equal(open_path(path, O_WRONLY), -EMEDIUMTYPE);
	assert_int_equal(open_path(dir, O_RDONLY), -EISDIR);
	assert_int_equal(open_path("/dev/null", O_RDWR), -EMEDIUMTYPE);
	assert_int_equal(open_path("/proc/self/mem", O_RDWR), -EACCES);
	assert_int_equal(open_path("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY),
			 -EACCES);
}

static void refuses_its_own_files(void **state)
{
	assert_int_equal(open_path(at("a/state/lock"), O_RDWR), -EACCES);
	char own[128];

	snprintf(own, sizeof(own), "%s", path);
	assert_int_equal(link(own, at("alias")), 0);
	assert_int_equal(open_path(at("alias"), O_RDWR), -EACCES);
}

static void opens_programs_only_to_be_executed(void **state)
{
	struct clerk_order o = { .req.op = CLERK_PROGRAM, .req.path = "/bin/true" };
	struct own_file none;
	char byte;
	int fd = -1;

	assert_int_equal(office_carry_out(&office, &o, &none, &fd), 0);
	assert_int_equal(read(fd, &byte, 1), -1);
	close(fd);
	strcpy(o.req.path, "/etc/passwd");
	assert_int_equal(office_carry_out(&office, &o, &none, &fd), -ENOEXEC);
	strcpy(o.req.path, dir);
	assert_int_equal(office_carry_out(&office, &o, &none, &fd), -ENOEXEC);
	strcpy(o.req.path, at("none"));
	assert_int_equal(office_carry_out(&office, &o, &none, &fd), -ENOENT);
	/* no worker asks for that */
	assert_int_equal(serve(request(CLERK_PROGRAM, "/bin/true", 0, 0), -1), -EPROTO);
}

static void opens_only_below_the_directories_for_images(void **state)
{
	char one[128], two[128];
	const char *const images[] = { one, two, NULL };

	snprintf(one, sizeof(one), "%s/none", dir);
	snprintf(two, sizeof(two), "%s/img", dir);
	assert_int_equal(mkdir(two, 0700) | mkdir(at("img/sub"), 0700) | mkdir(at("img2"), 0700), 0);
	close(open_path(at("secret"), O_RDWR | O_CREAT));
	assert_int_equal(symlink("../secret", at("img/out")), 0);
	assert_int_equal(symlink("sub/in", at("img/in")), 0);
	office.images = images;
	int fd = open_path(at("img/sub/in"), O_RDWR | O_CREAT);
	assert_int_equal(ftruncate(fd, (off_t)(5 * GIB)), 0);
	close(fd);
	fd = open_path(at("img//in"), O_RDWR);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(open_path(at("secret"), O_RDWR), -EACCES);
	assert_int_equal(open_path(at("img/out"), O_RDWR), -EACCES);
	assert_int_equal(open_path(at("img/../secret"), O_RDWR), -EACCES);
	assert_int_equal(open_path(at("img2/x"), O_RDWR | O_CREAT), -EACCES);
	assert_int_equal(open_path("/etc/passwd", O_RDONLY), -EACCES);
	assert_int_equal(open_path(at("none/x"), O_RDWR), -ENOENT);
	office.images = NULL;
}

static void refuses_senseless_requests(void **state)
{
	struct keeper_request r = request(KEEPER_OPEN, "/x", O_RDONLY, 0);

	assert_int_equal(open_path("relative", O_RDONLY), -EPROTO);
	assert_int_equal(open_path("/x", O_TRUNC | O_WRONLY), -EPROTO);
	assert_int_equal(open_path("/x", O_PATH), -EPROTO);
	assert_int_equal(serve(request(77, "/x", 0, 0), -1), -EPROTO);
	assert_int_equal(serve(request(KEEPER_LISTEN, "relative", 0, 0600), -1), -EPROTO);
	assert_int_equal(serve(request(KEEPER_LISTEN, at("s"), 0, 04777), -1), -EPROTO);
	memset(r.path, 'x', sizeof(r.path));
	assert_int_equal(serve(r, -1), -EPROTO);
	r = request(KEEPER_LISTEN, "/x", 0, 0600);
	memset(r.group, 'x', sizeof(r.group));
	assert_int_equal(serve(r, -1), -EPROTO);
}

static void removes_only_the_file_that_it_has_just_made(void **state)
{
	CLEANUP(fd_cleanup) int text = memfd("{}");
	int fd = open_path(at("old"), O_RDWR | O_CREAT);

	close(fd);
	assert_int_equal(serve(request(KEEPER_UNMAKE, path, 0, 0), -1), -ENOENT);
	close(open_path(at("new"), O_RDWR | O_CREAT | O_EXCL));
	assert_int_equal(serve(request(KEEPER_UNMAKE, "", 0, 0), -1), -1);
	assert_int_equal(access(at("new"), F_OK), -1);
	assert_int_equal(access(at("old"), F_OK), 0);
	assert_int_equal(serve(request(KEEPER_UNMAKE, "", 0, 0), -1), -ENOENT);
	/* one that the state may speak of stays */
	close(open_path(at("new"), O_RDWR | O_CREAT | O_EXCL));
	assert_int_equal(serve(request(KEEPER_SAVE, "", 0, 0), text), -1);
	assert_int_equal(serve(request(KEEPER_UNMAKE, "", 0, 0), -1), -ENOENT);
	/* and so does another of its name; the first lives on, so that no number comes twice */
	char kept[128];

	snprintf(kept, sizeof(kept), "%s/kept", dir);
	close(open_path(at("third"), O_RDWR | O_CREAT | O_EXCL));
	assert_int_equal(rename(path, kept), 0);
	close(open(at("third"), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(serve(request(KEEPER_UNMAKE, "", 0, 0), -1), -ENOENT);
	assert_int_equal(access(at("third"), F_OK), 0);
}

static void keeps_a_socket_for_the_next_worker(void **state)
{
	int fd = serve(request(KEEPER_LISTEN, at("s"), 0, 0600), -1);
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(serve(request(KEEPER_LISTEN, at("s"), 0, 0600), -1), fd);
	assert_int_equal(stat(at("s"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void lets_a_machine_have_what_its_worker_may(void **state)
{
	struct programs *ps = &office.programs;

	close(open_path(at("image"), O_RDWR | O_CREAT));
	assert_int_equal(ps->may_have(ps, MACHINE_WRITES, at("image")), 0);
	assert_int_equal(ps->may_have(ps, MACHINE_READS, at("none")), -ENOENT);
	assert_int_equal(ps->may_have(ps, MACHINE_WRITES, at("none")), -ENOENT);
	assert_int_equal(ps->may_have(ps, MACHINE_READS, at("a/state/lock")), -EACCES);
	assert_int_equal(ps->may_have(ps, MACHINE_READS, "/proc/self/mem"), -EACCES);
	assert_int_equal(ps->may_have(ps, MACHINE_READS, "/dev/null"), -EMEDIUMTYPE);
	assert_int_equal(ps->may_have(ps, MACHINE_CONNECTS, at("m")), -EACCES);
	assert_true(serve(request(KEEPER_LISTEN, at("m"), 0, 0600), -1) >= 0);
	assert_int_equal(ps->may_have(ps, MACHINE_CONNECTS, at("m")), 0);
}

static void removes_the_file_of_a_socket_with_it(void **state)
{
	assert_true(serve(request(KEEPER_LISTEN, at("t"), 0, 0600), -1) >= 0);
	assert_int_equal(access(at("t"), F_OK), 0);
	assert_int_equal(serve(request(KEEPER_UNLISTEN, at("t"), 0, 0), -1), -1);
	assert_int_equal(access(at("t"), F_OK), -1);
	assert_int_equal(serve(request(KEEPER_UNLISTEN, at("t"), 0, 0), -1), -ENOENT);
}

static void refuses_sockets_of_others(void **state)
{
	struct keeper_request r = request(KEEPER_LISTEN, at("s"), 0, 0600);
	int fd = fd_listen(at("live"), 0600);
	char longest[109];

	assert_int_equal(serve(request(KEEPER_LISTEN, path, 0, 0600), -1), -EADDRINUSE);
	assert_int_equal(serve(request(KEEPER_UNLISTEN, path, 0, 0), -1), -ENOENT);
	close(fd);
	fd = serve(request(KEEPER_LISTEN, path, 0, 0600), -1); /* a dead one is replaced */
	assert_true(fd >= 0);
	assert_int_equal(close(open(at("plain"), O_CREAT | O_WRONLY, 0600)), 0);
	assert_int_equal(serve(request(KEEPER_LISTEN, path, 0, 0600), -1), -EEXIST);
	memset(longest, 'a', 108);
	longest[0] = '/';
	longest[108] = '\0';
	assert_int_equal(serve(request(KEEPER_LISTEN, longest, 0, 0600), -1), -ENAMETOOLONG);
	strcpy(r.group, "no-such-group");
	assert_int_equal(serve(r, -1), -ESRCH);
	assert_int_equal(access(at("s"), F_OK), -1);
}

static void removes_no_socket_but_its_own(void **state)
{
	assert_true(serve(request(KEEPER_LISTEN, at("s"), 0, 0600), -1) >= 0);
	assert_true(serve(request(KEEPER_LISTEN, at("t"), 0, 0600), -1) >= 0);
	/* others have taken their places; the old files live on, so that no number comes twice */
	for (const char *const *name = (const char *const[]){ "s", "t", NULL }; *name; name++) {
		char kept[128];

		snprintf(kept, sizeof(kept), "%s/%s.old", dir, *name);
		assert_int_equal(rename(at(*name), kept), 0);
		assert_int_equal(close(open(at(*name), O_CREAT | O_WRONLY, 0600)), 0);
	}
	assert_int_equal(serve(request(KEEPER_UNLISTEN, at("s"), 0, 0), -1), -1);
	assert_int_equal(access(path, F_OK), 0);
	office_fini(&office);
	assert_int_equal(access(at("t"), F_OK), 0);
}

static void saves_the_state_whole(void **state)
{
	CLEANUP(base_free) char *text = NULL;
	CLEANUP(fd_cleanup) int one = memfd("{\"version\": 1}"), two = memfd("{}");

	assert_int_equal(store_read(&office.store), -ENOENT);
	assert_int_equal(serve(request(KEEPER_SAVE, "", 0, 0), one), -1);
	assert_int_equal(serve(request(KEEPER_SAVE, "", 0, 0), two), -1);
	CLEANUP(fd_cleanup) int fd = store_read(&office.store);
	assert_int_equal(fd_read_file(fd, 100, &text), 2);
	assert_string_equal(text, "{}");
	assert_int_equal(access(at("a/state/state.json.new"), F_OK), -1);
}

static void refuses_a_state_that_is_no_file(void **state)
{
	CLEANUP(fd_cleanup) int empty = memfd("");
	int pipes[2];

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(serve(request(KEEPER_SAVE, "", 0, 0), pipes[0]), -EPROTO);
	assert_int_equal(serve(request(KEEPER_SAVE, "", 0, 0), -1), -EPROTO);
	assert_int_equal(serve(request(KEEPER_SAVE, "", 0, 0), empty), -EFBIG);
	assert_int_equal(ftruncate(empty, (off_t)KEEPER_STATE_MAX_B + 1), 0);
	assert_int_equal(serve(request(KEEPER_SAVE, "", 0, 0), empty), -EFBIG);
	close(pipes[0]);
	close(pipes[1]);
}

static int keep(const char *key, int fd)
{
	return serve(request(KEEPER_PUT, key, 0, 0), fd);
}

static int drop(const char *key)
{
	return serve(request(KEEPER_DROP, key, 0, 0), -1);
}

static int kept(const char *key)
{
	return serve(request(KEEPER_GET, key, 0, 0), -1);
}

static bool is_same_file(int a, int b)
{
	struct stat x, y;

	assert_int_equal(fstat(a, &x), 0);
	assert_int_equal(fstat(b, &y), 0);
	return x.st_ino == y.st_ino;
}

static void keeps_a_copy_under_its_key(void **state)
{
	int one = memfd("1");
	CLEANUP(fd_cleanup) int two = memfd("2");

	assert_int_equal(keep("disk/web/medium/data", one), -1);
	int fd = kept("disk/web/medium/data");
	assert_true(fd >= 0 && fd != one && is_same_file(fd, one));
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(keep("disk/web/medium/data", two), -1); /* instead of the first */
	assert_true(is_same_file(kept("disk/web/medium/data"), two));
	assert_int_equal(office.kept.n, 1);
	assert_int_equal(kept("disk/web/medium"), -ENOENT);
	close(one);
}

static void drops_a_key_and_what_is_below_it_only(void **state)
{
	static const char *const key[] = { "a", "a-b", "a.b", "a/b", "a/b/c", "a/b0", "a0", "b/a" };
	CLEANUP(fd_cleanup) int fd = memfd("");

	for (size_t i = 0; i < ARRAY_SIZE(key); i++)
		assert_int_equal(keep(key[ARRAY_SIZE(key) - 1 - i], fd), -1);
	assert_int_equal(drop("a/b"), -1);
	assert_int_equal(kept("a/b"), -ENOENT);
	assert_int_equal(kept("a/b/c"), -ENOENT);
	assert_true(kept("a/b0") >= 0);
	assert_int_equal(drop("a"), -1);
	assert_int_equal(office.kept.n, 4);
	assert_true(kept("a-b") >= 0 && kept("a.b") >= 0 && kept("a0") >= 0 && kept("b/a") >= 0);
	assert_int_equal(drop("a"), -1); /* what is not there is gone */
}

static void refuses_senseless_keys(void **state)
{
	static const char *const bad[] = { "", "/a", "a/", "a//b", "a b", "a\n", "\xc3\xa4",
					   "a%d" };
	CLEANUP(fd_cleanup) int fd = memfd("");
	char longest[KEEP_KEY_MAX + 1] = "";

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(keep(bad[i], fd), -EPROTO);
		assert_int_equal(drop(bad[i]), -EPROTO);
		assert_int_equal(kept(bad[i]), -ENOENT);
	}
	memset(longest, 'k', KEEP_KEY_MAX);
	assert_int_equal(keep(longest, fd), -EPROTO);
	longest[KEEP_KEY_MAX - 1] = '\0';
	assert_int_equal(keep(longest, fd), -1);
	assert_int_equal(keep("a", -1), -EPROTO);
}

static void keeps_no_descriptor_that_could_hold_it_up(void **state)
{
	int good[5], bad[4], more[2];

	assert_int_equal(pipe(good), 0);
	good[2] = eventfd(0, 0);
	good[3] = memfd("x");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, more), 0);
	good[4] = more[0];
	bad[0] = open_path(at("disk"), O_RDWR | O_CREAT); /* would keep its lock, too */
	bad[1] = socket(AF_INET, SOCK_STREAM, 0);
	bad[2] = epoll_create1(0);
	assert_int_equal(mkfifo(at("pipe:[1]"), 0600), 0);
	bad[3] = open(at("pipe:[1]"), O_RDWR);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(keep("good", good[i]), -1);
		close(good[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(bad[i] >= 0);
		assert_int_equal(keep("bad", bad[i]), -EOPNOTSUPP);
		close(bad[i]);
	}
	close(more[1]);
	assert_int_equal(kept("bad"), -ENOENT);
}

static void leaves_itself_room_for_a_successor(void **state)
{
	CLEANUP(fd_cleanup) int fd = memfd("");
	struct rlimit had, few;
	char key[16];
	int err = -1;
	unsigned n = 0;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &had), 0);
	few = (struct rlimit){ 128, had.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (; err == -1; n++) {
		snprintf(key, sizeof(key), "k%u", n);
		err = keep(key, fd);
	}
	int listens = serve(request(KEEPER_LISTEN, at("s"), 0, 0600), -1);
	int again = keep("k0", fd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &had), 0);
	assert_int_equal(err, -EMFILE);
	assert_int_equal(listens, -EMFILE);
	assert_int_equal(again, -1);
	assert_int_equal(office.kept.n, 96);
}

static void holds_a_bounded_number(void **state)
{
	struct kept k = { 0 };
	char key[16];

	for (unsigned i = 0; i < KEPT_MAX; i++) {
		snprintf(key, sizeof(key), "k%u", i);
		assert_int_equal(kept_put(&k, key, -1), 0);
	}
	assert_int_equal(kept_put(&k, "one-more", -1), -EMFILE);
	assert_int_equal(kept_put(&k, "k7", -1), 0);
	kept_fini(&k);
}

/* What a keeper leaves to the program that it goes on as: 56 bytes an item (keeper/baton.c). */
struct item {
	uint32_t kind, text_b;
	int32_t fd[4];
	uint64_t n[4];
};

static int check_baton(const struct item *items, unsigned n, const char *behind, size_t len)
{
	CLEANUP(fd_cleanup) int fd = memfd("");

	assert_int_equal(fd_write_all(fd, items, n * sizeof(*items)), 0);
	assert_int_equal(fd_write_all(fd, behind, len), 0);
	return baton_check(fd);
}

static void goes_on_with_no_baton_but_a_whole_one_of_its_version(void **state)
{
	struct item it[2] = { { .kind = 1, .n = { BATON_VERSION } }, { .kind = 7, .text_b = 4 } };

	assert_int_equal(check_baton(it, 1, "", 0), 0);
	assert_int_equal(check_baton(it, 2, "a/b", 4), 0);
	assert_int_equal(check_baton(it, 0, "", 0), 1);
	assert_int_equal(check_baton(it, 2, "a/b", 3), 1);    /* cut off */
	assert_int_equal(check_baton(it, 1, "a/b", 4), 1);    /* less than an item */
	assert_int_equal(check_baton(it, 2, "a/bc", 4), 1);   /* text without an end */
	assert_int_equal(check_baton(it, 2, "/ab", 4), 1);    /* no key */
	assert_int_equal(check_baton(it + 1, 1, "a/b", 4), 1); /* no head */
	it[1].text_b = UINT32_MAX;
	assert_int_equal(check_baton(it, 2, "a/b", 4), 1);
	/* a worker says more than that of itself */
	it[1] = (struct item){ .kind = 10, .text_b = 4 };
	assert_int_equal(check_baton(it, 2, "a/b", 4), 1);
	it[1] = (struct item){ .kind = 11 };
	assert_int_equal(check_baton(it, 2, "", 0), 1);
	it[0].n[0]++;
	assert_int_equal(check_baton(it, 1, "", 0), 1);
}

static void leaves_keys_of_sockets_to_itself(void **state)
{
	CLEANUP(fd_cleanup) int fd = memfd("");

	office.vault.at = at("none"); /* one that is away: nothing is put there */
	assert_int_equal(keep("socket/1", fd), -EPROTO);
	assert_int_equal(keep("sockets/1", fd), -1);
	office.vault.at = NULL;
}

static void a_worker_cannot_cut_its_page_short(void **state)
{
	struct death *d;

	assert_int_equal(death_new(&d), 0);
	assert_int_equal(ftruncate(death_page_fd(d), 0), -1);
	/* whatever it writes there it can look dead, or alive, and no more: the watch ends when
	 * told to */
	memset(mmap(NULL, LIFE_PAGE_B, PROT_READ | PROT_WRITE, MAP_SHARED, death_page_fd(d), 0),
	       0x55, LIFE_PAGE_B);
	assert_int_equal(death_watch(d), 0);
	death_free(d);
}

static unsigned fd_room(void)
{
	CLEANUP(base_free) char *text = NULL;
	CLEANUP(fd_cleanup) int fd = open("/proc/self/status", O_RDONLY);
	const char *line;
	unsigned n = 0;

	assert_true(fd_read_file(fd, 65536, &text) > 0);
	line = strstr(text, "\nFDSize:");
	assert_non_null(line);
	assert_int_equal(sscanf(line, "\nFDSize: %u", &n), 1);
	return n;
}

static void makes_room_for_descriptors_before_they_come(void **state)
{
	struct rlimit old, l;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	if (old.rlim_max < 2048)
		skip();
	l = (struct rlimit){ old.rlim_max, old.rlim_max }; /* as posternd has it */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
	assert_true(fd_room() < 2048);
	fd_make_room(2048);
	assert_in_range(fd_room(), 2048, 4096);
	int next = dup(0);
	assert_true(next >= 0 && next < 64);
	close(next);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

static void one_state_has_one_keeper(void **state)
{
	struct store other = { -1, -1 };

	assert_int_equal(store_open(&other, at("a/state")), -EBUSY);
	store_close(&office.store);
	assert_int_equal(store_open(&other, at("a/state")), 0);
	store_close(&other);
}

/* A keeper that is killed, and its child, which has all that it had until it is told to end.
 * Return: the end of a pipe that tells it. */
static int leave_a_child(void)
{
	int tell[2];

	assert_int_equal(pipe(tell), 0);
	pid_t keeper = fork();
	assert_true(keeper >= 0);
	if (!keeper) {
		struct store own = { -1, -1 };
		char byte;

		close(tell[1]);
		if (store_open(&own, at("a/state")) || fork())
			_exit(0);
		_exit(read(tell[0], &byte, 1) != 0);
	}
	close(tell[0]);
	assert_int_equal(waitpid(keeper, NULL, 0), keeper);
	return tell[1];
}

static void *open_store(void *ret_store)
{
	return (void *)(intptr_t)store_open(ret_store, path);
}

static void waits_for_what_is_left_of_a_killed_keeper(void **state)
{
	struct inotify_event looked;
	struct store other = { -1, -1 };
	pthread_t opener;
	void *err;

	store_close(&office.store);
	int child = leave_a_child(), looks = inotify_init1(IN_CLOEXEC);
	assert_true(inotify_add_watch(looks, at("a/state/lock"), IN_ACCESS) >= 0);
	at("a/state");
	assert_int_equal(pthread_create(&opener, NULL, open_store, &other), 0);
	/* whoever finds the lock taken reads by whom */
	assert_int_equal(read(looks, &looked, sizeof(looked)), sizeof(looked));
	close(child);
	pthread_join(opener, &err);
	assert_int_equal((intptr_t)err, 0);
	store_close(&other);
	close(looks);
}

int main(void)
{
#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		IN_DIR(opens_a_regular_file_that_blocks),
		IN_DIR(refuses_what_no_medium_is),
		IN_DIR(refuses_its_own_files),
		IN_DIR(opens_programs_only_to_be_executed),
		IN_DIR(opens_only_below_the_directories_for_images),
		IN_DIR(refuses_senseless_requests),
		IN_DIR(removes_only_the_file_that_it_has_just_made),
		IN_DIR(keeps_a_socket_for_the_next_worker),
		IN_DIR(lets_a_machine_have_what_its_worker_may),
		IN_DIR(removes_the_file_of_a_socket_with_it),
		IN_DIR(refuses_sockets_of_others),
		IN_DIR(removes_no_socket_but_its_own),
		IN_DIR(saves_the_state_whole),
		IN_DIR(refuses_a_state_that_is_no_file),
		IN_DIR(one_state_has_one_keeper),
		IN_DIR(waits_for_what_is_left_of_a_killed_keeper),
		IN_DIR(keeps_a_copy_under_its_key),
		IN_DIR(drops_a_key_and_what_is_below_it_only),
		IN_DIR(refuses_senseless_keys),
		IN_DIR(keeps_no_descriptor_that_could_hold_it_up),
		IN_DIR(leaves_itself_room_for_a_successor),
		IN_DIR(leaves_keys_of_sockets_to_itself),
		cmocka_unit_test(a_worker_cannot_cut_its_page_short),
		cmocka_unit_test(holds_a_bounded_number),
		cmocka_unit_test(makes_room_for_descriptors_before_they_come),
		cmocka_unit_test(goes_on_with_no_baton_but_a_whole_one_of_its_version),
	};

	return cmocka_run_group_tests_name("keeper_office", tests, NULL, NULL);
}
