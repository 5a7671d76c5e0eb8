"""The filter program, run by a small interpreter of classic BPF: what it answers to which call."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from agentcoord.sandbox.seccomp import ALLOW, ERRNO, KILL_PROCESS, filter_program, open_filter
from agentcoord.sandbox.syscalls import AARCH64, DENIED, X86_64, Machine

EPERM = ERRNO | errno.EPERM
ENOSYS = ERRNO | errno.ENOSYS
EAFNOSUPPORT = ERRNO | errno.EAFNOSUPPORT

MACHINES = pytest.mark.parametrize("machine", [X86_64, AARCH64], ids=["x86_64", "aarch64"])


def answer(machine: Machine, number: int, *args: int, arch: int | None = None) -> int:
    """Interpret the program over one `struct seccomp_data`."""
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    memory = struct.pack("<iIQ6Q", number, machine.audit_arch if arch is None else arch, 0, *padded)
    steps = list(struct.iter_unpack("<HBBI", filter_program(machine)))
    accumulator, place = 0, 0
    while True:
        code, if_true, if_false, operand = steps[place]
        place += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", memory, operand)
            case 0x15:
                place += if_true if accumulator == operand else if_false
            case 0x35:
                place += if_true if accumulator >= operand else if_false
            case 0x45:
                place += if_true if accumulator & operand else if_false
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


@MACHINES
def test_every_denied_call_gets_eperm(machine: Machine) -> None:
    names = [name for name in DENIED if name in machine.numbers]
    assert len(names) > 45
    assert {name: answer(machine, machine.numbers[name]) for name in names} == dict.fromkeys(names, EPERM)


@MACHINES
def test_every_number_of_the_table_is_used_by_a_rule(machine: Machine) -> None:
    special = {"clone", "clone3", "ioctl", "socket", "socketpair"}
    assert set(machine.numbers) - special <= set(DENIED)
    assert special <= set(machine.numbers)


@MACHINES
def test_ordinary_calls_pass(machine: Machine) -> None:
    listed = set(machine.numbers.values())
    assert all(answer(machine, number) == ALLOW for number in range(450) if number not in listed)


@MACHINES
def test_clone_makes_threads_and_processes_but_no_namespaces(machine: Machine) -> None:
    clone = machine.numbers["clone"]
    threads, fork = 0x3D0F00, 0x01200011
    assert answer(machine, clone, threads) == ALLOW
    assert answer(machine, clone, fork) == ALLOW
    for namespace in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert answer(machine, clone, fork | namespace) == EPERM


@MACHINES
def test_clone3_does_not_exist_so_that_the_c_library_falls_back(machine: Machine) -> None:
    assert answer(machine, machine.numbers["clone3"]) == ENOSYS


@MACHINES
@pytest.mark.parametrize("call", ["socket", "socketpair"])
def test_only_unix_ip_and_netlink_sockets_exist(machine: Machine, call: str) -> None:
    allowed = {family for family in range(64) if answer(machine, machine.numbers[call], family) == ALLOW}
    assert allowed == {1, 2, 10, 16}
    assert answer(machine, machine.numbers[call], 40) == EAFNOSUPPORT
    # The kernel looks at the low half only, and so must the filter.
    assert answer(machine, machine.numbers[call], (1 << 32) | 40) == EAFNOSUPPORT


@MACHINES
def test_no_input_is_pushed_into_a_terminal(machine: Machine) -> None:
    assert answer(machine, machine.numbers["ioctl"], 0, 0x5412) == EPERM
    assert answer(machine, machine.numbers["ioctl"], 0, (1 << 32) | 0x5412) == EPERM
    assert answer(machine, machine.numbers["ioctl"], 0, 0x541C) == EPERM
    assert answer(machine, machine.numbers["ioctl"], 0, 0x5413) == ALLOW


@MACHINES
def test_nobody_multiplies_a_copy_by_snapshots(machine: Machine) -> None:
    for request in (0x50009401, 0x5000940E, 0x50009417, 0x50009418):
        assert answer(machine, machine.numbers["ioctl"], 3, request) == EPERM
    assert answer(machine, machine.numbers["ioctl"], 3, 0x40049409) == ALLOW  # FICLONE: a reflink.


@MACHINES
def test_a_call_of_another_architecture_kills_the_process(machine: Machine) -> None:
    assert answer(machine, 1, arch=0x40000003) == KILL_PROCESS


def test_the_x32_abi_does_not_exist() -> None:
    assert answer(X86_64, 0x40000000 | X86_64.numbers["ptrace"]) == ENOSYS
    assert answer(X86_64, 0x40000000) == ENOSYS


def test_each_run_gets_a_fresh_descriptor_at_its_start() -> None:
    first, second = open_filter(X86_64), open_filter(X86_64)
    try:
        assert first != second
        assert os.read(first, 1 << 16) == filter_program(X86_64) == os.read(second, 1 << 16)
    finally:
        os.close(first)
        os.close(second)
