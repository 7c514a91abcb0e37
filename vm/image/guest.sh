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

# Waits until somebody on the host listens.
hello() {
	until
		report hello
		# shellcheck disable=SC3045 # busybox has it
		read -r -t 1 answer
	do :; done
}

# Waits until the host has done what it wants to do at the point called $1.
meet() {
	report meet "$1"
	read -r answer
}

# Does what the host says, a line at a time, until it says "quit": output, then the status.
serve() {
	while read -r line && [ "$line" != quit ]; do
		(eval "$line") >/tmp/said 2>&1
		status=$?
		# a last line without its end gets one
		awk '{ print "@@ out " $0 }' /tmp/said
		report "done" $status
	done
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

# Kicks (exits to the hypervisor) that virtio drivers have made while count() was at work.
kicks() {
	awk '$1 == "kick" { print $2 }' /sys/kernel/tracing/kprobe_profile
}

# load LABEL FIO-ARGUMENTS...: runs fio, reports its JSON in one line.
load() {
	label=$1
	shift
	fio --name="$label" --direct=1 --output-format=json "$@" >/tmp/fio.out 2>/tmp/fio.err || {
		cat /tmp/fio.err /tmp/fio.out
		fail "fio $label"
	}
	# what fio prints before the JSON are notes for people
	report fio "$label" "$(sed -n '/^{/,$p' /tmp/fio.out | tr -d '\n\t ')"
}

# Like load, with a probe on the driver's notify function: reports kicks and interrupts as well.
# The probe costs time, so speeds are taken from runs without it.
count() {
	tracing=/sys/kernel/tracing
	if ! [ -f $tracing/kprobe_events ]; then
		mount -t tracefs tracefs $tracing
		echo 4 >$tracing/buffer_size_kb
		echo p:kick vp_notify >$tracing/kprobe_events || fail "no probe on vp_notify"
	fi
	echo 1 >$tracing/events/kprobes/kick/enable
	kicks_before=$(kicks)
	interrupts_before=$(interrupts)
	load "$@"
	report count "$1" $(($(kicks) - kicks_before)) $(($(interrupts) - interrupts_before))
	echo 0 >$tracing/events/kprobes/kick/enable
}
