"""Our dataclasses are in use what the standard ones are."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from agentcoord import values
from agentcoord.daemon import compose
from agentcoord.domain.usage import Usage

Maker = Callable[..., Any]
OPTIONS: list[dict[str, bool]] = [
    {},
    {"slots": True},
    {"frozen": True},
    {"frozen": True, "slots": True},
    {"slots": True, "eq": False},
    {"frozen": True, "slots": True, "eq": False},
]


def classes(make: Maker, **options: bool) -> dict[str, Any]:
    """Classes with all that ours have, made by `make`."""

    @make(**options)
    class Plain:
        """Said by the class."""

        first: int
        second: str = "two"
        third: list[int] = dataclasses.field(default_factory=list)
        secret: str = dataclasses.field(default="s", repr=False, compare=False)
        shared: ClassVar[int] = 7

        def doubled(self) -> int:
            return 2 * self.first

    @make(**options)
    class Below(Plain):
        fourth: float = 4.0

    @make(**options)
    class Empty:
        pass

    @make(**options)
    class Checked:
        a: int
        b: int = dataclasses.field(init=False, default=5)
        c: list[int] = dataclasses.field(init=False, default_factory=list)
        d: int = dataclasses.field(kw_only=True, default=1)

        def __post_init__(self) -> None:
            self.c.append(self.a)

    return {each.__name__: each for each in (Plain, Below, Empty, Checked)}


def outcome(act: Callable[[], object]) -> object:
    """What came of it, without where the class was made."""
    try:
        return act()
    except (TypeError, AttributeError) as error:  # FrozenInstanceError is one.
        return type(error), str(error)


def same_hash(make: Maker) -> bool:
    one, other = make(), make()
    return hash(one) == hash(other)


def looks(made: dict[str, Any]) -> list[object]:
    """What can be seen of the classes and their instances."""
    plain, below, empty, checked = (made[name] for name in ("Plain", "Below", "Empty", "Checked"))
    one = plain(1)
    seen: list[Callable[[], object]] = [
        lambda: repr(plain(1, "x", [3])),
        lambda: repr(below(1, fourth=2.0)),
        lambda: repr(empty()),
        lambda: repr(checked(3, d=2)),
        lambda: plain(1) == plain(1, secret="other"),
        lambda: plain(1) == plain(2),
        lambda: plain(1) == below(1),
        lambda: empty() == empty(),
        lambda: plain(1) == 1,
        lambda: hash(empty()) == hash(empty()),
        # Equal by identity alone where `eq` is off, and refused where what is equal can change.
        lambda: same_hash(empty),
        lambda: same_hash(lambda: plain(1)),
        plain,
        lambda: plain(1, "2", [], "s", 5),
        lambda: plain(1, fifth=5),
        lambda: checked(1, 2),
        lambda: setattr(one, "first", 9),
        # What the standard one raises here differs between versions of Python.
        lambda: type(outcome(lambda: setattr(one, "unknown", 9))),
        lambda: delattr(one, "second"),
        lambda: (one.first, one.doubled(), one.shared, plain.__doc__),
        lambda: (hasattr(one, "__dict__"), plain.__match_args__, checked.__match_args__),
        lambda: repr(dataclasses.replace(one, second="new")),
        lambda: dataclasses.asdict(below(1, third=[2])),
        lambda: [field.name for field in dataclasses.fields(below)],
        lambda: copy.copy(plain(1, "c")) == plain(1, "c"),
        lambda: repr(copy.deepcopy(plain(1, third=[1]))),
        lambda: plain(1).third is plain(1).third,
        lambda: plain.__init__.__qualname__,
    ]
    return [outcome(act) for act in seen]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_they_do_what_the_standard_ones_do(options: dict[str, bool]) -> None:
    ours = looks(classes(values.dataclass, **options))
    standard = looks(classes(dataclasses.dataclass, **options))
    assert [str(each) for each in ours] == [str(each) for each in standard]


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Plain", (1,), {}),
    ("Plain", (1, "2", [3]), {"secret": "x"}),
    ("Plain", (), {"first": 1, "third": [2]}),
    ("Plain", (), {}),
    ("Plain", (1, "2", [], "s", 5), {}),
    ("Plain", (1,), {"first": 2}),
    ("Plain", (1,), {"fifth": 5}),
    ("Plain", (1,), {"shared": 8}),
    ("Below", (1,), {"fourth": 2.0}),
    ("Empty", (), {}),
    ("Empty", (1,), {}),
    ("Checked", (3,), {"d": 2}),
    ("Checked", (3, 4), {}),
    ("Checked", (3,), {"b": 4}),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_the_first_instance_is_made_as_every_other(
    call: tuple[str, tuple[Any, ...], dict[str, Any]], options: dict[str, bool]
) -> None:
    name, args, named = call

    def made(make: Maker) -> list[str]:
        cls = classes(make, **options)[name]
        one, other = (outcome(lambda: cls(*args, **named)) for _ in range(2))
        names = [field.name for field in dataclasses.fields(cls)]
        return [str(each) for one in (one, other) for each in (one, *(getattr(one, n, None) for n in names))]

    assert made(values.dataclass) == made(dataclasses.dataclass)


@pytest.mark.parametrize("make", [values.dataclass, dataclasses.dataclass])
def test_a_class_below_that_is_none_of_these_is_begun_as_ever(make: Maker) -> None:
    class Below(classes(make)["Plain"]):  # type: ignore[misc]
        def __post_init__(self) -> None:
            raise AssertionError("the class above has none to call")

    assert [Below(1).first, Below(2).first] == [1, 2]


def test_one_instance_costs_no_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[type] = []
    compile_init = values._compiled_init

    def noted(cls: type, *args: Any, **named: Any) -> Callable[..., None]:
        compiled.append(cls)
        return compile_init(cls, *args, **named)

    monkeypatch.setattr(values, "_compiled_init", noted)
    plain = classes(values.dataclass)["Plain"]
    plain(1)
    assert compiled == []
    plain(2)
    plain(3)
    assert compiled == [plain]


def test_a_frozen_one_travels_through_pickle() -> None:
    usage = Usage(1, 2, 3, 4)
    assert pickle.loads(pickle.dumps(usage)) == usage
    assert len({usage, Usage(1, 2, 3, 4)}) == 1


def test_one_that_holds_itself_can_still_be_shown() -> None:
    made = classes(values.dataclass, slots=True)["Plain"](1)
    made.third.append(made)
    assert "..." in repr(made)


def test_the_daemon_is_made_of_these() -> None:
    """A class made by the standard decorator costs a millisecond before the daemon is ready."""
    assert compose.__name__ in sys.modules
    standard = sorted(
        f"{module.__name__}.{name}"
        for module in list(sys.modules.values())
        if module.__name__.startswith(("agentcoord.daemon", "agentcoord.store", "agentcoord.agent"))
        for name, made in vars(module).items()
        if isinstance(made, type)
        and made.__module__ == module.__name__
        and "__dataclass_params__" in made.__dict__
        and made.__dict__["__dataclass_params__"].init
    )
    assert standard == []
