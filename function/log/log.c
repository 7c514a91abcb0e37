/* SPDX-License-Identifier: Apache-2.0 */
#include "function/log/log.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/crash.h"
#include "base/fd.h"
#include "core/lane.h"

/* Of a lane; 128 KiB, touched as it is used. With the nap below: two million requests a second. */
#define RECORDS 4096u
#define NAP_NS (2 * NS_PER_MS)
#define STACK_B (128 * KIB)

#define TEXT_B (64 * KIB)
#define LINE_MAX_B 256
#define DISK_MAX 64

struct record {
	uint64_t done_ticks, took_ticks;
	uint64_t off_b;
	uint64_t len_b : 48, op : 8, status : 8;
};

static_assert(sizeof(struct record) == 32, "two to a cache line");

struct reqlog_lane {
	struct reqlog *log;
	struct lane *lane;
	/* the poller's */
	uint32_t head cacheline_aligned; /* release: the record is complete */
	uint64_t dropped;		 /* relaxed */
	/* the writer's */
	uint32_t tail cacheline_aligned; /* release: the record may be written over */
	uint64_t told;			 /* of dropped, so many are in the text */
	/* under the lock */
	struct list link;
	bool closed;
	char disk[DISK_MAX + 1];
	struct record record[RECORDS];
};

struct reqlog {
	struct function function;
	int fd;
	pthread_t writer;
	sem_t wake;
	bool sleeping; /* seq_cst; see note_wake() */

	pthread_mutex_t lock; /* control and the writer; never held while writing */
	struct list lanes;
	bool stopping;

	/* relaxed atomics; written by the writer */
	uint64_t written, lost;
	int error;

	/* the writer's own */
	size_t ntext;
	unsigned lines; /* in text */
	char text[TEXT_B];
};

static const struct reqlog *log_of(const struct function *f)
{
	return container_of(f, const struct reqlog, function);
}

/* Wakes the writer if it sleeps: a system call, at most once a nap. */
static inline void note_wake(struct reqlog *g)
{
	/* seq_cst, after a store of head that is seq_cst: pairs with fall_asleep() */
	if (unlikely(__atomic_load_n(&g->sleeping, __ATOMIC_SEQ_CST)) &&
	    __atomic_exchange_n(&g->sleeping, false, __ATOMIC_SEQ_CST))
		sem_post(&g->wake);
}

static enum step reqlog_up(void *state, struct req *r)
{
	struct reqlog_lane *l = state;
	uint32_t head = l->head;

	/* acquire: the writer has read the record that is about to be written over */
	if (unlikely(head - __atomic_load_n(&l->tail, __ATOMIC_ACQUIRE) == RECORDS)) {
		stat_add(&l->dropped, 1);
		return STEP_PASS;
	}
	uint64_t now = l->lane->poller->now_ticks;
	struct record *c = &l->record[head % RECORDS];

	*c = (struct record){ .done_ticks = now,
			      .took_ticks = now - r->taken_ticks,
			      .off_b = r->off_b,
			      .len_b = r->len_b & ((1ull << 48) - 1),
			      .op = r->op,
			      .status = r->status };
	__atomic_store_n(&l->head, head + 1, __ATOMIC_SEQ_CST);
	note_wake(l->log);
	return STEP_PASS;
}

static void flush_text(struct reqlog *g)
{
	int err = g->ntext ? fd_write_all(g->fd, g->text, g->ntext) : 0;

	if (err) {
		__atomic_store_n(&g->error, err, __ATOMIC_RELAXED);
		stat_add(&g->lost, g->lines);
	} else {
		stat_add(&g->written, g->lines);
	}
	g->ntext = 0;
	g->lines = 0;
}

/* What turns ticks into the time of day, taken anew for each round. */
struct wall {
	uint64_t ticks, ns;
};

static struct wall wall_now(void)
{
	struct timespec t;
	uint64_t ticks = clock_ticks();

	clock_gettime(CLOCK_REALTIME, &t);
	return (struct wall){ ticks, (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec };
}

static void add_time(struct reqlog *g, const struct wall *w, uint64_t at_ticks)
{
	/* a record may be younger than the round */
	int64_t ago = (int64_t)(w->ticks - at_ticks);
	uint64_t diff_ns = clock_ticks_to_ns(clock_scale(), (uint64_t)(ago < 0 ? -ago : ago));
	uint64_t ns = ago < 0 ? w->ns + diff_ns : w->ns - diff_ns;
	time_t s = (time_t)(ns / NS_PER_S);
	struct tm tm;

	gmtime_r(&s, &tm);
	g->ntext += strftime(g->text + g->ntext, LINE_MAX_B, "%Y-%m-%dT%H:%M:%S", &tm);
	g->ntext += (size_t)snprintf(g->text + g->ntext, LINE_MAX_B, ".%06uZ",
				     (unsigned)(ns % NS_PER_S / NS_PER_US));
}

static void add_record(struct reqlog *g, const struct reqlog_lane *l, const struct record *c,
		       const struct wall *w)
{
	uint64_t took_ns = clock_ticks_to_ns(clock_scale(), c->took_ticks);

	add_time(g, w, c->done_ticks);
	g->ntext += (size_t)snprintf(g->text + g->ntext, LINE_MAX_B,
				     " disk=%s op=%s off=%llu len=%llu status=%s us=%llu.%llu\n",
				     l->disk, req_op_name((enum req_op)c->op),
				     (unsigned long long)c->off_b, (unsigned long long)c->len_b,
				     req_status_name((enum req_status)c->status),
				     (unsigned long long)(took_ns / NS_PER_US),
				     (unsigned long long)(took_ns % NS_PER_US / 100));
	g->lines++;
}

static bool has_room(const struct reqlog *g)
{
	return g->ntext + 2 * LINE_MAX_B <= TEXT_B;
}

/* Moves what fits from @l's ring into the text. Context: the writer; the lock is held. */
static void drain_lane(struct reqlog *g, struct reqlog_lane *l, const struct wall *w)
{
	uint32_t head = __atomic_load_n(&l->head, __ATOMIC_ACQUIRE), tail = l->tail;
	uint64_t dropped = stat_get(&l->dropped);

	for (; tail != head && has_room(g); tail++) {
		struct record c = l->record[tail % RECORDS];

		add_record(g, l, &c, w);
	}
	__atomic_store_n(&l->tail, tail, __ATOMIC_RELEASE);
	if (dropped == l->told || !has_room(g))
		return;
	add_time(g, w, w->ticks);
	g->ntext += (size_t)snprintf(g->text + g->ntext, LINE_MAX_B, " disk=%s dropped=%llu\n",
				     l->disk, (unsigned long long)(dropped - l->told));
	stat_add(&g->lost, dropped - l->told);
	l->told = dropped;
}

/* One round over all lanes. Return: whether there was anything. */
static bool drain(struct reqlog *g)
{
	struct wall w = wall_now();

	pthread_mutex_lock(&g->lock);
	list_for_each(n, tmp, &g->lanes) {
		struct reqlog_lane *l = list_entry(n, struct reqlog_lane, link);

		drain_lane(g, l, &w);
		if (l->closed && l->tail == l->head && l->told == l->dropped) {
			list_del(&l->link);
			free(l);
		}
	}
	pthread_mutex_unlock(&g->lock);
	bool any = g->ntext;
	flush_text(g);
	return any;
}

/* Sleeps unless something has come since the last round. */
static void fall_asleep(struct reqlog *g)
{
	/* seq_cst: pairs with note_wake(); either it sees this or drain() sees its record */
	__atomic_store_n(&g->sleeping, true, __ATOMIC_SEQ_CST);
	if (drain(g)) {
		__atomic_store_n(&g->sleeping, false, __ATOMIC_SEQ_CST);
		return;
	}
	while (sem_wait(&g->wake))
		; /* EINTR */
}

static bool is_stopping(struct reqlog *g)
{
	pthread_mutex_lock(&g->lock);
	bool stopping = g->stopping;
	pthread_mutex_unlock(&g->lock);
	return stopping;
}

static void *run(void *arg)
{
	static const struct timespec nap = { .tv_nsec = NAP_NS };
	struct reqlog *g = arg;

	pthread_setname_np(pthread_self(), "request-log");
	crash_watch_stack();
	while (!is_stopping(g)) {
		if (drain(g))
			nanosleep(&nap, NULL); /* let a round's worth come together */
		else
			fall_asleep(g);
	}
	while (drain(g))
		;
	crash_unwatch_stack();
	return NULL;
}

static int reqlog_lane_open(struct function *f, struct lane *lane, void **ret_state)
{
	struct reqlog *g = container_of(f, struct reqlog, function);
	struct reqlog_lane *l = aligned_alloc(CACHE_LINE, sizeof(*l));

	if (!l)
		return -ENOMEM;
	memset(l, 0, offsetof(struct reqlog_lane, record));
	l->log = g;
	l->lane = lane;
	snprintf(l->disk, sizeof(l->disk), "%s", lane->name);
	pthread_mutex_lock(&g->lock);
	list_add_tail(&g->lanes, &l->link);
	pthread_mutex_unlock(&g->lock);
	*ret_state = l;
	return 0;
}

/* The writer frees it when it has written what is in it. */
static void reqlog_lane_close(void *state)
{
	struct reqlog_lane *l = state;
	struct reqlog *g = l->log;

	pthread_mutex_lock(&g->lock);
	l->closed = true;
	pthread_mutex_unlock(&g->lock);
	sem_post(&g->wake);
}

static void reqlog_close(struct function *f)
{
	struct reqlog *g = container_of(f, struct reqlog, function);

	pthread_mutex_lock(&g->lock);
	g->stopping = true;
	pthread_mutex_unlock(&g->lock);
	sem_post(&g->wake);
	pthread_join(g->writer, NULL);
	assert(list_empty(&g->lanes));
	pthread_mutex_destroy(&g->lock);
	sem_destroy(&g->wake);
	fd_close(g->fd);
	free(g);
}

static const struct function_ops reqlog_ops = {
	.kind = "log",
	.close = reqlog_close,
	.lane_open = reqlog_lane_open,
	.lane_close = reqlog_lane_close,
	.up = reqlog_up,
};

static int start_writer(struct reqlog *g)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_B);
	int err = -pthread_create(&g->writer, &attr, run, g);
	pthread_attr_destroy(&attr);
	return err;
}

int reqlog_open(int fd, struct function **ret_function)
{
	struct reqlog *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->function.ops = &reqlog_ops;
	g->fd = fd;
	list_init(&g->lanes);
	sem_init(&g->wake, 0, 0);
	pthread_mutex_init(&g->lock, NULL);
	int err = start_writer(g);
	if (err) {
		pthread_mutex_destroy(&g->lock);
		sem_destroy(&g->wake);
		free(g);
		return err;
	}
	*ret_function = &g->function;
	return 0;
}

void reqlog_stats(const struct function *f, struct reqlog_stats *ret_stats)
{
	const struct reqlog *g = log_of(f);

	*ret_stats = (struct reqlog_stats){ .written = stat_get(&g->written),
					    .dropped = stat_get(&g->lost),
					    .error = __atomic_load_n(&g->error, __ATOMIC_RELAXED) };
}
