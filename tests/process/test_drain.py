"""A stop as a container platform asks for it: what does not end in time is given back, and the process is gone."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process.brokers import Broker, broker, spread
from running import LONG, Running
from support import eventually

from kernel.app import Kernel
from kernel.worker.seat import ExitCode

StartWorker = Callable[..., Running]

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"), pytest.mark.timeout(240)]

#: Seconds that the worker gives to what runs, and the longest that its end may take beyond that.
GRACE, MARGIN = 1.0, 15.0
#: So long that nothing in these tests comes back because a lease has ended.
LEASE = 600


NAMES = ["sqlite", "redis", "rabbitmq"]
#: How a pool deals with what does not end.
WAYS = [("solo", "sleep"), ("threads", "deaf"), ("asyncio", "asleep")]
USUAL = [*(("sqlite", way) for way in WAYS), ("redis", WAYS[1]), ("rabbitmq", WAYS[0])]


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    with broker(request.param, tmp_path) as made:
        made.url = made.url.replace("lease=3", f"lease={LEASE}")
        yield made


def starts(ledger: Path) -> list[tuple[str, int, float]]:
    """Word, process and monotonic time of each start."""
    lines = [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
    return [(word, int(pid), float(at)) for word, pid, at in lines]


@pytest.mark.parametrize(("served", "way"), spread(NAMES, WAYS, USUAL), indirect=["served"])
def test_what_does_not_end_in_time_is_with_another_worker_at_once(
    served: Broker, start_worker: StartWorker, ledger: Path, way: tuple[str, str]
) -> None:
    """Cancelled where the pool can do that, else given back while it still runs; and what waited behind it too."""
    pool, task = way
    first = start_worker("--pool", pool, "-c", "1", "--grace", str(GRACE), transport=served.url)
    with Kernel("sender", transport=served.url, results="none") as app:
        app.send_task(task, [str(ledger), 3600.0 if task != "deaf" else 30.0])
        eventually(lambda: len(starts(ledger)) == 1, LONG)
        app.send_task("note", [str(ledger), "behind"])
        second = start_worker("--pool", pool, "-c", "1", "--grace", "0.3", transport=served.url)
        eventually(lambda: "behind" in [word for word, _, _ in starts(ledger)], LONG, "the idle one has it")
        first.send(signal.SIGTERM)
        stopped_at = time.monotonic()
        assert first.wait(GRACE + MARGIN) == ExitCode.OK
        ended_at = time.monotonic()
        eventually(lambda: len(starts(ledger)) == 3, LONG)
        (_, before, _), _, (word, after, at) = starts(ledger)
        assert (word, before, after) == ("deaf" if task == "deaf" else "sleep", first.ready()[0], second.ready()[0])
        assert at < ended_at + 5.0
        assert at - stopped_at >= GRACE, "it had all of its time"


@pytest.mark.parametrize("served", NAMES, indirect=True)
def test_a_worker_that_holds_much_gives_all_of_it_back(served: Broker, start_worker: StartWorker, ledger: Path) -> None:
    first = start_worker("--pool", "threads", "-c", "4", "--grace", str(GRACE), transport=served.url)
    with Kernel("sender", transport=served.url, results="none") as app:
        app.send_many("timed", [(str(ledger), number, 0.2) for number in range(200)])
        eventually(lambda: len(starts(ledger)) > 8, LONG)
        first.send(signal.SIGTERM)
        assert first.wait(GRACE + MARGIN) == ExitCode.OK
        seen = len(starts(ledger))
        second = start_worker("--pool", "threads", "-c", "50", transport=served.url)
        eventually(lambda: len(starts(ledger)) >= 200, 2 * LONG, second.log)
        assert seen < 200
        assert len({word for word, _, _ in starts(ledger)}) == len(starts(ledger)) == 200, "none ran twice"
