"""A worker process that is frozen beyond its lease, on each transport: what it may still do when it goes on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process.brokers import Broker, broker, spread
from running import LONG, Running
from support import eventually

from kernel.app import Kernel

StartWorker = Callable[..., Running]

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"), pytest.mark.timeout(240)]


NAMES = ["sqlite", "redis", "rabbitmq", "sqs"]
FAILS, DIES = "gated_then_fails", "gated_then_dies"
#: Of the four transports; how it is with the other pools and tasks, SQLite shows in `test_guarantees_leases`.
USUAL = [*((name, FAILS) for name in NAMES), ("redis", DIES)]


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    with broker(request.param, tmp_path) as made:
        if made.name == "rabbitmq":
            made.url += (
                "&heartbeat=2"  # the lease is the connection, which the broker closes after two that are missing
            )
        for key, value in made.environment.items():
            monkeypatch.setenv(key, value)
        yield made


def starts(ledger: Path) -> list[tuple[str, int]]:
    """Word and process of each start."""
    lines = [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
    return [(line[0], int(line[1])) for line in lines]


class Frozen:
    """A first worker that was frozen in the middle of a task, and a second one that has taken the task over."""

    def __init__(self, start: StartWorker, served: Broker, ledger: Path, gate: Path, app: Kernel, task: str) -> None:
        results = app.config.ports.results
        options = ("--pool", "threads", "-c", "1", "--results", results)
        self.first = start(*options, transport=served.url, TEST_NAME="first")
        self.result = app.send_task(task, [str(ledger), "word", str(gate)])
        eventually(lambda: len(starts(ledger)) == 1, LONG, "it has started")
        self.pid = self.first.ready()[0]
        os.kill(self.pid, signal.SIGSTOP)
        self.second = start(*options, transport=served.url, TEST_NAME="second")
        eventually(lambda: len(starts(ledger)) == 2, LONG, "its successor has started")
        assert starts(ledger)[0][1] == self.pid != starts(ledger)[1][1]

    def go_on(self) -> None:
        """Let it find out that time has passed."""
        os.kill(self.pid, signal.SIGCONT)

    def works(self, app: Kernel, ledger: Path) -> None:
        """Both workers are as good as ever."""
        for number in range(10):
            app.send_task("timed", [str(ledger), f"after{number}", 0.05])
        eventually(lambda: len({word for word, _ in starts(ledger) if word.startswith("after")}) == 10, LONG)
        assert len(self.first.find(r"\) started")) == 1


@pytest.mark.parametrize(("served", "task"), spread(NAMES, ["gated", FAILS, DIES], USUAL), indirect=["served"])
def test_with_a_result_store_a_zombie_writes_nothing_and_sends_nothing(
    served: Broker, start_worker: StartWorker, ledger: Path, tmp_path: Path, task: str
) -> None:
    """The first worker fails where the second one succeeds, so whatever it would send has a trace."""
    gate = tmp_path / "gate"
    with Kernel("sender", transport=served.url, results=f"sqlite:///{tmp_path}/results.db") as app:
        frozen = Frozen(start_worker, served, ledger, gate, app, task)
        gate.touch()
        assert frozen.result.get(timeout=LONG) == "word of second"
        frozen.go_on()
        frozen.first.expect("taken over by another worker|delivered again before|is back after|SUCCESS|FAILURE|RETRY")
        frozen.works(app, ledger)
        assert app.result(frozen.result.id).get(timeout=0) == "word of second"
        assert len([word for word, _ in starts(ledger) if word == "word"]) == 2, "it published no retry"
        assert app.dead().list() == [], "nor a dead letter"


@pytest.mark.parametrize(("served", "task"), spread(NAMES, [FAILS, DIES], USUAL), indirect=["served"])
def test_without_a_result_store_the_transport_refuses_the_sends_of_a_zombie_where_it_can(
    served: Broker, start_worker: StartWorker, ledger: Path, tmp_path: Path, task: str
) -> None:
    """Where sends and acknowledgement are one step, or the lease is known to be over, nothing is sent. RabbitMQ has
    neither before the connection is found closed, so that there a retry may be sent once too often."""
    gate = tmp_path / "gate"
    with Kernel("sender", transport=served.url, results="none") as app:
        frozen = Frozen(start_worker, served, ledger, gate, app, task)
        frozen.go_on()
        gate.touch()
        frozen.works(app, ledger)
        runs, letters = len([word for word, _ in starts(ledger) if word == "word"]), len(app.dead().list())
        if served.name == "rabbitmq":
            # One message too many: a letter, or a retry, which fails for good where the first worker takes it.
            assert runs <= 3
            assert letters <= 1
        else:
            assert (runs, letters) == (2, 0)
