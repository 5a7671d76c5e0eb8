"""Making frozen dataclasses with many fields as quickly as ordinary ones.

Separate because it is a matter of speed alone, and only for whoever makes thousands a second: a frozen
dataclass sets each field through `object.__setattr__`, which for the tasks of a busy queue was a tenth of all
the work of our process. Deliberately absent: any other way to change what is frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, field, fields, make_dataclass
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


def quick_maker(made_like: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return what makes the same as calling this frozen dataclass does.

    The instance is filled as one of an ordinary class with the same slots, from which Python lets it pass to
    the frozen one. The dataclass has slots, no bases and no `__post_init__`, or making raises TypeError.
    """
    frozen: Any = made_like
    ordinary: Any = make_dataclass(
        frozen.__name__, [(each.name, Any, _as_declared(each)) for each in fields(frozen)], slots=True
    )

    def make(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        made = ordinary(*args, **kwargs)
        made.__class__ = frozen
        return made  # type: ignore[no-any-return]  # It is one by now.

    return make


def _as_declared(declared: Field[Any]) -> Any:
    if declared.default_factory is not MISSING:
        return field(default_factory=declared.default_factory)
    return field() if declared.default is MISSING else field(default=declared.default)
