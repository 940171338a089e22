"""An application whose tasks end their own process, or ask to be run again: what is promised of them, and what not."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from kernel import Kernel
from kernel.errors import Retry

app = Kernel("frail")


def _mortal(path: str) -> int:
    """Do something, write it down, and end the process the first time; returns how often it was done."""
    with Path(path).open("a") as file:
        file.write(".")
    done = Path(path).stat().st_size
    if done == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return done


@app.task(name="mortal")
def mortal(path: str) -> int:
    """Acknowledged when it has ended."""
    return _mortal(path)


@app.task(name="forgotten", ignore_result=True)
def forgotten(path: str) -> int:
    """Leaves no record."""
    return _mortal(path)


@app.task(name="early", acks_late=False)
def early(path: str) -> int:
    """Acknowledged before it starts."""
    return _mortal(path)


@app.task(name="again", bind=True)
def again(self: Any) -> None:
    """Ask to be run again in a moment."""
    raise Retry(countdown=0.1)


@app.task(name="noop")
def noop() -> None:
    """Nothing."""
