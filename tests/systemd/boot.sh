#!/usr/bin/env bash
# The first process of the new namespaces: makes $1 the root, and becomes systemd.
set -euo pipefail

root="$1"
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
cd "$root"
mkdir -p old
# And not chroot: a process in one may make no user namespace, which PrivateUsers= needs.
pivot_root . old
umount --lazy /old
# What systemd mounts for a unit, such as its credentials, has to be seen by the unit.
mount --make-rshared /
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --log-target=journal
