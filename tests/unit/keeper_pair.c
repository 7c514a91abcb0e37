/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process pair: keeper/keeper.c, desk.c, clerk.c, link.c. The test
 * program is its own worker: run with KEEPER_LINK_ARG it greets every control
 * connection with its pid and count of predecessors, and does as it is told there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/hold.h"
#include "keeper/keeper.h"
#include "keeper/link.h"

/* ThreadSanitizer does not outlive a process that shares its memory: its child stops in the
 * sanitizer's own bookkeeping, and the parent waits for it. */
#if defined(__SANITIZE_THREAD__)
#define CAN_HOLD 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CAN_HOLD 0
#endif
#endif
#ifndef CAN_HOLD
#define CAN_HOLD 1
#endif

static char dir[64], sock[80], state_dir[80];
static pid_t last_keeper; /* that was started */

/* Makes the first messages of a kind that carry descriptors fail, in the keeper: its worker starts
 * afresh. They are told from each other by their length. */
static enum { REFUSE_CALLERS, REFUSE_ANSWERS, REFUSE_LISTS } refuse_what;
static unsigned refuse_fds;
static unsigned nsent; /* messages, of this process */

static bool is_refused(size_t len)
{
	return len == sizeof(struct keeper_answer) ? refuse_what == REFUSE_ANSWERS :
	       len == sizeof(struct keeper_event)  ? refuse_what == REFUSE_CALLERS :
						     refuse_what == REFUSE_LISTS;
}

ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
	nsent++;
	if (!m->msg_controllen || !refuse_fds || !is_refused(m->msg_iov->iov_len))
		return __real_sendmsg(fd, m, flags);
	refuse_fds--;
	errno = ETOOMANYREFS;
	return -1;
}

/* What lies below a directory "hung" is on a server that does not answer until there is a file
 * "thawed". */
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);

int __wrap_open64(const char *path, int flags, ...)
{
	const char *hung = strstr(path, "/hung/");
	char thawed[128];
	va_list args;

	va_start(args, flags);
	mode_t mode = va_arg(args, mode_t);
	va_end(args);
	snprintf(thawed, sizeof(thawed), "%s/thawed", dir);
	while (hung && access(thawed, F_OK))
		poll(NULL, 0, 20); /* who always wants a processor is not stuck */
	return __real_open64(path, flags, mode);
}

#define KEPT_N 300 /* more than one message carries */

/* Return: 0 or what went wrong. */
static int keep_many(struct keep *k)
{
	for (unsigned i = 0; i < KEPT_N; i++) {
		CLEANUP(fd_cleanup) int fd = memfd_create("test", MFD_CLOEXEC);
		char key[32];

		snprintf(key, sizeof(key), "disk/%s/%u", i % 2 ? "odd" : "even", i);
		if (fd_write_all(fd, &i, sizeof(i)))
			return -errno;
		int err = k->ops->put(k, key, fd);
		if (err)
			return err;
	}
	return 0;
}

/* Return: how many are there and are what was put there, each time that they are asked for. */
static int find_many(struct keep *k)
{
	int found = 0;

	for (unsigned i = 0; i < KEPT_N; i++) {
		char key[32];
		unsigned times = 0, content;

		snprintf(key, sizeof(key), "disk/%s/%u", i % 2 ? "odd" : "even", i);
		for (; times < 2; times++) {
			CLEANUP(fd_cleanup) int fd = k->ops->get(k, key);

			if (fd < 0 || pread(fd, &content, sizeof(content), 0) != sizeof(content) ||
			    content != i)
				break;
		}
		found += times == 2;
	}
	return found;
}

static bool is_even(void *arg, const char *name)
{
	return !strcmp(name, "even");
}

#define FILES_N 300 /* more than are asked for before an answer is read */

/* Asks for many files ahead, of which every third is there, and then for all but the first ones, in
 * another order. Return: how many answers were right. */
static int open_many(struct link *l)
{
	int right = 0;
	char path[128];

	for (unsigned i = 0; i < FILES_N; i++) {
		snprintf(path, sizeof(path), "%s/f%u", dir, i);
		if (i % 3 == 0)
			close(link_open(l, path, O_RDWR | O_CREAT, 0600));
	}
	for (unsigned i = 0; i < FILES_N; i++) {
		snprintf(path, sizeof(path), "%s/f%u", dir, i);
		link_open_ahead(l, path, O_RDONLY);
	}
	/* something else in between */
	right += link_taken(l) == 0;
	for (unsigned i = FILES_N - 1; i >= 10; i--) {
		snprintf(path, sizeof(path), "%s/f%u", dir, i);
		CLEANUP(fd_cleanup) int fd = link_open(l, path, O_RDONLY, 0);
		right += i % 3 ? fd == -ENOENT : fd >= 0;
	}
	/* what was not given out is closed, and a second time one is asked for anew */
	link_ready(l);
	right += link_open(l, path, O_RDONLY, 0) == -ENOENT;
	return right;
}

/* Listens, in a worker that has found none, or asks for one of what it has found and lets go of the
 * rest. Return: how many are nobody's; -1: something is not as it should be. */
static int listen_twice(struct link *l, unsigned restarts)
{
	char path[3][100];
	int fd[3];

	for (unsigned i = 0; i < 3; i++) {
		snprintf(path[i], sizeof(path[i]), "%s/%u.sock", dir, i);
		fd[i] = !restarts || i == 1 ? link_listen(l, path[i], 0600, NULL) : 0;
		if (fd[i] < 0)
			return -1;
	}
	CLEANUP(fd_cleanup) int probe = fd_connect(path[1]);
	if (probe < 0 || link_listen(l, path[1], 0600, NULL) != -EADDRINUSE)
		return -1;
	unsigned dropped = link_settled(l);
	return access(path[0], F_OK) == (restarts ? -1 : 0) ? (int)dropped : -1;
}

/* Return: 0; -1: something is not as it should be. */
static int keep_files(struct link *l)
{
	const struct keep_ops *ops = l->keep.ops;
	unsigned before = nsent;
	char path[128];
	int pipes[2];

	snprintf(path, sizeof(path), "%s/file", dir);
	CLEANUP(fd_cleanup) int file = open(path, O_RDWR | O_CREAT, 0600);
	CLEANUP(fd_cleanup) int event = eventfd(0, 0);
	/* the keeper does not even see it */
	if (ops->put(&l->keep, "disk/a/1", file) != -EOPNOTSUPP || nsent != before ||
	    ops->put(&l->keep, "disk/a/3", event) || pipe(pipes))
		return -1;
	CLEANUP(fd_cleanup) int from = pipes[0], to = pipes[1];
	return ops->put(&l->keep, "disk/a/4", from) || ops->put(&l->keep, "disk/a/5", to) ||
	       ops->put(&l->keep, "disk/a/6", l->event_fd) ? -1 : 0;
}

/* Asks for a file and for a program that lives as long as it holds a pipe; the first
 * answers have been lost. Return: 0; -1: something is not as it should be. */
static int ask_again(struct link *l)
{
	CLEANUP(fd_cleanup) int none = link_open(l, dir, O_RDONLY, 0);
	struct link_program p = { .sock = -1, .pidfd = -1 };
	char path[128], byte;
	int life[2];

	snprintf(path, sizeof(path), "%s/file", dir);
	CLEANUP(fd_cleanup) int first = link_open(l, path, O_RDWR | O_CREAT, 0600);
	if (none != -EISDIR || first != -ETOOMANYREFS || pipe2(life, O_CLOEXEC))
		return -1;
	struct link_spawn wish = { .name = "name", .run = "sleep 1000", .memory_mib = UINT32_MAX,
				   .files = &life[1], .nfile = 1 };
	int err = link_spawn(l, &wish, &p);
	close(life[1]);
	/* it has been ended: nobody else has the pipe */
	if (err != -ETOOMANYREFS || read(life[0], &byte, 1) != 0)
		return -1;
	close(life[0]);
	CLEANUP(fd_cleanup) int second = link_open(l, path, O_RDWR, 0);
	return second >= 0 ? 0 : -1;
}

/* While another path does not answer, a disk that takes a tenth of a second to make a file is not
 * waited for either; asked again it will have. Return: as link_open(). */
static int open_at_last(struct link *l, const char *path, int flags)
{
	int fd;

	while ((fd = link_open(l, path, flags, 0600)) == -ETIMEDOUT)
		sched_yield();
	return fd;
}

/* Return: 0; -1: something is not as it should be. */
static int open_hung(struct link *l)
{
	char path[3][128];

	for (unsigned i = 0; i < 3; i++)
		snprintf(path[i], sizeof(path[i]), i < 2 ? "%s/hung/%u" : "%s/file%u", dir, i);
	/* the second is at once refused, or waited for less; the keeper goes on */
	if (link_open(l, path[0], O_RDWR | O_CREAT | O_EXCL, 0600) != -ETIMEDOUT ||
	    link_open(l, path[0], O_RDWR, 0600) != -ETIMEDOUT ||
	    link_open(l, path[1], O_RDWR, 0600) != -ETIMEDOUT)
		return -1;
	CLEANUP(fd_cleanup) int other = open_at_last(l, path[2], O_RDWR | O_CREAT);
	CLEANUP(fd_cleanup) int listens = link_listen(l, path[0], 0600, NULL);
	snprintf(path[1], sizeof(path[1]), "%s/thawed", dir);
	CLEANUP(fd_cleanup) int thawed = open_at_last(l, path[1], O_RDWR | O_CREAT);
	if (other < 0 || thawed < 0 || listens != -ETIMEDOUT)
		return -1;
	/* what was made there too late has been removed again */
	return open_at_last(l, path[0], O_RDWR) == -ENOENT ? 0 : -1;
}

/* Opens what does not answer, and says so before. */
static void begin_to_hang(struct link *l, int to)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/hung/file", dir);
	link_open_ahead(l, path, O_RDONLY);
	dprintf(to, "0\n");
}

/* Fills the keeper's socket with answers that are not taken. It ends before it is through. */
static void take_no_answer(struct link *l)
{
	struct keeper_request req = { .op = KEEPER_UNMAKE };

	while (!fd_send(l->request_fd, &req, KEEPER_REQUEST_MIN_B, NULL, 0))
		;
}

#define BESIDE_N 200

static void *keep_some(void *arg)
{
	struct keep *k = arg;
	CLEANUP(fd_cleanup) int fd = memfd_create("test", MFD_CLOEXEC);
	intptr_t err = 0;
	char key[32];

	for (unsigned i = 0; i < BESIDE_N && !err; i++) {
		snprintf(key, sizeof(key), "disk/late/%u", i);
		err = k->ops->put(k, key, fd);
		if (!err && i % 2)
			err = k->ops->drop(k, key);
	}
	return (void *)err;
}

/* Looks for sockets that nobody has asked for while a front keeps what its VMM sends.
 * Return: how many there were; -1: something is not as it should be. */
static int settle_beside(struct link *l)
{
	unsigned dropped = 0;
	pthread_t t;
	void *err;

	if (pthread_create(&t, NULL, keep_some, &l->keep))
		return -1;
	for (unsigned i = 0; i < BESIDE_N; i++)
		dropped += link_settled(l);
	pthread_join(t, &err);
	CLEANUP(fd_cleanup) int fd = l->keep.ops->get(&l->keep, "disk/late/0");
	return err || fd < 0 ? -1 : (int)dropped;
}

/* The worker. */
static void obey(struct link *l, int fd, unsigned restarts)
{
	char text[64], order[16] = "";
	int n = snprintf(text, sizeof(text), "%d %u\n", getpid(), restarts);
	uint64_t junk = 99;

	if (fd_write_all(fd, text, (size_t)n) || read(fd, order, sizeof(order) - 1) <= 0)
		return;
	if (!strcmp(order, "save"))
		dprintf(fd, "%d\n", link_save(l, "{}", 2));
	else if (!strcmp(order, "keep"))
		dprintf(fd, "%d\n", keep_many(&l->keep));
	else if (!strcmp(order, "files"))
		dprintf(fd, "%d\n", keep_files(l));
	else if (!strcmp(order, "find"))
		dprintf(fd, "%d\n", find_many(&l->keep));
	else if (!strcmp(order, "forget"))
		dprintf(fd, "%u\n", link_forget_others(l, "disk", is_even, NULL));
	else if (!strcmp(order, "open"))
		dprintf(fd, "%d\n", open_many(l));
	else if (!strcmp(order, "listen"))
		dprintf(fd, "%d\n", listen_twice(l, restarts));
	else if (!strcmp(order, "beside"))
		dprintf(fd, "%d\n", settle_beside(l));
	else if (!strcmp(order, "again"))
		dprintf(fd, "%d\n", ask_again(l));
	else if (!strcmp(order, "hung"))
		dprintf(fd, "%d\n", open_hung(l));
	else if (!strcmp(order, "hang"))
		begin_to_hang(l, fd);
	else if (!strcmp(order, "deaf"))
		take_no_answer(l);
	else if (!strcmp(order, "rude"))
		fd_send(l->request_fd, &junk, sizeof(junk), NULL, 0);
	else if (!strcmp(order, "fail"))
		_exit(3);
}

/* With the file there, does not wait for its turn, and writes down who it is before. */
static void ask_too_early(struct link *l)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/impatient", dir);
	CLEANUP(fd_cleanup) int fd = open(path, O_WRONLY | O_APPEND);
	if (fd >= 0) {
		dprintf(fd, "%d\n", getpid());
		link_ready(l);
	}
}

static int worker(const char *arg)
{
	static const struct keeper_intro intro = { KEEPER_INTRO, KEEPER_PROTOCOL, 1, 1, 1, 1,
						   "test", 1, 1 };
	struct keeper_event ev;
	struct link l;
	unsigned restarts = 0;
	int fd;

	snprintf(dir, sizeof(dir), "%s", getenv("TEST_DIR"));
	if (link_init(&l, arg) || (CAN_HOLD && hold_start(fd_steal(&l.hold_fd))) ||
	    link_introduce(&l, &intro))
		return 1;
	ask_too_early(&l);
	while (!link_event(&l, &ev, &fd)) {
		if (ev.op == KEEPER_STOP)
			return 0;
		if (ev.op == KEEPER_HELLO) {
			restarts = ev.restarts;
			if (link_recall(&l, ev.nkept)) {
				link_fini(&l);
				return 1;
			}
			link_ready(&l);
		} else if (ev.op == KEEPER_CONN) {
			link_taken(&l);
			fcntl(fd, F_SETFL, 0);
			obey(&l, fd, restarts);
		}
		fd_close(fd);
	}
	return 0;
}

/* The keeper under test, in a process of its own. */
static pid_t start(void)
{
	char *argv[] = { "worker", NULL };
	struct keeper_config cfg = { .control_path = sock, .state_dir = state_dir,
				     .program = "/proc/self/exe", .argv = argv,
				     .hand_over_fd = -1, .baton_fd = -1 };
	pid_t pid = child_fork(); /* a failed test leaves nothing behind */

	if (!pid) {
		log_set_level(LOG_ERROR);
		_exit(keeper_run(&cfg));
	}
	last_keeper = pid;
	return pid;
}

/* Lets the others run. A keeper that has ended fails the test, which would wait without end. */
static void wait_on(void)
{
	siginfo_t ended = { 0 };

	sched_yield();
	assert_int_equal(waitid(P_PID, (id_t)last_keeper, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
	assert_int_equal(ended.si_pid, 0);
}

/* Connects once the keeper listens. There is no sleep: each try costs a scheduling. */
static int connect_keeper(void)
{
	int fd;

	while ((fd = fd_connect(sock)) < 0)
		wait_on();
	return fd;
}

static int connect_worker(pid_t *ret_pid, unsigned *ret_restarts)
{
	char text[64] = "";
	int fd = connect_keeper();

	/* a worker that was killed before it had taken the connection loses no caller */
	if (read(fd, text, sizeof(text) - 1) <= 0 ||
	    sscanf(text, "%d %u", ret_pid, ret_restarts) != 2)
		fail_msg("no worker answered");
	return fd;
}

static int wait_for(pid_t pid)
{
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void stop(pid_t keeper)
{
	kill(keeper, SIGTERM);
	assert_int_equal(wait_for(keeper), 0);
}

static int setup(void **state)
{
	char hung[80];

	strcpy(dir, "/tmp/postern-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(hung, sizeof(hung), "%s/hung", dir);
	setenv("TEST_DIR", dir, 1); /* for the worker */
	snprintf(sock, sizeof(sock), "%s/run/c.sock", dir);
	snprintf(state_dir, sizeof(state_dir), "%s/state", dir);
	return mkdir(hung, 0700);
}

static int teardown(void **state)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	return system(cmd);
}

static void sigterm_ends_both_with_status_0_and_no_socket(void **state)
{
	pid_t keeper = start(), pid;
	unsigned restarts;
	int fd = connect_worker(&pid, &restarts);

	assert_int_equal(restarts, 0);
	kill(keeper, SIGTERM);
	close(fd);
	assert_int_equal(wait_for(keeper), 0);
	assert_int_equal(access(sock, F_OK), -1);
	assert_int_equal(kill(pid, 0), -1);
}

static void removes_no_control_socket_but_its_own(void **state)
{
	pid_t keeper = start(), pid;
	unsigned restarts;
	char kept[128];

	close(connect_worker(&pid, &restarts));
	snprintf(kept, sizeof(kept), "%s.old", sock);
	assert_int_equal(rename(sock, kept), 0);
	int fd = fd_listen(sock, 0600); /* another program's */
	assert_true(fd >= 0);
	stop(keeper);
	assert_int_equal(access(sock, F_OK), 0);
	close(fd);
}

static void caller_that_cannot_be_handed_over_is_let_go(void **state)
{
	char text[64];
	unsigned restarts;
	pid_t pid;

	refuse_what = REFUSE_CALLERS;
	refuse_fds = 1;
	pid_t keeper = start();

	refuse_fds = 0;
	int fd = connect_keeper();
	/* its end comes at once, not with the acknowledgement of the next caller */
	struct pollfd end = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&end, 1, 10000), 1);
	assert_int_equal(read(fd, text, sizeof(text)), 0);
	close(fd);
	close(connect_worker(&pid, &restarts));
	assert_int_equal(restarts, 0);
	stop(keeper);
}

static void killed_worker_has_a_successor_on_the_same_socket(void **state)
{
	pid_t keeper = start(), first, second;
	unsigned restarts;
	int fd = connect_worker(&first, &restarts);

	kill(first, SIGKILL);
	close(fd);
	close(connect_worker(&second, &restarts));
	assert_int_not_equal(second, first);
	assert_int_equal(restarts, 1);
	stop(keeper);
}

static void killed_keeper_leaves_no_worker(void **state)
{
	pid_t keeper = start(), pid;
	unsigned restarts;
	int fd = connect_worker(&pid, &restarts);
	struct pollfd end = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };

	assert_true(end.fd >= 0);
	kill(keeper, SIGKILL);
	wait_for(keeper);
	assert_int_equal(poll(&end, 1, 10000), 1);
	close(end.fd);
	close(fd);
}

static void order(const char *word, bool survives)
{
	pid_t keeper = start(), first, second;
	unsigned restarts;
	int fd = connect_worker(&first, &restarts);

	assert_int_equal(fd_write_all(fd, word, strlen(word)), 0);
	char answer[16] = "";
	assert_true(read(fd, answer, sizeof(answer) - 1) >= 0);
	close(fd);
	close(connect_worker(&second, &restarts));
	assert_int_equal(second == first, survives);
	if (survives)
		assert_string_equal(answer, "0\n");
	stop(keeper);
}

static void saves_for_the_worker(void **state)
{
	order("save", true);
	char file[128];

	snprintf(file, sizeof(file), "%s/state.json", state_dir);
	assert_int_equal(access(file, F_OK), 0);
}

/* One order to the worker of now, which then waits for the next caller. */
static void ask_worker(const char *word, const char *answer, pid_t *ret_pid)
{
	unsigned restarts;
	CLEANUP(fd_cleanup) int fd = connect_worker(ret_pid, &restarts);
	char text[16] = "";

	assert_int_equal(fd_write_all(fd, word, strlen(word)), 0);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	assert_string_equal(text, answer);
}

static void ask_one_worker(const char *word, const char *answer)
{
	pid_t keeper = start(), pid;

	ask_worker(word, answer, &pid);
	stop(keeper);
}

static void successor_finds_what_was_kept(void **state)
{
	pid_t keeper = start(), pid;

	ask_worker("find", "0\n", &pid);
	ask_worker("keep", "0\n", &pid);
	for (unsigned i = 0; i < 2; i++) { /* and so does its own */
		kill(pid, SIGKILL);
		ask_worker("find", "300\n", &pid);
	}
	ask_worker("forget", "1\n", &pid);
	ask_worker("find", "150\n", &pid);
	kill(pid, SIGKILL);
	ask_worker("find", "150\n", &pid);
	stop(keeper);
}

static void keeps_no_file_and_sends_none(void **state)
{
	ask_one_worker("files", "0\n");
}

static void successor_has_the_sockets_that_it_asks_for_only(void **state)
{
	pid_t keeper = start(), pid;

	ask_worker("listen", "0\n", &pid);
	kill(pid, SIGKILL);
	ask_worker("listen", "2\n", &pid);
	stop(keeper);
}

static void fronts_keep_things_while_sockets_are_let_go(void **state)
{
	pid_t keeper = start(), pid;

	ask_worker("listen", "0\n", &pid);
	kill(pid, SIGKILL);
	ask_worker("beside", "3\n", &pid);
	stop(keeper);
}

static void opens_many_files_asked_for_ahead(void **state)
{
	ask_one_worker("open", "292\n");
}

static void worker_hears_of_an_answer_that_is_lost(void **state)
{
	pid_t pid;

	refuse_what = REFUSE_ANSWERS;
	refuse_fds = 1; /* in the keeper, and in its clerk */
	pid_t keeper = start();

	refuse_fds = 0;
	ask_worker("again", "0\n", &pid);
	stop(keeper);
}

static void worker_that_cannot_have_what_is_kept_makes_room_for_one_that_can(void **state)
{
	pid_t pid;

	refuse_what = REFUSE_LISTS;
	refuse_fds = 2;
	pid_t keeper = start();

	refuse_fds = 0;
	ask_worker("keep", "0\n", &pid);
	kill(pid, SIGKILL);
	ask_worker("find", "300\n", &pid);
	stop(keeper);
}

static void path_that_does_not_answer_holds_up_nothing_else(void **state)
{
	ask_one_worker("hung", "0\n");
}

static void worker_is_replaced_while_it_waits_for_such_a_path(void **state)
{
	pid_t keeper = start(), pid, next;

	for (unsigned i = 0; i < 2; i++) {
		ask_worker("hang", "0\n", &pid);
		kill(pid, SIGKILL);
		ask_worker("save", "0\n", &next);
		assert_int_not_equal(pid, next);
	}
	stop(keeper);
}

static void worker_that_takes_no_answer_is_replaced(void **state)
{
	order("deaf", false);
}

static void nobody_but_who_serves_may_ask(void **state)
{
	int one = 0, two = 0;
	unsigned restarts;
	char path[128];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/impatient", dir);
	assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
	pid_t keeper = start();
	while (!two) {
		CLEANUP(base_free) char *text = NULL;
		CLEANUP(fd_cleanup) int fd = open(path, O_RDONLY);

		assert_true(fd_read_file(fd, 65536, &text) >= 0);
		sscanf(text, "%d\n%d\n", &one, &two);
		wait_on();
	}
	/* who stands by is ended for it; who serves may, and has not noticed */
	while (!kill(two, 0))
		wait_on();
	close(connect_worker(&pid, &restarts));
	assert_int_equal(pid, one);
	stop(keeper);
}

static void worker_that_talks_nonsense_is_replaced(void **state)
{
	order("rude", false);
}

static void worker_that_fails_is_replaced(void **state)
{
	order("fail", false);
}

static void refuses_to_start_where_another_listens(void **state)
{
	pid_t keeper = start(), second, pid;
	unsigned restarts;
	int fd = connect_worker(&pid, &restarts);

	snprintf(state_dir, sizeof(state_dir), "%s/other", dir);
	second = start();
	assert_int_equal(WEXITSTATUS(wait_for(second)), 1);
	assert_int_equal(access(sock, F_OK), 0);
	close(fd);
	stop(keeper);
}

int main(int argc, char **argv)
{
#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		IN_DIR(sigterm_ends_both_with_status_0_and_no_socket),
		IN_DIR(removes_no_control_socket_but_its_own),
		IN_DIR(caller_that_cannot_be_handed_over_is_let_go),
		IN_DIR(killed_worker_has_a_successor_on_the_same_socket),
		IN_DIR(killed_keeper_leaves_no_worker),
		IN_DIR(saves_for_the_worker),
		IN_DIR(successor_finds_what_was_kept),
		IN_DIR(keeps_no_file_and_sends_none),
		IN_DIR(successor_has_the_sockets_that_it_asks_for_only),
		IN_DIR(fronts_keep_things_while_sockets_are_let_go),
		IN_DIR(opens_many_files_asked_for_ahead),
		IN_DIR(worker_hears_of_an_answer_that_is_lost),
		IN_DIR(worker_that_cannot_have_what_is_kept_makes_room_for_one_that_can),
		IN_DIR(path_that_does_not_answer_holds_up_nothing_else),
		IN_DIR(worker_is_replaced_while_it_waits_for_such_a_path),
		IN_DIR(worker_that_takes_no_answer_is_replaced),
		IN_DIR(nobody_but_who_serves_may_ask),
		IN_DIR(worker_that_talks_nonsense_is_replaced),
		IN_DIR(worker_that_fails_is_replaced),
		IN_DIR(refuses_to_start_where_another_listens),
	};
	size_t n = strlen(KEEPER_LINK_ARG);

	if (argc == 2 && !strncmp(argv[1], KEEPER_LINK_ARG, n))
		return worker(argv[1] + n);
	return cmocka_run_group_tests_name("keeper_pair", tests, NULL, NULL);
}
