#!/bin/sh
# Installs tmux, in which the dashboard is tried as in a person's terminal.
#
# Quiet when one of version 3 or newer is on PATH already. Exit code 0: it is; 3: it is not, and what
# would help was said on standard error; the caller decides what to do. Never asks for a password.
set -u

works() {
    major=$(tmux -V 2>/dev/null | sed -n 's/^tmux [a-z-]*\([0-9][0-9]*\)\..*/\1/p')
    [ "${major:-0}" -ge 3 ]
}

say() { printf '%s\n' "$*" >&2; }

has() { command -v "$1" >/dev/null 2>&1; }

# Installs with the package manager that is there; leaves its command in $wanted for the user.
find_installer() {
    if has apt-get; then wanted="apt-get install -y --no-install-recommends tmux"
    elif has dnf; then wanted="dnf install -y tmux"
    elif has pacman; then wanted="pacman -S --needed --noconfirm tmux"
    elif has zypper; then wanted="zypper --non-interactive install tmux"
    elif has apk; then wanted="apk add tmux"
    elif has brew; then wanted="brew install tmux"
    else wanted=""
    fi
}

install_with() {
    # $1 is empty, or "sudo -n". Word splitting is what is wanted here.
    quietly="env DEBIAN_FRONTEND=noninteractive"
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
    say "tmux 3 or newer is not installed; install it with your system's package manager."
    exit 3
fi
if [ "$(id -u)" = 0 ] && ! has brew; then
    say "Installing tmux: $wanted"
    install_with ""
elif has brew; then
    install_with ""
elif has sudo && sudo -n true >/dev/null 2>&1; then
    say "Installing tmux: sudo $wanted"
    install_with "sudo -n"
fi
if works; then exit 0; fi
say "tmux 3 or newer is not installed. Install it with: sudo $wanted"
exit 3
