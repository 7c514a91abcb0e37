/* SPDX-License-Identifier: Apache-2.0 */
#include "core/life.h"

#include <poll.h>
#include <semaphore.h>
#include <sys/mman.h>

static union life_cell *cells;
static __thread union life_cell *mine;

static void init(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

void life_hold(void)
{
	for (unsigned i = 0; cells && !mine && i < LIFE_CELLS; i++) {
		/* pairs with the release in life_release(): the mutex is nobody's by then */
		if (__atomic_exchange_n(&cells[i].taken, 1, __ATOMIC_ACQUIRE))
			continue;
		init(&cells[i].lock);
		pthread_mutex_lock(&cells[i].lock);
		mine = &cells[i];
	}
}

void life_release(void)
{
	if (!mine)
		return;
	pthread_mutex_unlock(&mine->lock);
	__atomic_store_n(&mine->taken, 0, __ATOMIC_RELEASE);
	mine = NULL;
}

static void *hold_first(void *arg)
{
	pthread_setname_np(pthread_self(), "life");
	life_hold();
	sem_post(arg);
	for (;;)
		poll(NULL, 0, -1);
	return NULL;
}

int life_begin(int fd)
{
	pthread_attr_t attr;
	pthread_t t;
	sem_t held;

	cells = mmap(NULL, LIFE_PAGE_B, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (cells == MAP_FAILED) {
		cells = NULL;
		return -errno;
	}
	sem_init(&held, 0, 0);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * KIB);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	int err = -pthread_create(&t, &attr, hold_first, &held);

	pthread_attr_destroy(&attr);
	while (!err && sem_wait(&held))
		;
	sem_destroy(&held);
	return err;
}
