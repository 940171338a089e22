"""RQ."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from marks import ORDER
from redis import Redis
from rq import Queue
from side import Side, Variant, main, timed

_WORKER = [
    *("{bin}/rq", "worker", "--url", "{broker}", "--worker-class", "rq.worker.SimpleWorker", "--quiet"),
    *("--path", "{drivers}", "peers"),
]

VARIANTS = {
    "simple": Variant(
        "two workers `SimpleWorker` (no fork per job)",
        "at most once when the worker dies inside of a job: the job ends as failed",
        [_WORKER, _WORKER],
        "`enqueue_many` of 1,000",
        pace=(450, 450),
        sends=(1800, 10_000),
    ),
}

#: Seconds for which results are kept: RQ's default, or not at all.
TTL = 500 if ORDER.kept else 0
NAME = f"marks.{ORDER.task}"

queue = Queue("peers", connection=Redis.from_url(ORDER.broker))


class RqSide:
    """The client of RQ."""

    def open(self) -> None:
        """Nothing: the first call connects."""

    def send(self, numbers: Iterable[int]) -> None:
        """`enqueue`."""
        for number in numbers:
            queue.enqueue(NAME, number, result_ttl=TTL)

    def send_many(self, numbers: Iterable[int]) -> None:
        """`enqueue_many`."""
        rest = iter(numbers)
        while some := [Queue.prepare_data(NAME, (number,), result_ttl=TTL) for number in islice(rest, 1000)]:
            queue.enqueue_many(some)

    def round_trips(self, numbers: Iterable[int]) -> list[float]:
        """`enqueue` and `latest_result`, which blocks at a stream."""

        def call(number: int) -> Any:
            return queue.enqueue(NAME, number, result_ttl=TTL).latest_result(timeout=10)

        return timed(call, numbers)

    def close(self) -> None:
        """Disconnect."""
        queue.connection.close()

    def serve(self) -> None:
        """Its own command does that."""
        raise NotImplementedError


if __name__ == "__main__":
    side: Side = RqSide()
    main(side, VARIANTS, ["rq", "redis"])
