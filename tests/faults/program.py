"""The application under test, and its producer: `python -m faults.program FOLDER COUNT SEED` sends so many tasks."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from faults.ledger import Ledger
from kernel import Kernel
from kernel.errors import PartialSend, PortError
from kernel.task import Task

#: Seconds for which a producer goes on trying to send what was surely not sent.
GIVE_UP = 60.0

ledger = Ledger(Path(os.environ.get("LEDGER", ".")))
app = Kernel("faults", send_timeout=2.0)


class Again(Exception):
    """Raised by a task that is to be retried."""


@app.task(
    name="faults.work",
    bind=True,
    autoretry_for=(Again,),
    max_retries=None,
    default_retry_delay=0.05,
    retry_backoff=False,
    max_deliveries=1000,
)
def work(self: Task[..., Any, Any], key: str, seconds: float, fails: int) -> str:
    """Take a while, fail as often as asked, and say so in the ledger."""
    attempt = self.request.retries
    ledger.write("start", f"{key}#{attempt}")
    if seconds:
        time.sleep(seconds)
    if attempt < fails:
        raise Again
    ledger.write("end", key)
    return key


def produce(count: int, seed: int) -> None:
    """Send tasks in small and large batches; what was surely not sent is sent again, as any caller would."""
    random = Random(seed)
    number = 0
    deadline = time.monotonic() + GIVE_UP
    while number < count:
        size = min(count - number, random.choice((1, 1, 5, 50)))
        keys = [f"{seed}-{os.getpid()}-{number + index}" for index in range(size)]
        number += size
        while keys and time.monotonic() < deadline:
            keys = _send(keys, random)
            if keys:
                time.sleep(0.1)


def _send(keys: list[str], random: Random) -> list[str]:
    """Send once; returns the keys that were surely not sent."""
    ledger.write("attempt", *keys)
    calls = [(key, random.choice((0.0, 0.0, 0.0, 0.002, 0.01)), int(random.random() < 0.1)) for key in keys]
    try:
        app.send_many(work, calls)
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
    produce(int(sys.argv[1]), int(sys.argv[2]))
    app.close()
