"""The options of a URL: read by name, checked, and none left over."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest

from kernel.errors import ConfigError
from kernel.ports.query import Query

SHOWN = "x://host"


def query(text: str) -> Query:
    return Query(SHOWN, text)


def test_what_is_not_said_has_its_default() -> None:
    options = query("")
    assert options.text("a", "usual") == "usual"
    assert options.texts("b") == ()
    assert options.flag("c", default=True) is True
    assert options.seconds("d", 5.0) == 5.0
    assert options.number("e", 7) == 7
    assert options.choice("f", 1, {"one": 1}) == 1
    assert options.group("g", "g.<name>=text") == {}
    options.finish()


def test_what_is_said_is_read() -> None:
    options = query("a=x%20y&b=p,q,&c=no&d=2.5&e=09&f=two&g.h=1&g.i=&inf=inf")
    assert options.text("a") == "x y"
    assert options.texts("b") == ("p", "q")
    assert options.flag("c", default=True) is False
    assert options.seconds("d", 5.0) == 2.5
    assert options.number("e", 7) == 9
    assert options.choice("f", 1, {"one": 1, "two": 2}) == 2
    assert options.group("g", "g.<name>=text") == {"h": "1", "i": ""}
    assert options.seconds("inf", inf) == inf
    options.finish()


@pytest.mark.parametrize(
    ("text", "read", "says"),
    [
        ("a=", lambda options: options.text("a"), "a= is empty"),
        ("a=1", lambda options: options.flag("a", default=True), "a is yes or no, not '1'"),
        ("a=inf", lambda options: options.seconds("a", 5.0), "a is a number of seconds of at least 0.001, not 'inf'"),
        ("a=nan", lambda options: options.seconds("a", inf), "not 'nan'"),
        ("a=0", lambda options: options.seconds("a", 5.0), "not '0'"),
        ("a=9", lambda options: options.seconds("a", 5.0, 1, 8), "from 1 to 8, not '9'"),
        ("a=-1", lambda options: options.number("a", 1), "a is a whole number of at least 0, not '-1'"),
        ("a=1_0", lambda options: options.number("a", 1), "not '1_0'"),
        ("a=%D9%A1", lambda options: options.number("a", 1), "a whole number"),
        ("a=11", lambda options: options.number("a", 1, 0, 10), "from 0 to 10, not '11'"),
        (f"a={'9' * 5000}", lambda options: options.number("a", 1), "a whole number"),
    ],
)
def test_what_cannot_be(text: str, read: Callable[[Query], object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(query(text))
    assert says in str(caught.value)
    assert str(caught.value).startswith(SHOWN)


def test_an_option_that_nobody_read_is_refused_with_the_known_ones() -> None:
    options = query("leese=secret")
    options.seconds("lease", 1.0)
    options.group("arg", "arg.<name>=value")
    with pytest.raises(ConfigError) as caught:
        options.finish()
    assert str(caught.value) == (
        f"{SHOWN}: unknown option 'leese', did you mean 'lease'?; known are lease=seconds, arg.<name>=value"
    )


def test_an_option_is_there_once() -> None:
    with pytest.raises(ConfigError, match="a= is there twice"):
        query("a=1&a=2")
    assert "a" in query("a=1")
