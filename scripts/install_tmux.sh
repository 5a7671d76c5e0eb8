#!/bin/sh
# Installs tmux, in which the dashboard is tried as in a person's terminal.
#
# Quiet when one of version 3 or newer is on PATH already. Exit code 0: it is; 3: it is not, and what
# would help was said on standard error; the caller decides what to do. Never asks for a password.
set -u

. "$(dirname "$0")/package_manager.sh"

works() {
    major=$(tmux -V 2>/dev/null | sed -n 's/^tmux [a-z-]*\([0-9][0-9]*\)\..*/\1/p')
    [ "${major:-0}" -ge 3 ]
}

obtain tmux "tmux 3 or newer" tmux tmux
