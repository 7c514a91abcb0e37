/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crash.h"

#include <signal.h>

#define WORDS_MAX 8192

/* Cells are taken and given back by exchange, and read by the handler of any thread: release and
 * acquire, so that a word that is found there is mapped. */
static uint32_t *cell[WORDS_MAX];

static void change(uint32_t *from, uint32_t *to)
{
	for (unsigned i = 0; i < WORDS_MAX; i++) {
		uint32_t *it = from;

		if (__atomic_compare_exchange_n(&cell[i], &it, to, false, __ATOMIC_RELEASE,
						__ATOMIC_RELAXED))
			return;
	}
}

void crash_watch(uint32_t *word)
{
	change(NULL, word);
}

void crash_unwatch(uint32_t *word)
{
	change(word, NULL);
}

void crash_note(void)
{
	for (unsigned i = 0; i < WORDS_MAX; i++) {
		uint32_t *word = __atomic_load_n(&cell[i], __ATOMIC_ACQUIRE);

		if (word)
			__atomic_store_n(word, 1, __ATOMIC_RELAXED);
	}
}

/* What faulted faults again when this returns, and abort() raises again: that ends us. */
static void on_fault(int sig)
{
	crash_note();
}

int crash_init(void)
{
	static const int sigs[] = { SIGABRT, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP };
	struct sigaction on = { .sa_handler = on_fault, .sa_flags = (int)SA_RESETHAND };

	for (unsigned i = 0; i < ARRAY_SIZE(sigs); i++)
		if (sigaction(sigs[i], &on, NULL))
			return -errno;
	return 0;
}
