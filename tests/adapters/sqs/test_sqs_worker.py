"""A real worker on SQS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Running
from support import eventually

from kernel.app import Kernel


@pytest.fixture
def worker(url: str, tmp_path: Path) -> Iterator[Running]:
    options = ["--processes", "2", "--lease", "4", "--results", f"sqlite:///{tmp_path}/results.db"]
    run = Running(["guarantees:app", "--transport", f"{url}&lease=4", *options], tmp_path)
    yield run
    assert not run.close()


def test_a_long_task_is_hidden_while_it_runs_and_a_delayed_one_waits(url: str, tmp_path: Path, worker: Running) -> None:
    worker.ready(2)
    ledger = tmp_path / "ledger"
    with Kernel("sender", transport=f"{url}&lease=4") as app:
        app.send_task("note", (str(ledger), "long", 6.0))
        app.send_task("note", (str(ledger), "urgent"), priority=9)
        app.send_task("note", (str(ledger), "delayed"), countdown=2.0)
        worker.expect(r"note SUCCESS", 3)
    assert sorted(line.split()[0] for line in ledger.read_text().splitlines()) == ["delayed", "long", "urgent"]
    eventually(lambda: worker.find(r"note SUCCESS in 6"), what="the long task ran for longer than its lease")
