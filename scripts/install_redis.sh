#!/bin/sh
# Installs the system's Redis server, which the store's tests run besides the Valkey that comes with us.
#
# Quiet when one of version 7 or newer is on PATH already. Exit code 0: it is; 3: it is not, and what
# would help was said on standard error; the caller decides what to do. Never asks for a password.
set -u

. "$(dirname "$0")/package_manager.sh"

works() {
    server=$(command -v redis-server) || return 1
    major=$("$server" --version 2>/dev/null | sed -n 's/.*[ =]v=*\([0-9][0-9]*\)\..*/\1/p')
    [ "${major:-0}" -ge 7 ]
}

obtain Redis "redis-server 7 or newer" redis-server redis
