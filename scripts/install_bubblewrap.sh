#!/bin/sh
# Installs bubblewrap, the sandbox that commands of workers run in, where that needs no question.
#
# Quiet when it works already. Exit code 0: bwrap works; 3: it does not, and what would help was
# said on standard error; the caller decides what to do. Never asks for a password.
# src/agentcoord/sandbox/mends.py knows the same distributions; change both.
set -u

# "Works" means that it can make the namespaces, not that the file is there.
works() {
    bwrap=/usr/bin/bwrap
    [ -x "$bwrap" ] || bwrap=$(command -v bwrap) || return 1
    "$bwrap" --unshare-user --unshare-pid --unshare-net --ro-bind / / --proc /proc --dev /dev true \
        >/dev/null 2>&1
}

say() { printf '%s\n' "$*" >&2; }

has() { command -v "$1" >/dev/null 2>&1; }

# Installs with the package manager that is there; leaves its command in $wanted for the user.
find_installer() {
    if has apt-get; then wanted="apt-get install -y bubblewrap"
    elif has dnf; then wanted="dnf install -y bubblewrap"
    elif has pacman; then wanted="pacman -S --needed --noconfirm bubblewrap"
    elif has zypper; then wanted="zypper --non-interactive install bubblewrap"
    elif has apk; then wanted="apk add bubblewrap"
    else wanted=""
    fi
}

install_with() {
    # $1 is empty, or "sudo -n". Word splitting is what is wanted here.
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    if $1 $wanted >/dev/null 2>&1 </dev/null; then return 0; fi
    # The lists of a fresh machine or container are empty or stale.
    case $wanted in
        apt-get*) $1 apt-get update >/dev/null 2>&1 </dev/null && $1 $wanted >/dev/null 2>&1 </dev/null ;;
        pacman*) $1 pacman -Sy --noconfirm >/dev/null 2>&1 </dev/null && $1 $wanted >/dev/null 2>&1 </dev/null ;;
        *) return 1 ;;
    esac
}

if works; then exit 0; fi
if [ "$(uname -s)" != Linux ]; then
    say "bubblewrap exists on Linux only; on macOS the system's own sandbox is used."
    exit 3
fi

find_installer
if ! has bwrap; then
    if [ -z "$wanted" ]; then
        say "bubblewrap is not installed; install it with your system's package manager."
        exit 3
    fi
    if [ "$(id -u)" = 0 ]; then
        say "Installing bubblewrap: $wanted"
        install_with ""
    elif has sudo && sudo -n true >/dev/null 2>&1; then
        say "Installing bubblewrap: sudo $wanted"
        install_with "sudo -n"
    fi
    if ! has bwrap; then
        say "bubblewrap is not installed. Install it with: sudo $wanted"
        exit 3
    fi
fi

if works; then exit 0; fi
say "bubblewrap is installed, but this user may not make namespaces here."
if [ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2>/dev/null)" = 1 ]; then
    say "Allow it to bwrap alone with:"
    say "  sudo apt-get install -y apparmor-profiles &&"
    say "  sudo ln -sf /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ &&"
    say "  sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict"
elif [ "$(cat /proc/sys/kernel/unprivileged_userns_clone 2>/dev/null)" = 0 ]; then
    say "Allow it with: sudo sysctl -w kernel.unprivileged_userns_clone=1"
elif [ "$(cat /proc/sys/user/max_user_namespaces 2>/dev/null)" = 0 ]; then
    say "Allow it with: sudo sysctl -w user.max_user_namespaces=15000"
else
    say "In a container, start the container so that it may make user namespaces."
fi
exit 3
