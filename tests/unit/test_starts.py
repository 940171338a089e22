"""Recorded starts: in the coordination service, else in a directory of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from kernel_memory import MemoryCoordination

from kernel.configuration.settings import Tasks
from kernel.envelope import Envelope
from kernel.errors import Unavailable
from kernel.ports import Delivery, Tally
from kernel.serializers.json_ import JsonSerializer
from kernel.worker.job import Job
from kernel.worker.plan import Plan
from kernel.worker.starts import REMEMBERED_FOR, Starts

PLAN = Plan("t", None, Tasks(), JsonSerializer())


def job(id: str = "i", generation: int = 0, attempt: int = 0, redelivered: int = 1) -> Job:
    envelope = Envelope(id, "t", b"", "json", attempt, generation)
    return Job(Delivery(b"", "q", None, redelivered), envelope, PLAN, 0.0, "n", bytes)


class Away(MemoryCoordination):
    """A coordination service that is away while told so."""

    away = True

    def tally(self, items: Sequence[Tally]) -> list[int]:
        if self.away:
            raise Unavailable("away")
        return super().tally(items)


def coordination(kind: type[MemoryCoordination] = MemoryCoordination) -> MemoryCoordination:
    service = kind()
    service.open()
    return service


@pytest.fixture(params=["service", "directory"])
def starts(request: pytest.FixtureRequest, tmp_path: Path) -> Starts:
    """Both places."""
    return Starts(coordination() if request.param == "service" else None, "node", tmp_path)


def test_looking_whether_something_began_records_nothing(starts: Starts) -> None:
    jobs = [job("a"), job("b")]
    assert starts.begun(jobs) == starts.begun(jobs) == [False, False]
    starts.begin(jobs[1])
    assert starts.begun(jobs) == [False, True]
    assert starts.begun([job("b", attempt=1), job("b", generation=1)]) == [False, False]
    assert starts.record(jobs[1]) == 1, "starts of suspects are counted apart"


def test_what_nobody_can_look_up_may_have_begun(tmp_path: Path) -> None:
    service = coordination(Away)
    assert isinstance(service, Away)
    starts = Starts(service, "node", tmp_path)
    assert starts.begun([job()]) == [True]
    starts.begin(job())  # on this machine, while the service is away
    service.away = False
    assert starts.begun([job(), job("other")]) == [True, False]


def test_every_start_counts(starts: Starts) -> None:
    assert [starts.record(job()) for _ in range(4)] == [1, 2, 3, 4]
    assert starts.record(job("another")) == 1


def test_a_requeue_and_a_retry_count_anew(starts: Starts) -> None:
    assert [starts.record(job()), starts.record(job())] == [1, 2]
    assert starts.record(job(generation=1)) == 1
    assert starts.record(job(attempt=1)) == 1
    assert starts.record(job()) == 3


def test_workers_of_one_service_count_together() -> None:
    service = coordination()
    workers = [Starts(service, f"node-{number}") for number in range(3)]
    assert [worker.record(job()) for worker in workers] == [1, 2, 3]


def test_workers_of_one_directory_count_together(tmp_path: Path) -> None:
    assert [Starts(None, "node", tmp_path).record(job()) for _ in range(3)] == [1, 2, 3]


def test_a_service_that_is_away_is_replaced_by_the_directory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    starts = Starts(coordination(Away), "node", tmp_path)
    assert [starts.record(job()), starts.record(job())] == [1, 2]
    assert "recorded on this machine only" in caplog.text


PROGRAM = """
import sys
from pathlib import Path
from kernel.configuration.settings import Tasks
from kernel.envelope import Envelope
from kernel.ports import Delivery
from kernel.serializers.json_ import JsonSerializer
from kernel.worker.job import Job
from kernel.worker.plan import Plan
from kernel.worker.starts import Starts
plan = Plan("t", None, Tasks(), JsonSerializer())
job = Job(Delivery(b"", "q", None, 1), Envelope("i", "t", b"", "json"), plan, 0.0, "n", bytes)
starts = Starts(None, "node", Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(*[starts.record(job) for _ in range(50)])
"""


def test_two_processes_lose_no_start(tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    counts = [int(count) for child in children for count in child.communicate(timeout=30)[0].split()]
    assert sorted(counts) == list(range(1, 101)), "no two of them saw the same count"


def test_what_is_no_longer_remembered_is_swept_once_per_process(tmp_path: Path) -> None:
    old, recent = tmp_path / "old", tmp_path / "recent"
    for path, age in ((old, REMEMBERED_FOR + 60), (recent, REMEMBERED_FOR - 60)):
        path.write_bytes(b".")
        os.utime(path, (time.time() - age,) * 2)
    starts = Starts(None, "node", tmp_path)
    starts.record(job())
    assert (old.exists(), recent.exists()) == (False, True)
    os.utime(recent, (0, 0))
    assert starts.record(job()) == 2
    assert recent.exists()


def test_starts_of_a_suspect_that_comes_again_are_not_swept(tmp_path: Path) -> None:
    assert Starts(None, "node", tmp_path).record(job()) == 1
    (path,) = tmp_path.iterdir()
    os.utime(path, (time.time() - REMEMBERED_FOR + 60,) * 2)
    assert Starts(None, "node", tmp_path).record(job()) == 2
    assert path.stat().st_mtime > time.time() - 60, "remembered anew from the last start on"


def test_without_a_directory_given_it_is_one_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    assert Starts(None, "node").record(job()) == 1
    (directory,) = tmp_path.iterdir()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert Starts(None, "node").record(job()) == 2


def test_starts_of_processes_with_one_name_are_many() -> None:
    """A container has its host name and its process id again after each restart; the transport may only say "again"."""
    service = coordination()
    assert [Starts(service, "pod").record(job(redelivered=1)) for _ in range(3)] == [1, 2, 3]
