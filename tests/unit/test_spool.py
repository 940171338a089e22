"""Sending with an outbox behind it: kept while the transport is away, sent when it is back, never lost in between."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
from kernel_memory import MemoryTransport
from kernel_sql import SqlOutbox
from support import eventually, slowness

from kernel import Kernel
from kernel.envelope import decode
from kernel.errors import PartialSend, PortError, Rejected, Unavailable
from kernel.ports import Features, Outgoing
from kernel.sending import outbox as spooling

TIMEOUT = 0.5
_numbers = itertools.count()


class Fickle(MemoryTransport):
    """Works, fails or freezes, as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.error: PortError | None = None
        self.frozen: threading.Event | None = None
        self.stores = False
        self.asked = 0
        #: A part of the payloads that it refuses for good.
        self.refuses = b"nothing like this"

    @property
    def features(self) -> Features:
        """It may freeze."""
        return replace(super().features, answers_within=inf)

    def send(self, batch: Sequence[Outgoing]) -> None:
        self.asked += 1
        if self.frozen is not None:
            self.frozen.wait(20)
        refused = {at: Rejected("too large") for at, message in enumerate(batch) if self.refuses in message.payload}
        if refused:
            rest = {at: self.error for at in range(len(batch)) if at not in refused and self.error is not None}
            raise PartialSend({**refused, **rest})
        if self.error is None or self.stores:
            super().send(batch)
        if self.error is not None:
            raise self.error


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "outbox.db")


@pytest.fixture
def transport() -> Fickle:
    return Fickle()


@pytest.fixture
def app(transport: Fickle, place: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    monkeypatch.setattr(spooling, "REST_FOR", 0.3)
    app = Kernel("spool", outbox=place, send_timeout=TIMEOUT)
    app.use(transport=transport)
    yield app
    transport.error = None
    if transport.frozen is not None:
        transport.frozen.set()
    app.close()


def outbox(place: str) -> SqlOutbox:
    found = SqlOutbox.from_url(f"sqlite:///{place}")
    found.open()
    return found


def arrived(transport: Fickle) -> Counter[str]:
    found: Counter[str] = Counter()
    while batch := transport.receive(["default"], 100, 0.0):
        found.update(decode(delivery.payload).id for delivery in batch)
        transport.ack(batch)
    return found


def emptied(place: str) -> None:
    eventually(lambda: outbox(place).fill().waiting == 0, 20.0, "the outbox is empty")


def test_while_all_is_well_nothing_is_kept(app: Kernel, transport: Fickle, place: str) -> None:
    app.send_task("work")
    assert outbox(place).fill().waiting == 0
    assert arrived(transport).total() == 1


def test_what_cannot_be_sent_is_kept_and_sent_when_the_transport_is_back(
    app: Kernel, transport: Fickle, place: str
) -> None:
    transport.error = Unavailable("gone")
    ids = [app.send_task("work", (number,)).id for number in range(5)]
    ids += [result.id for result in app.send_many("work", [(number,) for number in range(50)])]
    kept = outbox(place).waiting(False, 100)
    assert [decode(row.payload).id for row in kept] == ids
    transport.error = None
    emptied(place)
    assert arrived(transport) == Counter(ids)
    asked = transport.asked
    app.send_task("work")
    assert (transport.asked, arrived(transport).total()) == (asked + 1, 1)


def test_what_is_away_is_not_asked_by_everybody(
    app: Kernel, transport: Fickle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling, "REST_FOR", 30.0)
    transport.error = Unavailable("gone")
    app.send_task("work")
    app._sender.fallback.close()  # type: ignore[union-attr]
    began = time.monotonic()
    for _ in range(20):
        app.send_task("work")
    assert time.monotonic() - began < 4 * TIMEOUT * slowness()


def test_a_message_of_which_nobody_knows_is_kept_as_the_same_task(app: Kernel, transport: Fickle, place: str) -> None:
    transport.error, transport.stores = Unavailable("no answer", sent="unknown"), True
    id = app.send_task("work").id
    transport.error = None
    emptied(place)
    assert set(arrived(transport)) == {id}


@pytest.mark.parametrize("by", ["delay", "coroutine"])
def test_a_transport_that_is_frozen_costs_the_deadline_and_no_more(
    by: str, app: Kernel, transport: Fickle, place: str
) -> None:
    @app.task
    def work() -> None: ...

    transport.frozen = threading.Event()
    began = time.monotonic()
    if by == "delay":
        work.delay()
    else:
        asyncio.run(work.adelay())  # type: ignore[arg-type]
    assert time.monotonic() - began < TIMEOUT + 0.5 * slowness()
    assert outbox(place).fill().waiting == 1
    transport.frozen.set()
    emptied(place)


def test_what_is_refused_for_good_is_the_callers_trouble(app: Kernel, transport: Fickle, place: str) -> None:
    transport.error, transport.refuses = Unavailable("gone"), b"huge"
    with pytest.raises(PartialSend) as caught:
        app.send_many("work", [("huge",), ("small",), ("huge",), ("small",)])
    assert {index: str(error) for index, error in caught.value.errors.items()} == {0: "too large", 2: "too large"}
    assert outbox(place).fill().waiting == 2


def test_a_full_outbox_is_said_in_one_line(place: str, transport: Fickle) -> None:
    app = Kernel("full", outbox=f"sqlite:///{place}?max=0.1", send_timeout=TIMEOUT)
    app.use(transport=transport)
    app.send_task("work")
    transport.error = Unavailable("gone")

    def fill_up() -> None:
        for _ in range(100):
            app.send_task("work", ("x" * 10_000,))

    with pytest.raises(Unavailable, match=r"nothing was sent;.*gone; and it cannot be kept: .* is full") as caught:
        fill_up()
    assert ("\n" in str(caught.value), caught.value.sent) == (False, "no")
    transport.error = None
    app.close()


def test_what_an_earlier_process_left_is_sent_with_the_first_send_of_this_one(place: str, tmp_path: Path) -> None:
    from kernel.sending.outbox import rows_of

    queue = f"sqlite:///{tmp_path}/queue.db?synchronous=normal"
    with Kernel("earlier", transport=queue) as earlier:
        earlier.ports.transport.declare(["default"])
        _, message = earlier.sheet("work").message((1,), {}, None)
    outbox(place).add(rows_of([message], 0.0))
    with Kernel("later", transport=queue, outbox=place) as later:
        later.send_task("work", (2,))
        emptied(place)
        assert len(later.ports.transport.receive(["default"], 10, 5.0)) == 2


def test_a_process_that_cannot_even_connect_keeps_and_its_results_are_read_later(place: str, free_port: int) -> None:
    with Kernel("dark", transport=f"redis://127.0.0.1:{free_port}", outbox=place, send_timeout=TIMEOUT) as app:
        began = time.monotonic()
        results: list[Any] = [app.send_task("work", (number,)) for number in range(10)]
        assert time.monotonic() - began < TIMEOUT + 1.0 * slowness()
        assert outbox(place).fill().waiting == 10
        with pytest.raises(Unavailable):
            results[0].get(timeout=1)
