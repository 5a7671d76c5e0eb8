"""Where things are: the repository's root, the state folder, the socket.

Standard library only and cheap to import. Nothing is created by looking; `ProjectPaths.make()` creates the
folders. The commands that must answer at once know only `whereabouts`, on which this is built.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from agentcoord.config.whereabouts import root_above, runtime_dir
from agentcoord.domain.ids import ProjectId, project_id_of
from agentcoord.errors import ConfigError
from agentcoord.values import dataclass

CONFIG_NAME = "agentcoord.toml"
SOCKET_PATH_BYTES = 103 if sys.platform == "darwin" else 107
"""The longest Unix socket path that the kernel takes."""


def find_root(start: Path) -> Path:
    """Return the real path of the git working tree that `start` is in.

    Raises ConfigError in words when there is none, or when the repository is bare.
    """
    return Path(root_above(os.fspath(start)))


@dataclass(frozen=True, slots=True)
class ProjectPaths:
    """Every place outside the repository that belongs to one project."""

    root: Path
    """The repository's real path."""
    project_id: ProjectId
    state_dir: Path
    """State, journal, blobs, logs, transcripts: `$XDG_STATE_HOME/agentcoord/<project id>`."""
    runtime_dir: Path
    """The sockets' folder, mode 0700."""

    @classmethod
    def of(cls, root: Path, env: Mapping[str, str]) -> ProjectPaths:
        """Compute the places for the repository at `root` from `XDG_STATE_HOME` and `XDG_RUNTIME_DIR`.

        Raises ConfigError when the user has no home folder and names no other.
        """
        real = root.resolve()
        project = project_id_of(os.fspath(real))
        named = env.get("XDG_STATE_HOME", "")
        # A relative one is to be ignored, says the XDG Base Directory Specification; here it would lead into
        # the repository.
        state_home = Path(named) if named.startswith("/") else _home_of(env) / ".local" / "state"
        return cls(real, project, state_home / "agentcoord" / project, Path(runtime_dir(env)))

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.runtime_dir / f"{self.project_id}.sock"

    @property
    def redis_socket(self) -> Path:
        """The embedded server's socket."""
        return self.runtime_dir / f"{self.project_id}.redis"

    @property
    def lock_file(self) -> Path:
        """Held with flock by the daemon; who holds it is the daemon."""
        return self.state_dir / "daemon.lock"

    @property
    def socket_lock_file(self) -> Path:
        """Held with flock by who may bind the control socket, whatever the state folder; there only then."""
        return self.runtime_dir / f"{self.project_id}.lock"

    @property
    def identity_file(self) -> Path:
        """What the running daemon says of itself (pid, version), for messages alone."""
        return self.state_dir / "daemon.json"

    @property
    def supervisor_file(self) -> Path:
        """Which process starts the daemon again. There while it does."""
        return self.state_dir / "supervisor.json"

    @property
    def wanted_file(self) -> Path:
        """Since when the daemon is wanted that runs, or died. There until an end in order."""
        return self.state_dir / "wanted.json"

    @property
    def given_up_file(self) -> Path:
        """One line: since when and why the supervisor waits, or gave up. There until the next start."""
        return self.state_dir / "given-up"

    @property
    def told_to_stop_file(self) -> Path:
        """The pid of a daemon that was told to stop. There until the next start."""
        return self.state_dir / "told-to-stop"

    @property
    def log_file(self) -> Path:
        return self.state_dir / "logs" / "agentcoordd.jsonl"

    @property
    def startup_log(self) -> Path:
        """Standard error of the background process: what went wrong before logging began."""
        return self.state_dir / "logs" / "startup.log"

    @property
    def redis_dir(self) -> Path:
        return self.state_dir / "redis"

    @property
    def workspaces_dir(self) -> Path:
        return self.state_dir / "workspaces"

    @property
    def kept_file(self) -> Path:
        """What is put back when Redis has lost its memory."""
        return self.state_dir / "kept.jsonl"

    @property
    def journal_dir(self) -> Path:
        return self.state_dir / "journal"

    @property
    def transcripts_dir(self) -> Path:
        return self.state_dir / "transcripts"

    @property
    def drafts_dir(self) -> Path:
        """What models answered when a plan was asked for."""
        return self.state_dir / "drafts"

    @property
    def nights_dir(self) -> Path:
        """Recordings of runs, one a run, for the dashboard to play again."""
        return self.state_dir / "nights"

    @property
    def checks_dir(self) -> Path:
        """Stored output of check runs."""
        return self.state_dir / "checks"

    @property
    def config_file(self) -> Path:
        return self.root / CONFIG_NAME

    def make(self) -> None:
        """Create the folders, for the owner alone.

        Raises ConfigError when one cannot be made, is somebody else's, or the socket's path is too long, and
        before anything is made when the state would be in the repository.
        """
        if self.state_dir.resolve().is_relative_to(self.root):
            raise ConfigError(
                f"the state folder would be at {self.state_dir}, inside the repository {self.root}",
                mend="set XDG_STATE_HOME to a folder outside the repository",
            )
        for folder in (self.state_dir, self.runtime_dir):
            _make_private(folder)
        for folder in (self.log_file.parent, self.redis_dir, self.workspaces_dir, self.journal_dir):
            _make_private(folder)
        for folder in (self.transcripts_dir, self.checks_dir, self.nights_dir):
            _make_private(folder)
        for path in (self.socket, self.redis_socket):
            length = len(os.fsencode(path))
            if length > SOCKET_PATH_BYTES:
                raise ConfigError(
                    f"the socket path {path} is {length} bytes long; the system takes {SOCKET_PATH_BYTES}",
                    mend="set XDG_RUNTIME_DIR to a shorter folder",
                )


def _home_of(env: Mapping[str, str]) -> Path:
    """The user's home folder: `HOME`, or what the system has for the account where that names none."""
    if (home := env.get("HOME", "")).startswith("/"):
        return Path(home)
    import pwd

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError as error:
        raise ConfigError(
            "there is no home folder: HOME is not set, and this user has no account",
            mend="set HOME, or XDG_STATE_HOME, to a folder of yours",
        ) from error


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise ConfigError(
                f"{folder} is not a folder of yours",
                mend=f"move {folder} away, or set XDG_STATE_HOME and XDG_RUNTIME_DIR to folders of yours",
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"cannot make the folder {folder}: {error.strerror}",
            mend="give it back to your user, free some disk, or set XDG_STATE_HOME and XDG_RUNTIME_DIR",
        ) from error
