"""`once`: one at a time, recorded, and run again only when nobody can know."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kernel_memory import MemoryCoordination

from kernel import ConfigError, Kernel, current, once, repeats, run_once
from kernel.errors import EncodeError, StillRunning
from kernel.opened import Opened


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Kernel]:
    with Kernel("once", transport=f"sqlite:///{tmp_path}/x.db?synchronous=normal") as app:
        yield app


def once_in(app: Kernel, key: str, **options: Any) -> Any:
    return once(key, app=app, **options)


def test_the_second_is_told_what_the_first_came_to(app: Kernel) -> None:
    made = []
    for _ in range(3):
        with once_in(app, "charge:7") as it:
            if it.first:
                made.append(1)
                it.value = {"receipt": 12}
        assert it.value == {"receipt": 12}
    assert made == [1]


def test_another_key_is_another_effect(app: Kernel) -> None:
    firsts = []
    for key in ("a", "b", "a"):
        with once_in(app, key) as it:
            firsts.append(it.first)
    assert firsts == [True, True, False]


def test_one_that_raises_has_done_nothing(app: Kernel) -> None:
    with pytest.raises(ZeroDivisionError), once_in(app, "x"):
        raise ZeroDivisionError
    with pytest.raises(EncodeError), once_in(app, "x") as it:
        it.value = object()
    with once_in(app, "x", wait=0.0) as it:
        assert it.first


def test_a_function_is_called_once(app: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "application", [app])
    monkeypatch.setattr(repeats, "application", [app])
    made: list[int] = []

    def charge(cents: int, *, currency: str) -> str:
        made.append(cents)
        return f"{cents} {currency}"

    assert [run_once("c", charge, 5, currency="EUR") for _ in range(3)] == ["5 EUR"] * 3
    assert made == [5]


def test_threads_at_once(app: Kernel) -> None:
    made: list[int] = []
    told: list[Any] = []
    start = threading.Barrier(8, timeout=20)

    def work(number: int) -> None:
        start.wait()
        with once_in(app, "x", wait=30.0) as it:
            if it.first:
                made.append(number)
                time.sleep(0.05)
                it.value = number
        told.append(it.value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert told == made * 8


def _effect(url: str, ledger: str, die: bool) -> None:
    app = Kernel("child", transport=url)
    with once("x", app=app, ttl=0.5, wait=30.0) as it:
        if it.first:
            with open(ledger, "a") as file:
                file.write("made\n")
            if die:
                os.kill(os.getpid(), signal.SIGKILL)
            it.value = 7
    assert it.value == 7
    app.close()


def test_processes_at_once_and_one_killed_between_effect_and_record(app: Kernel, tmp_path: Path) -> None:
    """That one effect is made a second time is what the page says; no third one may be."""
    url, ledger = app.config.ports.transport, tmp_path / "ledger"
    fresh = multiprocessing.get_context("spawn")
    dying = fresh.Process(target=_effect, args=(url, str(ledger), True))
    dying.start()
    dying.join(30)
    assert dying.exitcode == -signal.SIGKILL
    others = [fresh.Process(target=_effect, args=(url, str(ledger), False)) for _ in range(4)]
    for process in others:
        process.start()
    for process in others:
        process.join(50)
        assert process.exitcode == 0
    assert ledger.read_text() == "made\nmade\n"


def test_who_waits_too_long_is_told_so(app: Kernel) -> None:
    with once_in(app, "x"), pytest.raises(StillRunning, match="'x' is being run by somebody else"):
        with once_in(app, "x", wait=0.05):
            pass


def test_a_block_that_lasts_keeps_its_claim(app: Kernel) -> None:
    with once_in(app, "x", ttl=0.2) as it:
        it.value = 1
        time.sleep(0.6)
        with pytest.raises(StillRunning), once_in(app, "x", wait=0.05):
            pass


def forgetful() -> MemoryCoordination:
    """A service that has forgotten the claim."""
    service = MemoryCoordination()
    service.open()
    return service


def test_one_that_was_overtaken_says_what_was_recorded_first(app: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Opened, "coordination", forgetful())
    with once_in(app, "x") as slow:
        monkeypatch.setattr(Opened, "coordination", forgetful())
        with once_in(app, "x") as fast:
            fast.value = "fast"
        slow.value = "slow"
    assert slow.value == "fast"


def test_without_the_two_services_it_is_refused() -> None:
    for missing in ("results", "coordination"):
        with Kernel("none", transport="memory://once", **{missing: "none"}) as app:
            with pytest.raises(ConfigError, match=f"set {missing}="), once_in(app, "x"):
                pass
