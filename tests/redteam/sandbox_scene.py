"""The place of the crime: a repository, its private copy, and things outside that must not change."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from agentcoord.sandbox.policy import Limits, Policy

SECRET = "sk-canary-5b1f0c"
SMALL = Limits(
    timeout_s=20.0,
    output_bytes=64 * 1024,
    processes=60,
    file_bytes=4 * 1024**2,
    memory_tmpfs_bytes=8 * 1024**2,
    memory_bytes=256 * 1024**2,
    grace_s=0.3,
)
_GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")


class Scene:
    """Everything below `root`; `outside` is what a command must neither read nor change."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.outside = self.root / "outside"
        self.repo = self.root / "repo"
        self.workspace = self.root / "workspace"
        self.shadow = self.root / "shadow"
        self.shared = self.root / "repo" / "node_modules"
        for folder in (self.outside, self.repo, self.shadow):
            folder.mkdir(parents=True)
        (self.outside / "canary").write_text(f"alive {SECRET}\n")
        self._make_repository()
        self._make_shadow()
        self.policy = Policy(
            workspace=self.workspace,
            mount_at=self.repo,
            shadow_git=self.shadow,
            git_objects=self.repo / ".git" / "objects",
            read_only={self.shared: self.repo / "packages" / "app" / "node_modules"},
        )
        self._before = self._state()

    def damage(self) -> list[str]:
        """Return what changed outside the private copy since the beginning."""
        after = self._state()
        return sorted(path for path in {*self._before, *after} if self._before.get(path) != after.get(path))

    def _state(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for top in (self.outside, self.repo, self.shadow):
            for folder, folders, files in os.walk(top):
                for name in (*folders, *files):
                    path = Path(folder, name)
                    if path.is_symlink():
                        found[str(path)] = f"-> {path.readlink()}"
                    elif path.is_file():
                        found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
                    else:
                        found[str(path)] = "other"
        return found

    def _make_repository(self) -> None:
        (self.repo / "hello.py").write_text("print('hello')\n")
        (self.repo / ".gitignore").write_text("node_modules\n")
        self._git(self.repo, "init", "-q")
        self._git(self.repo, "add", ".")
        self._git(self.repo, "commit", "-q", "-m", "first")
        self._git(self.repo, "remote", "add", "origin", f"https://user:{SECRET}@192.0.2.1/x.git")
        (self.repo / "hello.py").write_text("print('hello, world')\n")
        self.shared.mkdir()
        (self.shared / "dependency.js").write_text("module.exports = 1\n")
        shutil.copytree(self.repo, self.workspace, ignore=shutil.ignore_patterns(".git", "node_modules"))

    def _make_shadow(self) -> None:
        real = self.repo / ".git"
        for name in ("HEAD", "index"):
            shutil.copy2(real / name, self.shadow / name)
        shutil.copytree(real / "refs", self.shadow / "refs")
        (self.shadow / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = false\n")
        info = self.shadow / "objects" / "info"
        info.mkdir(parents=True)
        (info / "alternates").write_text("/run/objects\n")

    @staticmethod
    def _git(folder: Path, *args: str) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run([*_GIT, *args], cwd=folder, env=environment, check=True, capture_output=True)


class Listeners:
    """What else runs on the host: servers that a command must not reach, which count who came
    nevertheless, and a process with a secret in its environment."""

    def __init__(self, root: Path) -> None:
        self.visitors = 0
        self._sockets: list[socket.socket] = []
        self.port = self._listen(socket.AF_INET, ("127.0.0.1", 0)).getsockname()[1]
        self.abstract = f"agentcoord-canary-{os.getpid()}-{id(self)}"
        self._listen(socket.AF_UNIX, f"\0{self.abstract}")
        self.path = root / "s"
        self._listen(socket.AF_UNIX, str(self.path))
        self._neighbour = subprocess.Popen(["sleep", "300"], env={"AGENTCOORD_CANARY_KEY": SECRET})

    def _listen(self, family: socket.AddressFamily, address: object) -> socket.socket:
        server = socket.socket(family)
        server.bind(address)  # type: ignore[arg-type]  # one of the two shapes of addresses
        server.listen()
        self._sockets.append(server)
        threading.Thread(target=self._serve, args=(server,), daemon=True).start()
        return server

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            self.visitors += 1
            connection.close()

    def close(self) -> None:
        self._neighbour.kill()
        self._neighbour.wait()
        for server in self._sockets:
            # A thread in accept() is not woken by close() alone.
            server.shutdown(socket.SHUT_RDWR)
            server.close()
