"""System call numbers of the two machines that the seccomp filter knows, and what it denies.

Separate from the compiler because this is a table to compare with the kernel's own
(`arch/x86/entry/syscalls/syscall_64.tbl`, `include/uapi/asm-generic/unistd.h`). A call that a
machine does not have is simply absent from its table.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from agentcoord.values import dataclass

DENIED = (
    # Key rings outlive the namespace they were made in.
    "add_key",
    "request_key",
    "keyctl",
    # Large attack surfaces of the kernel that builds and tests never need.
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "fanotify_init",
    "lookup_dcookie",
    "modify_ldt",
    "uselib",
    "nfsservctl",
    # Other processes' memory and descriptors.
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "kcmp",
    "pidfd_getfd",
    # New namespaces and mounts: the road to capabilities, hence to most kernel exploits.
    "unshare",
    "setns",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "open_by_handle_at",
    "name_to_handle_at",
    # The machine itself.
    "reboot",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "swapon",
    "swapoff",
    "acct",
    "syslog",
    "quotactl",
    "quotactl_fd",
    "iopl",
    "ioperm",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "clock_adjtime",
    "sethostname",
    "setdomainname",
    "vhangup",
)
"""Answered with EPERM."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One architecture as seccomp sees it."""

    audit_arch: int
    """`AUDIT_ARCH_*`: what the kernel puts into `seccomp_data.arch`."""
    numbers: Mapping[str, int]
    x32_bit: int = 0
    """Set in the number of every call of the x32 ABI; 0 where there is no such ABI."""


X86_64 = Machine(
    audit_arch=0xC000003E,
    x32_bit=0x40000000,
    numbers=MappingProxyType(
        {
            "ioctl": 16,
            "socket": 41,
            "socketpair": 53,
            "clone": 56,
            "ptrace": 101,
            "syslog": 103,
            "uselib": 134,
            "vhangup": 153,
            "modify_ldt": 154,
            "pivot_root": 155,
            "adjtimex": 159,
            "chroot": 161,
            "acct": 163,
            "settimeofday": 164,
            "mount": 165,
            "umount2": 166,
            "swapon": 167,
            "swapoff": 168,
            "reboot": 169,
            "sethostname": 170,
            "setdomainname": 171,
            "iopl": 172,
            "ioperm": 173,
            "create_module": 174,
            "init_module": 175,
            "delete_module": 176,
            "quotactl": 179,
            "nfsservctl": 180,
            "lookup_dcookie": 212,
            "clock_settime": 227,
            "kexec_load": 246,
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "unshare": 272,
            "perf_event_open": 298,
            "fanotify_init": 300,
            "name_to_handle_at": 303,
            "open_by_handle_at": 304,
            "clock_adjtime": 305,
            "setns": 308,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "kcmp": 312,
            "finit_module": 313,
            "kexec_file_load": 320,
            "bpf": 321,
            "userfaultfd": 323,
            "io_uring_setup": 425,
            "io_uring_enter": 426,
            "io_uring_register": 427,
            "open_tree": 428,
            "move_mount": 429,
            "fsopen": 430,
            "fsconfig": 431,
            "fsmount": 432,
            "fspick": 433,
            "clone3": 435,
            "pidfd_getfd": 438,
            "mount_setattr": 442,
            "quotactl_fd": 443,
        }
    ),
)

AARCH64 = Machine(
    audit_arch=0xC00000B7,
    numbers=MappingProxyType(
        {
            "lookup_dcookie": 18,
            "ioctl": 29,
            "umount2": 39,
            "mount": 40,
            "pivot_root": 41,
            "nfsservctl": 42,
            "chroot": 51,
            "vhangup": 58,
            "quotactl": 60,
            "acct": 89,
            "unshare": 97,
            "kexec_load": 104,
            "init_module": 105,
            "delete_module": 106,
            "clock_settime": 112,
            "syslog": 116,
            "ptrace": 117,
            "reboot": 142,
            "sethostname": 161,
            "setdomainname": 162,
            "settimeofday": 170,
            "adjtimex": 171,
            "socket": 198,
            "socketpair": 199,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "clone": 220,
            "swapon": 224,
            "swapoff": 225,
            "perf_event_open": 241,
            "fanotify_init": 262,
            "name_to_handle_at": 264,
            "open_by_handle_at": 265,
            "clock_adjtime": 266,
            "setns": 268,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "kcmp": 272,
            "finit_module": 273,
            "bpf": 280,
            "userfaultfd": 282,
            "kexec_file_load": 294,
            "io_uring_setup": 425,
            "io_uring_enter": 426,
            "io_uring_register": 427,
            "open_tree": 428,
            "move_mount": 429,
            "fsopen": 430,
            "fsconfig": 431,
            "fsmount": 432,
            "fspick": 433,
            "clone3": 435,
            "pidfd_getfd": 438,
            "mount_setattr": 442,
            "quotactl_fd": 443,
        }
    ),
)

MACHINES: Mapping[str, Machine] = MappingProxyType({"x86_64": X86_64, "aarch64": AARCH64, "arm64": AARCH64})
"""By what `platform.machine()` says."""
