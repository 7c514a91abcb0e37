/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether KVM is of use: a virtual machine of one page counts down from COUNT in
 * kernel mode, and the clock tells whether the processor did that (below 100 us) or
 * something emulates it (50 ms measured where Linux does not get through its boot).
 */
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "vm/machine.h"

#define DEVICE "/dev/kvm"
#define CODE_AT 0x1000u
#define PAGE_B 4096u
#define COUNT 0x20000u
#define SLOW_NS (5 * NS_PER_MS)
#define TRIES 3

/* mov $COUNT, %ecx; 1: dec %ecx; jnz 1b; hlt */
static const uint8_t code[] = { 0xb9, COUNT & 0xff, COUNT >> 8 & 0xff, COUNT >> 16, 0,
				0x49, 0x75, 0xfd, 0xf4 };

/* One vCPU in flat 32-bit kernel mode, and the page that it sees at CODE_AT. */
struct probe {
	int kvm, vm, vcpu;
	void *page;
	struct kvm_run *run;
	size_t run_b;
};

static void probe_close(struct probe *p)
{
	if (p->run != MAP_FAILED)
		munmap(p->run, p->run_b);
	if (p->page != MAP_FAILED)
		munmap(p->page, PAGE_B);
	fd_close(p->vcpu);
	fd_close(p->vm);
}

static int probe_open(struct probe *p)
{
	p->vm = ioctl(p->kvm, KVM_CREATE_VM, 0);
	p->page = mmap(NULL, PAGE_B, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p->vm < 0 || p->page == MAP_FAILED)
		return -ENOTSUP;
	memcpy(p->page, code, sizeof(code));
	struct kvm_userspace_memory_region region = { .guest_phys_addr = CODE_AT,
						      .memory_size = PAGE_B,
						      .userspace_addr = (uintptr_t)p->page };

	/* older Intel cores want a place for three pages of their own */
	ioctl(p->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	if (ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region))
		return -ENOTSUP;
	p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
	int run_b = ioctl(p->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (p->vcpu < 0 || run_b <= 0)
		return -ENOTSUP;
	p->run_b = (size_t)run_b;
	p->run = mmap(NULL, p->run_b, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
	return p->run == MAP_FAILED ? -ENOTSUP : 0;
}

/* Runs the loop once. Return: 0 with the time it took; -ENOTSUP. */
static int probe_run(struct probe *p, uint64_t *ret_ns)
{
	struct kvm_sregs s;
	struct kvm_regs r = { .rip = CODE_AT, .rflags = 2 };

	if (ioctl(p->vcpu, KVM_GET_SREGS, &s))
		return -ENOTSUP;
	s.cs = (struct kvm_segment){ .limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1,
				     .db = 1, .s = 1, .g = 1 };
	s.ds = s.es = s.fs = s.gs = s.ss = (struct kvm_segment){
		.limit = UINT32_MAX, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1,
		.g = 1 };
	s.cr0 |= 1; /* protected mode */
	if (ioctl(p->vcpu, KVM_SET_SREGS, &s) || ioctl(p->vcpu, KVM_SET_REGS, &r))
		return -ENOTSUP;
	uint64_t start_ns = clock_ns();

	if (ioctl(p->vcpu, KVM_RUN, 0) || p->run->exit_reason != KVM_EXIT_HLT)
		return -ENOTSUP;
	*ret_ns = clock_ns() - start_ns;
	return 0;
}

/* The line that lets this user open the device. */
static int explain_closed(struct vm_error *err)
{
	struct stat st;
	struct group *g = stat(DEVICE, &st) ? NULL : getgrgid(st.st_gid);

	if (g && st.st_gid && (st.st_mode & 0060) == 0060)
		return vm_fail(err, -EACCES, NULL,
			       DEVICE " is closed to you; this opens it: sudo usermod "
			       "-aG %s \"$USER\" && newgrp %s", g->gr_name, g->gr_name);
	return vm_fail(err, -EACCES, NULL,
		       DEVICE " is closed to you; this opens it: sudo chmod 666 " DEVICE);
}

int vm_probe_kvm(struct vm_error *err)
{
	CLEANUP(fd_cleanup) int kvm = open(DEVICE, O_RDWR | O_CLOEXEC);

	if (kvm < 0 && (errno == EACCES || errno == EPERM))
		return explain_closed(err);
	if (kvm < 0)
		return vm_fail(err, -ENOENT, NULL, "no KVM: " DEVICE ": %m");
	struct probe p = { .kvm = kvm, .vm = -1, .vcpu = -1, .page = MAP_FAILED,
			   .run = MAP_FAILED };
	int bad = probe_open(&p);
	uint64_t best_ns = UINT64_MAX;

	/* more than once, as a busy host may take the core away in the middle */
	for (int i = 0; i < TRIES && !bad && best_ns > SLOW_NS; i++) {
		uint64_t ns = 0;

		bad = probe_run(&p, &ns);
		best_ns = min_u64(best_ns, ns);
	}
	probe_close(&p);
	if (bad)
		return vm_fail(err, -ENOTSUP, NULL, DEVICE " opens but runs no guest");
	if (best_ns > SLOW_NS)
		return vm_fail(err, -ENOTSUP, NULL,
			       DEVICE " opens but emulates guest kernels: %llu "
			       "instructions took %llu ms", 2ull * COUNT,
			       (unsigned long long)(best_ns / NS_PER_MS));
	return 0;
}
