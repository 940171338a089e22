"""The supervisor: keeps N identical worker processes running until it is told to stop.

It imports no application and opens no port, so there is nothing in it that a task could break. It sleeps until a
signal, a word of a template or the next deadline.

    TERM, INT   drain: processes finish what runs, for `grace` seconds; a second one cancels, a third kills
    QUIT        cancel: processes give back what runs
    HUP         rolling restart
    USR1        print the stacks of all processes
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import time
from bisect import insort
from contextlib import ExitStack

from kernel.supervisor.board import Board, SeatStatus, anonymous_file
from kernel.supervisor.crew import Child, Crew, Order
from kernel.supervisor.health import Health, examine
from kernel.supervisor.healthport import HealthPort
from kernel.supervisor.launchers import Broken, Ended, FreshLauncher, Launcher, TemplateLauncher, describe
from kernel.supervisor.restarts import Restarts
from kernel.supervisor.roll import Roll
from kernel.supervisor.sign import Sign
from kernel.supervisor.spec import ChildSpec, Handover, SupervisorSpec
from kernel.supervisor.strangers import reap_strangers
from kernel.supervisor.wakeup import Wakeup
from kernel.worker.seat import ExitCode

log = logging.getLogger("kernel.supervisor")


class Supervisor:
    """Runs the processes of one spec. Construct, then `run` once, on the main thread."""

    def __init__(self, spec: SupervisorSpec) -> None:
        self._spec = spec
        self._liveness = Sign("liveness file", spec.liveness_file)
        self._readiness = Sign("readiness file", spec.readiness_file)
        self._port = HealthPort(spec.health_host, spec.health_port)
        self._restarts = Restarts(spec)
        # One seat to spare, for the newcomer of a rolling restart.
        self._board = Board.create(spec.processes + 1)
        self._crew = Crew(spec, self._board, self._new_launcher)
        self._handover = Handover(board=-1, lifeline=-1, spec=-1)
        #: Times at which replacements are to be launched, sorted.
        self._due: list[float] = []
        self._roll: Roll | None = None
        self._roll_again = False
        #: All processes have been ready at the same time once.
        self._complete = False
        #: What all processes have been told; RUN until the end begins.
        self._order = Order.RUN
        self._code = ExitCode.OK

    def run(self) -> int:
        """Run until told to stop, or until there is no sense in going on; returns the exit status, see `ExitCode`."""
        with ExitStack() as stack:
            wakeup = self._open(stack)
            self._due = [time.monotonic()] * self._spec.processes
            while self._order is Order.RUN or self._crew.children:
                self._step(time.monotonic())
                if self._order is not Order.RUN and self._crew.unkillable(time.monotonic()):
                    break
                timeout = self._sleep_until(time.monotonic()) - time.monotonic()
                for number in wakeup.wait([*self._crew.fds(), *self._port.fds()], timeout):
                    self._heard(number, time.monotonic())
                self._port.serve(time.monotonic(), self.health)
            self._report_end()
        return self._code

    def status(self) -> list[SeatStatus]:
        """What the board says of each process, by seat. Any thread, while `run` runs; empty before and after."""
        return [self._board.read(seat) for seat in sorted(self._crew.children)]

    def health(self) -> Health:
        """Whether it is alive and ready now, and why not. On the thread of `run`."""
        return examine(self._crew, self._order, self._spec.processes, len(self._due), time.monotonic())

    # -- opening and closing ---------------------------------------------------------------------------------

    def _open(self, stack: ExitStack) -> Wakeup:
        stack.callback(self._board.close)
        spec = anonymous_file("kernel-spec")
        stack.callback(os.close, spec)
        ChildSpec.of(self._spec).write(spec)
        # Held open by this process alone, so that its end, however it comes, is the end of the file for the others.
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        self._handover = Handover(board=self._board.fd, lifeline=reader, spec=spec)
        numbers = [signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            numbers.append(signal.SIGHUP)
        wakeup = stack.enter_context(Wakeup(numbers))
        # In the C handler, so that it works also when this loop hangs.
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True, chain=True)
        stack.callback(faulthandler.unregister, signal.SIGUSR1)
        for close in (self._liveness.remove, self._readiness.remove, self._port.close):
            stack.callback(close)
        stack.callback(self._crew.close)
        return wakeup

    def _new_launcher(self) -> Launcher:
        kind = TemplateLauncher if self._spec.preload else FreshLauncher
        return kind(self._spec.command, self._handover)

    def _report_end(self) -> None:
        if self._crew.children:
            log.error("%d worker processes cannot be killed and are left behind", len(self._crew.children))
            self._end_with(ExitCode.FORCED)
        log.info("stopped with exit code %d (%s)", self._code, self._code.name)

    # -- the loop ----------------------------------------------------------------------------------------------

    def _step(self, now: float) -> None:
        for subject, event in self._crew.collect():
            if isinstance(subject, Child):
                assert isinstance(event, Ended)
                self._ended(subject, event, now)
            else:
                assert isinstance(event, Broken)
                self._broke(subject, event.reason, now)
        if os.getpid() == 1:  # right after the collecting, which made all of our own known
            reap_strangers(self._crew.pids())
        if self._crew.look(now):
            self._restarts.succeeded()
        if self._order is Order.RUN:
            self._advance_roll(now)
            while self._due and self._due[0] <= now:
                self._due.pop(0)
                self._crew.launch(now)
        self._crew.drop_launchers([self._roll.launcher] if self._roll else [])
        self._touch(now)

    def _sleep_until(self, now: float) -> float:
        soonest = min(self._crew.next_at(now), self._port.next_at())
        return min(soonest, self._due[0]) if self._due else soonest

    def _touch(self, now: float) -> None:
        children = self._crew.children.values()
        self._complete = self._complete or (not self._due and all(child.ready for child in children))
        # A process that waits for its restart makes no progress; one that drained at the end has made all of it.
        health = self.health()
        if self._complete and not self._due and health.live:
            self._liveness.touch(now)
        if health.ready:
            self._readiness.touch(now)
        else:
            self._readiness.remove()

    # -- what happens --------------------------------------------------------------------------------------------

    def _heard(self, number: int, now: float) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(Order(min(self._order + 1, Order.KILL)), now, signal.Signals(number).name)
        elif number == signal.SIGQUIT:
            self._stop(Order.KILL if self._order >= Order.CANCEL else Order.CANCEL, now, "SIGQUIT")
        elif number == signal.SIGHUP and self._order is Order.RUN:
            self._begin_roll()
        elif number == signal.SIGUSR1:
            self._crew.dump_stacks()

    def _stop(self, order: Order, now: float, cause: str) -> None:
        """Begin to end, or hurry: tell all processes."""
        if order <= self._order:
            return
        log.info("%s: %s, worker processes: %d", cause, order.name.lower(), len(self._crew.children))
        self._order = order
        self._due.clear()
        self._roll = None
        self._crew.abort_launches()
        for child in self._crew.children.values():
            child.forced = child.forced or order is Order.KILL
            self._crew.order(child, order, now)

    def _end_with(self, code: ExitCode) -> None:
        """The first reason for which all ends is the one to report."""
        if self._code is ExitCode.OK:
            self._code = code

    def _ended(self, child: Child, event: Ended, now: float) -> None:
        note = event.reason or self._board.read(child.seat).note
        self._log_end(child, event.code, note)
        if self._order is not Order.RUN:
            if child.forced:
                self._end_with(ExitCode.FORCED)
            return
        if self._roll is not None and self._roll.ended(child):
            return
        if event.code == ExitCode.CONFIG:
            self._give_up(ExitCode.CONFIG, f"worker processes cannot start: {note or 'configuration error'}", now)
        elif event.code == ExitCode.SHUTDOWN:
            self._stop(Order.DRAIN, now, f"{child} was told to shut down")
        elif child.ready or event.code in (ExitCode.RECYCLE, ExitCode.HARD_LIMIT):
            self._restarts.succeeded()
            insort(self._due, now)
        else:
            self._start_failed(now)

    def _start_failed(self, now: float) -> None:
        delay = self._restarts.failed(now)
        failures = self._restarts.looping(now)
        if failures and not any(child.ready for child in self._crew.children.values()):
            self._give_up(ExitCode.CRASH_LOOP, f"crash loop: {failures} starts in a row failed, giving up", now)
        else:
            insort(self._due, now + delay)

    def _give_up(self, code: ExitCode, line: str, now: float) -> None:
        self._end_with(code)
        log.critical("%s", line)
        self._stop(Order.DRAIN, now, "giving up")

    def _broke(self, launcher: Launcher, reason: str, now: float) -> None:
        """A template is of no use any more. Processes it was asked for are reported as ended by it."""
        if self._order is not Order.RUN:
            return
        if self._roll is not None and launcher is self._roll.launcher:
            log.error("the new template ended%s", f": {reason}" if reason else "")
        elif reason:
            self._give_up(ExitCode.CONFIG, f"worker processes cannot start: {reason}", now)
        else:
            log.error("the template ended; its processes go on, the next one comes from a new template")

    def _begin_roll(self) -> None:
        if self._roll is None:
            self._roll = Roll(self._crew, self._crew.add_launcher())
        else:
            self._roll_again = True

    def _advance_roll(self, now: float) -> None:
        if self._roll is None or (not self._roll.failed and self._roll.advance(now)):
            return
        self._roll = None
        if self._roll_again:
            self._roll_again = False
            self._begin_roll()

    def _log_end(self, child: Child, code: int, note: str) -> None:
        asked = self._order is not Order.RUN or child.order is not Order.RUN
        planned = asked or code in (ExitCode.OK, ExitCode.RECYCLE, ExitCode.SHUTDOWN)
        if code == ExitCode.CONFIG and self._roll is None:
            planned = True  # reported once for all of them, by who gives up
        log.log(
            logging.INFO if planned else logging.ERROR,
            "%s ended: %s%s", child, describe(code), f": {note}" if note and not planned else "",
        )  # fmt: skip
