"""dramatiq."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dramatiq
import marks
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from marks import ORDER
from side import Side, Variant, main, timed

_LATE = "at least once: acknowledged after the run"
_WORKER = [["{bin}/dramatiq", "dramatiq_", "--processes", "2", "--threads", "1", "--skip-logging"]]
#: The command line of its worker has no option for that.
_PREFETCH = {"dramatiq_queue_prefetch": "256"}
_SETTINGS = "`--processes 2 --threads 1`, queue prefetch 256"

VARIANTS = {
    "redis": Variant(_SETTINGS, _LATE, _WORKER, pace=(6300, 3200), sends=(4000, 4000), environment=_PREFETCH),
    "rabbitmq": Variant(
        f"{_SETTINGS}; classic durable queue, persistent messages, no confirms",
        _LATE,
        _WORKER,
        pace=(6000, 2400),
        sends=(9000, 9000),
        environment=_PREFETCH,
    ),
}

broker: Any = RabbitmqBroker(url=ORDER.broker) if ORDER.broker.startswith("amqp") else RedisBroker(url=ORDER.broker)
backend = RedisBackend(url=ORDER.results)
if ORDER.kept:
    broker.add_middleware(Results(backend=backend))
dramatiq.set_broker(broker)
options: dict[str, Any] = {"store_results": True} if ORDER.kept else {}
noop = dramatiq.actor(marks.noop, actor_name="noop", **options)
burn = dramatiq.actor(marks.burn, actor_name="burn", **options)
TASK = {"noop": noop, "burn": burn}[ORDER.task]


class DramatiqSide:
    """The client of dramatiq."""

    def open(self) -> None:
        """Nothing: the first call connects."""

    def send(self, numbers: Iterable[int]) -> None:
        """`send`."""
        for number in numbers:
            TASK.send(number)

    def send_many(self, numbers: Iterable[int]) -> None:
        """The same: it has no bulk way."""
        self.send(numbers)

    def round_trips(self, numbers: Iterable[int]) -> list[float]:
        """`send(...).get_result(block=True)`."""

        def call(number: int) -> Any:
            return TASK.send(number).get_result(backend=backend, block=True, timeout=10_000)

        return timed(call, numbers)

    def close(self) -> None:
        """Disconnect."""
        broker.close()

    def serve(self) -> None:
        """Its own command does that."""
        raise NotImplementedError


if __name__ == "__main__":
    side: Side = DramatiqSide()
    main(side, VARIANTS, ["dramatiq", "redis", "pika"])
