"""The crew: the worker processes that are there now, each at its seat, and the orders given to them."""

from __future__ import annotations

import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from math import inf

from kernel.supervisor.board import Board, SeatStatus
from kernel.supervisor.launchers import Broken, Ended, Launcher, Started, kill_group
from kernel.supervisor.spec import SupervisorSpec
from kernel.worker.seat import Away, State

log = logging.getLogger("kernel.supervisor")

#: Seconds between two looks at the board: it tells nobody that it has changed.
LOOK = 0.25
#: The same while somebody waits for a process to become ready.
LOOK_CLOSELY = 0.02
#: Seconds for one process to print its stacks before the next one does.
DUMP_PAUSE = 0.05
#: Seconds after which a process that was told to cancel is told again. Linux hands a signal to another thread when the
#: main one has not taken its last one yet, and a main thread that sleeps inside of a task then sleeps on.
REPEAT = 1.0


#: What a process waits for, in words.
AWAY = {
    Away.TRANSPORT: "the transport is unavailable",
    Away.RESULTS: "the result store is unavailable",
    Away.SERVICE: "a service that it opens is unavailable",
}


class Order(IntEnum):
    """What a process has been told, each stronger than the one before."""

    RUN = 0
    DRAIN = 1
    CANCEL = 2
    KILL = 3


@dataclass(slots=True, eq=False)
class Child:
    """One worker process, from its launch until it has been reaped. Times are monotonic."""

    seat: int
    launcher: Launcher
    launched_at: float
    #: 0 until the launcher has said.
    pid: int = 0
    ready: bool = False
    order: Order = Order.RUN
    #: When the next stronger order follows; after a kill: when it counts as one that the system cannot end.
    deadline: float = inf
    #: When an order to cancel is repeated.
    repeat_at: float = inf
    #: It was killed because a deadline of its end had passed.
    forced: bool = False

    def __str__(self) -> str:
        return f"worker process {self.pid or 'yet to start'} (seat {self.seat})"


class Crew:
    """Launches, watches, orders about and reaps. Knows nothing of how many there should be."""

    def __init__(self, spec: SupervisorSpec, board: Board, new_launcher: Callable[[], Launcher]) -> None:
        self._spec = spec
        self._board = board
        self._new_launcher = new_launcher
        #: The launcher for replacements; None: make one when needed.
        self._current: Launcher | None = None
        self._launchers: list[Launcher] = []
        self.children: dict[int, Child] = {}
        #: Processes that are still to print their stacks, and when the next one does.
        self._to_dump: deque[int] = deque()
        self._dump_at = 0.0

    # -- coming --------------------------------------------------------------------------------------------

    def add_launcher(self) -> Launcher:
        """A new launcher, which is not yet the one for replacements."""
        launcher = self._new_launcher()
        self._launchers.append(launcher)
        return launcher

    def adopt(self, launcher: Launcher) -> None:
        """Let this launcher be the one for replacements from now on."""
        self._current = launcher

    def launch(self, now: float, launcher: Launcher | None = None) -> Child:
        """Launch a process on a free seat; there must be one."""
        if launcher is None:
            if self._current is None:
                self._current = self.add_launcher()
            launcher = self._current
        seat = next(number for number in range(self._board.seats) if number not in self.children)
        self._board.reset(seat)
        child = self.children[seat] = Child(seat, launcher, now)
        launcher.launch(seat)
        return child

    # -- going ---------------------------------------------------------------------------------------------

    def order(self, child: Child, order: Order, now: float) -> None:
        """Tell a process to end, and until when it has time; an order that is not stronger than the last is nothing."""
        if order <= child.order:
            return
        child.order = order
        child.deadline = now + self._spec.margin + (self._spec.grace if order is Order.DRAIN else 0.0)
        self._signal(child)

    def _signal(self, child: Child) -> None:
        if child.pid == 0:
            return  # it is told as soon as it is there
        if child.order is Order.KILL:
            kill_group(child.pid)
            return
        if child.order is Order.DRAIN and self._board.read(child.seat).state is State.DRAINING:
            return  # it drains already, and a worker takes a second TERM for impatience
        _send(child.pid, signal.SIGTERM if child.order is Order.DRAIN else signal.SIGQUIT)

    def _repeat(self, child: Child, status: SeatStatus, now: float) -> None:
        """Tell to cancel once more; not a process at its very end, where the system's own answer to QUIT stands."""
        if child.order is not Order.CANCEL or child.pid == 0 or status.state is State.STOPPED:
            return
        if child.repeat_at == inf:
            child.repeat_at = now + REPEAT
        elif now >= child.repeat_at:
            child.repeat_at = now + REPEAT
            self._signal(child)

    # -- watching ------------------------------------------------------------------------------------------

    def collect(self) -> list[tuple[Child, Ended] | tuple[Launcher, Broken]]:
        """Hear all launchers: processes that have ended, with their records still on the board, and launchers that
        broke."""
        news: list[tuple[Child, Ended] | tuple[Launcher, Broken]] = []
        for launcher in list(self._launchers):
            for event in launcher.collect():
                if isinstance(event, Started):
                    self._started(self.children[event.seat], event.pid)
                elif isinstance(event, Ended):
                    child = self.children.pop(event.seat)
                    # It may have become ready and died, of its first task, between two looks at the board.
                    child.ready = child.ready or self._board.read(child.seat).state in (State.READY, State.DRAINING)
                    news.append((child, event))
                else:
                    if launcher is self._current:
                        self._current = None
                    news.append((launcher, event))
        return news

    def _started(self, child: Child, pid: int) -> None:
        child.pid = pid
        log.info("%s started", child)
        if child.order is not Order.RUN:
            self._signal(child)

    def look(self, now: float) -> list[Child]:
        """Look at the board: end what overran, was too slow to start or to end; returns those that became ready."""
        self._dump_next(now)
        fresh = []
        for child in self.children.values():
            status = self._board.read(child.seat)
            # Not STOPPED: that is also where a start that failed ends.
            if not child.ready and status.state in (State.READY, State.DRAINING):
                child.ready = True
                fresh.append(child)
                log.info("%s ready after %.2f s", child, now - child.launched_at)
            if child.order is Order.KILL:
                continue
            self._repeat(child, status, now)
            if 0.0 < status.kill_at <= now:
                log.warning("%s killed for overrun: %s", child, status.job or "no job named")
                self.order(child, Order.KILL, now)
            elif not child.ready and child.order is Order.RUN and now >= self._start_by(child, status):
                log.error("%s killed: not ready after %g s", child, self._spec.start_timeout)
                self._kill_slow_start(child, now)
            elif status.state is State.STOPPED and child.deadline == inf:
                child.deadline = now + self._spec.margin
            elif now >= child.deadline:
                self._escalate(child, Order.KILL if status.state is State.STOPPED else Order(child.order + 1), now)
        return fresh

    def _start_by(self, child: Child, status: SeatStatus) -> float:
        # One that says so waits for a service that is away, which another process would find away too.
        return max(child.launched_at, status.beat_at) + self._spec.start_timeout

    def _kill_slow_start(self, child: Child, now: float) -> None:
        self.order(child, Order.KILL, now)
        if child.pid == 0:
            child.launcher.abort()  # it is the template that hangs, in the application's import

    def _escalate(self, child: Child, order: Order, now: float) -> None:
        log.warning("%s has not ended in time: %s", child, order.name.lower())
        child.forced = order is Order.KILL
        self.order(child, order, now)

    def next_at(self, now: float) -> float:
        """When to look again."""
        soonest = now + (LOOK if all(child.ready for child in self.children.values()) else LOOK_CLOSELY)
        for child in self.children.values():
            if child.order is not Order.KILL:
                soonest = min(soonest, child.deadline, self._board.read(child.seat).kill_at or inf)
        return min(soonest, self._dump_at) if self._to_dump else soonest

    def stuck(self, now: float) -> list[str]:
        """A line for every process that should get on and does not. One that is starting has its time for that."""
        pairs = [(child, self._board.read(child.seat)) for child in self.children.values()]
        return [f"{child} {trouble}" for child, status in pairs if (trouble := self._trouble(child, status, now))]

    def _trouble(self, child: Child, status: SeatStatus, now: float) -> str:
        if not child.ready:
            return "" if now < self._start_by(child, status) else "is not ready in time"
        if status.state is State.STOPPED:
            return ""
        if 0.0 < status.kill_at < now - self._spec.margin:
            return "overran and cannot be killed"
        age = now - status.beat_at
        return "" if age < self._spec.stale_after else f"has not got on for {age:.0f} s"

    def absent(self) -> list[str]:
        """A line for every process that takes in no work; too many of them and the worker is not ready."""
        return [f"{child} {reason}" for child in self.children.values() if (reason := self._absence(child))]

    def _absence(self, child: Child) -> str:
        status = self._board.read(child.seat)
        away = [text for flag, text in AWAY.items() if flag & status.away]
        if away:
            return f"waits: {', '.join(away)}"
        return "" if status.state is State.READY else f"is {status.state.name.lower()}"

    def unkillable(self, now: float) -> bool:
        """Whether all that is left was killed long ago and is still there (it hangs inside of the system)."""
        return all(child.order is Order.KILL and now >= child.deadline for child in self.children.values())

    # -- all of them ---------------------------------------------------------------------------------------

    def fds(self) -> list[int]:
        """Descriptors of the launchers to wait for."""
        return [fd for launcher in self._launchers for fd in launcher.fds()]

    def pids(self) -> set[int]:
        """All processes of the crew, templates included."""
        own = {pid for launcher in self._launchers for pid in launcher.pids()}
        return own | {child.pid for child in self.children.values()}

    def dump_stacks(self) -> None:
        """Have every process print its stacks, in turn: all at once they would write into each other's lines."""
        # One that has not taken its seat would die of the signal instead.
        seated = [child for child in self.children.values() if child.pid == self._board.read(child.seat).pid]
        templates = [pid for launcher in self._launchers for pid in launcher.ready_pids()]
        self._to_dump.extend([child.pid for child in seated if child.pid] + templates)

    def _dump_next(self, now: float) -> None:
        if self._to_dump and now >= self._dump_at:
            pid = self._to_dump.popleft()
            self._dump_at = now + DUMP_PAUSE
            if pid in self.pids():
                log.warning("stacks of process %d", pid)
                _send(pid, signal.SIGUSR1)

    def abort_launches(self) -> None:
        """Let the launches that are under way fail, so that nobody waits for an import that is not needed any more."""
        for launcher in [child.launcher for child in self.children.values() if child.pid == 0]:
            if not launcher.ready_pids():
                launcher.abort()

    def drop_launchers(self, keep: Iterable[Launcher | None] = ()) -> None:
        """Close the launchers that nobody needs any more."""
        needed = [self._current, *keep, *(child.launcher for child in self.children.values())]
        for launcher in [launcher for launcher in self._launchers if launcher not in needed]:
            launcher.close()
            self._launchers.remove(launcher)

    def close(self) -> None:
        """Close all launchers. Processes that are left, because the supervisor failed, drain by themselves: what they
        hold is not lost, and their lifeline is cut when the supervisor is gone."""
        self._current = None
        for launcher in self._launchers:
            launcher.close()
        self._launchers.clear()


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
