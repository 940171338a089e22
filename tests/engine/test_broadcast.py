"""Broadcast queues: every worker that lists one has its own copy of each call."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from engine.conftest import Make
from engine.harness import PATIENCE, Engine
from kernel_memory import MemoryTransport
from services.rabbitmq import shared_rabbitmq
from services.redis import shared_redis
from support import eventually

from kernel import Broadcast, Kernel, Queue
from kernel.clock import SYSTEM, FakeClock
from kernel.emulate.broadcast import Broadcasting
from kernel.envelope import Envelope, encode
from kernel.errors import Unsupported
from kernel.ports import Outgoing
from kernel.worker.seat import State

ALL: dict[str, Any] = {"declared_queues": [Broadcast("all"), Queue("default")], "queues": ["default", "all"]}


@pytest.mark.parametrize("pool", ["solo", "threads", "asyncio", "gevent", "eventlet"])
@pytest.mark.parametrize("adapter", ["memory", "sqlite"])
def test_every_worker_has_a_copy_and_other_queues_go_on(engines: Make, pool: str, adapter: str) -> None:
    engine = engines(pool, adapter, **ALL)
    ran: list[str] = []

    @engine.task(bind=True, queue="all")
    def refresh(self: Any) -> str:
        ran.append(self.request.queue)
        return "done"

    @engine.task
    def add(x: int, y: int) -> int:
        return x + y

    with engine.run(), engine.run(), engine.run():
        eventually(lambda: _ready(engine, 3), PATIENCE, "all listen")
        assert engine.get(refresh.delay()) == "done"
        eventually(lambda: len(ran) == 3, PATIENCE, "each worker has run it")
        assert [engine.get(add.delay(n, 1)) for n in range(5)] == [1, 2, 3, 4, 5]
        assert engine.get(refresh.delay()) == "done"
        eventually(lambda: len(ran) == 6, PATIENCE, "and once more")
    assert set(ran) == {"all"}


def _ready(engine: Any, count: int) -> bool:
    return sum(running.worker.seat.state == State.READY for running in engine._running) == count


def test_a_retry_stays_with_the_worker_that_failed(engines: Make) -> None:
    engine = engines("threads", **ALL)
    runs: list[tuple[str, int]] = []
    lock = threading.Lock()

    @engine.task(bind=True, queue="all", ignore_result=True)
    def fragile(self: Any) -> None:
        with lock:
            runs.append((threading.current_thread().name, self.request.retries))
            first = len(runs) == 1
        if first:
            self.retry(countdown=0.02)

    with engine.run(), engine.run():
        eventually(lambda: _ready(engine, 2), PATIENCE, "both listen")
        fragile.delay()
        eventually(lambda: len(runs) == 3, PATIENCE, "two copies and one retry")
    assert sorted(retries for _, retries in runs) == [0, 0, 1]


def test_a_copy_that_is_too_early_waits_in_its_worker(engines: Make) -> None:
    engine = engines("threads", **ALL)
    ran = threading.Semaphore(0)

    @engine.task(queue="all", ignore_result=True)
    def later() -> None:
        ran.release()

    with engine.run(), engine.run():
        eventually(lambda: _ready(engine, 2), PATIENCE, "both listen")
        later.apply_async(countdown=0.1)
        assert ran.acquire(timeout=PATIENCE)
        assert ran.acquire(timeout=PATIENCE)
        assert not ran.acquire(timeout=0.1)


def test_who_comes_later_has_missed_it(engines: Make) -> None:
    engine = engines("threads", **ALL)
    ran: list[int] = []

    @engine.task(queue="all")
    def tell(number: int) -> None:
        ran.append(number)

    tell.delay(1)
    with engine.run():
        eventually(lambda: _ready(engine, 1), PATIENCE, "it listens")
        tell.delay(2)
        eventually(lambda: ran == [2], PATIENCE, "the second one came")


# -- real services, sealed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("service", [shared_redis, shared_rabbitmq])
def test_sealed_broadcasts_reach_everybody_on_a_real_service(service: Callable[[], str]) -> None:
    name = f"b{uuid4().hex[:10]}"
    seal = f"hmac://?key=k1:{b64encode(bytes(32)).decode().rstrip('=')}"
    engine = Engine(f"{service()}?prefix={name}", "threads", seal=seal, results="none", **ALL)
    ran: list[int] = []

    @engine.task(queue="all", ignore_result=True)
    def tell(number: int) -> None:
        ran.append(number)

    try:
        with engine.run(), engine.run():
            eventually(lambda: _ready(engine, 2), PATIENCE, "both listen")
            tell.delay(1)
            tell.delay(2)
            eventually(lambda: sorted(ran) == [1, 1, 2, 2], PATIENCE, "two copies of each")
    finally:
        engine.close()


# -- the transport -------------------------------------------------------------------------------------------


def message(queue: str, name: str = "a") -> Outgoing:
    return Outgoing(queue, encode(Envelope(name, "task", b"[[],{}]", "json")))


def broadcasting(space: str, clock: Any = SYSTEM, **options: str) -> Broadcasting:
    query = "&".join(f"{key}={value}" for key, value in options.items())
    transport = MemoryTransport.from_url(f"memory://{space}?{query}")
    transport.open()
    return Broadcasting(transport, ["all"], clock)


def test_what_the_transport_cannot_do_is_refused_before_anything_is_sent() -> None:
    transport = broadcasting("refused", mask="broadcast")
    with pytest.raises(Unsupported, match="cannot broadcast, and queue 'all' is declared as a Broadcast"):
        transport.send([message("default"), message("all")])
    with pytest.raises(Unsupported, match="cannot broadcast"):
        transport.declare(["all"])
    assert transport.sizes(["default"])[0].ready == 0
    transport.send([message("default")])
    transport.close()


def test_a_released_copy_comes_again_and_an_acknowledged_one_does_not() -> None:
    transport, other = broadcasting("released"), broadcasting("released")
    transport.declare(["all"])
    other.send([message("all"), message("default", "b")])
    (copy,) = _received(transport, ["all"], 1)
    assert transport.release([copy]) == []
    (again,) = transport.receive(["all"], 10, 0.0)
    assert again.payload == copy.payload
    assert transport.extend([again], 60.0) == transport.ack([again]) == []
    assert transport.receive(["all"], 10, 0.0) == []
    (plain,) = transport.receive(["all", "default"], 10, 0.0)
    assert (plain.queue, transport.ack([plain])) == ("default", [])
    other.close()
    transport.close()


def _received(transport: Broadcasting, queues: list[str], count: int) -> list[Any]:
    found: list[Any] = []

    def look() -> bool:
        found.extend(transport.receive(queues, 10, 0.05))
        return len(found) >= count

    eventually(look, PATIENCE, "copies come")
    return found


def test_what_is_sent_on_of_a_copy_in_hand_comes_back_when_it_is_due() -> None:
    clock = FakeClock()
    transport, other = broadcasting("due", clock), broadcasting("due", clock)
    transport.declare(["all"])
    other.declare(["all"])
    transport.send([message("all")])
    (copy,) = _received(transport, ["all"], 1)
    (others,) = _received(other, ["all"], 1)
    again = message("all")
    again.not_before = clock.now() + 5
    assert transport.commit([(copy, [again, message("default", "b")])]) == []
    other.ack([others])
    assert transport.receive(["all"], 10, 0.0) == []
    clock.advance(5)
    assert len(transport.receive(["all"], 10, 0.0)) == 1
    assert other.receive(["all"], 10, 0.05) == []
    assert other.sizes(["default"])[0].ready == 1
    other.close()
    transport.close()


def test_an_application_without_broadcasts_pays_nothing() -> None:
    with Kernel("plain", transport="memory://plain", declared_queues=["mail"]) as app:
        assert not isinstance(app.ports.transport, Broadcasting)
