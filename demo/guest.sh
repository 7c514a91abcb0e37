#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What the guest of `make run` does: a file system on the first half of the disk, random loads on
# the other. The host reads the reports. $POLL and $SEED come from the line before this.

disk=/dev/vda
area="--filename=$disk --offset=512m --size=16m --bs=4k"
ordinary="--ioengine=libaio"
polled="--ioengine=io_uring --hipri=1"

# shellcheck disable=SC2086 # lists of fio arguments
verified_load() { # LABEL FIO-ARGUMENTS...
	load "$1" $area --rw=randwrite --iodepth=16 --verify=crc32c --verify_fatal=1 --do_verify=1 \
		--randseed="$SEED" $2
	report bytes "$1" $((16 << 20))
}

# shellcheck disable=SC2086
counted_load() {
	count "$1" $area --rw=randrw --rwmixread=70 --iodepth=1 --number_ios=1000 $2
}

wait_disk vda
report size $(($(cat /sys/block/vda/size) * 512))

mkfs.ext4 -q -F $disk 512m || fail "mkfs.ext4"
mount $disk /mnt || fail "mount"
report filesystem ext4

# 32 files of 1 MiB, each from another place of the same random bytes
dd if=/dev/urandom of=/tmp/random bs=64k count=48 2>/dev/null
n=0
while [ $n -lt 32 ]; do
	dd if=/tmp/random of=/mnt/file$n bs=64k skip=$n count=16 2>/dev/null || fail "write file$n"
	n=$((n + 1))
done
(cd /mnt && sha256sum file*) >/tmp/sums
umount /mnt || fail "umount"
report written 32

mount $disk /mnt || fail "second mount"
(cd /mnt && sha256sum -c -s /tmp/sums) || fail "a file differs after the remount"
umount /mnt
report bytes files $((32 << 20))

verified_load interrupts "$ordinary"
counted_load interrupts "$ordinary"
if [ -n "$POLL" ]; then
	verified_load polling "$polled"
	counted_load polling "$polled"
fi

# the host reads the same range of its file
dd if=$disk bs=1M skip=512 count=16 iflag=direct 2>/dev/null | sha256sum >/tmp/area
report area "$(cut -d' ' -f1 /tmp/area)"
