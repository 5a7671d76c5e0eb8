"""Text that UTF-8 cannot say, put into words that a request can carry.

A file name that is not UTF-8 comes along in lists of files, results of tools and output of checks as lone
surrogates (PEP 383), and half of a surrogate pair may come from a model. Separate from `client`, which sends;
what is kept and shown elsewhere stays as it was.
"""

from __future__ import annotations

from typing import Any


def sayable(value: Any) -> Any:
    """Return `value`, made of JSON's parts, with nothing in its texts that cannot be sent.

    A byte of a name reads `\\xe9`, as bash and git write it; other halves become U+FFFD. Parts in which
    there is nothing to change are returned as they are.
    """
    match value:
        case str():
            return value if value.isascii() else _said(value)
        case dict():
            said = {key: sayable(held) for key, held in value.items()}
            return value if all(said[key] is held for key, held in value.items()) else said
        case list() | tuple():
            items = [sayable(held) for held in value]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        case _:
            return value


def _said(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(_sign(sign) if "\ud800" <= sign <= "\udfff" else sign for sign in text)
    return text


def _sign(half: str) -> str:
    return f"\\x{ord(half) - 0xDC00:02x}" if "\udc80" <= half <= "\udcff" else "\ufffd"
