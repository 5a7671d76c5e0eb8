#!/bin/sh
# Installs promtool, with which the tests judge our metrics, alert rules and dashboard.
#
# Usage: install_promtool.sh FOLDER. Quiet when promtool is on PATH or in FOLDER already. Where
# Debian's packages are known, promtool alone is taken out of the one that carries it, into FOLDER:
# that needs no root, and no server is installed. Exit code 0: it is there; 3: it is not, and what
# would help was said on standard error; the caller decides what to do. Never asks for a password.
set -u

folder=${1:?usage: install_promtool.sh FOLDER}

say() { printf '%s\n' "$*" >&2; }

has() { command -v "$1" >/dev/null 2>&1; }

works() {
    promtool=$(command -v promtool) || promtool=$folder/promtool
    [ -x "$promtool" ] && "$promtool" --version >/dev/null 2>&1
}

# The package that carries it; leaves its command in $wanted for the user.
find_installer() {
    if has apt-get; then wanted="apt-get install -y --no-install-recommends prometheus"
    elif has dnf; then wanted="dnf install -y golang-github-prometheus"
    elif has pacman; then wanted="pacman -S --needed --noconfirm prometheus"
    elif has zypper; then wanted="zypper --non-interactive install golang-github-prometheus-prometheus"
    elif has apk; then wanted="apk add prometheus"
    elif has brew; then wanted="brew install prometheus"
    else wanted=""
    fi
}

# Debian's package, unpacked; installing it would start a service that nobody asked for.
take_out_of_package() {
    place=$(mktemp -d) || return 1
    (
        cd "$place" &&
            { apt-get download prometheus || { $1 apt-get update && apt-get download prometheus; }; } &&
            dpkg-deb --extract prometheus_*.deb unpacked
    ) >/dev/null 2>&1 </dev/null && mv "$place/unpacked/usr/bin/promtool" "$folder/promtool"
    taken=$?
    rm -rf "$place"
    return $taken
}

install_with() {
    # $1 is empty, or "sudo -n". Word splitting is what is wanted here.
    if has apt-get; then take_out_of_package "$1"
    else $1 $wanted >/dev/null 2>&1 </dev/null
    fi
}

if works; then exit 0; fi
find_installer
if [ -z "$wanted" ]; then
    say "promtool is not installed; it comes with Prometheus."
    exit 3
fi
say "Installing promtool"
if [ "$(id -u)" = 0 ] || has apt-get || has brew; then
    as_root=""
    if [ "$(id -u)" != 0 ] && has sudo && sudo -n true >/dev/null 2>&1; then as_root="sudo -n"; fi
    install_with "$as_root"
elif has sudo && sudo -n true >/dev/null 2>&1; then
    install_with "sudo -n"
fi
if works; then exit 0; fi
say "promtool is not installed. It comes with Prometheus: sudo $wanted"
exit 3
