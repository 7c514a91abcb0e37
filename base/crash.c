/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crash.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

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
	struct sigaction on = { .sa_handler = on_fault,
				.sa_flags = (int)(SA_RESETHAND | SA_ONSTACK) };

	for (unsigned i = 0; i < ARRAY_SIZE(sigs); i++)
		if (sigaction(sigs[i], &on, NULL))
			return -errno;
	return 0;
}

/* What the calling thread had before; a sanitizer has one of its own. */
static __thread stack_t former;
static __thread bool is_watched;

static size_t stack_b(void)
{
	long least = sysconf(_SC_SIGSTKSZ); /* grows with what a processor has to save */

	return align_up(max_u64(least > 0 ? (uint64_t)least : 0, 16 * KIB), 4096);
}

void crash_watch_stack(void)
{
	stack_t s = { .ss_size = stack_b() };

	s.ss_sp = mmap(NULL, s.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s.ss_sp == MAP_FAILED)
		return;
	if (sigaltstack(&s, &former))
		munmap(s.ss_sp, s.ss_size);
	else
		is_watched = true;
}

void crash_unwatch_stack(void)
{
	stack_t s;

	if (is_watched && !sigaltstack(&former, &s))
		munmap(s.ss_sp, s.ss_size);
	is_watched = false;
}
