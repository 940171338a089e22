"""Steps: functions of the I/O thread that wait for the broker, written as generators.

A step yields a `Wait` and goes on when somebody has completed it. All of it happens in one thread, so nothing here
takes a lock; the price is that a step must look again at what it knew before it waited.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

from pika.exceptions import AMQPError

from kernel_rabbitmq.faults import translate

T = TypeVar("T")

#: A function that may wait. What it returns is its value.
Steps: TypeAlias = "Generator[Wait, Any, T]"


class Wait:
    """Something that has not happened yet, for any number of steps. What completes it a second time is ignored."""

    __slots__ = ("_resumes", "error", "is_done", "value")

    def __init__(self) -> None:
        self.is_done = False
        self.value: Any = None
        self.error: BaseException | None = None
        self._resumes: list[Callable[[], None]] = []

    def done(self, value: Any = None) -> None:
        """It has happened."""
        if not self.is_done:
            self.is_done, self.value = True, value
            self._go_on()

    def fail(self, error: BaseException) -> None:
        """It never will, and this is why: raised where the step waits."""
        if not self.is_done:
            self.is_done, self.error = True, error
            self._go_on()

    def then(self, resume: Callable[[], None]) -> None:
        """Call `resume` when it is completed."""
        self._resumes.append(resume)

    def _go_on(self) -> None:
        resumes, self._resumes = self._resumes, []
        for resume in resumes:
            resume()


class Run:
    """One step on its way; `ended` is given its value, or the error that it raised."""

    __slots__ = ("_ended", "_steps", "_wait")

    def __init__(self, steps: Steps[Any], ended: Callable[[Any, BaseException | None], None]) -> None:
        self._steps = steps
        self._ended = ended
        self._wait: Wait | None = None
        self._go()

    def _go(self) -> None:
        wait = self._wait
        while True:
            try:
                if wait is None:
                    wait = next(self._steps)
                elif wait.error is not None:
                    wait = self._steps.throw(wait.error)
                else:
                    wait = self._steps.send(wait.value)
            except StopIteration as end:
                self._ended(end.value, None)
                return
            except AMQPError as error:
                # A connection that is on its way down refuses what its channel, which has not heard of it, still takes:
                # after a process was frozen for longer than its heartbeats, for one.
                self._ended(None, translate(error, "RabbitMQ", "unknown"))
                return
            except BaseException as error:
                self._ended(None, error)
                return
            if not wait.is_done:
                self._wait = wait
                wait.then(self._go)
                return
