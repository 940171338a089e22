"""Tasks that outlast what the transport can hold: their message goes back in time, and they still run once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from engine.harness import PATIENCE, Engine, Running
from kernel_memory import Limits, MemoryCoordination, MemoryResults, MemoryTransport
from kernel_memory.space import Space
from support import eventually

from kernel import Ignore, Kernel, Reject, Retry
from kernel import envelope as wire
from kernel.clock import FakeClock
from kernel.errors import Unavailable
from kernel.ports import Claim
from kernel.worker.handing import KNOWN_FOR, SETTLED

Make = Callable[..., Engine]

#: Seconds: what the transport holds, when a job is handed on, and how long a copy waits.
TOTAL, AFTER, PACE = 600.0, 541.0, 60.0


class Long:
    """An engine on a transport that holds a message for `TOTAL` seconds, on a clock that the test moves."""

    def __init__(self, engines: Make, pool: str, coordinated: bool = True, mask: tuple[str, ...] = ("lease",)) -> None:
        self.space = Space()
        self.clock = FakeClock()
        self.coordinated = coordinated
        self.mask = mask
        #: Does something to each new transport.
        self.prepare: Callable[[MemoryTransport], None] = lambda transport: None
        self.ending: BaseException | None = None
        self.engine = engines(pool, use=self._use, clock=self.clock, grace=1e6)
        self.begun, self.go = threading.Event(), threading.Event()
        self.runs: list[int] = []

    def _use(self, app: Kernel) -> None:
        space, clock = self.space, self.clock
        transport = MemoryTransport(space, clock, self.mask, Limits(lease_total=TOTAL))
        self.prepare(transport)
        coordination = MemoryCoordination(space, clock) if self.coordinated else None
        app.use(transport, MemoryResults(space, clock), coordination)

    def task(self, **options: Any) -> Any:
        """A task whose first run waits for `go`, and raises `self.ending` if there is one."""

        @self.engine.task(**options)
        def work() -> str:
            self.runs.append(len(self.runs))
            if len(self.runs) > 1:
                return "again"
            self.begun.set()
            self.engine.wait(self.go)
            if self.ending is not None:
                raise self.ending
            return "first"

        return work

    def handed_on(self, task: Any) -> tuple[Any, Running]:
        """A call that runs in a worker and has been handed on. The worker takes in nothing more, so that the copy comes
        to others."""
        result = task.delay()
        running = self.engine.start()
        assert self.begun.wait(PATIENCE)
        running.worker.stop()
        self.clock.advance(AFTER)
        self.parked()
        return result, running

    def parked(self) -> None:
        """Wait until the message is nowhere but among the delayed ones."""
        engine = self.engine
        eventually(lambda: (engine.size().in_flight, engine.size().delayed) == (0, 1), PATIENCE, "the copy waits")

    def copy(self) -> wire.Envelope:
        (payload,) = self.engine.transport.peek("default", 10)
        return wire.decode(payload)

    def passes(self, seconds: float, *running: Running) -> None:
        """Time passes, and the housekeepers of these workers look often enough meanwhile."""
        while seconds > 0:
            self.clock.advance(min(15.0, seconds))
            seconds -= 15.0
            for worker in [each.worker for each in running]:
                eventually(lambda w=worker: w.handover.looked_at == self.clock.monotonic(), PATIENCE, "a look")  # type: ignore[misc]

    def claim(self, key: str, owner: str) -> str:
        coordination = self.engine.app.ports.coordination
        assert coordination is not None
        return coordination.claim([Claim(key, owner, PACE)])[0]


@pytest.fixture
def long(engines: Make, pool: str) -> Long:
    return Long(engines, pool)


def test_it_runs_once_while_its_copy_goes_round(long: Long) -> None:
    engine = long.engine
    result, holder = long.handed_on(long.task())
    assert long.copy().extra[wire.FENCE] == 1
    with engine.run():
        for hops in (1, 2, 3):
            assert long.copy().extra[wire.HOP] == hops
            long.passes(PACE + 1, holder)
            eventually(lambda h=hops: (e := engine.size()) and e.delayed == 1 and long.copy().extra[wire.HOP] > h)  # type: ignore[misc]
        long.go.set()
        holder.join()
        assert engine.get(result) == "first"
        long.passes(PACE + 1)
        engine.empty()
    assert long.runs == [0]


def test_the_worker_that_runs_it_does_not_run_its_copy_beside_it(engines: Make) -> None:
    """The only worker there is, which has room for both."""
    long = Long(engines, "threads")
    result = long.task().delay()
    with long.engine.run() as holder:
        assert long.begun.wait(PATIENCE)
        long.clock.advance(AFTER)
        long.parked()
        long.passes(PACE + 1, holder)
        eventually(lambda: long.engine.size().delayed == 1 and long.copy().extra[wire.HOP] == 2)
        long.go.set()
        assert long.engine.get(result) == "first"
    assert long.runs == [0]


@pytest.mark.parametrize("store", [True, False], ids=["result", "no result"])
def test_a_copy_of_what_was_settled_is_acknowledged_unseen(long: Long, store: bool) -> None:
    result, holder = long.handed_on(long.task(ignore_result=not store))
    long.go.set()
    holder.join()
    long.clock.advance(PACE + 1)
    with long.engine.run():
        long.engine.empty()
    assert long.runs == [0]
    if store:
        assert long.engine.get(result) == "first"
    settled = f"settled:running:{result.id}:0:0"
    assert long.claim(settled, "me") == SETTLED
    long.clock.advance(KNOWN_FOR)
    assert long.claim(settled, "me") == "me"


@pytest.mark.parametrize("ending", [Retry(countdown=0.0), Ignore(), ValueError("no")], ids=["retry", "ignore", "fails"])
def test_what_it_comes_to_is_settled_once(long: Long, ending: BaseException) -> None:
    long.ending = ending
    result, holder = long.handed_on(long.task(dead_letter=True))
    long.go.set()
    holder.join()
    with long.engine.run():
        long.passes(PACE + 1)
        long.engine.empty()
    if isinstance(ending, Retry):
        assert long.engine.get(result) == "again"
    assert len(long.runs) == (2 if isinstance(ending, Retry) else 1)
    assert long.engine.total("default.dead") == isinstance(ending, ValueError)


@pytest.mark.parametrize("how", ["the worker stops", "the task asks"])
def test_what_is_given_back_runs_from_its_copy(long: Long, how: str) -> None:
    long.ending = Reject("not here", requeue=True) if how == "the task asks" else None
    result, holder = long.handed_on(long.task())
    if how == "the task asks":
        long.go.set()
    holder.stop(quit=True)
    assert (long.engine.size().ready, long.engine.size().delayed) == (0, 1), "nothing but the copy is there"
    long.clock.advance(PACE + 1)
    with long.engine.run():
        assert long.engine.get(result) == "again"
        long.engine.empty()
    assert long.runs == [0, 1]


def test_when_the_holder_is_dead_its_copy_runs_as_a_suspect(long: Long) -> None:
    """Dead as seen from outside: nobody renews the claim. Its outcome, should it be alive after all, is refused."""
    engine = long.engine
    result, holder = long.handed_on(long.task())
    key = f"running:{result.id}:0:0"
    mine = holder.worker.handover._owner
    holder.worker.handover._coordination = None  # it reaches nobody any more
    assert long.claim(key, "other") == mine
    with engine.run() as heir:
        long.clock.advance(PACE + 1)
        assert engine.get(result) == "again"
        long.go.set()
        holder.join()
        engine.empty()
        eventually(lambda: long.claim(key, "other") == "other", PATIENCE, "the claim of the heir has ended")
        assert heir.worker.handover._claimed == {}
    assert engine.get(engine.app.result(result.id)) == "again"


def test_who_was_overtaken_changes_nothing(engines: Make) -> None:
    """It finds that its claim is somebody else's: also a task without a record must then say nothing."""
    long = Long(engines, "threads")
    long.ending = Retry(countdown=0.0)
    result, holder = long.handed_on(long.task(ignore_result=True))
    coordination = long.engine.app.ports.coordination
    assert coordination is not None
    key = f"running:{result.id}:0:0"
    coordination.drop([(key, holder.worker.handover._owner)])
    assert long.claim(key, "heir") == "heir"
    long.passes(PACE / 3 + 1, holder)
    long.go.set()
    holder.join()
    assert long.engine.total() == 1, "nothing but the copy is there"
    assert long.claim(f"settled:{key}", "me") == "me"


def test_a_copy_waits_while_nobody_can_say_who_runs_it(engines: Make) -> None:
    long = Long(engines, "threads")
    long.task()
    frame = long.engine.frame("work", extra={wire.FENCE: 1})
    worker = long.engine.start()
    coordination = worker.worker.ports.coordination
    assert coordination is not None
    claim = coordination.claim

    def away(items: Any) -> list[str]:
        raise Unavailable("away")

    coordination.claim = away  # type: ignore[method-assign]
    long.engine.post(frame)
    long.parked()
    coordination.claim = claim  # type: ignore[method-assign]
    long.go.set()
    long.clock.advance(PACE + 1)
    long.engine.empty()
    assert long.runs == [0]


def test_without_coordination_the_copy_comes_as_late_as_possible(engines: Make, pool: str) -> None:
    long = Long(engines, pool, coordinated=False)
    result, holder = long.handed_on(long.task())
    assert long.copy().extra[wire.ETA] >= long.clock.now() + TOTAL - 1
    long.go.set()
    holder.join()
    long.clock.advance(TOTAL + 1)
    with long.engine.run():
        long.engine.empty()
    assert (long.runs, long.engine.get(result)) == ([0], "first")


def test_without_coordination_a_copy_that_comes_too_early_runs_and_decides(engines: Make, pool: str) -> None:
    """At least once, and one outcome: that of the later execution, because it has started."""
    long = Long(engines, pool, coordinated=False)
    result, holder = long.handed_on(long.task())
    long.clock.advance(TOTAL + 1)
    with long.engine.run():
        assert long.engine.get(result) == "again"
        long.go.set()
        holder.join()
        long.engine.empty()
    assert long.engine.get(long.engine.app.result(result.id)) == "again"


@pytest.mark.parametrize("mask", [("lease",), ("lease", "commit")], ids=["in one step", "sent, then acknowledged"])
def test_a_transport_that_is_away_is_tried_again(engines: Make, mask: tuple[str, ...]) -> None:
    long = Long(engines, "threads", mask=mask)
    result = long.task().delay()
    tries: list[str] = []
    method = "ack" if "commit" in mask else "commit"

    def away_once(transport: Any) -> None:
        works = getattr(transport, method)

        def call(batch: Any) -> Any:
            tries.append(method)
            if long.begun.is_set() and not long.go.is_set():
                assert long.claim(f"running:{result.id}:0:0", "other") != "other", "first the claim, then the copy"
            if len(tries) == 1:
                raise Unavailable("away", sent="no")
            return works(batch)

        setattr(transport, method, call)

    long.prepare = away_once
    holder = long.engine.start()
    assert long.begun.wait(PATIENCE)
    holder.worker.stop()
    long.clock.advance(AFTER)
    eventually(lambda: len(tries) == 1, PATIENCE)
    long.clock.advance(1.1)
    long.parked()
    assert len(tries) == 2
    long.go.set()
    holder.join()
    assert long.engine.get(result) == "first"


def test_nothing_is_handed_on_where_a_copy_cannot_be_delayed(engines: Make, caplog: pytest.LogCaptureFixture) -> None:
    long = Long(engines, "threads", mask=("lease", "delay"))
    result = long.task().delay()
    holder = long.engine.start()
    assert "tasks that run longer than 600 s are delivered again" in caplog.text
    assert long.begun.wait(PATIENCE)
    holder.worker.stop()
    long.passes(AFTER)
    long.go.set()
    holder.join()
    assert long.engine.get(result) == "first"


def test_what_started_in_time_does_not_expire_on_its_way(engines: Make) -> None:
    long = Long(engines, "threads")
    long.task()
    expiring = {wire.EXPIRES_AT: long.clock.now() + 100.0}
    long.engine.post(long.engine.frame("work", id="expiring", extra=expiring))
    holder = long.engine.start()
    assert long.begun.wait(PATIENCE)
    holder.worker.stop()
    long.clock.advance(AFTER)
    long.parked()
    holder.stop(quit=True)
    long.clock.advance(PACE + 1)
    with long.engine.run():
        assert long.engine.get(long.engine.app.result("expiring")) == "again"


@pytest.mark.timeout(30)
def test_with_a_lease_that_is_renewed_in_real_time(engines: Make) -> None:
    engine = engines("threads", query="lease=0.4&lease_total=1.6")
    begun, go = threading.Event(), threading.Event()
    runs: list[int] = []

    @engine.task
    def work() -> str:
        runs.append(1)
        begun.set()
        engine.wait(go, 20.0)
        return "done"

    with engine.run():
        result = work.delay()
        assert begun.wait(PATIENCE)
        eventually(lambda: engine.size().in_flight == 0, PATIENCE, "it is handed on")
        eventually(lambda: _hops(engine) >= 3, PATIENCE, "its copy goes round")
        go.set()
        assert engine.get(result) == "done"
        engine.empty()
    assert runs == [1]


def _hops(engine: Engine) -> int:
    payloads = engine.transport.peek("default", 10)
    return max((wire.decode(payload).extra.get(wire.HOP, 0) for payload in payloads), default=0)
