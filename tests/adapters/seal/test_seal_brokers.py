"""Delays and priorities of real brokers: whatever queues a message passes, it is sealed for the one it was sent to."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest
from adapters.seal.keyrings import inline
from engine.harness import Engine
from services.rabbitmq import shared_rabbitmq
from services.redis import shared_redis

from kernel import discovery
from kernel.clock import SYSTEM
from kernel.emulate.priority import LEVELS
from kernel.ports import Delivery, Outgoing, Transport
from kernel.sealing.sealing import QUEUE, Sealing

Make = Callable[..., Engine]
#: Seconds that a RabbitMQ of the shared machine may take for a delay level.
LONG = 20.0


@pytest.fixture
def queue() -> str:
    return f"t{uuid.uuid4().hex[:10]}-seal"


def redis(queue: str) -> str:
    return f"{shared_redis()}?prefix={queue}&lease=5"


def rabbitmq(queue: str) -> str:
    return shared_rabbitmq()


@pytest.fixture(params=[redis, rabbitmq], ids=["redis", "rabbitmq"])
def engine(request: pytest.FixtureRequest, make: Make, queue: str) -> Iterator[Engine]:
    """An engine on each broker. Its RabbitMQ queues are deleted, levels of delays are everybody's."""
    yield make(
        request.param(queue), results="memory://sealedbrokers", coordination="none", schedules="none", queue=queue,
        queues=(queue,), replay_window=60.0,
    )  # fmt: skip
    if request.param is rabbitmq:
        connection = pika.BlockingConnection(pika.URLParameters(f"{shared_rabbitmq()}%2F"))
        for name in [*levels(queue), *levels(f"{queue}.dead")]:
            connection.channel().queue_delete(name)
        connection.close()


def levels(queue: str) -> list[str]:
    """A queue and those that stand for its priorities, where they are emulated."""
    return [queue, *(f"{queue}.p{level}" for level in range(1, LEVELS))]


def taken(transport: Transport, queues: list[str], count: int) -> list[Delivery]:
    """What comes out of some queues, for somebody without a key."""
    found: list[Delivery] = []
    ends = time.monotonic() + LONG
    while len(found) < count and time.monotonic() < ends:
        batch = transport.receive(queues, count, 1.0)
        transport.ack(batch)
        found += batch
    return found


def test_the_home_queue_is_what_is_sealed(engine: Engine, queue: str) -> None:
    @engine.task
    def add(a: int, b: int) -> int:
        return a + b

    engine.transport.declare([queue, f"{queue}.dead"])
    for number in range(10):
        add.apply_async((number, 0), priority=number, **({"countdown": 0.5} if number % 3 == 0 else {}))
    key = Sealing(discovery.seal(inline("hmac")), "refuse", SYSTEM)
    adapter = discovery.transport(engine.url)
    adapter.open()
    emulated = adapter.features.priorities == 0
    names = levels(queue) if emulated else [queue]
    found = taken(adapter, names, 10)
    adapter.close()
    assert len(found) == 10
    assert {delivery.queue for delivery in found} == set(names)
    opened = [key.open(delivery.payload, QUEUE, queue) for delivery in found]
    assert sum(due_at > 0.0 for _, due_at in opened) == 10


def test_priorities_delays_and_retries_all_open(engine: Engine, queue: str) -> None:
    @engine.task(bind=True, default_retry_delay=0.2)
    def work(self: Any, number: int) -> int:
        if self.request.retries == 0 and number % 2:
            raise self.retry()
        return number

    with engine.run():
        results = [
            work.apply_async((number,), priority=number, **({"countdown": 0.3} if number % 3 == 0 else {}))
            for number in range(10)
        ]
        assert [result.get(LONG) for result in results] == list(range(10))
    letters = discovery.transport(engine.url)
    letters.open()
    assert letters.receive([f"{queue}.dead"], 1, 0.2) == []
    letters.close()


def test_an_altered_message_is_a_dead_letter_and_the_others_run(engine: Engine, queue: str) -> None:
    @engine.task
    def add(a: int, b: int) -> int:
        return a + b

    engine.transport.declare([queue, f"{queue}.dead"])
    result = add.delay(1, 2)
    adapter = discovery.transport(engine.url)
    adapter.open()
    (delivery,) = taken(adapter, [queue], 1)
    forged = delivery.payload[:-1] + bytes((delivery.payload[-1] ^ 1,))
    adapter.send([Outgoing(queue, forged), Outgoing(queue, delivery.payload)])
    with engine.run():
        assert result.get(LONG) == 3
        (letter,) = taken(engine.transport, [f"{queue}.dead"], 1)
    assert b"not what the key" in letter.payload
    assert forged in letter.payload
    adapter.close()
