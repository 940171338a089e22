"""A message that ends its process, on each kind of transport: stopped, and a dead letter that says why."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process.brokers import Broker, broker, spread
from running import LONG, Running
from support import eventually

from kernel.app import Kernel

StartWorker = Callable[..., Running]

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"), pytest.mark.timeout(240)]


POOLS = ["solo", "threads", "asyncio", "gevent", "eventlet"]
#: Each pool on one transport, and each transport with one pool.
USUAL = [*(("sqlite", pool) for pool in POOLS), ("redis", "solo"), ("rabbitmq", "threads"), ("sqs", "threads")]


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    with broker(request.param, tmp_path) as made:
        for key, value in made.environment.items():
            monkeypatch.setenv(key, value)
        yield made


@pytest.mark.parametrize(
    ("served", "pool"), spread(["sqlite", "redis", "rabbitmq", "sqs"], POOLS, USUAL), indirect=["served"]
)
def test_poison_is_stopped_and_nothing_beside_it_is_lost(
    served: Broker, start_worker: StartWorker, ledger: Path, pool: str
) -> None:
    with Kernel("sender", transport=served.url, results="none") as app:
        app.send_many("timed", [(str(ledger), number, 0.01) for number in range(20)])
        app.send_task("die", [str(ledger)])
        app.send_many("timed", [(str(ledger), number, 0.01) for number in range(20, 40)])
        run = start_worker("--pool", pool, transport=served.url)
        run.expect("goes to the dead letters", timeout=2 * LONG)
        eventually(lambda: len(app.dead().list()) == 1, LONG)
        (letter,) = app.dead().list()
        assert (letter.task, letter.kind, letter.queue) == ("die", "failed", "default")
        assert "never seen to its end" in letter.reason
        assert "WorkerLost" in letter.error
        # SQS says only that it was delivered before.
        assert letter.deliveries >= (2 if served.name == "sqs" else 4)
        counted = Counter(line.split()[0] for line in ledger.read_text().splitlines())
        # One start before anything says that it may kill, and max_deliveries; one more where releases are counted.
        assert counted["die"] in (3, 4)
        eventually(lambda: len(ledger_words(ledger) - {"die"}) == 40, LONG, "all others ran")


def ledger_words(ledger: Path) -> set[str]:
    return {line.split()[0] for line in ledger.read_text().splitlines()}
