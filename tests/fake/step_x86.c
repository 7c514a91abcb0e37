/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/step.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define TRAP_FLAG 0x100

static const struct step_range *range;
static unsigned nrange;
static void (*looker)(void *arg);
static void *looker_arg;
static struct sigaction was_segv, was_trap;

bool step_works(void)
{
	return true;
}

static void protect(int prot)
{
	for (unsigned i = 0; i < nrange; i++)
		mprotect(range[i].at, range[i].len_b, prot);
}

static bool is_watched(const char *at)
{
	for (unsigned i = 0; i < nrange; i++)
		if (at >= (char *)range[i].at && at < (char *)range[i].at + range[i].len_b)
			return true;
	return false;
}

static void on_store(int sig, siginfo_t *info, void *context)
{
	ucontext_t *c = context;

	if (!is_watched(info->si_addr)) {
		sigaction(SIGSEGV, &was_segv, NULL);
		return;
	}
	looker(looker_arg);
	protect(PROT_READ | PROT_WRITE);
	c->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *c = context;

	protect(PROT_READ);
	c->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

void step_stores(const struct step_range *r, unsigned n, void (*fn)(void *arg),
		 void (*look)(void *arg), void *arg)
{
	struct sigaction on = { .sa_flags = SA_SIGINFO | SA_NODEFER };

	range = r;
	nrange = n;
	looker = look;
	looker_arg = arg;
	on.sa_sigaction = on_store;
	sigaction(SIGSEGV, &on, &was_segv);
	on.sa_sigaction = on_step;
	sigaction(SIGTRAP, &on, &was_trap);
	protect(PROT_READ);
	fn(arg);
	protect(PROT_READ | PROT_WRITE);
	sigaction(SIGSEGV, &was_segv, NULL);
	sigaction(SIGTRAP, &was_trap, NULL);
}
