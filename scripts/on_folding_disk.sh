#!/usr/bin/env bash
# Runs what it is given with AGENTCOORD_FOLDING_DIR naming a folder on a disk that takes upper and lower case for
# the same: NTFS in a file, mounted without regard to case. As root, with ntfs-3g and /dev/fuse.
set -euo pipefail

for program in mkntfs lowntfs-3g losetup; do
    command -v "$program" >/dev/null || {
        echo "error: $program is missing; fix: install your system's ntfs-3g package" >&2
        exit 1
    }
done
home=$(mktemp -d)
device=""
clean_up() {
    umount "$home/disk" 2>/dev/null || true
    [ -z "$device" ] || losetup -d "$device" || true
    rm -rf "$home"
}
trap clean_up EXIT
mkdir "$home/disk"
truncate -s 300M "$home/image"
device=$(losetup -f --show "$home/image")
mkntfs -q -F -f "$device" >/dev/null 2>&1
lowntfs-3g -o ignore_case "$device" "$home/disk"
AGENTCOORD_FOLDING_DIR="$home/disk" "$@"
