"""Interrupts of native threads: what they must not leave behind."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from kernel.pools.raising import raise_in
from kernel.pools.threads import ThreadPool


class Limit(Exception):
    """What is raised here."""


def test_nothing_is_raised_where_no_body_runs() -> None:
    job = SimpleNamespace(interruptible=False)
    assert not raise_in(threading.get_ident(), Limit(), job)
    assert not raise_in(2**40, Limit())


@pytest.mark.timeout(10)
def test_an_interrupted_job_leaves_the_interpreter_as_it_was() -> None:
    """CPython 3.11 hangs in a profiler when a request that was withdrawn has left its flag up."""
    reached, ended = threading.Event(), threading.Event()
    started = threading.Event()

    def run(job: Any) -> None:
        job.interruptible = True
        started.set()
        try:
            while not ended.is_set():
                sum(range(100))
        except Limit:
            job.interruptible = False
            reached.set()

    pool = ThreadPool(1)
    pool.start(run, run)
    job = _Job()
    pool.submit([job])
    assert started.wait(5)
    assert pool.interrupt(job, Limit())
    assert reached.wait(5)
    assert pool.stop(5.0) == []
    seen: list[str] = []
    sys.setprofile(lambda frame, event, argument: seen.append(event))
    try:
        _nothing()
    finally:
        sys.setprofile(None)
    assert "call" in seen


class _Job:
    def __init__(self) -> None:
        self.coroutine = self.interruptible = False
        self.interrupted: BaseException | None = None


def _nothing() -> None:
    pass
