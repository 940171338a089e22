"""taskiq."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import marks
from marks import ORDER
from side import Side, Variant, main
from taskiq_aio_pika import AioPikaBroker
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

_WORKER = ["{bin}/taskiq", "worker", "taskiq_:broker", "--workers", "2", "--log-level", "WARNING"]
_TUNED = ["--no-parse", "--max-prefetch", "100"]
_GATHER = "`asyncio.gather` of 100"
_LATE = "at least once: acknowledged after the result is saved"

VARIANTS = {
    "stream": Variant(
        "`RedisStreamBroker`, `--workers 2 --no-parse --max-prefetch 100`, coroutine tasks",
        _LATE,
        [[*_WORKER, *_TUNED]],
        _GATHER,
        pace=(5200, 2700),
        sends=(2600, 3800),
    ),
    "list": Variant(
        "`ListQueueBroker`, `--workers 2 --no-parse --max-prefetch 100`, coroutine tasks",
        "at most once: popped before the run",
        [[*_WORKER, *_TUNED]],
        _GATHER,
        pace=(2600, 2500),
        sends=(2900, 3800),
    ),
    "rabbitmq": Variant(
        "`AioPikaBroker` qos 200, `--workers 2 --no-parse --max-prefetch 100`, coroutine tasks; confirms",
        _LATE,
        [[*_WORKER, *_TUNED]],
        _GATHER,
        pace=(2700, 1850),
        sends=(900, 5400),
    ),
}

broker: Any
if ORDER.broker.startswith("amqp"):
    broker = AioPikaBroker(ORDER.broker, qos=200)
elif ORDER.variant == "list":
    broker = ListQueueBroker(ORDER.broker)
else:
    broker = RedisStreamBroker(ORDER.broker, consumer_id="0")
if ORDER.kept:
    broker = broker.with_result_backend(RedisAsyncResultBackend(ORDER.results))


async def noop(number: int) -> int:
    """The task that does nothing."""
    return marks.noop(number)


async def burn(number: int) -> int:
    """The task that computes."""
    return marks.burn(number)


TASKS: dict[str, Any] = {each.__name__: broker.task(task_name=each.__name__)(each) for each in (noop, burn)}
TASK = TASKS[ORDER.task]


class TaskiqSide:
    """The client of taskiq: one event loop for all calls."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def open(self) -> None:
        """Connect."""
        self.loop.run_until_complete(broker.startup())

    def send(self, numbers: Iterable[int]) -> None:
        """`kiq`, awaited one by one."""

        async def all_of_them() -> None:
            for number in numbers:
                await TASK.kiq(number)

        self.loop.run_until_complete(all_of_them())

    def send_many(self, numbers: Iterable[int]) -> None:
        """A hundred `kiq` at a time."""

        async def all_of_them() -> None:
            calls = []
            for number in numbers:
                calls.append(TASK.kiq(number))
                if len(calls) == 100:
                    await asyncio.gather(*calls)
                    calls = []
            await asyncio.gather(*calls)

        self.loop.run_until_complete(all_of_them())

    def round_trips(self, numbers: Iterable[int]) -> list[float]:
        """`kiq` and `wait_result`, which polls: every millisecond here, every 200 by default."""
        took = []

        async def all_of_them() -> None:
            for number in numbers:
                began = time.perf_counter()
                call = await TASK.kiq(number)
                await call.wait_result(check_interval=0.001, timeout=10)
                took.append(time.perf_counter() - began)

        self.loop.run_until_complete(all_of_them())
        return took

    def close(self) -> None:
        """Disconnect."""
        self.loop.run_until_complete(broker.shutdown())

    def serve(self) -> None:
        """Its own command does that."""
        raise NotImplementedError


if __name__ == "__main__":
    side: Side = TaskiqSide()
    main(side, VARIANTS, ["taskiq", "taskiq-redis", "taskiq-aio-pika", "redis"])
