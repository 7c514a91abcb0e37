/* SPDX-License-Identifier: Apache-2.0 */
/* PCI functions through the configuration ports, as the firmware has set them up. */
#pragma once

#include "base/base.h"

struct pci_fn {
	uint8_t bus, slot, fn;
	uint16_t vendor, device;
};

/* Calls @see for every function, by bus and slot, those behind a bridge when the bridge is met. */
void pci_scan(void (*see)(struct pci_fn f));

uint8_t pci_read_8(struct pci_fn f, unsigned at);
uint16_t pci_read_16(struct pci_fn f, unsigned at);
uint32_t pci_read_32(struct pci_fn f, unsigned at);
void pci_write_16(struct pci_fn f, unsigned at, uint16_t v);

/* The place of the next capability @id behind that at @after (0: from the first). Return: 0 when
 * there is none. */
unsigned pci_find_cap(struct pci_fn f, unsigned after, uint8_t id);
#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_MSIX 0x11

/* Maps part of a memory BAR. Return: NULL if it is none, was given no address, or for lack of
 * room. */
void *pci_map(struct pci_fn f, unsigned bar, uint32_t off_b, uint32_t len_b);

/* Lets the function answer at its BARs and reach memory by itself. */
void pci_enable(struct pci_fn f);

/* Its first MSI-X vector becomes MACHINE_VECTOR_DEVICE. Return: whether it has any. */
bool pci_enable_msix(struct pci_fn f);
