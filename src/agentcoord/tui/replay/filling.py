"""Rows of an older recording with what a row has today: fields that did not exist then are empty. Pure."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

from agentcoord.wire.messages import StatusView, TaskView, WorkerView


def task_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A TaskView, whole."""
    return {**_empty(TaskView), **row}


def worker_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A WorkerView, whole."""
    return {**_empty(WorkerView), **row}


def status_of(status: Mapping[str, Any]) -> dict[str, Any]:
    """A StatusView, whole."""
    return {**_empty(StatusView), **status}


@cache
def _empty(view: type) -> Mapping[str, Any]:
    hints = typing.get_type_hints(view)
    required = typing.cast("frozenset[str]", getattr(view, "__required_keys__", frozenset()))
    return {name: _nothing(hint) for name, hint in hints.items() if name in required}


def _nothing(hint: Any) -> Any:
    """The empty value of a type: None where it may be, else nought, no text, no rows."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return None
    if typing.is_typeddict(hint):
        return dict(_empty(hint))
    return (origin or hint)()
