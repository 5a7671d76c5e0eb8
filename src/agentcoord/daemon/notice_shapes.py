"""What is posted to a URL to tell a notice: each service in the shape that it documents. Pure.

Separate from sending (`notifications`): which service it is, the URL's host says.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from agentcoord.daemon.notices import Notice

if TYPE_CHECKING:
    from urllib.request import Request


def request_for(url: str, notice: Notice) -> Request:
    """The request that tells `notice` to `url`; who is named in that, signs in.

    Raises ValueError for anything but http and https.
    """
    from urllib.request import Request

    if not is_web_address(url):
        raise ValueError("notify.url is no http(s) address")
    parts = urlsplit(url)
    host = parts.hostname or ""
    words = f"{notice.title}\n{notice.text}"
    headers = {"Content-Type": "application/json"}
    if host == "ntfy.sh" or host.startswith("ntfy."):
        body = notice.text.encode("utf-8", "replace")
        headers = {"Title": _header(notice.title), "Priority": "high" if notice.urgent else "default"}
    elif host in ("hooks.slack.com", "hooks.slack-gov.com"):
        # These three are Slack's own signs: `<!channel>` in a worker's words would call everybody.
        for sign, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            words = words.replace(sign, written)
        body = json.dumps({"text": words}).encode()
    elif host.removeprefix("canary.").removeprefix("ptb.") in ("discord.com", "discordapp.com"):
        body = json.dumps({"content": words, "allowed_mentions": {"parse": []}}).encode()
    else:
        body = as_json(notice)
    if parts.username is not None:  # urllib would take it for a part of the host's name.
        who = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(who.encode()).decode()}"
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return Request(url, body, headers, method="POST")  # noqa: S310 - looked at above


def is_web_address(url: str) -> bool:
    """Whether something can be posted there."""
    try:
        parts = urlsplit(url)
    except ValueError:  # Brackets that are no address.
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def as_json(notice: Notice) -> bytes:
    """What a command, and any service that we do not know, is told."""
    return json.dumps(
        {"kind": str(notice.kind), "title": notice.title, "text": notice.text, "urgent": notice.urgent}
    ).encode()


def _header(text: str) -> str:
    """A header's value, which is ASCII: other letters as RFC 2047 writes them, which ntfy reads."""
    if text.isascii() and text.isprintable():
        return text
    return f"=?utf-8?B?{base64.b64encode(text.encode('utf-8', 'replace')).decode()}?="
