"""The tasks of `bench.limits`, and the ledger that their workers write."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from kernel import Envelope, Kernel
from kernel.hooks import hookimpl
from kernel.limits import Concurrency, Rate

#: The file to which every process appends whole lines: what, of which key or message, when.
LEDGER = os.environ.get("LIMITS_LEDGER", "")


class Receives:
    """Notes each message that a worker takes in."""

    @hookimpl
    def kernel_received(self, batch: Sequence[tuple[Envelope, str]]) -> None:
        """One line for each."""
        write("".join(f"receive {envelope.id} 0 0\n" for envelope, _ in batch))


def write(lines: str) -> None:
    """Append whole lines."""
    if not LEDGER:
        return
    fd = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, lines.encode())
    os.close(fd)


app = Kernel("limited", plugins=[Receives()], ignore_result=True)


def _run(key: str, seconds: float) -> None:
    if os.path.exists(f"{LEDGER}.killed"):
        seconds = 0.0  # delivered again: it has held its slot for long enough
    write(f"start {key} {time.monotonic():.6f} {os.getpid()}\n")
    time.sleep(seconds)
    write(f"end {key} {time.monotonic():.6f} {os.getpid()}\n")


@app.task(name="held", limits=[Concurrency("{key}", 2)])
def held(key: str, seconds: float) -> None:
    """At most two of a key at once."""
    _run(key, seconds)


@app.task(name="free")
def free(key: str, seconds: float) -> None:
    """Under no limit."""
    _run(key, seconds)


@app.task(name="paced", limits=[Rate("paced", 100)])
def paced(key: str, seconds: float) -> None:
    """A hundred in a second."""
    _run(key, seconds)
