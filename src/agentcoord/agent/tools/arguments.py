"""Reading a model's tool input: each accessor returns the right type or says what is wrong.

Pure. Deliberately absent: coercion; a number in quotes is an error that the model can mend.
"""

from __future__ import annotations

from collections.abc import Mapping

from agentcoord.agent.tools.contract import ToolInputError


def text_of(arguments: Mapping[str, object], name: str, default: str | None = None) -> str:
    """Return a string that can be written as UTF-8 and holds no NUL; `default` None: required."""
    value = arguments.get(name)
    if value is None:
        if default is None:
            raise ToolInputError(f"`{name}` is missing")
        return default
    if not isinstance(value, str):
        raise ToolInputError(f"`{name}` must be a string, not {_kind(value)}")
    if "\0" in value:
        raise ToolInputError(f"`{name}` holds a NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ToolInputError(f"`{name}` holds half of a surrogate pair at character {error.start}") from error
    return value


def words_of(arguments: Mapping[str, object], name: str) -> str:
    """Return a required string that is not blank, stripped."""
    value = text_of(arguments, name).strip()
    if not value:
        raise ToolInputError(f"`{name}` is empty")
    return value


def whole_number_of(arguments: Mapping[str, object], name: str) -> int:
    """Return a required whole number."""
    value = arguments.get(name)
    if value is None:
        raise ToolInputError(f"`{name}` is missing")
    if isinstance(value, bool) or not isinstance(value, int):
        raise ToolInputError(f"`{name}` must be a whole number, not {_kind(value)}")
    return value


def flag_of(arguments: Mapping[str, object], name: str) -> bool:
    """Return an optional boolean, by default False."""
    value = arguments.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ToolInputError(f"`{name}` must be true or false, not {_kind(value)}")
    return value


def texts_of(arguments: Mapping[str, object], name: str) -> tuple[str, ...]:
    """Return an optional list of strings, by default empty; blank ones are left out."""
    value = arguments.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ToolInputError(f"`{name}` must be a list of strings, not {_kind(value)}")
    texts = tuple(text_of({name: item}, name, default="").strip() for item in value)
    return tuple(text for text in texts if text)


def line_range_of(arguments: Mapping[str, object], name: str) -> tuple[int, int] | None:
    """Return an optional `[first, last]` of two whole numbers."""
    value = arguments.get(name)
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value):
        return value[0], value[1]
    raise ToolInputError(f"`{name}` must be a list of two whole numbers, such as [1, 40]")


def path_of(arguments: Mapping[str, object], name: str = "path", default: str | None = None) -> str:
    """Return a path without `./` in front and `/` behind; `.` is the root of the repository.

    What leads out of the repository is for `Files` to refuse.
    """
    path = text_of(arguments, name, default).strip()
    if not path:
        raise ToolInputError(f"`{name}` is empty; use `.` for the root of the repository")
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    if len(path) > 1:
        path = path.rstrip("/") or "/"
    return path or "."


def _kind(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object")
