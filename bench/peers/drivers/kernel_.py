"""kernel, and a bare loop that makes the same port calls and has nothing of kernel around them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import marks
from marks import ORDER, STEPS
from side import Side, Variant, main, timed

from kernel import Kernel, chain, chord, discovery
from kernel.envelope import Envelope, decode, encode
from kernel.ids import new_id
from kernel.ports import Delivery, Outgoing, Record, ResultStore, Transport, Waits

#: Chains that are started at once.
CHAINS = 100
#: Messages per port call of the bare loop: as many as a worker of kernel fetches at most.
BATCH = 1000
#: Seconds for which results are kept: kernel's default.
TTL = 86400.0

_LATE = "at least once: acknowledged after the run"
_WORKER = [
    ["{bin}/kernel", "worker", "kernel_:app", "--processes", "2", "--pool", "solo", "--log-level", "warning"],
]
_SETTINGS = "`kernel worker --processes 2 --pool solo --log-level warning`, else defaults"
_BARE = [["{bin}/python", "{driver}", "serve"]] * 2
_BARE_SETTINGS = "two processes; the port calls of kernel's adapters in batches of 1,000, nothing of kernel around them"
_QUORUM = "; quorum queue, every send confirmed"
VARIANTS = {
    "worker": Variant(
        _SETTINGS, _LATE, _WORKER, "`send_many`", pace=(90_000, 60_000), sends=(6000, 120_000), steps=20_000
    ),
    "ports": Variant(
        _BARE_SETTINGS, _LATE, _BARE, "`Transport.send` of 1,000", pace=(150_000, 80_000), sends=(7000, 120_000)
    ),
    "worker-rabbitmq": Variant(
        _SETTINGS + _QUORUM, _LATE, _WORKER, "`send_many`", pace=(20_000, 15_000), sends=(900, 15_000), steps=6000
    ),
    "ports-rabbitmq": Variant(
        _BARE_SETTINGS + _QUORUM, _LATE, _BARE, "`Transport.send` of 1,000", pace=(25_000, 18_000), sends=(900, 15_000)
    ),
}

app = Kernel("peers", transport=ORDER.broker, results=ORDER.results)
noop = app.task(name="noop", ignore_result=not ORDER.kept)(marks.noop)
burn = app.task(name="burn", ignore_result=not ORDER.kept)(marks.burn)
step = app.task(name="step")(marks.step)
last = app.task(name="last")(marks.last)
TASK = {"noop": noop, "burn": burn}[ORDER.task]


class KernelSide:
    """The client of kernel."""

    def open(self) -> None:
        """Nothing: the first call opens the ports."""

    def send(self, numbers: Iterable[int]) -> None:
        """`delay`."""
        for number in numbers:
            TASK.delay(number)

    def send_many(self, numbers: Iterable[int]) -> None:
        """`send_many`."""
        app.send_many(TASK, ((number,) for number in numbers))

    def round_trips(self, numbers: Iterable[int]) -> list[float]:
        """`delay(...).get()`."""

        def call(number: int) -> object:
            return TASK.delay(number).get(timeout=10)

        return timed(call, numbers)

    def chains(self, numbers: range) -> None:
        """`chain(...).delay()`, a hundred of them in one batch."""
        for at in range(0, len(numbers), STEPS * CHAINS):
            part = numbers[at : at + STEPS * CHAINS]
            with app.batch():
                for first in part[::STEPS]:
                    self._chain(first, STEPS).delay()

    def chord(self, numbers: range) -> None:
        """`chord(...).delay()`."""
        chord([noop.s(number) for number in numbers[:-1]], last.s()).delay()

    def sizes(self, lengths: Sequence[int]) -> list[int]:
        """The message and the pages."""
        return [self._size(length) for length in lengths]

    def _size(self, length: int) -> int:
        transport, store = app.ports.transport, app.ports.results
        assert store is not None
        kept: list[Record] = []
        put = store.put

        def noted(records: Sequence[Record], ttl: float) -> list[bytes | None]:
            kept.extend(records)
            return put(records, ttl)

        store.put = noted  # type: ignore[method-assign]
        self._chain(0, length).delay()
        store.put = put  # type: ignore[method-assign]
        (delivery,) = transport.receive(["default"], 1, 1.0)
        transport.ack([delivery])
        return len(delivery.payload) + sum(len(record.value) for record in kept)

    @staticmethod
    def _chain(first: int, length: int) -> Any:
        rest = [step.s(number) for number in range(first + 1, first + length)]
        return chain(step.s(None, first), *rest)

    def close(self) -> None:
        """Close the ports."""
        app.close()

    def serve(self) -> None:
        """Its own command does that."""
        raise NotImplementedError


class PortsSide:
    """A minimal program on kernel's adapters: the limit that they set."""

    def __init__(self) -> None:
        self.transport: Transport = discovery.transport(ORDER.broker)
        self.store: ResultStore | None = discovery.results(ORDER.results) if ORDER.kept else None

    def open(self) -> None:
        """Open the ports."""
        self.transport.open()
        self.transport.declare(["default"])
        if self.store is not None:
            self.store.open()

    def send(self, numbers: Iterable[int]) -> None:
        """One message per call."""
        for number in numbers:
            self.transport.send([self._message(number)])

    def send_many(self, numbers: Iterable[int]) -> None:
        """A thousand messages per call."""
        batch: list[Outgoing] = []
        for number in numbers:
            batch.append(self._message(number))
            if len(batch) == BATCH:
                self.transport.send(batch)
                batch = []
        if batch:
            self.transport.send(batch)

    @staticmethod
    def _message(number: int, key: str = "") -> Outgoing:
        """An id, a name, JSON arguments."""
        body = json.dumps([[number], {}]).encode()
        return Outgoing("default", encode(Envelope(key or new_id(), ORDER.task, body, "json", 0, 0, time.time())))

    def round_trips(self, numbers: Iterable[int]) -> list[float]:
        """Send, and wait for the record."""
        store = self.store
        assert store is not None

        def call(number: int) -> None:
            key = new_id()
            self.transport.send([self._message(number, key)])
            if isinstance(store, Waits):
                found = store.wait([key], 10.0)[0]
            else:
                found = None
                while found is None:
                    found = store.get([key])[0]
            assert found is not None
            assert json.loads(found) == number

        return timed(call, numbers)

    def close(self) -> None:
        """Close the ports."""
        self.transport.close()
        if self.store is not None:
            self.store.close()

    def serve(self) -> None:
        """Receive, decode, run, store, acknowledge: the same calls in the same order as a worker."""
        self.open()
        tasks: dict[str, Callable[[int], int]] = {"noop": marks.noop, "burn": marks.burn}
        while True:
            deliveries = self.transport.receive(["default"], BATCH, 1.0)
            if deliveries:
                self._run(tasks, deliveries)

    def _run(self, tasks: dict[str, Callable[[int], int]], deliveries: list[Delivery]) -> None:
        loads, dumps, store = json.loads, json.dumps, self.store
        records = []
        for delivery in deliveries:
            call = decode(delivery.payload)
            args, kwargs = loads(call.body)
            value = tasks[call.task](*args, **kwargs)
            if store is not None:
                records.append(Record(call.id, dumps(value).encode(), True, (0, 0, 0)))
        if store is not None:
            store.put(records, TTL)
        self.transport.ack(deliveries)


if __name__ == "__main__":
    side: Side = PortsSide() if ORDER.variant.startswith("ports") else KernelSide()
    main(side, VARIANTS, ["kernelq", "redis", "pika"])
