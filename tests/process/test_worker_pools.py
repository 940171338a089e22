"""What differs from pool to pool, and how queues take turns, in real worker processes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from running import LONG, Running
from support import eventually

from kernel.app import Kernel
from kernel.results.result import AsyncResult
from kernel.worker.seat import ExitCode

StartWorker = Callable[..., Running]

POOLS = ["solo", "threads", "asyncio", "gevent", "eventlet"]

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"), pytest.mark.timeout(120)]


@pytest.mark.parametrize("preload", ["--no-preload", "--preload"])
@pytest.mark.parametrize("pool", POOLS)
def test_plain_and_coroutine_tasks_run_in_every_pool(
    start_worker: StartWorker, sender: Kernel, pool: str, preload: str
) -> None:
    run = start_worker("--pool", pool, preload)
    plain: list[AsyncResult[int]] = sender.send_many("add", [(number, 1) for number in range(50)])
    coroutines: list[AsyncResult[int]] = sender.send_many("aadd", [(number, 2) for number in range(50)])
    assert [result.get(timeout=LONG) for result in plain] == list(range(1, 51))
    assert [result.get(timeout=LONG) for result in coroutines] == list(range(2, 52))
    assert run.stop() == ExitCode.OK
    assert not run.find("Traceback|ERROR|CRITICAL")


@pytest.mark.parametrize("preload", ["--no-preload", "--preload"])
@pytest.mark.parametrize(
    ("pool", "socket", "lock"),
    [
        ("solo", "socket", "_thread"),
        ("gevent", "gevent._socket3", "gevent"),
        ("eventlet", "eventlet.greenio.base", "e"),
    ],
)
def test_green_pools_patch_before_the_application_is_imported(
    start_worker: StartWorker, sender: Kernel, pool: str, socket: str, lock: str, preload: str
) -> None:
    start_worker("--pool", pool, preload)
    found = sender.send_task("patched").get(timeout=LONG).split()
    assert found[0] == socket
    assert found[1].startswith(lock)


def test_a_green_pool_named_in_code_comes_too_late_and_says_what_to_do(start_worker: StartWorker) -> None:
    run = start_worker(app="green_in_code:app", wait=False)
    assert run.wait() == ExitCode.CONFIG
    (line,) = run.find("CRITICAL.*")
    assert "pool='gevent' must be known before the application is imported: give --pool gevent" in line
    assert not run.find("Traceback")


def test_a_green_pool_named_in_code_and_on_the_command_line_works(start_worker: StartWorker, sender: Kernel) -> None:
    run = start_worker("--pool", "gevent", app="green_in_code:app")
    assert sender.send_task("noop").get(timeout=LONG) is None
    assert run.stop() == ExitCode.OK


def test_a_green_pool_in_the_environment_is_known_in_time(start_worker: StartWorker, sender: Kernel) -> None:
    start_worker(KERNEL_POOL="gevent")
    assert sender.send_task("patched").get(timeout=LONG).startswith("gevent")


# -- queues --------------------------------------------------------------------------------------------------


def filled(sender: Kernel, ledger: Path, queues: str, count: int) -> None:
    for queue in queues:
        calls = [(str(ledger), queue, 0.005)] * count
        for args in calls[:1]:  # one call first, so that the queue is there
            sender.send_task("note", args, queue=queue)
        with sender.batch():
            for args in calls[1:]:
                sender.send_task("note", args, queue=queue)


def order(ledger: Path) -> list[str]:
    return [line.split()[0] for line in ledger.read_text().splitlines()] if ledger.exists() else []


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_queues_take_fair_turns(start_worker: StartWorker, sender: Kernel, ledger: Path, pool: str) -> None:
    filled(sender, ledger, "ab", 200)
    start_worker("--queues", "a,b", "--pool", pool, *(["-c", "2"] if pool != "solo" else []))
    eventually(lambda: len(order(ledger)) == 400, LONG)
    for upto in (100, 200, 300):
        counts = Counter(order(ledger)[:upto])
        assert abs(counts["a"] - counts["b"]) <= upto * 0.3, counts


def test_queues_take_turns_by_weight(start_worker: StartWorker, sender: Kernel, ledger: Path) -> None:
    filled(sender, ledger, "ab", 300)
    start_worker("--queues", "b:1,a:5")
    eventually(lambda: len(order(ledger)) == 600, LONG)
    counts = Counter(order(ledger)[:240])
    assert 20 <= counts["b"] <= 60, counts


def test_strict_queues_are_served_in_order(start_worker: StartWorker, sender: Kernel, ledger: Path) -> None:
    filled(sender, ledger, "ab", 100)
    start_worker("--queues", "b,a", "--strict", processes=2)
    eventually(lambda: len(order(ledger)) == 200, LONG)
    # Two processes and what they have fetched: a handful at the border may cross it.
    assert Counter(order(ledger)[:90])["b"] == 90
