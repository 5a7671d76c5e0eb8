"""Values of settings: what a field's type takes from a TOML file, and from a variable's text.

Separate from `load`, which knows where a value came from. Each function returns a converter whose errors say
what the field takes. Deliberately absent: which values are possible (`bounds`).
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any


def from_toml(hint: Any) -> Callable[[Any], Any]:
    """Return a converter that takes a TOML value of the field's type and refuses all else."""

    def convert(value: Any) -> Any:
        if hint is bool and isinstance(value, bool):
            return value
        if hint is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if hint is str and isinstance(value, str):
            return value
        if _is_text_list(hint) and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            return tuple(value)
        raise TypeError(f"must be {_words_for(hint)}, not {value!r}")

    return convert


def from_text(hint: Any) -> Callable[[str], Any]:
    """Return a converter from an environment variable's text; lists are separated by commas."""

    def convert(text: str) -> Any:
        if hint is bool:
            if text.lower() in ("1", "true", "yes", "on"):
                return True
            if text.lower() in ("0", "false", "no", "off", ""):
                return False
            raise ValueError(f"must be 1 or 0, not {text!r}")
        if _is_text_list(hint):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        try:
            return hint(text)
        except ValueError:
            raise ValueError(f"must be {_words_for(hint)}, not {text!r}") from None

    return convert


def _is_text_list(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple


def _words_for(hint: Any) -> str:
    if _is_text_list(hint):
        return "a list of texts"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a text in quotes"}[hint]
