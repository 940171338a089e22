"""A send ends within its deadline whatever the service does, and says in one line what became of the message."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from process.brokers import started
from services.rabbitmq import control
from services.server import Server
from services.sqs import CREDENTIALS
from support import eventually, slowness

from kernel import Kernel, Unavailable
from kernel.errors import PortError

#: Seconds that a send may take.
TIMEOUT = 1.0
#: What a busy machine adds to it, in seconds on a quiet one.
LATE = 1.0

#: A service that is well, and the context in which it answers nobody.
Service = tuple[str, Callable[[], AbstractContextManager[object]]]


@contextmanager
def paused(server: Server) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    connection.close()


@pytest.fixture(scope="module", params=["sqlite", "redis", "rabbitmq", "sqs"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("sqlite") / "q.db"
        with Kernel("made", transport=f"sqlite:///{path}") as app:
            app.send_task("made")
        yield f"sqlite:///{path}", lambda: locked(path)
        return
    server, url = started(request.param)
    yield url, lambda: paused(server)


@pytest.fixture(params=["", "timeout=1"], ids=["slow to give up", "as patient as the sender"])
def app(service: Service, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Kernel]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    url = service[0]
    if request.param:
        url += ("&" if "?" in url else "?") + request.param
    app = Kernel("late", transport=url, results="none", coordination="none", send_timeout=TIMEOUT)
    yield app
    errands = app.sender._errands
    app.close()
    # Those who were left behind come back now that the service answers, before it is ended for good.
    eventually(lambda: errands._left == 0, 30.0)


def by_delay(app: Kernel) -> None:
    app.send_task("shop.add", (1, 2))


def by_many(app: Kernel) -> None:
    app.send_many("shop.add", [(number, 2) for number in range(20)])


def by_coroutines(app: Kernel) -> None:
    @app.task(name="shop.add")
    def add(x: int, y: int) -> int:
        return x + y

    async def main() -> None:
        for outcome in await asyncio.gather(*(add.adelay(n, n) for n in range(20)), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    asyncio.run(main())


Send = Callable[[Kernel], None]
SENDS = [by_delay, by_many, by_coroutines]


def works_soon(app: Kernel) -> None:
    """A service that is well may still need longer than the deadline on a busy machine, the first time above all."""
    until = time.monotonic() + 30
    while True:
        try:
            by_delay(app)
            return
        except Unavailable:
            assert time.monotonic() < until


def fails_in_time(app: Kernel, send: Send) -> PortError:
    allowed = TIMEOUT + LATE * slowness()
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        send(app)
    took = time.monotonic() - began
    assert took < allowed
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith({"no": "nothing was sent", "unknown": "it is unknown whether"}[caught.value.sent])
    return caught.value


@pytest.mark.parametrize("send", SENDS)
def test_the_first_send_of_a_process(app: Kernel, service: Service, send: Send) -> None:
    _, silent = service
    with silent():
        error = fails_in_time(app, send)
    # SQLite opens a file that somebody else writes, and may get its turn after the caller has gone. On a busy machine
    # the coroutine may hear of the end of its patience before it hears why, and then says the safe thing.
    assert error.sent == "no" or service[0].startswith("sqlite:") or send is by_coroutines


@pytest.mark.parametrize("send", SENDS)
def test_a_later_send(app: Kernel, service: Service, send: Send) -> None:
    _, silent = service
    works_soon(app)
    with silent():
        fails_in_time(app, send)
        fails_in_time(app, send)


def test_a_send_after_the_outage(app: Kernel, service: Service) -> None:
    _, silent = service
    works_soon(app)
    with silent():
        fails_in_time(app, by_delay)
    works_soon(app)


@pytest.mark.parametrize("send", SENDS)
@pytest.mark.parametrize("scheme", ["redis", "amqp", "sqs+http"])
def test_nobody_listens(scheme: str, send: Send, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": "eu-west-1"}.items():
        monkeypatch.setenv(name, value)
    with Kernel("x", transport=f"{scheme}://127.0.0.1:{free_port}", results="none", send_timeout=TIMEOUT) as app:
        assert fails_in_time(app, send).sent == "no"


def test_a_broker_that_has_raised_an_alarm_takes_nothing() -> None:
    server, url = started("rabbitmq")
    with Kernel("alarm", transport=url, results="none", send_timeout=TIMEOUT) as app:
        by_delay(app)
        try:
            control(server, "set_vm_memory_high_watermark", "0.00000001")
            for _ in range(3):
                fails_in_time(app, by_delay)
        finally:
            control(server, "set_vm_memory_high_watermark", "0.4")
