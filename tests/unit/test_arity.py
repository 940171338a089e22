"""Whether arguments fit: the same answer as the function itself gives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.arity import Arity, is_coroutine


def _none() -> None: ...
def _two(a: Any, b: Any = 0) -> None: ...
def _only(a: Any, /, b: Any, *, c: Any, d: Any = 0) -> None: ...
def _open(a: Any, *args: Any, **kwargs: Any) -> None: ...
def _named(*args: Any, x: Any) -> None: ...
def _words(a: Any, /, **kwargs: Any) -> None: ...
async def _coroutine(a: Any) -> None: ...


@functools.wraps(_two)
def _wrapping(*args: Any, **kwargs: Any) -> None:
    _two(*args, **kwargs)


class _Owner:
    def method(self, a: Any) -> None: ...

    @classmethod
    def maker(cls, a: Any) -> None: ...


FUNCTIONS = [_none, _two, _only, _open, _named, _words, _coroutine, _wrapping, _Owner().method, _Owner.maker]


def _fits(function: Callable[..., Any], args: list[int], kwargs: dict[str, int]) -> bool:
    try:
        answer = function(*args, **kwargs)
    except TypeError:
        return False
    if answer is not None:
        answer.close()
    return True


@given(
    st.sampled_from(FUNCTIONS),
    st.lists(st.just(1), max_size=4),
    st.dictionaries(st.sampled_from("abcdxz"), st.just(1), max_size=4),
)
def test_it_agrees_with_the_call(function: Callable[..., Any], args: list[int], kwargs: dict[str, int]) -> None:
    arity = Arity(function)
    fits = not arity.refuse(args, kwargs)
    assert fits == _fits(function, args, kwargs)
    if not kwargs:
        assert (arity.least <= len(args) <= arity.most) <= fits


def test_bound_parameters_are_not_the_callers() -> None:
    arity = Arity(_two, bound=1)
    assert arity.refuse((), {}) == ""
    assert "b" not in arity.refuse((1,), {})
    assert "takes 1" in arity.refuse((1, 2), {})


def test_what_has_no_code_takes_anything() -> None:
    assert Arity(print).refuse((1, 2, 3), {"sep": "x", "nope": 1}) == ""
    assert Arity(functools.partial(_two, 1)).refuse((1, 2, 3), {}) == ""


@pytest.mark.parametrize(("function", "expected"), [(_coroutine, True), (_two, False), (print, False)])
def test_coroutine_functions_are_told_apart(function: Callable[..., Any], expected: bool) -> None:
    assert is_coroutine(function) is expected
