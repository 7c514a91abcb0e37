/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that runs in kernel mode: from the PVH entry (32 bits, no paging) to user mode, the
 * interrupt handlers, and a gate to sleep in. Everything else is C in user mode, which reaches
 * ports through the TSS's bitmap and devices through its page tables. There is nothing to guard
 * from that code, so every page is its own to write, these tables too.
 *
 * Handlers are as short as they can be: some hosts emulate guest kernel mode, at 2 us an
 * instruction.
 */

/* Page table entries: present, writable, user's; of 2 MiB; not cached */
#define PTE_TABLE 0x07
#define PTE_RAM 0x87
#define PTE_DEVICE 0x9f

#define CODE0 0x08
#define DATA3 0x1b
#define CODE3 0x23
#define TSS 0x28

#define CR0_PE 0x1
#define CR0_MP 0x2
#define CR0_EM 0x4
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define CR4_OSFXSR 0x200
#define CR4_OSXMMEXCPT 0x400
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define RFLAGS_IF 0x200

/* Of the local APIC, at the second address that it has here: one that fits into an instruction. */
#define APIC_EOI 0x7fe000b0

	/* 18 is XEN_ELFNOTE_PHYS32_ENTRY: where a PVH loader jumps to. */
	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, 18
	.asciz "Xen"
	.long start32

	.text
	.globl start32
	.code32
start32:
	cli
	mov %ebx, boot_info
	mov $level4, %eax
	mov %eax, %cr3
	mov %cr4, %eax
	or $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
	mov %eax, %cr4
	mov $MSR_EFER, %ecx
	rdmsr
	or $EFER_LME, %eax
	wrmsr
	mov %cr0, %eax
	and $~CR0_EM, %eax
	or $(CR0_PG | CR0_MP | CR0_PE), %eax
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $CODE0, $start64

	.code64
start64:
	xor %eax, %eax
	mov %eax, %ss
	mov %eax, %ds
	mov %eax, %es
	mov $stack0_end, %esp
	lidt idt_pointer
	/* the descriptor holds the address in three pieces, of which the loader knows none */
	mov $tss, %eax
	mov %ax, gdt_tss + 2
	shr $16, %eax
	mov %al, gdt_tss + 4
	mov %ah, gdt_tss + 7
	mov $TSS, %eax
	ltr %ax
	/* user mode; interrupts stay off until the gate was passed once */
	push $DATA3
	push $stack3_end
	push $2
	push $CODE3
	push $enter
	iretq

enter:
	mov $DATA3, %eax
	mov %eax, %ds
	mov %eax, %es
	/* as if called: the frame is what the ABI wants */
	push $0
	jmp gauge_main

/* void gate(uint32_t seen): halts, unless @seen is not the number of wake-ups any more. Leaves
 * interrupts on. Between the comparison and the halt none can come: sti works one late. The way
 * in is the exception that a halt in user mode is; a host that emulates kernel mode may know no
 * software interrupts. */
	.globl gate
gate:	hlt
	ret

	.globl protection_entry
protection_entry:
	cmpq $gate, 8(%rsp)
	jne fault_entry + 13 * 16
	add $8, %rsp
	incq (%rsp)
	orl $RFLAGS_IF, 16(%rsp)
	cmp %edi, wakeups
	jne 1f
	sti
	hlt
1:	iretq

	.globl device_entry
device_entry:
	incl device_interrupts
	.globl wake_entry
wake_entry:
	incl wakeups
	movl $0, APIC_EOI
	.globl spurious_entry
spurious_entry:
	iretq

	.globl timer_entry
timer_entry:
	movl $0, timer_set
	jmp wake_entry

/* Exceptions: back to user mode, into gauge_fault(vector, code, address), which does not return. */
	.globl fault_entry
	.balign 16
fault_entry:
	.set vector, 0
	.rept 32
	.balign 16
	/* those of which the processor pushes no code */
	.if (0x60227d00 >> vector) & 1
	.else
	push $0
	.endif
	push $vector
	jmp fault_common
	.set vector, vector + 1
	.endr
fault_common:
	pop %rdi
	pop %rsi
	pop %rdx
	mov %cr2, %rcx
	push $DATA3
	push $stack3_end - 8
	push $2
	push $CODE3
	push $gauge_fault
	iretq

	.data
	.balign 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff /* code, 64 bits, level 0 */
	.quad 0x00cf93000000ffff
	.quad 0x00cff3000000ffff /* data, level 3 */
	.quad 0x00affb000000ffff /* code, 64 bits, level 3 */
gdt_tss: .quad 0x0000890000000000 + (tss_end - tss - 1)
	.quad 0
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.quad gdt
idt_pointer:
	.word 256 * 16 - 1
	.quad idt

	/* with a map of ports that has no bit set: all are user mode's */
	.balign 16
tss:	.long 0
	.quad stack0_end
	.fill 90, 1, 0
	.word tss_map - tss
tss_map: .fill 8192, 1, 0
	.byte 0xff
tss_end:

	/* 0 to 3 GiB as memory, with the local APIC at 2 GiB - 2 MiB, to 4 GiB as devices, and a
	 * GiB that machine_map() gives out for devices elsewhere */
	.balign 4096
	.globl device_window
level4:	.quad level3 + PTE_TABLE
	.fill 511, 8, 0
level3:	.quad level2 + PTE_TABLE
	.quad level2 + 0x1000 + PTE_TABLE
	.quad level2 + 0x2000 + PTE_TABLE
	.quad level2 + 0x3000 + PTE_TABLE
	.quad device_window + PTE_TABLE
	.fill 507, 8, 0
level2:	.set at, 0
	.rept 1023
	.quad at + PTE_RAM
	.set at, at + 0x200000
	.endr
	.quad 0xfee00000 + PTE_DEVICE
	.set at, at + 0x200000
	.rept 512
	.quad at + PTE_RAM
	.set at, at + 0x200000
	.endr
	.rept 512
	.quad at + PTE_DEVICE
	.set at, at + 0x200000
	.endr

	.bss
	.balign 4096
	.globl idt, boot_info, wakeups, device_interrupts, timer_set
device_window: .skip 4096
idt:	.skip 4096
	.skip 4096
stack0_end:
	.skip 65536
stack3_end:
boot_info: .skip 8
	/* a line of their own: handlers write here */
	.balign 64
wakeups: .skip 4
device_interrupts: .skip 4
timer_set: .skip 4
	.balign 64

	.section .note.GNU-stack, "", @progbits
