"""What the commands of one private copy may see.

Separate from `adapters`, which only a task needs: checks run in proof copies too, and those can before any
task does.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from agentcoord.sandbox.policy import Policy
from agentcoord.workspace.pool import ProofTree, Workspace
from agentcoord.workspace.repository import Repository


def policy_for(copy: Workspace | ProofTree, repo: Repository, toolchains: Collection[Path]) -> Policy:
    """The frozen view of the file system for the commands of one private copy."""
    return Policy(
        workspace=copy.root,
        mount_at=repo.root,
        shadow_git=copy.shadow_git,
        git_objects=repo.objects_dir,
        read_only=copy.read_only,
        toolchains=tuple(toolchains),
    )
