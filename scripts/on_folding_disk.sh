#!/usr/bin/env bash
# Runs what it is given on each disk that it can make which takes upper and lower case for the same, with
# AGENTCOORD_FOLDING_DIR naming a folder there: NTFS without regard to case, which has no exchange of two names,
# and exFAT, which has no links and no modes either. Each in a file, mounted through FUSE. As root, with /dev/fuse.
set -euo pipefail

home=$(mktemp -d)
device=""
clean_up() {
    umount "$home/disk" 2>/dev/null || true
    [ -z "$device" ] || losetup -d "$device" || true
    device=""
    rm -rf "$home/image"
}
trap 'clean_up; rm -rf "$home"' EXIT
mkdir "$home/disk"

# on_disk MAKE MOUNT COMMAND...: MAKE and MOUNT get the device, MOUNT the folder too.
on_disk() {
    local make=$1 mount=$2
    shift 2
    truncate -s 300M "$home/image"
    device=$(losetup -f --show "$home/image")
    $make "$device" >/dev/null 2>&1
    $mount "$device" "$home/disk" 2>/dev/null
    echo "on $(findmnt -no FSTYPE "$home/disk") by $mount"
    AGENTCOORD_FOLDING_DIR="$home/disk" "$@"
    clean_up
}

have() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || return 1
    done
}

ran=""
if have losetup mkntfs lowntfs-3g; then
    on_disk "mkntfs -q -F -f" "lowntfs-3g -o ignore_case" "$@"
    ran=yes
fi
if have losetup mkfs.exfat mount.exfat-fuse; then
    on_disk mkfs.exfat mount.exfat-fuse "$@"
    ran=yes
fi
[ -n "$ran" ] || {
    echo "error: no such disk can be made here; fix: install your system's ntfs-3g, or exfat-fuse and exfatprogs" >&2
    exit 1
}
