"""Celery."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import marks
from celery import Celery, chain, chord
from marks import ORDER, STEPS
from side import Side, Variant, main, timed

_START = ["{bin}/celery", "-A", "celery_", "worker", "--loglevel", "WARNING"]
_QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
_SOLO = [[*_START, "--pool", "solo", *_QUIET, "--hostname", f"{number}@bench"] for number in (1, 2)]
_LATE = "at least once: acknowledged after the run"
_EARLY = "at most once: acknowledged before the run"
_BULK = "loop over `apply_async` with one producer (`group` is no faster)"

VARIANTS = {
    "prefork": Variant(
        "defaults: `-P prefork -c 2`",
        _EARLY,
        [[*_START, "--pool", "prefork", "--concurrency", "2"]],
        _BULK,
        pace=(850, 700),
        sends=(1500, 1500),
    ),
    "solo": Variant(
        "two workers `-P solo`, no gossip, mingle, heartbeat; prefetch 128",
        _EARLY,
        _SOLO,
        _BULK,
        pace=(2000, 1250),
        sends=(1500, 1500),
    ),
    "prefork-late": Variant(
        "defaults, `-P prefork -c 2`, but for `task_acks_late`",
        _LATE,
        [[*_START, "--pool", "prefork", "--concurrency", "2"]],
        _BULK,
        pace=(850, 700),
        sends=(1500, 1500),
        steps=300,
    ),
    "solo-late": Variant(
        "two workers `-P solo`, no gossip, mingle, heartbeat; prefetch 128, `task_acks_late`",
        _LATE,
        _SOLO,
        _BULK,
        pace=(2000, 1250),
        sends=(1500, 1500),
        steps=500,
    ),
}

app = Celery("peers", broker=ORDER.broker, backend=ORDER.results if ORDER.kept else None)
app.conf.update(task_ignore_result=not ORDER.kept, worker_hijack_root_logger=False)
if ORDER.variant.startswith("solo"):
    app.conf.update(worker_prefetch_multiplier=128)
if ORDER.variant.endswith("late"):
    app.conf.update(task_acks_late=True)

noop = app.task(name="noop")(marks.noop)
burn = app.task(name="burn")(marks.burn)
step = app.task(name="step")(marks.step)
last = app.task(name="last")(marks.last)
TASK = app.tasks[ORDER.task]


class CelerySide:
    """The client of Celery."""

    def open(self) -> None:
        """Nothing: the first call connects."""

    def send(self, numbers: Iterable[int]) -> None:
        """`delay`."""
        for number in numbers:
            TASK.delay(number)

    def send_many(self, numbers: Iterable[int]) -> None:
        """`apply_async` with one producer for all."""
        with app.producer_pool.acquire(block=True) as producer:
            for number in numbers:
                TASK.apply_async((number,), producer=producer)

    def round_trips(self, numbers: Iterable[int]) -> list[float]:
        """`delay(...).get()`, which listens to a channel of the result store."""

        def call(number: int) -> Any:
            return TASK.delay(number).get(timeout=10)

        return timed(call, numbers)

    def chains(self, numbers: range) -> None:
        """`chain(...).apply_async` with one producer for all."""
        with app.producer_pool.acquire(block=True) as producer:
            for first in numbers[::STEPS]:
                self._chain(first, STEPS).apply_async(producer=producer)

    def chord(self, numbers: range) -> None:
        """`chord(...)(...)`."""
        chord([noop.s(number) for number in numbers[:-1]])(last.s())

    def sizes(self, lengths: Sequence[int]) -> list[int]:
        """The message, as it is in Redis."""
        client, found = app.backend.client, []
        for length in lengths:
            self._chain(0, length).apply_async()
            found.append(len(client.lpop("celery")))
        return found

    @staticmethod
    def _chain(first: int, length: int) -> Any:
        rest = [step.s(number) for number in range(first + 1, first + length)]
        return chain(step.s(None, first), *rest)

    def close(self) -> None:
        """Close the connections."""
        app.close()

    def serve(self) -> None:
        """Its own command does that."""
        raise NotImplementedError


if __name__ == "__main__":
    side: Side = CelerySide()
    main(side, VARIANTS, ["celery", "kombu", "redis", "amqp"])
