"""Waiting for a task inside of a task: refused, unless somebody says that it is meant.

Who waits keeps a slot, and what is waited for needs one. When all slots of all workers wait, nothing ever ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from kernel.current import running

_allowed: ContextVar[bool] = ContextVar("kernel_joining_allowed", default=False)


@contextmanager
def allow_join_result() -> Iterator[None]:
    """`with allow_join_result():` a task may wait inside for the results of other tasks."""
    token = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(token)


def check_join() -> None:
    """RuntimeError inside of a task that a worker runs."""
    job = running.get()
    if job is not None and job.place == "worker" and not _allowed.get():
        raise RuntimeError(
            f"{job.envelope.task} waits inside of a worker for the result of another task: when all slots wait, "
            f"nothing ends. Let a chain, a chord or a callback go on with the result; or say "
            f"`with allow_join_result():`, or disable_sync_subtasks=False"
        )
