"""A worker whose services go away: it says so once, backs off, and comes back by itself."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process.brokers import LEASE, Broker, broker, spread
from running import LONG, Running
from support import eventually, slowness

from kernel.app import Kernel

StartWorker = Callable[..., Running]

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"), pytest.mark.timeout(240)]

NAMES = ["sqlite", "redis", "rabbitmq", "sqs"]
USUAL = [("sqlite", "solo"), ("redis", "threads"), ("rabbitmq", "solo"), ("sqs", "threads")]
#: Seconds that an outage lasts: several tries, and leases that end.
OUTAGE = LEASE + 1.0
#: Lines that one outage may cost: that it is away, that it is back, and one on what its end has met.
MOST_LINES = 4


@pytest.fixture
def away(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker that the test stops and starts."""
    with broker(request.param, tmp_path) as made:
        for key, value in made.environment.items():
            monkeypatch.setenv(key, value)
        yield made


def starts(ledger: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in ledger.read_text().splitlines()) if ledger.exists() else Counter()


def noise(run: Running) -> list[str]:
    """Lines that are not about tasks, processes or the start."""
    return run.find(r"^\S+ \S+ (?:WARNING|ERROR|CRITICAL) .*")


def send(transport: str, task: str, *arguments: object) -> None:
    with Kernel("sender", transport=transport, results="none", send_timeout=LONG) as app:
        app.send_task(task, list(arguments))


@pytest.mark.parametrize(("away", "pool"), spread(NAMES, ["solo", "threads"], USUAL), indirect=["away"])
def test_it_says_so_once_and_comes_back_by_itself(
    away: Broker, start_worker: StartWorker, ledger: Path, pool: str
) -> None:
    run = start_worker("--pool", pool, transport=away.url)
    send(away.url, "note", str(ledger), "before")
    eventually(lambda: starts(ledger)["before"] == 1, LONG)
    pids = run.ready()
    away.stop()
    run.expect("the transport is unavailable")
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > OUTAGE, OUTAGE + 5)
    assert len(noise(run)) <= 2, "one line, however often it is tried"
    away.start()
    back_at = time.monotonic()
    send(away.url, "note", str(ledger), "after")
    eventually(lambda: starts(ledger)["after"] >= 1, LONG)
    took = time.monotonic() - back_at
    assert took <= 3 * LEASE * slowness(), "within three lease periods"
    run.expect("the transport is back after")
    assert len(noise(run)) <= MOST_LINES, run.log
    assert run.ready() == pids, "no process was replaced"
    assert len(run.find(r"\) started")) == 1, run.log


@pytest.mark.parametrize("away", NAMES, indirect=True)
def test_a_broker_that_is_away_at_the_start_is_waited_for(
    away: Broker, start_worker: StartWorker, ledger: Path
) -> None:
    away.stop()
    run = start_worker(transport=away.url, wait=False)
    run.expect("is unavailable: ")
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > OUTAGE, OUTAGE + 5)
    assert len(noise(run)) == 1
    away.start()
    back_at = time.monotonic()
    run.ready()
    assert time.monotonic() - back_at <= (5.0 + LEASE) * slowness()
    send(away.url, "note", str(ledger), "after")
    eventually(lambda: starts(ledger)["after"] == 1, LONG)
    assert len(run.find(r"\) started")) == 1, run.log


@pytest.mark.parametrize("away", ["sqlite", "redis", "rabbitmq"], indirect=True)
def test_what_ends_during_an_outage_is_settled_after_it(
    away: Broker, start_worker: StartWorker, ledger: Path, tmp_path: Path
) -> None:
    """Its lease may end meanwhile: then it runs again, once, and not beside the first. (The server of the tests for SQS
    forgets all when it stops.)"""
    gate = tmp_path / "gate"
    run = start_worker("--pool", "threads", transport=away.url)
    send(away.url, "gated", str(ledger), "word", str(gate))
    eventually(lambda: starts(ledger)["word"] == 1, LONG)
    away.stop()
    run.expect("the transport is unavailable")
    gate.touch()
    away.start()
    run.expect("the transport is back after")
    with Kernel("sender", transport=away.url, results="none") as app:
        transport = app.ports.transport

        def empty() -> bool:
            size = transport.sizes(["default"])[0]  # type: ignore[attr-defined]
            return not size.ready and not size.in_flight

        eventually(empty, LONG)
    assert 1 <= starts(ledger)["word"] <= 2
    assert len(run.find(r"\) started")) == 1, run.log


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_result_store_that_is_away_holds_up_what_needs_it_and_loses_nothing(
    start_worker: StartWorker, database: str, ledger: Path, tmp_path: Path, pool: str
) -> None:
    with broker("redis", tmp_path) as store, Kernel("sender", transport=database, results=store.url) as app:
        run = start_worker("--pool", pool, "--results", store.url)
        assert app.send_task("add", [1, 2]).get(timeout=LONG) == 3
        store.stop()
        kept = app.send_task("note", [str(ledger), "kept"])
        run.expect("the result store is unavailable")
        app.send_task("timed", [str(ledger), 7, 0.0])
        eventually(lambda: starts(ledger)["7"] == 1, LONG, "a task that keeps no result goes on")
        began = time.monotonic()
        eventually(lambda: time.monotonic() - began > OUTAGE, OUTAGE + 5)
        assert len(noise(run)) <= 2, run.log
        store.start()
        assert kept.get(timeout=3 * LEASE * slowness()) == "kept"
        run.expect("the result store is back after")
        assert starts(ledger) == {"kept": 1, "7": 1}, "held under its lease, and not run again"


def test_a_transport_that_is_away_beside_a_healthy_store(
    start_worker: StartWorker, ledger: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    store = f"sqlite:///{tmp_path}/results.db"
    with broker("redis", tmp_path) as away, Kernel("sender", transport=away.url, results=store) as app:
        run = start_worker("--pool", "threads", "--results", store, transport=away.url)
        result = app.send_task("gated", [str(ledger), "word", str(gate)])
        eventually(lambda: starts(ledger)["word"] == 1, LONG)
        away.stop()
        run.expect("the transport is unavailable")
        gate.touch()
        assert result.get(timeout=LONG) == "word of ", "the result does not wait for the acknowledgement"
        away.start()
        run.expect("the transport is back after")
        eventually(lambda: not app.ports.transport.sizes(["default"])[0].in_flight, LONG)  # type: ignore[attr-defined]
        assert starts(ledger)["word"] == 1, "a redelivery finds the record that stands"
