/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replacing the worker's program while guests go on. Whoever may is asked on a socket of the
 * keeper's own, in lines of text, so that it works with a worker that does not, and so that no
 * worker can have a program started:
 *
 *   upgrade [keeper] [PATH]         keeper: of the keeper, too; PATH: absolute; none: the same
 *                                   again
 *   progress TEXT                   any number of these, then one of
 *   done from=V to=V gap_ns=N disks=N
 *   failed ID PARAM TEXT            PARAM is "-" where none is at fault
 *
 * A worker of the new program is started and says what it can read; nothing has been touched
 * until then. The old worker is ended as a crash would end it, and the new one takes over. It is
 * on probation until it serves as many disks as the old one did. If it dies before, or takes too
 * long, the worker that stands by, of the old program still, takes over in its turn. The keeper
 * follows, where that is asked for, when its worker has passed; see baton.c.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "keeper/private.h"

#define OPEN_NS (2 * NS_PER_S)	     /* for the new program's path to answer */
#define MEET_NS (5 * NS_PER_S)	     /* for the new program to say who it is, in its own time */
#define COUNT_NS (5 * NS_PER_S)	     /* for the old one to say how many it serves, likewise */
#define PROBATION_NS (1 * NS_PER_S)  /* that the new one must live */
#define HEALTHY_NS (5 * NS_PER_S)    /* for it to serve as many, in its own time */
#define TICK_NS (50 * NS_PER_MS)

static void say(struct upgrade *u, const char *fmt, ...) printf_like(2, 3);

/* A caller who does not read, or has gone, is not waited for. */
static void say(struct upgrade *u, const char *fmt, ...)
{
	char line[1024];
	va_list args;

	va_start(args, fmt);
	int n = vsnprintf(line, sizeof(line) - 1, fmt, args);
	va_end(args);
	if (n >= (int)sizeof(line) - 1)
		n = sizeof(line) - 2;
	log_info(NULL, "upgrade: %s", line);
	line[n] = '\n';
	if (u->conn.fd >= 0)
		send(u->conn.fd, line, (size_t)n + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void hang_up(struct keeper *k)
{
	struct upgrade *u = &k->upgrade;

	if (u->conn.fd >= 0)
		loop_del(&k->loop, &u->conn);
	u->conn.fd = fd_close(u->conn.fd);
	u->len = 0;
}

/* The last word has been said. */
static void end(struct keeper *k)
{
	struct upgrade *u = &k->upgrade;

	timer_set(u->timer.fd, 0);
	u->program_fd = fd_close(u->program_fd);
	u->candidate = NULL;
	u->step = UPGRADE_NONE;
	hang_up(k);
}

static void drop_candidate(struct keeper *k)
{
	struct worker *w = k->upgrade.candidate;

	/* it still waits for the old worker to die: then who stands by takes over */
	if (w == k->heir)
		k->heir = NULL;
	if (!w->has_served)
		worker_drop(w);
	else if (w->pid)
		kill(w->pid, SIGKILL);
}

/* Return: what is wrong with a successor that says @new, after one who says @old; NULL: nothing. */
static const char *judge(const struct keeper_intro *old, const struct keeper_intro *new,
			 bool with_keeper, char text[200])
{
	if (new->protocol != KEEPER_PROTOCOL)
		snprintf(text, 200, "speaks protocol %u with its keeper, and this one %u",
			 new->protocol, KEEPER_PROTOCOL);
	else if (old->state_max < new->state_min || old->state_max > new->state_max)
		snprintf(text, 200, "reads versions %u to %u of the state file, and it is of %u",
			 new->state_min, new->state_max, old->state_max);
	else if (old->kept_max < new->kept_min || old->kept_max > new->kept_max)
		snprintf(text, 200,
			 "goes on with versions %u to %u of what is kept, and it is of %u",
			 new->kept_min, new->kept_max, old->kept_max);
	else if (with_keeper && (BATON_VERSION < new->baton_min || BATON_VERSION > new->baton_max))
		snprintf(text, 200,
			 "goes on with versions %u to %u of what a keeper leaves, and it is of "
			 "%u", new->baton_min, new->baton_max, BATON_VERSION);
	else
		return NULL;
	return text;
}

/* Waits for process @pid, in its own time. */
static void begin_step(struct upgrade *u, int step, pid_t pid)
{
	u->step = step;
	u->since_ns = clock_ns();
	patience_begin(&u->patience, pid, u->since_ns);
}

static void hand_over(struct keeper *k)
{
	struct upgrade *u = &k->upgrade;

	begin_step(u, UPGRADE_PROBATION, u->candidate->pid);
	u->is_healthy = false;
	timer_repeat(u->timer.fd, TICK_NS);
	crew_replace(k, u->candidate);
}

void upgrade_met(struct keeper *k, struct worker *w)
{
	struct upgrade *u = &k->upgrade;
	struct keeper_event count = { .op = KEEPER_COUNT };
	char text[200];

	if (u->step != UPGRADE_MEETING || w != u->candidate)
		return;
	const char *wrong = judge(&k->intro, &w->intro, u->with_keeper, text);
	if (wrong) {
		say(u, "failed version_unsupported binary version %s %s; nothing was changed",
		    w->intro.version, wrong);
		drop_candidate(k);
		end(k);
		return;
	}
	say(u, "progress version %s can go on where version %s is", w->intro.version,
	    k->intro.version);
	u->healthy = 0;
	if (!k->now || worker_tell(k->now, &count, -1))
		hand_over(k);
	else
		begin_step(u, UPGRADE_COUNTING, k->now->pid);
}

void upgrade_counted(struct keeper *k, unsigned healthy)
{
	struct upgrade *u = &k->upgrade;

	if (u->step == UPGRADE_COUNTING) {
		u->healthy = healthy;
		hand_over(k);
	} else if (u->step == UPGRADE_PROBATION && k->now == u->candidate) {
		u->is_healthy = healthy >= u->healthy;
		u->healthy_now = healthy;
	}
}

static void keep_keeper(struct keeper *k, const char *why)
{
	say(&k->upgrade, "failed keeper_stays binary the worker is of version %s now, and the keeper goes on "
	    "as it was: %s", k->intro.version, why);
	end(k);
}

/* The last step, in which there is no way back: so the new program is asked first. */
static void ask_keeper(struct keeper *k)
{
	struct upgrade *u = &k->upgrade;
	CLEANUP(fd_cleanup) int fd = baton_make(k, u->line);

	u->asked = fd < 0 ? fd : baton_ask(k, k->program_fd, fd);
	begin_step(u, UPGRADE_ASKING, (pid_t)u->asked);
	if (u->asked < 0)
		keep_keeper(k, strerror((int)-u->asked));
}

static void pass_on(struct keeper *k)
{
	struct upgrade *u = &k->upgrade;

	/* what a worker waits for cannot go along, and does not take long */
	u->step = UPGRADE_PASSING;
	if (desk_is_busy(k))
		return;
	if (!k->now || !k->now->is_ready || k->stopping) {
		keep_keeper(k, "its worker has just died");
		return;
	}
	log_info(NULL, "the keeper goes on as version %s", k->intro.version);
	crew_refresh(k);
	CLEANUP(fd_cleanup) int fd = baton_make(k, u->line);
	int err = fd < 0 ? fd : baton_pass(k, k->program_fd, fd);

	keep_keeper(k, strerror(-err));
}

void upgrade_reaped(struct keeper *k, pid_t pid, int status)
{
	struct upgrade *u = &k->upgrade;

	if (u->step != UPGRADE_ASKING || pid != u->asked)
		return;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		pass_on(k);
	else
		keep_keeper(k, "it cannot read what the keeper would leave it");
}

static void succeed(struct keeper *k)
{
	struct upgrade *u = &k->upgrade;

	snprintf(u->line, sizeof(u->line), "done from=%s to=%s gap_ns=%llu disks=%u",
		 k->intro.version, u->candidate->intro.version,
		 (unsigned long long)k->past.gap_ns, u->healthy_now);
	k->intro = u->candidate->intro;
	u->candidate = NULL;
	fd_close(k->program_fd);
	k->program_fd = fd_steal(&u->program_fd);
	crew_refresh(k);
	if (u->with_keeper) {
		ask_keeper(k);
	} else {
		say(u, "%s", u->line);
		end(k);
	}
}

void upgrade_lost(struct keeper *k, struct worker *w)
{
	struct upgrade *u = &k->upgrade;

	if (u->step == UPGRADE_NONE || w != u->candidate)
		return;
	if (u->step == UPGRADE_PROBATION)
		say(u, "failed upgrade_died binary version %s died on probation; version %s serves again",
		    w->intro.version, k->intro.version);
	else
		say(u, "failed not_posternd binary it ended before it had said who it is; nothing was "
		       "changed");
	end(k);
}

/* There is no program to start. */
static void fail_opening(struct keeper *k, int err)
{
	struct upgrade *u = &k->upgrade;

	if (err == -ENOEXEC)
		say(u, "failed bad_value binary '%.300s' is not a program", u->path);
	else if (err == -ETIMEDOUT)
		say(u, "failed denied binary '%.300s' does not answer", u->path);
	else
		say(u, "failed %s binary '%.300s': %s", err == -ENOENT ? "not_found" : "denied", u->path,
		    strerror(-err));
	end(k);
}

static void tick(struct keeper *k)
{
	struct upgrade *u = &k->upgrade;
	struct keeper_event count = { .op = KEEPER_COUNT };
	uint64_t now_ns = clock_ns(), age_ns = now_ns - u->since_ns;
	uint64_t spent_ns = patience_spent(&u->patience, now_ns);

	if (u->step == UPGRADE_NONE && age_ns > MEET_NS) { /* a caller who says nothing */
		timer_set(u->timer.fd, 0);
		hang_up(k);
	} else if (u->step == UPGRADE_OPENING && age_ns > OPEN_NS) {
		if (clerks_give_up(&k->clerks, &u->errand, true))
			fail_opening(k, -ETIMEDOUT);
	} else if (u->step == UPGRADE_MEETING && spent_ns > MEET_NS) {
		say(u, "failed not_posternd binary it has not said who it is for %llu s; nothing was "
		       "changed", MEET_NS / NS_PER_S);
		drop_candidate(k);
		end(k);
	} else if (u->step == UPGRADE_ASKING && spent_ns > MEET_NS) {
		kill(u->asked, SIGKILL); /* its end says the rest */
	} else if (u->step == UPGRADE_PASSING) {
		pass_on(k);
	} else if (u->step == UPGRADE_COUNTING && spent_ns > COUNT_NS) {
		hand_over(k);
	} else if (u->step == UPGRADE_PROBATION && u->is_healthy && age_ns > PROBATION_NS) {
		succeed(k);
	} else if (u->step == UPGRADE_PROBATION && spent_ns > HEALTHY_NS) {
		say(u, "failed upgrade_unhealthy binary version %s serves %u disks after %llu s, and "
		       "version %s served %u: it serves again", u->candidate->intro.version,
		    u->healthy_now, HEALTHY_NS / NS_PER_S, k->intro.version, u->healthy);
		drop_candidate(k);
		end(k);
	} else if (u->step == UPGRADE_PROBATION && k->now == u->candidate && k->now->is_ready) {
		worker_tell(k->now, &count, -1);
	}
}

static void start_candidate(struct keeper *k)
{
	struct upgrade *u = &k->upgrade;
	int err = 0;

	say(u, "progress starts a worker of %s", *u->path ? u->path : "the same program");
	u->candidate = worker_spawn(k, u->program_fd, &err);
	if (!u->candidate) {
		say(u, "failed no_process - %s", strerror(-err));
		end(k);
		return;
	}
	begin_step(u, UPGRADE_MEETING, u->candidate->pid);
	timer_repeat(u->timer.fd, TICK_NS);
}

static void opened(struct errand *e, const struct clerk_report *r, int fd)
{
	struct keeper *k = container_of(e, struct keeper, upgrade.errand);

	k->upgrade.program_fd = fd;
	if (r->err)
		fail_opening(k, r->err);
	else
		start_candidate(k);
}

/* A clerk does it: the path may lie where nobody answers. */
static void open_program(struct keeper *k)
{
	struct upgrade *u = &k->upgrade;
	struct clerk_order o = { .req.op = CLERK_PROGRAM };

	u->step = UPGRADE_OPENING;
	u->since_ns = clock_ns();
	u->errand.done = opened;
	timer_repeat(u->timer.fd, TICK_NS);
	snprintf(o.req.path, sizeof(o.req.path), "%s", u->path);
	int err = clerks_send(&k->clerks, &u->errand, &o, -1);
	if (err)
		fail_opening(k, err);
}

static void begin(struct keeper *k, const char *path)
{
	struct upgrade *u = &k->upgrade;

	if (k->stopping || !k->was_ready || k->cfg->one_life) {
		say(u, "failed busy - posternd is %s", k->stopping	? "stopping" :
						       !k->was_ready ? "starting" :
								       "serving one connection only");
		hang_up(k);
		return;
	}
	u->with_keeper = !strncmp(path, "keeper", 6) && (!path[6] || path[6] == ' ');
	if (u->with_keeper)
		path += path[6] ? 7 : 6;
	u->path = path;
	if (*path == '/') {
		open_program(k);
	} else if (*path) {
		say(u, "failed bad_value binary an absolute path is needed");
		hang_up(k);
	} else {
		u->program_fd = fcntl(k->program_fd, F_DUPFD_CLOEXEC, 0);
		start_candidate(k);
	}
}

static void conn_ready(struct loop_watch *w, uint32_t events)
{
	struct keeper *k = container_of(w, struct keeper, upgrade.conn);
	struct upgrade *u = &k->upgrade;
	ssize_t n = read(w->fd, u->line + u->len, sizeof(u->line) - 1 - u->len);

	if (n < 0 && errno == EAGAIN)
		return;
	/* it has gone, or talks on: what was begun goes on */
	if (n <= 0 || u->step != UPGRADE_NONE) {
		hang_up(k);
		return;
	}
	u->len += (size_t)n;
	u->line[u->len] = '\0';
	char *nl = strchr(u->line, '\n');
	if (!nl && u->len < sizeof(u->line) - 1)
		return;
	if (nl)
		*nl = '\0';
	if (!nl || strncmp(u->line, "upgrade", 7) || (u->line[7] && u->line[7] != ' ')) {
		say(u, "failed bad_value - not understood");
		hang_up(k);
		return;
	}
	begin(k, u->line[7] ? u->line + 8 : "");
}

static void listen_ready(struct loop_watch *w, uint32_t events)
{
	static const char busy[] = "failed busy - another upgrade is under way\n";
	struct keeper *k = container_of(w, struct keeper, upgrade.listen);
	struct upgrade *u = &k->upgrade;
	CLEANUP(fd_cleanup) int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	uid_t uid = 0;

	/* more than the control socket asks for: this starts programs */
	if (fd < 0 || peer_check(fd, NULL, &uid))
		return;
	if (u->conn.fd >= 0 || u->step != UPGRADE_NONE) {
		send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		return;
	}
	u->conn.fd = fd_steal(&fd);
	u->since_ns = clock_ns();
	timer_repeat(u->timer.fd, TICK_NS);
	if (loop_add(&k->loop, &u->conn, EPOLLIN))
		u->conn.fd = fd_close(u->conn.fd);
}

void upgrade_done(int conn_fd, const char *text)
{
	struct upgrade u = { .conn.fd = conn_fd };

	say(&u, "%s", text);
	fd_close(conn_fd);
}

static void timer_ready(struct loop_watch *w, uint32_t events)
{
	if (timer_take(w->fd))
		tick(container_of(w, struct keeper, upgrade.timer));
}

void upgrade_open(struct keeper *k)
{
	struct upgrade *u = &k->upgrade;
	const char *path = k->cfg->upgrade_path;
	struct own_file file = u->file;
	int fd = u->listen.fd; /* an earlier program's of this process */

	*u = (struct upgrade){ .listen = { fd, listen_ready },
			       .conn = { -1, conn_ready },
			       .timer = { -1, timer_ready },
			       .program_fd = -1,
			       .file = file };
	if (!path)
		return;
	if (fd < 0)
		u->listen.fd = listen_for_group(path, 0600, NULL, &u->file);
	int err = u->listen.fd;
	u->timer.fd = timer_open();
	if (err >= 0)
		err = u->timer.fd < 0 ? u->timer.fd : loop_add(&k->loop, &u->listen, EPOLLIN);
	if (!err)
		err = loop_add(&k->loop, &u->timer, EPOLLIN);
	if (err)
		log_warn(NULL, "'%s': %s; posternd cannot be upgraded while it runs", path,
			 strerror(-err));
}

void upgrade_close(struct keeper *k)
{
	struct upgrade *u = &k->upgrade;

	if (u->listen.fd >= 0)
		own_file_unlink(k->cfg->upgrade_path, &u->file);
	fd_close(u->listen.fd);
	fd_close(u->conn.fd);
	fd_close(u->timer.fd);
	fd_close(u->program_fd);
}
