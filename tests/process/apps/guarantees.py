"""The tasks of the process tests. A ledger is a file to which every process appends whole lines."""

import asyncio
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from kernel.app import Kernel
from kernel.errors import Reject
from kernel.logs import get_task_logger

app = Kernel("guarantees", plugins=())
log = get_task_logger(__name__)
NAME = os.environ.get("TEST_NAME", "")
hoard: list[bytes] = []
# What a library would do: take the names when it is imported.
SOCKET = socket.socket
LOCK = threading.Lock()
os.write(2, b"application imported\n")


def write(ledger: str, *words: Any) -> None:
    """One line: the words, the process, the time."""
    line = " ".join(map(str, (*words, os.getpid(), f"{time.monotonic():.6f}"))) + "\n"
    fd = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, line.encode())
    os.close(fd)


@app.task(name="noop")
def noop() -> int:
    return os.getpid()


@app.task(name="note")
def note(ledger: str, word: str, seconds: float = 0.0) -> str:
    write(ledger, word)
    if seconds:
        time.sleep(seconds)
    return word


@app.task(name="die", max_deliveries=2)
def die(ledger: str) -> None:
    write(ledger, "die")
    os._exit(1)


def until(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.01)


@app.task(name="gated")
def gated(ledger: str, word: str, gate: str) -> str:
    """Runs until the file `gate` is there."""
    write(ledger, word)
    until(gate)
    return f"{word} of {NAME}"


@app.task(name="gated_each")
def gated_each(ledger: str, word: str) -> str:
    """Every worker has a gate of its own."""
    write(ledger, word)
    until(os.environ["TEST_GATE"])
    return f"{word} of {NAME}"


@app.task(name="gated_early", acks_late=False)
def gated_early(ledger: str, word: str, gate: str) -> str:
    write(ledger, word)
    until(gate)
    return word


@app.task(name="gated_then_fails", autoretry_for=(ValueError,), default_retry_delay=0.0, max_retries=1)
def gated_then_fails(ledger: str, word: str, gate: str) -> str:
    """The worker called "first" fails, every other one succeeds."""
    write(ledger, word)
    if NAME == "first":
        until(gate)
        raise ValueError("of the first worker")
    return f"{word} of {NAME}"


@app.task(name="gated_then_dies", dead_letter=True)
def gated_then_dies(ledger: str, word: str, gate: str) -> str:
    """The worker called "first" fails into the dead letters, every other one succeeds."""
    write(ledger, word)
    if NAME == "first":
        until(gate)
        raise KeyError("of the first worker")
    return f"{word} of {NAME}"


@app.task(name="overrun", time_limit=1.0)
def overrun(ledger: str) -> None:
    write(ledger, "overrun")
    time.sleep(60)


@app.task(name="aoverrun", time_limit=1.0)
async def aoverrun(ledger: str) -> None:
    write(ledger, "overrun")
    await asyncio.sleep(60)


@app.task(name="seize", time_limit=1.0, max_deliveries=1)
def seize(ledger: str) -> None:
    """Computes in C, and no other thread of its process ever runs again."""
    write(ledger, "seize")
    sum(range(10**12))


@app.task(name="spin")
def spin(ledger: str, seconds: float) -> str:
    """Computes in Python and never yields."""
    write(ledger, "spin")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"


@app.task(name="aspin")
async def aspin(ledger: str, seconds: float) -> str:
    write(ledger, "spin")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"


@app.task(name="sleep")
def sleep(ledger: str, seconds: float) -> str:
    """Sleeps on the first run only."""
    first = not Path(ledger).exists()
    write(ledger, "sleep")
    if first:
        time.sleep(seconds)
    return "slept"


@app.task(name="asleep")
async def asleep(ledger: str, seconds: float) -> str:
    first = not Path(ledger).exists()
    write(ledger, "sleep")
    if first:
        await asyncio.sleep(seconds)
    return "slept"


@app.task(name="deaf")
def deaf(ledger: str, seconds: float) -> str:
    """Ends for nobody but the system."""
    write(ledger, "deaf")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException:
            pass
    return "over"


@app.task(name="adeaf")
async def adeaf(ledger: str, seconds: float) -> str:
    write(ledger, "deaf")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await asyncio.sleep(0.05)
        except BaseException:
            pass
    return "over"


@app.task(name="eat")
def eat(ledger: str, word: str, size: int) -> str:
    """Takes memory and keeps it."""
    write(ledger, word)
    hoard.append(os.urandom(4096) * (size // 4096))
    time.sleep(0.01)
    return word


@app.task(name="add")
def add(left: int, right: int) -> int:
    return left + right


@app.task(name="aadd")
async def aadd(left: int, right: int) -> int:
    await asyncio.sleep(0.001)
    return left + right


@app.task(name="say")
def say(text: str) -> None:
    log.warning("%s", text)


@app.task(name="patched")
def patched() -> str:
    """Where the socket that this module imported comes from, and whether tasks may block."""
    return f"{SOCKET.__module__} {type(LOCK).__module__}"


@app.task(name="note_early", acks_late=False)
def note_early(ledger: str, word: str) -> str:
    write(ledger, word)
    return word


@app.task(name="die_early", acks_late=False)
def die_early(ledger: str, word: str) -> None:
    write(ledger, word)
    os.kill(os.getpid(), 9)


@app.task(name="long_at_first")
def long_at_first(ledger: str, word: str, seconds: float) -> str:
    """Sleeps in its first run only."""
    first = f"{word} " not in Path(ledger).read_text() if Path(ledger).exists() else True
    write(ledger, word)
    if first:
        time.sleep(seconds)
    return word


@app.task(name="boomerang")
def boomerang(ledger: str, times: int) -> str:
    """Goes back to its queue so many times."""
    write(ledger, "start")
    if len(Path(ledger).read_text().splitlines()) <= times:
        raise Reject("not yet", requeue=True)
    return "at last"


@app.task(name="timed", ignore_result=True)
def timed(ledger: str, number: int, seconds: float) -> None:
    """The start is what counts; a sleep, because the processors are shared."""
    write(ledger, number)
    time.sleep(seconds)
