/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/fault.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "base/crash.h"

/* So many pages of a range are replaced one by one, then all of it: each piece is a mapping of its
 * own, and a process has 65,530 of them at most (vm.max_map_count). */
#define MEND_SINGLY 16

/* Written under the lock, read by the signal handler of any thread: @at is stored last and cleared
 * first (release), and read first (acquire). */
static struct range {
	char *at; /* NULL: a free place */
	size_t len_b, page_b;
	unsigned mended; /* relaxed atomic */
} range[FAULT_RANGES_MAX];
static unsigned nrange; /* places in use or once used; atomic */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Return: whether there is private memory at @at now. */
static bool replace(char *at, size_t len_b)
{
	return mmap(at, len_b, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == at;
}

/* In the handler: nothing but system calls. Return: whether the page is there now. */
static bool mend(char *at)
{
	unsigned n = __atomic_load_n(&nrange, __ATOMIC_ACQUIRE);

	for (unsigned i = 0; i < n; i++) {
		char *start = __atomic_load_n(&range[i].at, __ATOMIC_ACQUIRE);

		if (!start || at < start || (size_t)(at - start) >= range[i].len_b)
			continue;
		size_t page_b = range[i].page_b;
		char *page = start + align_down((size_t)(at - start), page_b);
		unsigned n_mended = __atomic_add_fetch(&range[i].mended, 1, __ATOMIC_RELAXED);

		return (n_mended > MEND_SINGLY &&
			replace(start, align_up(range[i].len_b, page_b))) || replace(page, page_b);
	}
	return false;
}

static void on_bus_error(int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	/* not a page of a guest's: the next touch ends us, as it should */
	if (!mend(info->si_addr)) {
		crash_note();
		signal(SIGBUS, SIG_DFL);
	}
	errno = saved;
}

int fault_init(void)
{
	struct sigaction on = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };

	return sigaction(SIGBUS, &on, NULL) ? -errno : 0;
}

int fault_guard(void *at, size_t len_b, size_t page_b)
{
	int err = 0;
	unsigned i = 0;

	pthread_mutex_lock(&lock);
	while (i < nrange && range[i].at)
		i++;
	if (i == FAULT_RANGES_MAX) {
		err = -ENOSPC;
	} else {
		range[i].len_b = len_b;
		range[i].page_b = page_b;
		range[i].mended = 0;
		__atomic_store_n(&range[i].at, at, __ATOMIC_RELEASE);
		if (i == nrange)
			__atomic_store_n(&nrange, i + 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&lock);
	return err;
}

void fault_unguard(void *at)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < nrange; i++) {
		if (range[i].at == at) {
			__atomic_store_n(&range[i].at, NULL, __ATOMIC_RELEASE);
			break;
		}
	}
	pthread_mutex_unlock(&lock);
}
