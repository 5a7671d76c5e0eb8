"""Compiles the seccomp filter that every confined command runs under, with the standard library alone.

A classic BPF program over `struct seccomp_data` (number, architecture, instruction pointer, six
64-bit arguments; see linux/seccomp.h and linux/filter.h). Its shape:

1. A call from another architecture (32-bit on a 64-bit kernel) kills the process: its numbers mean
   other calls. The x32 ABI of x86-64 gets ENOSYS.
2. `clone3` gets ENOSYS, because its flags lie in memory that a filter cannot read; the C library
   then falls back to `clone`, whose flags are an argument: any new namespace gets EPERM.
3. `socket` and `socketpair` know four families (Unix, IPv4, IPv6, netlink); all others get
   EAFNOSUPPORT: AF_VSOCK reaches the hypervisor and AF_ALG the kernel's crypto.
4. `ioctl` cannot push input into a terminal (TIOCSTI, TIOCLINUX), nor make subvolumes and snapshots (Btrfs):
   a thousand snapshots of a copy are made in seconds, and emptied one file after the other when they go.
5. The list in `syscalls.DENIED` gets EPERM.
6. Everything else is allowed: this is the second wall, behind the namespaces.

bubblewrap consumes the descriptor that holds the program, so there is a fresh one a run.
"""

from __future__ import annotations

import errno
import os
import struct

from agentcoord.sandbox.syscalls import DENIED, Machine
from agentcoord.values import dataclass

LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
JUMP_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
JUMP_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

ALLOW = 0x7FFF0000  # SECCOMP_RET_ALLOW
KILL_PROCESS = 0x80000000  # SECCOMP_RET_KILL_PROCESS
ERRNO = 0x00050000  # SECCOMP_RET_ERRNO; the low 16 bits are the error

OFFSET_NUMBER = 0
OFFSET_ARCH = 4
OFFSET_ARG0_LOW = 16  # Both machines are little-endian: the low word comes first.
OFFSET_ARG1_LOW = 24

# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
CLONE_NEW_ANY = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
SOCKET_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
# BTRFS_IOC_SNAP_CREATE, SUBVOL_CREATE, SNAP_CREATE_V2, SUBVOL_CREATE_V2: linux/btrfs.h.
SUBVOLUMES = (0x50009401, 0x5000940E, 0x50009417, 0x50009418)

NEXT = ""


@dataclass(frozen=True, slots=True)
class _Step:
    """One instruction with labels for jump targets; NEXT falls through."""

    code: int
    operand: int
    if_true: str = NEXT
    if_false: str = NEXT
    label: str = NEXT


def filter_program(machine: Machine) -> bytes:
    """Return the program for `machine` as an array of `struct sock_filter`."""
    numbers = machine.numbers
    steps = [
        _Step(LOAD_WORD, OFFSET_ARCH),
        _Step(JUMP_EQUAL, machine.audit_arch, if_false="kill"),
        _Step(LOAD_WORD, OFFSET_NUMBER),
    ]
    if machine.x32_bit:
        steps.append(_Step(JUMP_AT_LEAST, machine.x32_bit, if_true="nosys"))
    steps += [
        _Step(JUMP_EQUAL, numbers["clone3"], if_true="nosys"),
        _Step(JUMP_EQUAL, numbers["clone"], if_true="clone"),
        _Step(JUMP_EQUAL, numbers["socket"], if_true="family"),
        _Step(JUMP_EQUAL, numbers["socketpair"], if_true="family"),
        _Step(JUMP_EQUAL, numbers["ioctl"], if_true="ioctl"),
    ]
    steps += [_Step(JUMP_EQUAL, numbers[name], if_true="deny") for name in DENIED if name in numbers]
    steps += [
        _Step(RETURN, ALLOW),
        _Step(LOAD_WORD, OFFSET_ARG0_LOW, label="clone"),
        _Step(JUMP_ANY_BIT, CLONE_NEW_ANY, if_true="deny", if_false="allow"),
        _Step(LOAD_WORD, OFFSET_ARG1_LOW, label="ioctl"),
        *(_Step(JUMP_EQUAL, request, if_true="deny") for request in TERMINAL_INPUT + SUBVOLUMES),
        _Step(RETURN, ALLOW),
        _Step(LOAD_WORD, OFFSET_ARG0_LOW, label="family"),
        *(_Step(JUMP_EQUAL, family, if_true="allow") for family in SOCKET_FAMILIES),
        _Step(RETURN, ERRNO | errno.EAFNOSUPPORT),
        _Step(RETURN, ALLOW, label="allow"),
        _Step(RETURN, ERRNO | errno.EPERM, label="deny"),
        _Step(RETURN, ERRNO | errno.ENOSYS, label="nosys"),
        _Step(RETURN, KILL_PROCESS, label="kill"),
    ]
    return _assemble(steps)


def open_filter(machine: Machine) -> int:
    """Return a new descriptor, at its start, that holds the program; the caller closes it."""
    descriptor = os.memfd_create("seccomp")
    os.write(descriptor, filter_program(machine))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _assemble(steps: list[_Step]) -> bytes:
    """Resolve the labels; a jump reaches at most 255 instructions forward, which is asserted."""
    places = {step.label: index for index, step in enumerate(steps) if step.label}

    def distance(index: int, label: str) -> int:
        if label == NEXT:
            return 0
        jump = places[label] - index - 1
        assert 0 <= jump <= 255, f"the jump to {label} does not fit"
        return jump

    return b"".join(
        struct.pack("<HBBI", step.code, distance(i, step.if_true), distance(i, step.if_false), step.operand)
        for i, step in enumerate(steps)
    )
