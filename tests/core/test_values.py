"""`made_quickly`: what is made is what `dataclasses` would make, and stays frozen."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, InitVar, dataclass, field, replace

import pytest

from securestream.values import made_quickly


@dataclass(frozen=True)
class _Plain:
    first: int
    second: str = "two"
    third: bytes = field(default=b"3", kw_only=True)
    kept: dict[str, int] = field(default_factory=dict[str, int], init=False, compare=False)
    fixed: int = field(default=4, init=False)


@made_quickly
@dataclass(frozen=True)
class _Quick(_Plain):
    fourth: int = 0

    def __post_init__(self) -> None:
        if self.fourth < 0:
            raise ValueError("negative")


def test_values_and_defaults_are_those_of_the_declaration() -> None:
    made = _Quick(1, fourth=2, third=b"x")
    assert (made.first, made.second, made.third, made.kept, made.fixed, made.fourth) == (1, "two", b"x", {}, 4, 2)
    assert made == _Quick(1, "two", 2, third=b"x")
    assert hash(made) == hash(replace(made))
    assert repr(made) == "_Quick(first=1, second='two', third=b'x', kept={}, fixed=4, fourth=2)"


def test_each_has_its_own_of_what_is_made() -> None:
    assert _Quick(1).kept is not _Quick(1).kept


def test_signature_stays() -> None:
    @dataclass(frozen=True)
    class Same(_Plain):
        fourth: int = 0

    assert inspect.signature(_Quick) == inspect.signature(Same)


def test_copies_and_pickles_are_equal() -> None:
    made = _Quick(1, fourth=2)
    for again in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again == made
        assert vars(again) == vars(made)


def test_a_field_may_have_any_name() -> None:
    """Also one that an initialiser would use itself."""

    @made_quickly
    @dataclass(frozen=True)
    class Named:
        self: int
        values: int
        make_cls: int
        cls: list[int] = field(default_factory=list[int], init=False)

    made = Named(1, 2, 3)
    assert (made.self, made.values, made.make_cls, made.cls) == (1, 2, 3, [])


def test_it_stays_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        _Quick(1).first = 2  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  what must not work


def test_it_checks_itself() -> None:
    with pytest.raises(ValueError, match="negative"):
        _Quick(1, fourth=-1)
    with pytest.raises(TypeError, match=r"_Quick\.__init__\(\) missing"):
        _Quick()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  what must not work


def test_refuses_what_it_cannot_make() -> None:
    @dataclass(frozen=True, slots=True)
    class Slots:
        first: int = 0

    @dataclass
    class Mutable:
        first: int = 0

    @dataclass(frozen=True)
    class Either:
        first: list[int] = field(default_factory=list[int])

    @dataclass(frozen=True)
    class OfSlots(Slots):
        second: int = 0

    @dataclass(frozen=True)
    class Argument:
        first: InitVar[int]

    for cls in (Slots, Mutable, Either, OfSlots, Argument):
        with pytest.raises(TypeError):
            made_quickly(cls)
