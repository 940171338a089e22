"""The application under test, and its producer: `python -m faults.program COUNT SEED RATE` sends so many tasks.

The first letter of a key says what becomes of it:

    w  a plain task                          c  a chain of five retries
    q  one that ignores its result           x  fails for good: a dead letter, "failed"
    d  delayed                               g  bytes that are no task: a dead letter, "unprocessable"
    l  large                                 p  sends another task, n, which an older version does not know

The key is also the id of the task.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from faults.ledger import Ledger
from kernel import Kernel
from kernel.errors import PartialSend, PortError
from kernel.options import Call, CallOptions
from kernel.ports import Outgoing
from kernel.task import Task

#: Seconds for which a producer goes on trying to send what was surely not sent.
GIVE_UP = 60.0
#: Which version of the application this process is; the second one knows a task more.
VERSION = int(os.environ.get("FAULT_VERSION", "2"))
#: How often each kind is sent, of 100.
KINDS: Final = {"w": 52, "q": 20, "c": 6, "d": 10, "l": 2, "x": 3, "g": 1, "p": 6}
#: Retries of a chain, and of a task that fails for good.
CHAIN, TRIES = 5, 2
#: Bytes of a large one.
LARGE = 30_000
#: Seconds of the shortest and the longest delay.
DELAYS = (0.2, 2.5)

ledger = Ledger(Path(os.environ.get("LEDGER", ".")))
app = Kernel("faults", send_timeout=2.0)


class Again(Exception):
    """Raised by a task that is to be retried."""


#: A message may be lost with its worker as often as the harness likes: here that is nobody's fault.
retried = partial(
    app.task, bind=True, autoretry_for=(Again,), default_retry_delay=0.05, retry_backoff=False, max_deliveries=1000
)


def _work(self: Task[..., Any, Any], key: str, seconds: float, fails: int, due: float, ballast: str) -> str:
    """Take a while, fail as often as asked, and say so in the ledger."""
    attempt = self.request.retries
    if not attempt and time.monotonic() < due:
        ledger.write("early", key)
    ledger.write("start", f"{key}#{attempt}")
    if seconds:
        time.sleep(seconds)
    if attempt < fails:
        ledger.write("again", key)
        raise Again
    ledger.write("end", key)
    return key


@retried(name="faults.work", max_retries=None)
def work(self: Any, key: str, seconds: float = 0.0, fails: int = 0, due: float = 0.0, ballast: str = "") -> str:
    """A task whose result is kept."""
    return _work(self, key, seconds, fails, due, ballast)


@retried(name="faults.quiet", max_retries=None, ignore_result=True)
def quiet(self: Any, key: str, seconds: float = 0.0, fails: int = 0) -> str:
    """A task that leaves nothing."""
    return _work(self, key, seconds, fails, 0.0, "")


@retried(name="faults.doomed", max_retries=TRIES)
def doomed(self: Any, key: str) -> None:
    """Fail for good."""
    attempt = self.request.retries
    ledger.write("start", f"{key}#{attempt}")
    ledger.write("again" if attempt < TRIES else "fail", key)
    raise Again


@retried(name="faults.parent", max_retries=None)
def parent(self: Any, key: str) -> str:
    """Send another task; tried again when that is refused."""
    ledger.write("start", f"{key}#{self.request.retries}")
    child = f"n{key[1:]}"
    left = _sent([child], lambda keys: app.send_task("faults.newer", (child,), task_id=child))
    if left:
        ledger.write("again", key)
        raise Again
    ledger.write("end", key)
    return key


if VERSION >= 2:

    @retried(name="faults.newer", max_retries=None)
    def newer(self: Any, key: str) -> str:
        """What only this version knows."""
        return _work(self, key, 0.0, 0, 0.0, "")


# -- the producer ------------------------------------------------------------------------------------------------------


def produce(count: int, seed: int, rate: float) -> None:
    """Send tasks in small and large batches, so many a second; what was surely not sent is sent again, as any caller
    would."""
    random = Random(seed)
    number = 0
    began = time.monotonic()
    while number < count:
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        size = min(count - number, random.choice((1, 1, 5, 50, 100)))
        kind = random.choices(list(KINDS), list(KINDS.values()))[0]
        keys = [f"{kind}-{seed}-{os.getpid()}-{number + index}" for index in range(size)]
        number += size
        send = _garbage if kind == "g" else partial(_calls, random, kind)
        deadline = time.monotonic() + GIVE_UP
        while keys and time.monotonic() < deadline:
            keys = _sent(keys, send)
            if keys:
                time.sleep(0.1)


def _garbage(keys: list[str]) -> None:
    app.post([Outgoing("default", f"garbage {key}".encode()) for key in keys])


def _calls(random: Random, kind: str, keys: list[str]) -> None:
    tasks: dict[str, Any] = {"q": quiet, "x": doomed, "p": parent}
    app.send_many(tasks.get(kind, work), [_call(random, kind, key) for key in keys])


def _call(random: Random, kind: str, key: str) -> Call:
    options: CallOptions = {"task_id": key}
    if random.random() < 0.2:
        options["priority"] = random.choice((1, 5, 9))
    seconds = random.choice((0.0,) * 20 + (0.002, 0.01))
    match kind:
        case "w" | "q":
            return Call((key, seconds, int(random.random() < 0.05)), None, options)
        case "c":
            return Call((key, 0.0, CHAIN), None, options)
        case "d":
            options["countdown"] = delay = random.uniform(*DELAYS)
            return Call((key, 0.0, 0, time.monotonic() + delay), None, options)
        case "l":
            return Call((key, seconds, 0, 0.0, "x" * LARGE), None, options)
    return Call((key,), None, options)


def _sent(keys: list[str], send: Callable[[list[str]], object]) -> list[str]:
    """Send once; returns the keys that were surely not sent."""
    ledger.write("attempt", *keys)
    try:
        send(keys)
    except PartialSend as partial:
        unsent = [keys[index] for index, error in partial.errors.items() if error.sent == "no"]
        unclear = [keys[index] for index, error in partial.errors.items() if error.sent == "unknown"]
        failed = {*unsent, *unclear}
        ledger.write("confirmed", *[key for key in keys if key not in failed])
        ledger.write("refused", *unsent)
        ledger.write("unknown", *unclear)
        return unsent
    except PortError as error:
        ledger.write("refused" if error.sent == "no" else "unknown", *keys)
        return keys if error.sent == "no" else []
    ledger.write("confirmed", *keys)
    return []


if __name__ == "__main__":
    produce(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
    app.close()
