"""Exchanges of a real broker: what is published there, what is refused, and that only the first publish goes there."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from adapters.rabbitmq.conftest import Opens, bare
from engine.harness import PATIENCE, Engine
from services.rabbitmq import shared_rabbitmq
from support import eventually

from kernel import Queue, Reject, chain
from kernel.errors import PartialSend, PortError, Rejected
from kernel.ports import Outgoing

Binds = Callable[..., str]


@pytest.fixture
def binds(names: str) -> Iterator[Binds]:
    """Makes an exchange and binds queues to it, `(type, queue=key)`; returns its name."""
    made: list[str] = []

    def make(kind: str, **queues: str) -> str:
        made.append(f"{names}{kind}")
        with bare(shared_rabbitmq()) as channel:
            channel.exchange_declare(made[-1], kind)
            for queue, key in queues.items():
                channel.queue_bind(f"{names}{queue}", made[-1], key)
        return made[-1]

    yield make
    with bare(shared_rabbitmq()) as channel:
        for exchange in made:
            channel.exchange_delete(exchange)


def test_the_key_chooses_the_queues(opens: Opens, names: str, binds: Binds) -> None:
    transport = opens(shared_rabbitmq(), f"prefix={names}")
    assert transport.features.exchanges
    transport.declare(["a", "b"])
    topic, fanout = binds("topic", a="mail.#", b="*.new"), binds("fanout", a="", b="")
    transport.send(
        [
            Outgoing("nowhere", b"both", exchange=topic, routing_key="mail.new"),
            Outgoing("b", b"a only", exchange=topic, routing_key="mail.old", priority=9),
            Outgoing("b", b"to b"),
            Outgoing("nowhere", b"all", exchange=fanout),
        ]
    )
    for queue, expected in (("a", [b"both", b"a only", b"all"]), ("b", [b"both", b"to b", b"all"])):
        found = transport.receive([queue], 9, PATIENCE)
        while len(found) < len(expected):
            found += transport.receive([queue], 9, PATIENCE)
        assert [delivery.payload for delivery in found] == expected
        assert transport.ack(found) == []
    with bare(shared_rabbitmq()) as channel, pytest.raises(Exception, match="no queue"):
        channel.queue_declare(f"{names}nowhere", passive=True)


def test_what_leads_nowhere_is_an_error_and_keeps_nothing_else_back(opens: Opens, names: str, binds: Binds) -> None:
    transport = opens(shared_rabbitmq(), f"prefix={names}")
    transport.declare(["a"])
    topic = binds("topic", a="mail.#")
    batch = [
        Outgoing("a", b"1"),
        Outgoing("a", b"2", exchange=f"{names}none", routing_key="mail.new"),
        Outgoing("a", b"3", exchange=topic, routing_key="mail.new"),
        Outgoing("a", b"4", exchange=topic, routing_key="news"),
        Outgoing("a", b"5", exchange=topic, routing_key="x" * 256),
    ]
    with pytest.raises(PartialSend) as caught:
        transport.send(batch)
    errors = caught.value.errors
    assert {index: type(error) for index, error in errors.items()} == {1: Rejected, 3: Rejected, 4: Rejected}
    assert f"there is no exchange '{names}none': create it and bind queues to it" in str(errors[1])
    assert f"no queue for the routing key 'news' of the exchange '{topic}': bind one" in str(errors[3])
    assert "at most 255 bytes, not 256" in str(errors[4])
    assert all(error.sent == "no" for error in errors.values())
    found = transport.receive(["a"], 9, PATIENCE)
    while len(found) < 2:
        found += transport.receive(["a"], 9, PATIENCE)
    assert [delivery.payload for delivery in found] == [b"1", b"3"]
    assert transport.ack(found) == []
    with pytest.raises(Rejected, match="cannot be delayed"):
        transport.send([Outgoing("a", b"6", exchange=topic, routing_key="mail", not_before=time.time() + 60)])


def test_an_exchange_that_was_deleted_is_told_by_its_name(opens: Opens, names: str, binds: Binds) -> None:
    transport = opens(shared_rabbitmq(), f"prefix={names}")
    transport.declare(["a"])
    topic = binds("topic", a="#")
    message = Outgoing("a", b"x", exchange=topic)
    transport.send([message])
    with bare(shared_rabbitmq()) as channel:
        channel.exchange_delete(topic)
    with pytest.raises(PortError, match=f"no exchange '{topic}'"):  # what was under way may have been stored
        transport.send([message])
    with pytest.raises(Rejected, match=f"there is no exchange '{topic}'"):
        transport.send([message])
    binds("topic", a="#")
    transport.send([message])


# -- by a worker ---------------------------------------------------------------------------------------------


@pytest.fixture
def engine(names: str) -> Iterator[Engine]:
    """Callers and workers on the two queues, to which a topic exchange of the prefix leads what begins with "new."."""
    place = f"memory://{uuid4().hex}"
    declared = [Queue("a"), Queue("b", exchange=f"{names}topic", routing_key="new.b")]
    made = Engine(
        f"{shared_rabbitmq()}?prefix={names}", "threads", results=place, coordination=place, schedules=place,
        queues=["a", "b"], declared_queues=declared, queue="a",
    )  # fmt: skip
    yield made
    made.close()


def test_a_retry_and_a_dead_letter_stay_in_the_queue_that_they_came_from(engine: Engine, binds: Binds) -> None:
    runs: Counter[tuple[str, int]] = Counter()
    ended = threading.Semaphore(0)

    @engine.task(bind=True, max_retries=2, ignore_result=True)
    def flaky(self: Any) -> None:
        runs[self.request.queue, self.request.retries] += 1
        if self.request.retries < 2:
            self.retry(countdown=0)
        ended.release()
        raise Reject("enough")

    engine.transport.declare(["a", "b"])
    topic = binds("topic", a="new.#", b="new.#")
    with engine.run():
        flaky.apply_async(exchange=topic, routing_key="new.one")
        assert all(ended.acquire(timeout=PATIENCE) for _ in range(2))
        for queue in ("a", "b"):
            eventually(lambda queue=queue: engine.size(f"{queue}.dead").ready == 1, PATIENCE, "a letter")  # type: ignore[misc]
    assert runs == {(queue, attempt): 1 for queue in ("a", "b") for attempt in range(3)}


def test_a_workflow_goes_on_by_exchanges(engine: Engine, binds: Binds) -> None:
    ran: list[tuple[str, int]] = []

    @engine.task(bind=True)
    def add(self: Any, x: int, y: int) -> int:
        ran.append((self.request.queue, x))
        return x + y

    engine.transport.declare(["a", "b"])
    topic = binds("topic", a="new.a", b="new.b")
    with engine.run():
        first = add.s(1, 2).set(exchange=topic, routing_key="new.b")
        then = add.s(10).set(exchange=topic, routing_key="new.a")
        assert engine.get(chain(first, then, add.s(100).set(queue="b")).delay()) == 113
    assert ran == [("b", 1), ("a", 3), ("b", 13)]
