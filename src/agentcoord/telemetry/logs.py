"""Logs: structlog, one JSON object a line, in a bounded rotating file of the state folder.

Separate so that every room logs facts (`log.info("task_claimed", task=...)`) and only this one
knows where they go. Secrets are cut out here, at the last processor before the file.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
import sys
from collections.abc import Collection, Iterator, MutableMapping
from contextlib import contextmanager
from functools import cache
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import structlog

FILE_BYTES = 10 * 1024 * 1024
FILES_KEPT = 5
_PEM = "[A-Z ]*PRIVATE KEY-----"
_KEYS_BEGIN_AND_GO_ON = {
    "sk-ant-": r"[A-Za-z0-9_-]{8,}",
    "sk-": r"[A-Za-z0-9_-]{32,}",  # OpenAI, and servers that speak like it.
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"), r"[A-Za-z0-9_]{30,}"),
    "glpat-": r"[A-Za-z0-9_-]{20,}",  # GitLab.
    **dict.fromkeys(("xoxa-", "xoxb-", "xoxe-", "xoxp-", "xoxr-", "xoxs-"), r"[A-Za-z0-9-]{20,}"),  # Slack.
    **dict.fromkeys(("sk_live_", "rk_live_"), r"[A-Za-z0-9]{16,}"),  # Stripe.
    **dict.fromkeys(("AKIA", "ASIA"), r"[A-Z0-9]{16}\b"),  # AWS.
    "AIza": r"[A-Za-z0-9_-]{35}\b",  # Google.
    "npm_": r"[A-Za-z0-9]{36}\b",
    "pypi-": r"[A-Za-z0-9_-]{40,}",
    "hf_": r"[A-Za-z0-9]{30,}",  # Hugging Face.
    "Bearer": r"\s+[A-Za-z0-9._~+/-]{12,}=*",
    "-----BEGIN ": rf"{_PEM}(?:(?!-----)[A-Za-z0-9+/=\s:,\\-])*-----END {_PEM}",
}
_ALSO_WITHIN = {"sk-ant-", "Bearer", "-----BEGIN "}
"""These are keys also at the end of a word."""
REDACTED = "[redacted]"


@cache
def _key_shape(begin: str) -> re.Pattern[str]:
    """What keys look like whose makers gave them a shape; words of a program's own do not look so by chance.

    Made when a text has its beginning: all of them together take milliseconds that a start has not.
    """
    # What stands before is looked at last: the search for a pattern that begins with a text is quick.
    before = "" if begin in _ALSO_WITHIN else rf"(?<![A-Za-z0-9]{begin})"
    return re.compile(begin + before + _KEYS_BEGIN_AND_GO_ON[begin])


class Redactor:
    """Replaces secrets in texts: those it is told, and whatever looks like an API key."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets = sorted((s for s in secrets if len(s) >= 6), key=len, reverse=True)

    def clean(self, text: str) -> str:
        """Return `text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        for begin in _KEYS_BEGIN_AND_GO_ON:
            if begin in text:
                text = _key_shape(begin).sub(REDACTED, text)
        return text

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        for key, value in event.items():
            event[key] = self._clean_value(value)
        return event

    def _clean_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, dict):
            return {self._clean_value(key): self._clean_value(held) for key, held in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean_value(held) for held in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.clean(str(value))  # An error, a path: it would be written so later.


class _PrivateFiles(logging.handlers.RotatingFileHandler):
    """Each file of a rotation is the owner's alone."""

    def _open(self) -> TextIOWrapper:
        def opener(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        return open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=opener)


@contextmanager
def logging_to(
    path: Path, *, secrets: Collection[str] = (), terminal: bool = False, file_bytes: int = FILE_BYTES
) -> Iterator[None]:
    """Send every log line to `path` (rotated, 60 MB in all), and to standard error when `terminal`.

    The files are created for the owner alone. Closes what it opened, and leaves structlog as it was.
    """
    handler = _PrivateFiles(
        path, maxBytes=file_bytes, backupCount=FILES_KEPT, encoding="utf-8", errors="backslashreplace"
    )
    path.chmod(0o600)  # It may be of an earlier version.
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        Redactor(secrets),
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    handlers: list[logging.Handler] = [handler]
    if terminal:
        console = logging.StreamHandler(sys.stderr)
        console.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=shared,
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
                ],
            )
        )
        handlers.append(console)
    root = logging.getLogger()
    for each in handlers:
        root.addHandler(each)
    root.setLevel(logging.INFO)
    for noisy in ("httpx2", "httpcore2", "httpx", "httpcore", "asyncio", "anthropic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    before = structlog.get_config()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        for each in handlers:
            root.removeHandler(each)
            each.close()
        structlog.configure(**before)
