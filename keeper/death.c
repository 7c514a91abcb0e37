/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/death.h"

#include <linux/futex.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "core/life.h"

struct death {
	union life_cell *cells;
	int page_fd, event_fd;
	uint32_t stop; /* atomic; a futex */
	bool watched;
	pthread_t thread;
};

int death_adopt(int page_fd, struct death **ret_death)
{
	struct death *d = calloc(1, sizeof(*d));

	if (!d) {
		fd_close(page_fd);
		return -ENOMEM;
	}
	d->page_fd = page_fd;
	d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->cells = mmap(NULL, LIFE_PAGE_B, PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
	if (d->event_fd < 0 || d->cells == MAP_FAILED) {
		int err = -errno;

		death_free(d);
		return err;
	}
	*ret_death = d;
	return 0;
}

int death_new(struct death **ret_death)
{
	int fd = fd_memory("postern-life", LIFE_PAGE_B, 0);

	return fd < 0 ? fd : death_adopt(fd, ret_death);
}

int death_page_fd(const struct death *d)
{
	return d->page_fd;
}

/* Waits until @word is @value no more, or *@stop is set. Return: 0, or errno. */
static int wait_word(uint32_t *word, uint32_t value, uint32_t *stop)
{
	struct futex_waitv both[] = {
		{ .val = value, .uaddr = (uintptr_t)word, .flags = FUTEX_32 },
		{ .val = 0, .uaddr = (uintptr_t)stop, .flags = FUTEX_32 },
	};

	return syscall(SYS_futex_waitv, both, ARRAY_SIZE(both), 0, NULL, 0) < 0 ? errno : 0;
}

/* Return: whether nobody holds the cell; false: told to stop, or this kernel does not let us
 * wait. */
static bool wait_free(struct death *d, uint32_t *word)
{
	for (;;) {
		uint32_t v = __atomic_load_n(word, __ATOMIC_ACQUIRE);

		if (!(v & FUTEX_TID_MASK))
			return true;
		/* the bit asks the kernel, when the holder ends, to wake who waits */
		if (!(v & FUTEX_WAITERS) &&
		    !__atomic_compare_exchange_n(word, &v, v | FUTEX_WAITERS, false,
						 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			continue;
		int err = wait_word(word, v | FUTEX_WAITERS, &d->stop);

		if (__atomic_load_n(&d->stop, __ATOMIC_RELAXED) ||
		    (err && err != EAGAIN && err != EINTR))
			return false;
	}
}

static void *watch(void *arg)
{
	struct death *d = arg;

	/* The first cell's holder never lets go. When it has died all of its process is dying; the
	 * other threads are past their last instruction, but for those inside a system call. */
	for (unsigned i = 0; i < LIFE_CELLS; i++)
		if (!wait_free(d, &d->cells[i].word))
			return NULL;
	eventfd_write(d->event_fd, 1);
	return NULL;
}

int death_watch(struct death *d)
{
	pthread_attr_t attr;

	if (d->watched)
		return 0;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * KIB);
	int err = -pthread_create(&d->thread, &attr, watch, d);
	pthread_attr_destroy(&attr);
	d->watched = !err;
	return err;
}

int death_fd(const struct death *d)
{
	return d->event_fd;
}

void death_free(struct death *d)
{
	if (!d)
		return;
	if (d->watched) {
		__atomic_store_n(&d->stop, 1, __ATOMIC_RELAXED);
		syscall(SYS_futex, &d->stop, FUTEX_WAKE, 1);
		pthread_join(d->thread, NULL);
	}
	if (d->cells != MAP_FAILED)
		munmap(d->cells, LIFE_PAGE_B);
	fd_close(d->page_fd);
	fd_close(d->event_fd);
	free(d);
}
