"""Where calls go: the queues that are declared, and the routes that lead to them by name, pattern or function.

A destination is decided by the first that names it: the call, the task's own options, the routes, the configuration.
Among the routes the first match wins. What depends on the name only is worked out once per task; a function is asked
for every call, because it may look at the arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from kernel.errors import ConfigError

#: Asked for each call: name, positional and keyword arguments, options of the call. None: not mine, ask the next.
RouteFunction = Callable[[str, Sequence[Any], Mapping[str, Any], Mapping[str, Any]], Any]

#: What a regular expression begins with where patterns are texts, in a file.
_REGEX = "re:"
#: What Celery's routes and queues say to a broker that makes what they name.
_BROKER = frozenset({"exchange_type", "queue_arguments", "binding_arguments"})
_GLOB = re.compile(r"[*?\[]")


class Route(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a route says of a call; None and "" leave it to others."""

    queue: str = ""
    #: 0 to 9, 9 the most urgent.
    priority: int | None = None
    #: Where the transport has them: published there, with this key.
    exchange: str = ""
    routing_key: str = ""


class Queue(msgspec.Struct, frozen=True):
    """A queue that is declared: an application that declares queues can refuse all others."""

    name: str
    #: Priority of calls that name none; None: that of the configuration.
    priority: int | None = None
    #: The exchange by which calls come to it, where the transport has exchanges, and their key.
    exchange: str = ""
    routing_key: str = ""

    def __post_init__(self) -> None:
        _text("a queue's name", self.name)
        _priority(f"queue {self.name!r}", self.priority)
        _exchange(f"queue {self.name!r}", self)
        if self.routing_key and not self.exchange:
            raise ValueError(f"queue {self.name!r}: a routing_key needs an exchange")


class Broadcast(msgspec.Struct, frozen=True):
    """A queue of which every worker process that lists it gets its own copy of each call, if it runs at that moment."""

    name: str

    def __post_init__(self) -> None:
        _text("a broadcast queue's name", self.name)


class Rule(msgspec.Struct, frozen=True):
    """One line of the routes: a pattern and its route, or a function."""

    #: An exact name, a glob, or a regular expression, which has to match from the beginning; None: a function.
    pattern: str | re.Pattern[str] | None
    #: A function, or the "module:attribute" of one, until `Router` has it.
    route: Route | RouteFunction | str

    def matches(self, name: str) -> bool:
        """Whether it speaks of the task of this name."""
        pattern = self.pattern
        if isinstance(pattern, str):
            return name == pattern or fnmatchcase(name, pattern)
        return pattern is None or pattern.match(name) is not None


class Path(msgspec.Struct, frozen=True):
    """How calls of one task find their way: functions that are asked first, and what holds when they say nothing."""

    route: Route
    functions: tuple[RouteFunction, ...] = ()

    def choose(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Route:
        """The route of one call; `ConfigError` for an answer that is none."""
        for function in self.functions:
            answer = function(name, args, kwargs, options)
            if answer is not None:
                try:
                    return parse_route(answer)
                except ValueError as error:
                    called = getattr(function, "__qualname__", function)
                    raise ConfigError(f"{name}: the route that {called} gave: {error}") from None
        return self.route


class Router:
    """The routes and queues of one application."""

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        queues: Iterable[Queue | Broadcast] = (),
        default: str = "default",
        create_missing: bool = True,
        inherit_priority: bool = False,
        find: Callable[[str], Any] = str,
    ) -> None:
        """`default`: the queue of calls that no route is for. `find` makes "module:attribute" a function."""
        self._rules = [Rule(None, _called(rule.route, find)) if isinstance(rule.route, str) else rule for rule in rules]
        self.queues = {queue.name: queue for queue in queues}
        self._default = default
        self._closed = not create_missing
        #: A call from inside of a task has that task's priority, unless it or its own task names one.
        self.inherit_priority = inherit_priority

    def path(self, name: str) -> Path:
        """How calls of the task of this name are routed."""
        functions: list[RouteFunction] = []
        for rule in self._rules:
            if not rule.matches(name):
                continue
            if isinstance(rule.route, Route):
                return Path(rule.route, tuple(functions))
            assert not isinstance(rule.route, str)
            functions.append(rule.route)
        return Path(Route(), tuple(functions))

    def check(self, queue: str, what: str) -> None:
        """`ConfigError` for a queue that is not declared, where only declared ones may be used."""
        if self._closed and queue != self._default and queue not in self.queues:
            raise ConfigError(f"{what}: queue {queue!r} is not declared{self.hint(queue)}")

    def hint(self, queue: str) -> str:
        """What to write instead of the name of a queue that there is not."""
        import difflib  # 2 ms, for an error only

        known = sorted({*self.queues, self._default})
        near = difflib.get_close_matches(queue, known, 1)
        return f"; did you mean {near[0]!r}?" if near else f"; declared are {', '.join(known)}"

    def declared(self, queue: str) -> Queue:
        """What was declared of a queue; where nothing was, one without anything of its own."""
        declared = self.queues.get(queue)
        return declared if isinstance(declared, Queue) else _PLAIN


# -- from what a person writes -------------------------------------------------------------------------------


def parse_route(value: Any) -> Route:
    """A queue's name, or a mapping with the fields of `Route`; ValueError for anything else."""
    if isinstance(value, Route):
        return value
    if isinstance(value, str):
        return Route(_text("a queue's name", value))
    if not isinstance(value, Mapping):
        raise ValueError(f"a route is the name of a queue or a mapping, not {value!r:.60}")
    _unknown("a route", value, Route.__struct_fields__)
    route = Route(**value)
    if route.queue != "":
        _text("a queue's name", route.queue)
    _priority("a route", route.priority)
    _exchange("a route", route)
    return route


def parse_routes(value: Any) -> tuple[Rule, ...]:
    """The rules of a mapping {pattern: route}, or of a list of pairs, mappings, functions and "module:function"s.

    In a list the order counts. In a mapping exact names come before patterns, so that an exception can be written
    below its rule. ValueError for what is none of these.
    """
    if isinstance(value, Mapping):
        rules = [Rule(_pattern(pattern), parse_route(route)) for pattern, route in value.items()]
        return tuple(sorted(rules, key=lambda rule: not _exact(rule.pattern)))
    if callable(value) or isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ValueError(f"routes are a mapping or a list, not {value!r:.60}")
    rules = []
    for item in value:
        if isinstance(item, Rule):
            rules.append(item)
        elif isinstance(item, Mapping):
            rules.extend(parse_routes(item))
        elif isinstance(item, list | tuple) and len(item) == 2:
            rules.append(Rule(_pattern(item[0]), parse_route(item[1])))
        elif callable(item) or (isinstance(item, str) and ":" in item):
            rules.append(Rule(None, item))
        else:
            raise ValueError(f"a list of routes has (pattern, route) and functions, not {item!r:.60}")
    return tuple(rules)


def parse_queues(value: Any) -> tuple[Queue | Broadcast, ...]:
    """Queues, their names, or mappings of their fields, `broadcast = true` for a `Broadcast`; ValueError otherwise."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"queues are a list of names or Queues, not {value!r:.60}")
    queues = tuple(map(_queue, value))
    names = [queue.name for queue in queues]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise ValueError(f"queue {twice!r} is declared twice")
    return queues


def _queue(value: Any) -> Queue | Broadcast:
    if isinstance(value, Queue | Broadcast):
        return value
    if isinstance(value, str):
        return Queue(value)
    if not isinstance(value, Mapping) or "name" not in value:
        raise ValueError(f"a queue is a name or a mapping with a name, not {value!r:.60}")
    given = dict(value)
    broadcast = given.pop("broadcast", False)
    kind: type[Queue | Broadcast] = Broadcast if broadcast else Queue
    _unknown(f"queue {given['name']!r}", given, kind.__struct_fields__)
    if type(broadcast) is not bool:
        raise ValueError(f"queue {given['name']!r}: broadcast is true or false, not {broadcast!r:.60}")
    return kind(**given)


def _pattern(value: Any) -> str | re.Pattern[str]:
    if isinstance(value, re.Pattern):
        return value
    _text("the pattern of a route, where it is no compiled regular expression,", value)
    if not value.startswith(_REGEX):
        return value  # type: ignore[no-any-return]
    try:
        return re.compile(value.removeprefix(_REGEX))
    except re.error as error:
        raise ValueError(f"the pattern {value!r} is no regular expression: {error}") from None


def _exact(pattern: str | re.Pattern[str] | None) -> bool:
    return isinstance(pattern, str) and not _GLOB.search(pattern)


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} is a text that is not empty, not {value!r:.60}")
    return value


def _priority(what: str, value: Any) -> None:
    if value is not None and (type(value) is not int or not 0 <= value <= 9):
        raise ValueError(f"{what}: priority is a whole number from 0 to 9, 9 the most urgent, not {value!r:.60}")


def _exchange(what: str, given: Route | Queue) -> None:
    for name in ("exchange", "routing_key"):
        if type(value := getattr(given, name)) is not str:
            raise ValueError(f"{what}: {name} is a text, not {value!r:.60}")


def _unknown(what: str, given: Iterable[Any], known: Sequence[str]) -> None:
    """ValueError for the first that is not known."""
    for key in given:
        if key in _BROKER:
            raise ValueError(f"{what} has no {key}: exchanges, queues and bindings are made at the broker")
        if key not in known:
            raise ValueError(f"{what} has {', '.join(known)}, not {key!r}")


def _called(path: str, find: Callable[[str], Any]) -> RouteFunction:
    found: Any = find(path)
    if not callable(found):
        raise ConfigError(f"routes: {path} is no function")
    return found  # type: ignore[no-any-return]


# -- and back ------------------------------------------------------------------------------------------------


def plain_routes(rules: Iterable[Rule]) -> list[Any]:
    """The rules as pairs and texts, to be printed."""
    return [
        _path(rule.route) if rule.pattern is None else [_shown(rule.pattern), _fields_of(rule.route)] for rule in rules
    ]


def plain_queues(queues: Iterable[Queue | Broadcast]) -> list[Any]:
    """The queues as mappings, to be printed."""
    return [{**_fields_of(queue), **({"broadcast": True} if isinstance(queue, Broadcast) else {})} for queue in queues]


def _fields_of(value: Any) -> dict[str, Any]:
    return {key: getattr(value, key) for key in value.__struct_fields__ if getattr(value, key) not in ("", None)}


def _shown(pattern: str | re.Pattern[str]) -> str:
    return pattern if isinstance(pattern, str) else _REGEX + pattern.pattern


def _path(function: Any) -> str:
    """As it would be written in a file."""
    if isinstance(function, str):
        return function
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', function)}"


#: What a queue is of which nothing was declared.
_PLAIN = Queue("default")
#: Where nothing is declared and nothing is routed.
ANYWHERE = Router()
