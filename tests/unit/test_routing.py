"""Routes and declared queues: which destination a call gets, and what is refused."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.address import Address, Destination
from kernel.configuration.settings import Tasks
from kernel.errors import ConfigError
from kernel.routing import (
    Broadcast,
    Path,
    Queue,
    Route,
    Router,
    Rule,
    parse_queues,
    parse_routes,
    plain_queues,
    plain_routes,
)

NAMES = st.sampled_from(["mail.send", "mail.read", "shop.pay", "shop.mail.send", "pay"])
PATTERNS = st.sampled_from(["mail.send", "mail.*", "*.send", "sho?.*", "pay", "*", "nothing", re.compile(r"shop\.")])
QUEUES = st.sampled_from(["a", "b", "c"])
PRIORITIES = st.none() | st.integers(0, 9)


def route(routes: Any, name: str) -> Route:
    """What routes say of a task of this name."""
    return Router(parse_routes(routes)).path(name).choose(name, (), {}, {})


# -- which one counts ----------------------------------------------------------------------------------------


@given(st.lists(st.tuples(PATTERNS, QUEUES)), NAMES)
def test_in_a_list_the_first_that_matches_counts(routes: list[tuple[Any, str]], name: str) -> None:
    def matches(pattern: Any) -> bool:
        return bool(fnmatchcase(name, pattern) if isinstance(pattern, str) else pattern.match(name))

    expected = next((queue for pattern, queue in routes if matches(pattern)), "")
    assert route(routes, name).queue == expected


@given(st.dictionaries(PATTERNS.filter(lambda pattern: isinstance(pattern, str)), QUEUES), NAMES)
def test_in_a_mapping_an_exact_name_counts_before_patterns(routes: dict[str, str], name: str) -> None:
    if name in routes:
        assert route(routes, name).queue == routes[name]
    else:
        assert route(routes, name).queue == route(list(routes.items()), name).queue


@given(st.lists(st.tuples(PATTERNS, QUEUES)), NAMES)
def test_what_is_printed_can_be_read_again(routes: list[tuple[Any, str]], name: str) -> None:
    rules = parse_routes(routes)
    assert route(plain_routes(rules), name) == route(rules, name)


@given(
    st.lists(st.tuples(PATTERNS, st.builds(Route, QUEUES | st.just(""), PRIORITIES)), max_size=3),
    st.fixed_dictionaries({}, optional={"queue": QUEUES, "priority": st.integers(0, 9)}),
    st.fixed_dictionaries({}, optional={"queue": QUEUES, "priority": st.integers(0, 9)}),
    PRIORITIES,
    st.booleans(),
    NAMES,
)
def test_the_nearest_to_the_call_decides(
    routes: list[tuple[Any, Route]],
    call: dict[str, Any],
    task: dict[str, Any],
    inherited: int | None,
    inherits: bool,
    name: str,
) -> None:
    queues = [Queue("a", priority=1), Queue("b")]
    router = Router(parse_routes(routes), queues, "c", inherit_priority=inherits)
    to = Address(name, task, Tasks(queue="c", priority=2), router).of((), {}, call, inherited)
    found = route(routes, name)
    assert to.queue == (call.get("queue") or task.get("queue") or found.queue or "c")
    layers = [call.get("priority"), task.get("priority"), inherited if inherits else None, found.priority]
    layers += [1 if to.queue == "a" else None, 2]
    assert to.priority == next(layer for layer in layers if layer is not None)


def test_a_function_sees_the_call_and_may_leave_it_to_the_next() -> None:
    seen: list[Any] = []

    def by_size(name: str, args: Any, kwargs: Any, options: Any, **_: Any) -> str | None:
        seen.append((name, args, kwargs, options))
        return "large" if args[0] > 100 else None

    router = Router(parse_routes([by_size, ("resize", "small"), ("*", "rest")]))
    address = Address("resize", {}, Tasks(), router)
    assert address.varies
    assert address.of((500,), {"to": "png"}, {"headers": {}}).queue == "large"
    assert address.of((5,), {}, {}).queue == "small"
    assert seen == [("resize", (500,), {"to": "png"}, {"headers": {}}), ("resize", (5,), {}, {})]


def test_a_function_below_a_match_is_not_asked() -> None:
    router = Router(parse_routes([("mail.*", "mail"), lambda *_: pytest.fail("asked")]))
    assert not Address("mail.send", {}, Tasks(), router).varies


def test_the_usual_destination_is_that_of_a_call_without_options() -> None:
    router = Router(parse_routes({"mail.*": {"queue": "mail", "priority": 7}}))
    address = Address("mail.send", {}, Tasks(), router)
    assert address.usual == address.of((), {}, {}) == Destination("mail", 7)
    assert not address.varies


def test_a_function_may_be_named() -> None:
    rules = parse_routes("shop.routes:choose")
    router = Router(rules, find=lambda path: lambda *_: {"queue": path})
    assert router.path("x").choose("x", (), {}, {}).queue == "shop.routes:choose"
    with pytest.raises(ConfigError, match="is no function"):
        Router(rules, find=lambda path: 3)


def test_what_a_function_returns_is_checked() -> None:
    def wrong(*_: Any) -> Any:
        return {"que": "x"}

    with pytest.raises(ConfigError, match=r"mail: the route that .*wrong gave: a route has queue, .*, not 'que'"):
        Path(Route(), (wrong,)).choose("mail", (), {}, {})


# -- declared queues -----------------------------------------------------------------------------------------


def test_what_is_not_declared_is_refused_where_it_has_to_be() -> None:
    router = Router((), [Queue("mail")], "default", create_missing=False)
    Address("a", {"queue": "mail"}, Tasks(), router)
    address = Address("a", {}, Tasks(), router)
    with pytest.raises(ConfigError, match=r"a: queue 'maill' is not declared; did you mean 'mail'\?"):
        address.of((), {}, {"queue": "maill"})
    with pytest.raises(ConfigError, match="b: queue 'x' is not declared; declared are default, mail"):
        Address("b", {"queue": "x"}, Tasks(), router)
    Address("c", {"queue": "x"}, Tasks(), Router((), [Queue("mail")]))


def test_queues_are_read_in_every_form() -> None:
    queues = parse_queues(["a", {"name": "b", "priority": 3}, Queue("c"), {"name": "d", "broadcast": True}])
    assert queues == (Queue("a"), Queue("b", 3), Queue("c"), Broadcast("d"))
    assert parse_queues([{"name": "e", "exchange": "x"}]) == (Queue("e", exchange="x"),)
    assert parse_queues(plain_queues(queues)) == queues


WRONG_ROUTES = [
    (3, "routes are a mapping or a list"),
    ({"a": 3}, "a route is the name of a queue or a mapping"),
    ({"a": ""}, "a queue's name is a text that is not empty"),
    ({3: "a"}, "the pattern of a route"),
    ({"a": {"queue": 3}}, "a queue's name is a text"),
    ({"a": {"priority": 10}}, "priority is a whole number from 0 to 9"),
    ({"a": {"qeue": "x"}}, "a route has queue, priority, exchange, routing_key, not 'qeue'"),
    ({"a": {"exchange": 3}}, "a route: exchange is a text, not 3"),
    ({"a": {"exchange_type": "topic"}}, "a route has no exchange_type: exchanges, queues and bindings are made at the"),
    ({"re:(": "a"}, "is no regular expression"),
    (["a"], "a list of routes has"),
    ([("a", "b", "c")], "a list of routes has"),
]


@pytest.mark.parametrize(("value", "message"), WRONG_ROUTES)
def test_wrong_routes_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_routes(value)


WRONG_QUEUES = [
    ("mail", "queues are a list"),
    ([3], "a queue is a name or a mapping with a name"),
    (["a", "a"], "queue 'a' is declared twice"),
    ([{"name": "a", "max": 3}], "queue 'a' has name, priority, exchange, routing_key, not 'max'"),
    ([{"name": "a", "broadcast": 1}], "broadcast is true or false, not 1"),
    ([{"name": "a", "broadcast": True, "priority": 3}], "queue 'a' has name, not 'priority'"),
    ([{"name": "a", "priority": "9"}], "priority is a whole number"),
    ([{"name": "a", "routing_key": "k"}], "queue 'a': a routing_key needs an exchange"),
    ([{"name": "a", "broadcast": True, "exchange": "x"}], "queue 'a' has name, not 'exchange'"),
    ([""], "a queue's name is a text"),
]


@pytest.mark.parametrize(("value", "message"), WRONG_QUEUES)
def test_wrong_queues_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_queues(value)


def test_rules_are_taken_as_they_are() -> None:
    rules = (Rule("a", Route("q")),)
    assert parse_routes(rules) == rules
