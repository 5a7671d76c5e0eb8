"""Confined commands: what they may see and use, and the backends that hold them to it."""

from agentcoord.sandbox.backend import OnOutput, RefusingSandbox, Sandbox
from agentcoord.sandbox.choose import SystemPaths, choose_sandbox
from agentcoord.sandbox.policy import KilledBy, Limits, Policy, ProbeReport, Result
from agentcoord.sandbox.toolchain import toolchain_prefixes

__all__ = [
    "KilledBy",
    "Limits",
    "OnOutput",
    "Policy",
    "ProbeReport",
    "RefusingSandbox",
    "Result",
    "Sandbox",
    "SystemPaths",
    "choose_sandbox",
    "toolchain_prefixes",
]
