"""One POST to a server of the person's choosing, and nothing else: no redirect is followed.

A redirect would be followed by a GET without what was to be told, and count as told; and the headers, with
their tokens, would go to a place that nobody named. Imports no HTTP before something is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from urllib.request import Request


def post(request: Request, timeout_s: float, trust: ssl.SSLContext | None = None) -> None:
    """Send it; `timeout_s` bounds each single wait. Blocking.

    Raises HTTPError for an answer that is no success, a redirect among them, and OSError where none comes.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

    class _Unmoved(HTTPRedirectHandler):
        def redirect_request(self, *_of_the_answer: object) -> None:
            return None

    try:
        with build_opener(_Unmoved, HTTPSHandler(context=trust)).open(request, timeout=timeout_s) as answer:
            answer.read(4096)
    except HTTPError as error:
        error.close()
        raise
    except HTTPException as error:
        raise OSError(f"no HTTP answer: {type(error).__name__}") from error


def kind_of(error: Exception) -> str:
    """What went wrong, for the log: neither the address nor what was answered, which may hold a secret."""
    code = getattr(error, "code", None)
    return f"{type(error).__name__} {code}" if isinstance(code, int) else type(error).__name__
