#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Words for scripts that run in the guest. A line that starts with "@@ " is for the program on the
# host that reads the console.
# shellcheck disable=SC2034 # used by the scripts

# report KEY VALUE...
report() {
	echo "@@ $*"
}

# Ends the script: the host sees why.
fail() {
	report fail "$*"
	exit 1
}

# Waits until the host has done what it wants to do at the point called $1.
meet() {
	report meet "$1"
	read -r answer
}

# Waits for disk $1 (vda).
wait_disk() {
	tries=0
	until [ -b "/dev/$1" ]; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || fail "no /dev/$1 after 10 s"
		usleep 50000
	done
}

# Interrupts that the request queues of all virtio disks have raised so far.
interrupts() {
	awk '$NF ~ /^virtio[0-9]+-req/ {
		for (i = 2; i < NF && $i ~ /^[0-9]+$/; i++)
			n += $i
	} END { print n + 0 }' /proc/interrupts
}

# load LABEL FIO-ARGUMENTS...: runs fio on the disk, reports its JSON in one line and the interrupts
# that it took.
load() {
	label=$1
	shift
	before=$(interrupts)
	fio --name="$label" --direct=1 --output-format=json "$@" >/tmp/fio.out 2>/tmp/fio.err || {
		cat /tmp/fio.err /tmp/fio.out
		fail "fio $label"
	}
	report interrupts "$label" $(($(interrupts) - before))
	# what fio prints before the JSON are notes for people
	report fio "$label" "$(sed -n '/^{/,$p' /tmp/fio.out | tr -d '\n\t ')"
}
