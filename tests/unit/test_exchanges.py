"""Exchanges and routing keys: which of them a call gets, and that nothing is sent where there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_memory import MemoryTransport, Space
from kernel_sql import SqlOutbox

from kernel import Broadcast, Kernel, Queue, chain, chord, signature, xmap
from kernel.address import Address, Destination
from kernel.clock import SYSTEM, FakeClock
from kernel.configuration.settings import Tasks
from kernel.errors import ConfigError, Unsupported
from kernel.layers import laid
from kernel.ports import Inspects, Outgoing
from kernel.routing import Router, parse_routes
from kernel.sending.outbox import rows_of
from kernel.sending.relay import Moved, Relay

DECLARED = [Queue("mail", exchange="shop", routing_key="mail.new"), Queue("slow"), Broadcast("all")]


class Exchanging(MemoryTransport):
    """As memory, and keeps what it is given for exchanges."""

    def __init__(self) -> None:
        super().__init__(Space(), SYSTEM)
        self._features = replace(self._features, exchanges=True)
        self.published: list[tuple[str, str, str]] = []

    def send(self, batch: Sequence[Outgoing]) -> None:
        self.published += [(out.exchange, out.routing_key, out.queue) for out in batch]
        super().send([out for out in batch if not out.exchange])


def exchanging(**options: Any) -> tuple[Kernel, Exchanging]:
    """An application on a transport that has exchanges."""
    app, transport = Kernel("shop", **options), Exchanging()
    app.use(transport=transport)
    return app, transport


def waiting(app: Kernel, queue: str = "default") -> int | None:
    """Messages that are in a queue."""
    transport = app.ports.transport
    assert isinstance(transport, Inspects)
    size = transport.sizes([queue])[0]
    return (size.ready or 0) + (size.delayed or 0)


# -- which one -----------------------------------------------------------------------------------------------

TO_MAIL = Destination("mail", 0, "shop", "mail.new")
#: Options of the call, options of the task, route, and where it goes.
PATHS: list[tuple[dict[str, Any], dict[str, Any], Any, Destination]] = [
    ({}, {}, {}, Destination("default")),
    ({"exchange": "e"}, {}, {}, Destination("default", 0, "e")),
    ({"exchange": "e", "routing_key": "k"}, {"exchange": "f"}, {}, Destination("default", 0, "e", "k")),
    # A key that is named further away belongs to the exchange that is named there.
    ({"exchange": "e"}, {"exchange": "f", "routing_key": "l"}, {}, Destination("default", 0, "e")),
    ({"routing_key": "k"}, {"exchange": "f", "routing_key": "l"}, {}, Destination("default", 0, "f", "k")),
    ({"routing_key": "k"}, {}, {"exchange": "g"}, Destination("default", 0, "g", "k")),
    ({}, {"exchange": "f"}, {"exchange": "g", "routing_key": "m"}, Destination("default", 0, "f")),
    ({}, {}, {"exchange": "g", "routing_key": "m", "queue": "slow"}, Destination("slow", 0, "g", "m")),
    # Who names a queue means that queue.
    ({"queue": "slow"}, {"exchange": "f", "routing_key": "l"}, {}, Destination("slow")),
    ({}, {"queue": "slow"}, {"exchange": "g", "routing_key": "m"}, Destination("slow")),
    # A queue may be declared with its exchange.
    ({"queue": "mail"}, {"exchange": "f"}, {}, TO_MAIL),
    ({}, {}, {"queue": "mail"}, TO_MAIL),
    ({"routing_key": "k"}, {"queue": "mail"}, {}, Destination("mail", 0, "shop", "k")),
    ({"exchange": "e"}, {"queue": "mail"}, {}, Destination("mail", 0, "e")),
]  # fmt: skip


@pytest.mark.parametrize(("call", "task", "route", "expected"), PATHS)
def test_the_nearest_that_names_a_queue_or_an_exchange_decides(
    call: dict[str, Any], task: dict[str, Any], route: Any, expected: Destination
) -> None:
    router = Router(parse_routes({"a": route}), DECLARED)
    assert Address("a", task, Tasks(), router).of((), {}, call) == expected


def test_a_function_may_choose_the_exchange() -> None:
    router = Router(parse_routes([lambda name, args, *_: {"exchange": "e", "routing_key": f"size.{args[0]}"}]))
    assert Address("a", {}, Tasks(), router).of((7,), {}, {}) == Destination("default", 0, "e", "size.7")


PLACES = st.fixed_dictionaries({}, optional=dict.fromkeys(("queue", "exchange", "routing_key"), st.sampled_from("abc")))


@given(PLACES, PLACES)
def test_options_that_are_laid_over_others_lead_where_two_layers_would(below: Any, above: Any) -> None:
    def to(call: Any, task: Any) -> Any:
        try:
            found = Address("a", task, Tasks(), Router()).of((), {}, call)
        except ConfigError:
            return None
        return (found.exchange, found.routing_key) if found.exchange else found.queue

    if (apart := to(above, below)) is not None:
        assert to(laid(below, above), {}) == apart


WRONG = [
    ({"routing_key": "k"}, {}, "a: routing_key='k' needs an exchange; a queue is named by queue="),
    ({"routing_key": "k", "queue": "slow"}, {"exchange": "f"}, "a: routing_key='k' needs an exchange"),
    ({"exchange": "e", "queue": "all"}, {}, "a: the broadcast queue 'all' has no exchange"),
]


@pytest.mark.parametrize(("call", "task", "message"), WRONG)
def test_what_cannot_be_meant_is_refused(call: dict[str, Any], task: dict[str, Any], message: str) -> None:
    address = Address("a", task, Tasks(), Router((), DECLARED))
    with pytest.raises(ConfigError, match=message):
        address.of((), {}, call)


# -- where there are exchanges -------------------------------------------------------------------------------


def test_every_way_to_name_one_reaches_the_transport() -> None:
    routes = {"routed": {"exchange": "r", "routing_key": "routed"}}
    app, transport = exchanging(routes=routes, declared_queues=[Queue("mail", exchange="shop", routing_key="new")])
    own = app.task(name="own", exchange="o", routing_key="own")(print)
    with app:
        app.send_task("called", exchange="c", routing_key="called")
        app.send_task("routed")
        app.send_task("declared", queue="mail")
        app.send_task("plain")
        own.delay()
        app.send_many(own, [()])
    assert transport.published == [
        ("c", "called", "default"),
        ("r", "routed", "default"),
        ("shop", "new", "mail"),
        ("", "", "default"),
        ("o", "own", "default"),
        ("o", "own", "default"),
    ]


DELAYED: list[dict[str, Any]] = [{"countdown": 60}, {"eta": 4e9}, {"debounce": 5}]


@pytest.mark.parametrize("options", DELAYED)
def test_a_call_to_an_exchange_is_not_delayed(options: dict[str, Any]) -> None:
    app, transport = exchanging()
    with app, pytest.raises(Unsupported, match=r"a: a call to the exchange 'e' cannot be delayed"):
        app.send_task("a", exchange="e", **options)
    assert transport.published == []


def test_a_delay_of_nothing_is_none() -> None:
    app, transport = exchanging()
    with app:
        app.send_task("a", exchange="e", countdown=0)
    assert transport.published == [("e", "", "default")]


def test_a_retry_is_refused_an_exchange() -> None:
    app, _ = exchanging()
    sheet = app.sheet("a")
    with pytest.raises(ConfigError, match="a: a retry goes to one queue, not to an exchange: give it queue="):
        sheet.altered(Any, None, None, {"exchange": "e"})  # type: ignore[arg-type]


def test_tasks_of_a_workflow_go_to_their_exchanges_and_its_own_tasks_to_a_queue() -> None:
    place = f"memory://{uuid4()}"
    mail = Queue("mail", exchange="shop", routing_key="new")
    app, transport = exchanging(declared_queues=[mail], results=place, coordination=place, workflow_deadline=60.0)
    add = app.task(name="add", queue="mail")(sum)
    with app:
        chain(add.s([1]).set(routing_key="first"), add.si([2])).delay()
        app.flows.start(xmap(add, [[1], [2]]))
        assert transport.published == [("shop", "first", "mail"), ("shop", "new", "mail")]
        chord([add.s([1]), add.s([2])], add.s()).delay()
        late = ("", "", "mail")
        assert transport.published[2:] == [late, ("shop", "new", "mail"), ("shop", "new", "mail")]
        with pytest.raises(Unsupported, match="add: a call to the exchange 'shop' cannot be delayed"):
            chain(add.s([1]), add.si([2]).set(countdown=5)).delay()


# -- where there are none ------------------------------------------------------------------------------------

CALLS: list[Callable[[Kernel], Any]] = [
    lambda app: app.send_task("a", exchange="e"),
    lambda app: app.send_many("routed", [()]),
    lambda app: app.flows.start(chain(signature("routed"), signature("a"))),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("in_batch", [True, False])
def test_it_is_refused_at_the_caller_and_nothing_is_sent(call: Any, is_open: bool, in_batch: bool) -> None:
    with Kernel("shop", transport=f"memory://{uuid4()}", routes={"routed": {"exchange": "e"}}) as app:
        if is_open:
            _ = app.ports
        there_are_none = r"exchange 'e': this transport has no exchanges .*: name a queue"
        with pytest.raises(Unsupported, match=there_are_none), app.batch() if in_batch else nullcontext():
            call(app)
        assert waiting(app) == 0
        app.send_task("a", queue="slow")
        assert waiting(app, "slow") == 1


def test_sealed_messages_are_for_one_queue() -> None:
    app, transport = exchanging(seal=f"hmac://?key=k1:{'A' * 43}")
    with app:
        for _ in range(2):
            with pytest.raises(Unsupported, match="for messages without a seal"):
                app.send_task("a", exchange="e")
    assert transport.published == []


# -- an outbox -----------------------------------------------------------------------------------------------


def test_an_outbox_keeps_the_exchange(tmp_path: Path) -> None:
    outbox = SqlOutbox.from_url(f"sqlite:///{tmp_path}/outbox.db")
    outbox.create()
    messages = [Outgoing("q", b"1"), Outgoing("q", b"2", exchange="e", routing_key="k"), Outgoing("q", b"3")]
    outbox.add(rows_of(messages, FakeClock(0.0).now()))
    transport = Exchanging()
    transport.open()
    assert Relay(outbox, lambda: transport).drain() == Moved(3)
    assert transport.published == [("", "", "q"), ("e", "k", "q"), ("", "", "q")]
    outbox.close()


def test_a_row_for_an_exchange_stays_where_there_are_none(tmp_path: Path) -> None:
    outbox = SqlOutbox.from_url(f"sqlite:///{tmp_path}/outbox.db")
    outbox.create()
    messages = [Outgoing("q", b"1"), Outgoing("q", b"2", exchange="e"), Outgoing("q", b"3")]
    outbox.add(rows_of(messages, 0.0))
    transport = MemoryTransport(Space(), SYSTEM)
    transport.open()
    assert Relay(outbox, lambda: transport).drain() == Moved(2, 1)
    assert [delivery.payload for delivery in transport.receive(["q"], 9, 0.0)] == [b"1", b"3"]
    assert "this transport has no exchanges" in outbox.waiting(True, 9)[0].reason
    outbox.close()
