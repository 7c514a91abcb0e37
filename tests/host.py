# SPDX-License-Identifier: Apache-2.0
"""What tests have to know about the machine that they run on."""

import ctypes
import os

# With more at once tests would wait for one another where a container has two of a machine's many CPUs,
# and the guests among them would want its memory.
AT_ONCE_MAX = 4
ADDR_NO_RANDOMIZE = 0x40000
BITS = "/proc/sys/vm/mmap_rnd_bits"
BITS_MAX = 28


def at_once():
	"""How many tests to run at a time."""
	return min(len(os.sched_getaffinity(0)), AT_ONCE_MAX)


def fix_addresses():
	"""Makes programs with a sanitizer run, here and in what is started from now on. Those of Debian 12's clang
	want their memory where a kernel puts it that chooses among 2^28 places; where there are 2^32, most of
	them end as they start. Return: why they cannot run, or None."""
	libc = ctypes.CDLL(None)
	libc.personality.argtypes = [ctypes.c_ulong]
	if libc.personality(ADDR_NO_RANDOMIZE) >= 0:
		return None
	try:
		with open(BITS) as file:
			bits = int(file.read())
	except OSError:  # its owner alone may read it
		return None
	if bits <= BITS_MAX:
		return None
	return f"{BITS} is {bits}, which clang 14's sanitizers do not bear, and addresses may not be fixed here"
