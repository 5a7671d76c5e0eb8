"""Dataclasses that are made quickly: the same in use as the standard ones, for a quarter of their making.

Theory of operation. `dataclasses.dataclass` writes five methods a class as text and compiles each. The daemon
is made of hundreds of such classes, and that was more than a third of its time until it is ready. Here the
standard decorator only finds the fields; equality, hash and representation are closures over an
`attrgetter`, and `__init__`, the one method that must be compiled to be fast, is compiled when the second
instance is made: of most classes that are used until it is ready there is one. A type checker sees the
standard decorator. Deliberately absent: ordering, `InitVar`, and whatever else of it no class here uses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - handed on
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, eq=True):  # noqa: ANN001, ANN201 - see above
        """As `dataclasses.dataclass`, with these of its options."""

        def made(plain: type) -> type:
            return _made(plain, frozen=frozen, slots=slots, eq=eq)

        return made if cls is None else made(cls)


def _made(plain: type, *, frozen: bool, slots: bool, eq: bool) -> type:
    own = plain.__dict__
    if not plain.__doc__:
        plain.__doc__ = plain.__name__  # Else the standard decorator looks for a signature to write there.
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(plain)
    fields = dataclasses.fields(made)
    methods: dict[str, Any] = {"__init__": _later_init(made, fields, frozen=frozen, slots=slots)}
    methods["__repr__"] = _repr_of([field.name for field in fields if field.repr])
    if eq:
        key = _key_of([field.name for field in fields if field.compare])
        methods["__eq__"] = _eq_by(key)
        if frozen:
            methods["__hash__"] = _hash_by(key)
        elif "__hash__" not in own:
            # What `__eq__` in a class body would have done.
            made.__hash__ = None
    if frozen:
        methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        if slots:
            methods |= {"__getstate__": _getstate, "__setstate__": _setstate}
    for name, method in methods.items():
        if name not in own:
            setattr(made, name, method)
    return cast("type", made)


def _later_init(
    cls: type, fields: tuple[dataclasses.Field[Any], ...], *, frozen: bool, slots: bool
) -> Callable[..., None]:
    """An `__init__` that does without for one instance, then puts the compiled one in its place."""
    begun = False

    def init(self: object, *args: object, **named: object) -> None:
        nonlocal begun
        if not begun:
            begun = True
            given = _given(fields, args, named)
            if given is not None:
                _fill(self, fields, given, frozen=frozen, slots=slots)
                if hasattr(cls, "__post_init__"):
                    self.__post_init__()  # type: ignore[attr-defined]
                return
        compiled = _compiled_init(cls, fields, frozen=frozen, slots=slots)
        cls.__init__ = compiled  # type: ignore[misc]  # mypy means the object's, this is the class's
        compiled(self, *args, **named)

    return init


def _given(
    fields: tuple[dataclasses.Field[Any], ...], args: tuple[object, ...], named: dict[str, object]
) -> dict[str, object] | None:
    """What is given for which field; None when too much or too little is, which the compiled one words."""
    missing = dataclasses.MISSING
    places = [field.name for field in fields if field.init and not field.kw_only]
    if len(args) > len(places):
        return None
    given = dict(zip(places, args, strict=False))
    if not given.keys().isdisjoint(named):
        return None
    given |= named
    taken = [field for field in fields if field.init]
    if not given.keys() <= {field.name for field in taken}:
        return None
    needed = (f.name for f in taken if f.default is missing and f.default_factory is missing)
    return given if all(name in given for name in needed) else None


def _fill(
    self: object,
    fields: tuple[dataclasses.Field[Any], ...],
    given: dict[str, object],
    *,
    frozen: bool,
    slots: bool,
) -> None:
    """Set what the compiled `__init__` sets, one by one."""
    missing = dataclasses.MISSING
    put = object.__setattr__ if frozen else setattr
    for field in fields:
        if field.name in given:
            put(self, field.name, given[field.name])
        elif field.default_factory is not missing:
            put(self, field.name, field.default_factory())
        elif field.default is not missing and (field.init or slots):
            put(self, field.name, field.default)


def _compiled_init(
    cls: type, fields: tuple[dataclasses.Field[Any], ...], *, frozen: bool, slots: bool
) -> Callable[..., None]:
    missing = dataclasses.MISSING
    names: dict[str, Any] = {"_set": object.__setattr__, "_missing": missing}
    parameters: list[str] = ["self"]
    named: list[str] = []
    body: list[str] = []
    for field in fields:
        name = value = field.name
        default = ""
        if field.default_factory is not missing:
            names[f"_make_{name}"] = field.default_factory
            value = f"_make_{name}()" + (f" if {name} is _missing else {name}" if field.init else "")
            default = "=_missing"
        elif field.default is not missing:
            names[f"_default_{name}"] = field.default
            default = f"=_default_{name}"
            value = name if field.init else default[1:]
        if field.init:
            (named if field.kw_only else parameters).append(name + default)
        elif value == name or (value.startswith("_default_") and not slots):
            continue  # Nothing to set: it has no value yet, or the class's own.
        if frozen and slots:
            names[f"_set_{name}"] = getattr(cls, name).__set__  # A third quicker than asking for it by name.
            body.append(f"_set_{name}(self, {value})")
        else:
            body.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    all_parameters = ", ".join([*parameters, *(["*", *named] if named else [])])
    source = f"def __init__({all_parameters}):\n " + "\n ".join(body or ["pass"])
    exec(source, names)  # noqa: S102 - the text is made of the fields' own names, as the standard one's is
    init: Callable[..., None] = names["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__module__ = cls.__module__
    return init


def _key_of(names: list[str]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else lambda _: ()


def _eq_by(key: Callable[[Any], Any]) -> Callable[[object, object], bool]:
    def eq(self: object, other: object) -> bool:
        return bool(key(self) == key(other)) if other.__class__ is self.__class__ else NotImplemented

    return eq


def _hash_by(key: Callable[[Any], Any]) -> Callable[[object], int]:
    def hashed(self: object) -> int:
        return hash((key(self),))

    return hashed


def _repr_of(names: list[str]) -> Callable[[object], str]:
    @recursive_repr()
    def represented(self: object) -> str:
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({said})"

    return represented


def _refuse_to_set(self: object, name: str, value: object) -> None:
    if _is_frozen(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(self, name, value)


def _refuse_to_delete(self: object, name: str) -> None:
    if _is_frozen(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
    object.__delattr__(self, name)


def _is_frozen(self: object, name: str) -> bool:
    """All of a dataclass is; of a class that only inherits from one, the inherited fields."""
    return "__dataclass_fields__" in type(self).__dict__ or name in type(self).__dataclass_fields__  # type: ignore[attr-defined]


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _setstate(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
