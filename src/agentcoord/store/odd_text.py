"""Text that is no text: how the store writes what UTF-8 cannot say.

Bytes of file names that are not UTF-8 travel as surrogate escapes and come back as they were. Any other half
of a surrogate pair, which JSON from outside may hold, becomes a question mark: it must stop nobody.
Separate because every way to the server needs the same rule.
"""

from __future__ import annotations

import codecs

ODD_TEXT = "agentcoord.odd-text"
"""Name of the rule, for the `errors` of encoding and decoding."""


def know_odd_text() -> str:
    """Make the rule known to the interpreter, and return its name. Doing it again changes nothing."""
    codecs.register_error(ODD_TEXT, _escaped_or_replaced)
    return ODD_TEXT


def _escaped_or_replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        return codecs.lookup_error("surrogateescape")(error)
    odd = error.object[error.start : error.end]
    return b"".join(bytes([ord(c) - 0xDC00]) if "\udc80" <= c <= "\udcff" else b"?" for c in odd), error.end
