#!/bin/sh
# Installs the system's Redis server, which the store's tests run besides the Valkey that comes with us.
#
# Quiet when one of version 7 or newer is on PATH already. Exit code 0: it is; 3: it is not, and what
# would help was said on standard error; the caller decides what to do. Never asks for a password.
set -u

works() {
    server=$(command -v redis-server) || return 1
    major=$("$server" --version 2>/dev/null | sed -n 's/.*[ =]v=*\([0-9][0-9]*\)\..*/\1/p')
    [ "${major:-0}" -ge 7 ]
}

say() { printf '%s\n' "$*" >&2; }

has() { command -v "$1" >/dev/null 2>&1; }

# Installs with the package manager that is there; leaves its command in $wanted for the user.
find_installer() {
    if has apt-get; then wanted="apt-get install -y --no-install-recommends redis-server"
    elif has dnf; then wanted="dnf install -y redis"
    elif has pacman; then wanted="pacman -S --needed --noconfirm redis"
    elif has zypper; then wanted="zypper --non-interactive install redis"
    elif has apk; then wanted="apk add redis"
    elif has brew; then wanted="brew install redis"
    else wanted=""
    fi
}

install_with() {
    # $1 is empty, or "sudo -n". Word splitting is what is wanted here.
    # RUNLEVEL: else Debian's package would start a service that nobody asked for.
    quietly="env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1"
    if $1 $quietly $wanted >/dev/null 2>&1 </dev/null; then return 0; fi
    # The lists of a fresh machine or container are empty or stale.
    case $wanted in
        apt-get*) $1 apt-get update >/dev/null 2>&1 </dev/null && $1 $quietly $wanted >/dev/null 2>&1 </dev/null ;;
        pacman*) $1 pacman -Sy --noconfirm >/dev/null 2>&1 </dev/null && $1 $quietly $wanted >/dev/null 2>&1 </dev/null ;;
        *) return 1 ;;
    esac
}

if works; then exit 0; fi
find_installer
if [ -z "$wanted" ]; then
    say "redis-server 7 or newer is not installed; install it with your system's package manager."
    exit 3
fi
if [ "$(id -u)" = 0 ] && ! has brew; then
    say "Installing Redis: $wanted"
    install_with ""
elif has brew; then
    install_with ""
elif has sudo && sudo -n true >/dev/null 2>&1; then
    say "Installing Redis: sudo $wanted"
    install_with "sudo -n"
fi
if works; then exit 0; fi
say "redis-server 7 or newer is not installed. Install it with: sudo $wanted"
exit 3
