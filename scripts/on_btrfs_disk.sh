#!/usr/bin/env bash
# Runs what it is given with AGENTCOORD_BTRFS_DIR naming a folder on a Btrfs of its own, in a file. As root.
set -euo pipefail

command -v mkfs.btrfs >/dev/null || {
    echo "error: no such disk can be made here; fix: install your system's btrfs-progs" >&2
    exit 1
}
home=$(mktemp -d)
trap 'umount "$home/disk" 2>/dev/null || true; rm -rf "$home"' EXIT
mkdir "$home/disk"
truncate -s 1G "$home/image"
mkfs.btrfs -q "$home/image" >/dev/null 2>&1
mount -o loop "$home/image" "$home/disk"
AGENTCOORD_BTRFS_DIR="$home/disk" "$@"
