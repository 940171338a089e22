"""Raising a chosen exception inside of a coroutine at the point where it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class Steered:
    """Awaits a coroutine; a cancellation that comes while `job.interrupted` is set is raised in it as that error.

    asyncio can only cancel. A soft time limit must be an error that the task can tell from a cancellation, so the
    cancellation is caught outside of the coroutine and thrown into it as what it stands for.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], job: Any) -> None:
        self._coroutine = coroutine
        self._job = job

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine = self._coroutine
        error: BaseException | None = None
        while True:
            try:
                waited = coroutine.send(None) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                return stop.value
            try:
                yield waited
                error = None
            except asyncio.CancelledError as cancelled:
                error = self._translate(cancelled)
            except BaseException as other:
                error = other

    def _translate(self, cancelled: asyncio.CancelledError) -> BaseException:
        wanted: BaseException | None = self._job.interrupted
        if wanted is None:
            return cancelled
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return wanted
