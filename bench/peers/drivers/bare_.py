"""Bare loops: what the client library alone allows, with late acknowledgement and nothing of a framework."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any
from uuid import uuid4

import marks
import pika
import redis
from marks import ORDER
from side import Side, Variant, main, timed

#: Messages that a bulk send carries.
BATCH = 1000
#: Messages that a Redis loop claims at once. Two milliseconds each, more would leave the other process without work.
CLAIMED = 10 if ORDER.task == "burn" else 1000
#: Messages that RabbitMQ hands out ahead of their acknowledgement.
PREFETCH = 1000
#: Messages that one multiple acknowledgement settles.
SETTLE = 100
#: Seconds for which results are kept.
TTL = 86400
QUEUE = "bare"
QUORUM = {"x-queue-type": "quorum"}

#: Settle what is pending, claim up to so many, return them: one script, one round trip.
CLAIM = """
redis.call('DEL', KEYS[2])
local found = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)
if #found > 0 then
    redis.call('LTRIM', KEYS[1], #found, -1)
    redis.call('RPUSH', KEYS[2], unpack(found))
end
return found
"""

_LATE = "at least once: settled after the run; no lease, no fence"
_SERVE = [["{bin}/python", "{driver}", "serve"]] * 2
VARIANTS = {
    "list": Variant(
        "two processes, redis-py; claim and settle 1,000 (2 ms tasks: 10) with one Lua script, "
        "results `SET EX` in one pipeline",
        _LATE,
        _SERVE,
        "`RPUSH` of 1,000",
        pace=(200_000, 75_000),
        sends=(6500, 100_000),
    ),
    "pika": Variant(
        "two processes, pika `BlockingConnection`, quorum queue, prefetch 1,000, one multiple ack per 100, "
        "results `SET EX` in one pipeline; sends without confirms in bulk, with a confirm one by one",
        _LATE,
        _SERVE,
        "`basic_publish`, unconfirmed",
        pace=(35_000, 25_000),
        sends=(900, 15_000),
    ),
    "loop": Variant(
        "two processes that call the function in a loop: no queue at all",
        "none",
        [["{bin}/python", "{driver}", "serve", number] for number in "01"],
        pace=(1_000_000, 1_000_000),
    ),
}


def message(number: int, key: str = "") -> str:
    """An id, a name, JSON arguments."""
    return json.dumps({"id": key or uuid4().hex, "task": ORDER.task, "args": [number]})


def run(body: bytes) -> tuple[str, str]:
    """Run one message: its id and its result as JSON."""
    call = json.loads(body)
    value = TASKS[call["task"]](*call["args"])
    return call["id"], json.dumps(value)


TASKS: dict[str, Callable[[int], int]] = {"noop": marks.noop, "burn": marks.burn}


class ListSide:
    """Redis lists: one for what waits, one per worker for what is in work."""

    def __init__(self) -> None:
        self.client: Any = redis.Redis.from_url(ORDER.broker)

    def open(self) -> None:
        """Connect."""
        self.client.ping()

    def send(self, numbers: Iterable[int]) -> None:
        """One round trip per message."""
        for number in numbers:
            self.client.rpush(QUEUE, message(number))

    def send_many(self, numbers: Iterable[int]) -> None:
        """A thousand messages per round trip."""
        rest = iter(numbers)
        while some := [message(number) for number in islice(rest, BATCH)]:
            self.client.rpush(QUEUE, *some)

    def round_trips(self, numbers: Iterable[int]) -> list[float]:
        """Push, and wait at a list that the worker pushes the result to."""

        def call(number: int) -> None:
            key = uuid4().hex
            self.client.rpush(QUEUE, message(number, key))
            found = self.client.blpop(f"done:{key}", 10)
            assert found is not None
            assert json.loads(found[1]) == number

        return timed(call, numbers)

    def close(self) -> None:
        """Disconnect."""
        self.client.close()

    def serve(self) -> None:
        """Claim, run, store, claim the next, which settles the last."""
        claim, pending = self.client.register_script(CLAIM), f"{QUEUE}:{os.getpid()}"
        while True:
            bodies = claim(keys=[QUEUE, pending], args=[CLAIMED])
            if not bodies:
                one = self.client.blmove(QUEUE, pending, 1, "LEFT", "RIGHT")
                bodies = [one] if one is not None else []
            # Somebody waits for a task that came alone: its result also goes where its caller blocks.
            self._run(bodies, announce=len(bodies) == 1)

    def _run(self, bodies: list[bytes], announce: bool) -> None:
        if not ORDER.kept:
            for body in bodies:
                run(body)
            return
        pipeline = self.client.pipeline(transaction=False)
        for body in bodies:
            key, value = run(body)
            pipeline.set(key, value, ex=TTL)
            if announce:
                pipeline.rpush(f"done:{key}", value)
                pipeline.expire(f"done:{key}", 60)
        pipeline.execute()


class PikaSide:
    """A RabbitMQ queue, results in Redis."""

    def open(self) -> None:
        """Connect."""
        self.results: Any = redis.Redis.from_url(ORDER.results)
        self.connection: Any = pika.BlockingConnection(pika.URLParameters(ORDER.broker))
        self.channel: Any = self.connection.channel()
        self.channel.queue_declare(QUEUE, durable=True, arguments=QUORUM)

    def _publish(self, number: int, key: str = "") -> None:
        properties = pika.BasicProperties(delivery_mode=2)
        self.channel.basic_publish("", QUEUE, message(number, key).encode(), properties)

    def send(self, numbers: Iterable[int]) -> None:
        """A confirm for each, as the others wait for an answer too."""
        self.channel.confirm_delivery()
        for number in numbers:
            self._publish(number)

    def send_many(self, numbers: Iterable[int]) -> None:
        """Without confirms."""
        for number in numbers:
            self._publish(number)

    def round_trips(self, numbers: Iterable[int]) -> list[float]:
        """Publish, and wait at a list that the worker pushes the result to."""

        def call(number: int) -> None:
            key = uuid4().hex
            self._publish(number, key)
            found = self.results.blpop(f"done:{key}", 10)
            assert found is not None
            assert json.loads(found[1]) == number

        return timed(call, numbers)

    def close(self) -> None:
        """Disconnect."""
        self.connection.close()

    def serve(self) -> None:
        """Run what is delivered; store and settle a hundred at a time, or what there is when nothing more comes."""
        self.open()
        self.channel.basic_qos(prefetch_count=PREFETCH)
        ready: list[tuple[str, str]] = []
        for method, _, body in self.channel.consume(QUEUE, inactivity_timeout=0.001):
            if method is not None:
                ready.append(run(body))
                last = method.delivery_tag
            if len(ready) >= SETTLE or (method is None and ready):
                self._settle(ready, last)
                ready = []

    def _settle(self, ready: list[tuple[str, str]], last: int) -> None:
        if ORDER.kept:
            pipeline = self.results.pipeline(transaction=False)
            for key, value in ready:
                pipeline.set(key, value, ex=TTL)
            if len(ready) == 1:
                pipeline.rpush(f"done:{ready[0][0]}", ready[0][1])
                pipeline.expire(f"done:{ready[0][0]}", 60)
            pipeline.execute()
        self.channel.basic_ack(last, multiple=True)


class LoopSide(ListSide):
    """No queue: each process calls the function for its half of the numbers."""

    def send_many(self, numbers: Iterable[int]) -> None:
        """Nothing to send."""

    def serve(self) -> None:
        """Run every other number, then wait to be ended."""
        for number in range(int(sys.argv[2]), ORDER.tasks, 2):
            TASKS[ORDER.task](number)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    sides: dict[str, Callable[[], Side]] = {"pika": PikaSide, "loop": LoopSide}
    main(sides.get(ORDER.variant, ListSide)(), VARIANTS, ["redis", "hiredis", "pika"])
