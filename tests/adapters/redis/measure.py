"""What a message, a record and a fact take in the memory of a Redis: `python tests/adapters/redis/measure.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "adapters"), str(ROOT / "tests")]

from kernel_redis import RedisCoordination, RedisResults, RedisSchedules, RedisTransport  # noqa: E402
from services.redis import control, info, redis_server  # noqa: E402

from kernel.ports import Claim, Outgoing, Parked, Record  # noqa: E402

COUNT = 100_000
BATCH = 1000
BODY = b"x" * 200


def batches() -> Iterator[range]:
    for at in range(0, COUNT, BATCH):
        yield range(at, at + BATCH)


def main() -> None:
    """Print a table of bytes for each, with a payload of 200 bytes."""
    server, url = redis_server()
    transport, results = RedisTransport.from_url(f"{url}?lease=3600"), RedisResults.from_url(url)
    facts, schedules = RedisCoordination.from_url(url), RedisSchedules.from_url(url)
    for port in (transport, results, facts, schedules):
        port.open()

    def lease() -> None:
        for _ in batches():
            transport.receive(["ready"], BATCH, 1.0)

    def each(call: Callable[[range], object]) -> Callable[[], None]:
        return lambda: [call(numbers) for numbers in batches()] and None

    steps: dict[str, Callable[[], None]] = {
        "ready message": each(lambda numbers: transport.send([Outgoing("ready", BODY)] * BATCH)),
        "leased message, more than ready": lease,
        "delayed message": each(lambda numbers: transport.send([Outgoing("later", BODY, not_before=4e9)] * BATCH)),
        "key of deduplication": each(
            lambda numbers: transport.send([Outgoing("d", b"", dedup_key=f"{n:032}") for n in numbers])
        ),
        "result": each(lambda numbers: results.put([Record(f"{n:032}", BODY, True, (0, 0, 0)) for n in numbers], 60.0)),
        "claim": each(lambda numbers: facts.claim([Claim(f"{n:032}", "o" * 32, 600) for n in numbers])),
        "parked entry": each(lambda numbers: schedules.add([Parked("s", f"{n:032}", 1.0, BODY) for n in numbers])),
    }
    with control(url) as client:
        for name, step in steps.items():
            before = info(url, "memory")["used_memory"]
            step()
            print(f"{name:34} {(info(url, 'memory')['used_memory'] - before) / COUNT:6.0f} bytes")
            client.execute_command("MEMORY", "PURGE")
    server.close()


if __name__ == "__main__":
    main()
