# Sourced by the installers of what our tests need, not run: one program, from the system's packages.
#
# Whoever sources it defines `works`, and calls `obtain`, which exits: 0 when the program is there; 3 when
# it is not, and what would help was said on standard error. Never asks for a password.

say() { printf '%s\n' "$*" >&2; }

has() { command -v "$1" >/dev/null 2>&1; }

# The command of the package manager that is there, in $wanted. $1 is the package's name with apt, $2 with others.
find_installer() {
    if has apt-get; then wanted="apt-get install -y --no-install-recommends $1"
    elif has dnf; then wanted="dnf install -y $2"
    elif has pacman; then wanted="pacman -S --needed --noconfirm $2"
    elif has zypper; then wanted="zypper --non-interactive install $2"
    elif has apk; then wanted="apk add $2"
    elif has brew; then wanted="brew install $2"
    else wanted=""
    fi
}

install_with() {
    # $1 is empty, or "sudo -n". Word splitting is what is wanted here.
    # RUNLEVEL: else a package of Debian's might start a service that nobody asked for.
    quietly="env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1"
    if $1 $quietly $wanted >/dev/null 2>&1 </dev/null; then return 0; fi
    # The lists of a fresh machine or container are empty or stale.
    case $wanted in
        apt-get*) $1 apt-get update >/dev/null 2>&1 </dev/null && $1 $quietly $wanted >/dev/null 2>&1 </dev/null ;;
        pacman*) $1 pacman -Sy --noconfirm >/dev/null 2>&1 </dev/null && $1 $quietly $wanted >/dev/null 2>&1 </dev/null ;;
        *) return 1 ;;
    esac
}

# $1: what it is called; $2: what is wanted of it; $3, $4: the package's name with apt, and with others.
obtain() {
    if works; then exit 0; fi
    find_installer "$3" "$4"
    if [ -z "$wanted" ]; then
        say "$2 is not installed; install it with your system's package manager."
        exit 3
    fi
    if [ "$(id -u)" = 0 ] && ! has brew; then
        say "Installing $1: $wanted"
        install_with ""
    elif has brew; then
        install_with ""
    elif has sudo && sudo -n true >/dev/null 2>&1; then
        say "Installing $1: sudo $wanted"
        install_with "sudo -n"
    fi
    if works; then exit 0; fi
    say "$2 is not installed. Install it with: sudo $wanted"
    exit 3
}
