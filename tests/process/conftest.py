"""Workers on a database of their own, and a program that sends to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import Running

from kernel.app import Kernel

StartWorker = Callable[..., Running]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """URL of a transport that does not exist yet, with leases of one second."""
    return f"sqlite:///{tmp_path}/tasks.db?lease=1&synchronous=normal"


@pytest.fixture
def sender(database: str) -> Iterator[Kernel]:
    """An application that knows tasks by name only."""
    with Kernel("sender", transport=database) as app:
        yield app


@pytest.fixture
def start_worker(tmp_path: Path, database: str) -> Iterator[StartWorker]:
    """Start a worker and wait until all of its processes are ready; nothing of it may be left after the test.

    `app` and `transport` as on the command line; `wait=False` does not wait; keywords are environment variables.
    """
    runs: list[Running] = []

    def start(
        *options: str,
        processes: int = 1,
        app: str = "guarantees:app",
        transport: str = "",
        wait: bool = True,
        **environment: str,
    ) -> Running:
        given = [app, "--transport", transport or database, "--processes", str(processes), *options]
        run = Running(given, tmp_path, **environment)
        runs.append(run)
        if wait:
            run.ready(processes)
        return run

    yield start
    for run in runs:
        left = run.close()
        assert not left, f"processes {left} are left over:\n{run.log}"
    assert not [name for name in os.listdir(tmp_path) if name.startswith("core")]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """The file to which tasks write their starts."""
    return tmp_path / "ledger"
