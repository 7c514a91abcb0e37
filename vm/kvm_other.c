/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/machine.h"

int vm_probe_kvm(struct vm_error *err)
{
	return vm_fail(err, -ENOTSUP, NULL, "KVM is used on x86-64 hosts only");
}
