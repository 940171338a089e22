"""One worker process: takes its seat, ties itself to its supervisor, runs the worker."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from kernel.errors import ConfigError
from kernel.native import get_ident, sleep, start_new_thread
from kernel.supervisor.board import Board, Seat
from kernel.supervisor.spec import ChildSpec, Handover
from kernel.worker.seat import ExitCode, State

#: Runs a worker with these options until it is told to stop (TERM: drain, QUIT: cancel and release), and returns the
#: exit status. It moves the seat's state on: READY, DRAINING.
Run = Callable[[dict[str, Any], Seat], int]

#: Bound before an application can patch it: a green read would block the hub instead of one native thread.
_read = os.read


def live(handover: Handover, run: Run) -> int:
    """The life of a worker process, from its seat to its exit status.

    A `ConfigError` becomes `ExitCode.CONFIG` with its message as the seat's note; any other error passes, after a
    note, so that the interpreter prints its traceback.
    """
    spec = ChildSpec.read(handover.spec)
    os.close(handover.spec)
    os.set_inheritable(handover.lifeline, False)
    board = Board.attach(handover.board)
    os.set_inheritable(handover.board, False)
    seat = board.seat(handover.seat)
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    # A handler that does nothing rather than SIG_IGN, which programs that a task starts would inherit. The supervisor
    # alone decides what an interrupt or a hang-up means.
    signal.signal(signal.SIGINT, _pass)
    signal.signal(signal.SIGHUP, _pass)
    Lifeline(handover.lifeline, spec.grace + spec.margin, spec.margin).watch()
    seat.beat_at = time.monotonic()
    seat.pid = os.getpid()
    try:
        return run(spec.worker, seat)
    except ConfigError as error:
        seat.note = str(error)
        return ExitCode.CONFIG
    except Exception as error:
        seat.note = f"{type(error).__name__}: {error}"
        raise
    finally:
        seat.state = State.STOPPED


class Lifeline:
    """Ends this process when its supervisor is gone, however that went: drain, then cancel, then kill."""

    def __init__(self, fd: int, drain_for: float, cancel_for: float) -> None:
        self._fd = fd
        self._steps = ((signal.SIGTERM, drain_for), (signal.SIGQUIT, cancel_for))
        self._main = get_ident()

    def watch(self) -> None:
        """Start to watch; to be called on the main thread, which gets the signals."""
        start_new_thread(self._watch, ())

    def _watch(self) -> None:
        # Nobody ever writes: this returns when the last holder of the other end, the supervisor, is gone.
        _read(self._fd, 1)
        for number, patience in self._steps:
            # To the main thread, not to the process: a signal that another thread receives wakes no blocked call.
            signal.pthread_kill(self._main, number)
            sleep(patience)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def _pass(number: int, frame: FrameType | None) -> None:
    """Take note of nothing."""
