#!/usr/bin/env bash
# Start the night on the repository you stand in: check the key and the repository, start the daemon,
# load the ten tasks of config/plans/overnight.toml, and say how to watch and how to stop.
#
#   scripts/launch_overnight_improvements.sh [options of `agentcoord run`, such as --run-usd 3]
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
plan=$here/config/plans/overnight.toml

fail() {
    printf 'error: %s\nfix: %s\n' "$1" "$2" >&2
    exit "${3:-1}"
}

if command -v agentcoord >/dev/null 2>&1; then
    agentcoord=agentcoord
elif [ -x "$here/.venv/bin/agentcoord" ]; then
    agentcoord=$here/.venv/bin/agentcoord
    PATH=$here/.venv/bin:$PATH
else
    fail "agentcoord is not installed" "make -C '$here' run (installs it, and plays the demo night)"
fi

root=$(git rev-parse --show-toplevel 2>/dev/null) ||
    fail "$PWD is not inside a git repository" "cd into the repository that is to be improved" 2

# A base URL in agentcoord.toml counts too; the program itself looks there and has the last word.
if [ -z "${ANTHROPIC_API_KEY:-}${ANTHROPIC_AUTH_TOKEN:-}${ANTHROPIC_BASE_URL:-}" ] &&
    ! grep -Eqs '^[[:space:]]*base_url[[:space:]]*=[[:space:]]*"[^"]+"' "$root/agentcoord.toml"; then
    fail "neither ANTHROPIC_API_KEY nor a base URL is set" \
        "export ANTHROPIC_API_KEY=..., or ANTHROPIC_BASE_URL=..., or try: $agentcoord demo"
fi

if [ ! -e "$root/agentcoord.toml" ]; then
    "$agentcoord" -C "$root" init >&2
    fail "this repository had no agentcoord.toml; one was written with a guessed scope and test command" \
        "look at $root/agentcoord.toml, then run this script again"
fi

# `run --detach` judges settings and plan, starts the daemon if none runs, loads, and prints how to
# watch and how to stop.
exec "$agentcoord" -C "$root" run "$plan" --detach "$@"
