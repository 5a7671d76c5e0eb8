"""Settings from `agentcoord.toml`, then the environment, then flags; later wins.

An unknown key, a wrong type or an impossible value is told with the nearest known key; all
problems of a file at once. Secrets are never read from the file.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import stat
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agentcoord.config.bounds import BOUNDS, CHOICES, FOLDER_INSIDE, NOTICES, TIME_OF_DAY
from agentcoord.config.field_types import from_text, from_toml
from agentcoord.config.paths import CONFIG_NAME
from agentcoord.config.root_rule import ALLOW_ROOT_VARIABLE
from agentcoord.config.sections import (
    BudgetSection,
    ChecksSection,
    MetricsSection,
    ModelsSection,
    NotifySection,
    ProjectSection,
    RedisSection,
    RetriesSection,
    Settings,
    UndoSection,
)
from agentcoord.domain.ids import TASK_ID_PATTERN
from agentcoord.domain.ladder import Rung
from agentcoord.domain.worker import MISSION_WORKERS, Role, WorkerSpec, worker_of
from agentcoord.errors import ConfigError

SECTIONS: dict[str, type] = {
    "project": ProjectSection,
    "checks": ChecksSection,
    "models": ModelsSection,
    "retries": RetriesSection,
    "budget": BudgetSection,
    "redis": RedisSection,
    "metrics": MetricsSection,
    "notify": NotifySection,
    "undo": UndoSection,
}
ENV_PREFIX = "AGENTCOORD_"
OTHER_VARIABLES = frozenset({ALLOW_ROOT_VARIABLE, "AGENTCOORD_COMPLETION_MS"})
"""Variables of ours that are no settings."""
PERSONAL = frozenset({"notify.apprise", "notify.command", "notify.url"})
"""Settings that only a person may make: they run, or tell, outside of the sandbox."""
_LEAST_CONTEXT_TOKENS = 8_000
_SETTING = re.compile(r"[a-z]+\.[a-z_]+")
_FLAG = "flag"
_SECRET = re.compile(r"(api[_-]?key|auth[_-]?token|secret|password)", re.IGNORECASE)


def load_settings(
    root: Path, env: Mapping[str, str], flags: Mapping[str, object] = MappingProxyType({})
) -> Settings:
    """Read the settings of the repository at `root`. `flags` maps `section.key` to a value.

    Raises ConfigError that lists every problem. A missing file means the defaults; one that is there and
    cannot be read is an error, and so is a link that leads nowhere.
    """
    return read_settings(_text_of(root / CONFIG_NAME), env, flags)


def _text_of(path: Path) -> str:
    """What the file says; nothing when there is none."""
    mend = f"make {CONFIG_NAME} a readable file in UTF-8, or remove it for the defaults"
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # A pipe that nobody writes would be waited for.
            raise ConfigError(f"cannot read {path}: it is no file", mend=mend)
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        if path.is_symlink():
            words = f"cannot read {path}: it is a link to {path.readlink()}, which is not there"
            raise ConfigError(words, mend=mend) from error
        return ""
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", mend=mend) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: {error}", mend=mend) from error


def read_settings(
    text: str, env: Mapping[str, str], flags: Mapping[str, object] = MappingProxyType({})
) -> Settings:
    """As `load_settings`, from the file's text."""
    reading = _Reading()
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # Also numbers and nesting beyond what Python reads.
        raise ConfigError(
            f"{CONFIG_NAME} is not valid TOML: {error}", mend=f"mend that line of {CONFIG_NAME}"
        ) from error
    for name in document.keys() - SECTIONS.keys() - {"worker"}:
        reading.say(f"unknown section [{name}]{_nearest(name, [*SECTIONS, 'worker'])}")
    raw = {name: reading.table(document, name) for name in SECTIONS}
    values = {name: reading.from_file(name, section, raw[name]) for name, section in SECTIONS.items()}
    reading.from_environment(values, env)
    reading.from_flags(values, flags)
    workers = reading.workers(document.get("worker"))
    reading.judge(values)
    if reading.problems:
        raise reading.error()
    sections = {name: section(**values[name]) for name, section in SECTIONS.items()}
    return Settings(**sections, workers=workers, origins=MappingProxyType(reading.origins))


@cache
def _hints_of(section: type) -> Mapping[str, Any]:
    """The settings of a section, and what each is; found out once, not for each source again."""
    return MappingProxyType(typing.get_type_hints(section))


class _Reading:
    """Gathers values, where they came from, and what is wrong with them."""

    def __init__(self) -> None:
        self.problems: dict[str, list[str]] = {}
        """What is wrong, by where it was said: the file, a variable, a flag."""
        self.origins: dict[str, str] = {}

    def say(self, words: str, origin: str = "") -> None:
        """Note a problem; one that begins with a setting's name is of where that was set."""
        if not origin:
            setting = _SETTING.match(words)
            origin = self.origins.get(setting[0], CONFIG_NAME) if setting else CONFIG_NAME
            origin = CONFIG_NAME if origin == "default" else origin
        self.problems.setdefault(origin, []).append(words)

    def error(self) -> ConfigError:
        """All problems as one error."""
        places = {origin: f"{origin} in the environment" for origin in self.problems}
        places |= {CONFIG_NAME: CONFIG_NAME, _FLAG: "the option"}
        told = "; ".join(f"{origin}: {'; '.join(words)}" for origin, words in self.problems.items())
        mend = " and ".join(places[origin] for origin in self.problems)
        return ConfigError(told, mend=f"mend {mend} (agentcoord init --print shows what there is)")

    def table(self, document: Mapping[str, Any], name: str) -> dict[str, Any]:
        found = document.get(name, {})
        if isinstance(found, dict):
            return dict(found)
        self.say(f"[{name}] is not a table")
        return {}

    def from_file(self, name: str, section: type, raw: dict[str, Any]) -> dict[str, Any]:
        hints = dict(_hints_of(section))
        values: dict[str, Any] = {}
        if name == "checks":
            commands = {key: raw.pop(key) for key in list(raw) if key not in hints or key == "commands"}
            for key, command in commands.items():
                if not isinstance(command, str) or not command.strip():
                    self.say(f"checks.{key} is a command in quotes, not {command!r}")
                self.origins[f"checks.{key}"] = CONFIG_NAME
            values["commands"] = MappingProxyType(commands)
            del hints["commands"]
        for key in hints:
            self.origins[f"{name}.{key}"] = "default"
        for key, value in raw.items():
            if _SECRET.search(key):
                self.say(
                    f"{name}.{key} looks like a secret; this file is committed: put it in the environment"
                )
            elif f"{name}.{key}" in PERSONAL:
                variable = f"{ENV_PREFIX}{name}_{key}".upper()
                self.say(f"{name}.{key} is yours and not the repository's: set {variable} instead")
            elif key not in hints:
                self.say(f"unknown key {name}.{key}{_nearest(key, hints)}")
            else:
                self._take(values, name, key, from_toml(hints[key]), value, CONFIG_NAME)
        return values

    def from_environment(self, values: dict[str, dict[str, Any]], env: Mapping[str, str]) -> None:
        known = {
            f"{ENV_PREFIX}{name}_{key}".upper(): (name, key, hint)
            for name, section in SECTIONS.items()
            for key, hint in _hints_of(section).items()
            if key != "commands"
        }
        for variable, text in env.items():
            if variable in known:
                name, key, hint = known[variable]
                self._take(values[name], name, key, from_text(hint), text, variable)
            elif variable.startswith(ENV_PREFIX) and variable not in OTHER_VARIABLES:
                near = _nearest(variable, [*known, *OTHER_VARIABLES])
                self.say(f"unknown variable{near}", variable)

    def from_flags(self, values: dict[str, dict[str, Any]], flags: Mapping[str, object]) -> None:
        for dotted, value in flags.items():
            name, _, key = dotted.partition(".")
            hint = _hints_of(SECTIONS[name])[key]
            self._take(values[name], name, key, from_toml(hint), value, _FLAG)

    def _take(
        self,
        values: dict[str, Any],
        name: str,
        key: str,
        convert: Callable[[Any], Any],
        value: object,
        origin: str,
    ) -> None:
        try:
            values[key] = convert(value)
        except (TypeError, ValueError) as error:
            self.say(f"{name}.{key}: {error}", origin)
        else:
            self.origins[f"{name}.{key}"] = origin

    def workers(self, raw: object) -> tuple[WorkerSpec, ...]:
        if raw is None:
            return MISSION_WORKERS
        if not isinstance(raw, list) or not raw or not all(isinstance(entry, dict) for entry in raw):
            self.say("workers are written as [[worker]]")
            return MISSION_WORKERS
        found: dict[str, WorkerSpec] = {}
        for entry in raw:
            name, role, tags = entry.get("name", ""), entry.get("role", ""), entry.get("tags")
            for key in entry.keys() - {"name", "role", "tags"}:
                self.say(f"worker {name!r}: unknown key {key!r}{_nearest(key, ('name', 'role', 'tags'))}")
            if not isinstance(name, str) or not TASK_ID_PATTERN.fullmatch(name):
                self.say(f"worker name {name!r} is not 1 to 64 letters, digits, '.', '_' or '-'")
            elif name in found:
                self.say(f"two workers are called {name!r}")
            elif role not in list(Role):
                self.say(
                    f"worker {name!r}: role {role!r} is none of {', '.join(Role)}{_nearest(str(role), Role)}"
                )
            elif tags is not None and not (
                isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)
            ):
                self.say(f"worker {name!r}: tags is a list of texts, not {tags!r}")
            else:
                found[name] = worker_of(name, Role(role), tags)
        return tuple(found.values())

    def judge(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Say what is well-formed but impossible."""
        for (name, key), (least, most) in BOUNDS.items():
            value = values[name].get(key)
            if value is not None and not least <= value:
                self.say(f"{name}.{key} is {value}; it must be {least} or more")
            elif value is not None and not value <= most:
                self.say(f"{name}.{key} is {value}; it must be {most} or less")
        for (name, key), known in CHOICES.items():
            chosen = values[name].get(key, known[0])
            if chosen not in known:
                words = ", ".join(word for word in known if word)
                self.say(f"{name}.{key} {chosen!r} is none of {words}{_nearest(chosen, known)}")
        if values["models"].get("ladder") == ():
            self.say("models.ladder names no model")
        if 0 < (window := values["models"].get("context_tokens", 0)) < _LEAST_CONTEXT_TOKENS:
            self.say(f"models.context_tokens is {window}; less than {_LEAST_CONTEXT_TOKENS} hold no task")
        for entry in values["models"].get("ladder", ()):
            try:
                Rung.of(entry, "")
            except ValueError as error:
                self.say(f"models.ladder: {error}")
        for key in ("junit_files", "unread_files"):
            for glob in values["checks"].get(key, ()):
                if not glob.strip("/") or glob.startswith("/") or ".." in glob.split("/"):
                    self.say(f"checks.{key}: {glob!r} is no glob of paths inside the repository")
        for folder in values["project"].get("share", ()):
            if not re.fullmatch(FOLDER_INSIDE, folder):
                self.say(
                    f"project.share: {folder!r} is no folder inside the repository; put a link to one "
                    "that is elsewhere there (ln -s), and name that"
                )
        for word in values["notify"].get("events", ()):
            if word not in NOTICES:
                self.say(f"notify.events: {word!r} is none of {', '.join(NOTICES)}{_nearest(word, NOTICES)}")
        deadline = values["budget"].get("deadline", "")
        if deadline and not re.fullmatch(TIME_OF_DAY, deadline):
            self.say(f"budget.deadline {deadline!r} is not a time such as 07:00")


def _nearest(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def settings_table(settings: Settings) -> list[tuple[str, object, str]]:
    """Return (`section.key`, value, origin) for every setting, in the order of the file."""
    rows: list[tuple[str, object, str]] = []
    for name, section in SECTIONS.items():
        value = getattr(settings, name)
        for item in dataclasses.fields(section):
            held = getattr(value, item.name)
            if isinstance(held, types.MappingProxyType):
                rows += [
                    (f"{name}.{key}", held[key], settings.origins.get(f"{name}.{key}", "")) for key in held
                ]
            else:
                rows.append(
                    (f"{name}.{item.name}", held, settings.origins.get(f"{name}.{item.name}", "default"))
                )
    return rows
