"""An SQS server of the tests: moto, mended where it differs from SQS in what several clients see.

Run as a program this module is the server: `python -m services.sqs <port>`. It keeps everything in memory: a stop
loses it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from services.server import Server, free_port

#: An existing server to use in place of one of our own, as the URL of a transport.
VARIABLE = "KERNEL_TEST_SQS_URL"
#: What boto3 signs with and moto does not look at; no account has these. For the environment of a test.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
REGION = "eu-west-1"


def _answers(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=1.0) as answer:
        return bool(answer.status == 200)


def sqs_server(port: int = 0) -> tuple[Server, str]:
    """A private server, started, and its URL. It serves S3 at the same address."""
    port = port or free_port()
    command = [sys.executable, "-m", "services.sqs", str(port)]
    places = {"PYTHONPATH": str(Path(__file__).parents[1])}
    server = Server("sqs", lambda _: command, lambda: _answers(port), environment=places)
    server.start()
    return server, f"sqs+http://127.0.0.1:{port}?region={REGION}"


@cache
def shared_sqs() -> str:
    """The URL of the one server that tests share."""
    return os.environ.get(VARIABLE) or sqs_server()[1]


def _serve(port: int) -> None:
    from moto.server import main  # only in the server: it takes a second

    _mend()
    main(["-H", "127.0.0.1", "-p", str(port)])


def _mend() -> None:
    """Three differences: time, atomicity and the memory for deduplication."""
    from moto.sqs import models

    # moto reads its clock for every message of a queue at every call, through three conversions of time zones: two
    # thirds of its time.
    models.unix_time = time.time
    models.unix_time_millis = lambda: time.time() * 1000

    # Each request has a thread, and moto changes lists in several steps: two receivers could be given one message, and
    # a message sent during a deletion could vanish. One step at a time; a long poll waits outside of it.
    lock = threading.RLock()
    steps = ["send_message_batch", "delete_message_batch", "change_message_visibility_batch", "create_queue"]
    for name in steps:
        setattr(models.SQSBackend, name, _locked(lock, getattr(models.SQSBackend, name)))
    take = _locked(lock, models.SQSBackend.receive_message)

    def receive(
        self: Any, name: str, count: int, wait: int, visibility: int, attributes: list[str] | None = None
    ) -> Any:
        until = time.monotonic() + wait
        while True:
            found = take(self, name, count, 0, visibility, attributes)
            left = until - time.monotonic()
            if found or left <= 0:
                return found
            # Not told of the end of a delay or of a visibility timeout, so it looks.
            changed = self.get_queue(name)._messages_lock
            with changed:
                changed.wait(min(left, 0.05))

    models.SQSBackend.receive_message = receive

    # SQS knows a deduplication id for its five minutes, moto for as long as the message is there.
    add = models.Queue.add_message

    def remembered(self: Any, message: Any) -> None:
        seen = self.__dict__.setdefault("seen", {})
        if not self.fifo_queue or seen.get(message.deduplication_id, 0.0) < time.monotonic():
            seen[message.deduplication_id] = time.monotonic() + models.DEDUPLICATION_TIME_IN_SECONDS
            add(self, message)

    models.Queue.add_message = remembered


def _locked(lock: Any, method: Callable[..., Any]) -> Callable[..., Any]:
    def locked(*arguments: Any, **named: Any) -> Any:
        with lock:
            return method(*arguments, **named)

    return locked


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
