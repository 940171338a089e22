"""A transport in a directory: a file per message, a directory per queue.

    <root>/q-<queue>/<sequence>.<count>.ready           waiting
    <root>/q-<queue>/<sequence>.<count>.<token>.held    under lease until its modification time

Every step is one rename or unlink under the queue's lock, so it holds between processes of one machine. A queue is
listed for each `receive`: right for thousands of messages, wrong for millions.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from kernel.errors import ConfigError, Rejected, Unavailable
from kernel.ports import Delivery, Features, Outgoing

#: Seconds between two looks of a blocked `receive`.
LOOK_EVERY = 0.01
#: Own acknowledgements remembered, so that a second one is told from a lost lease.
REMEMBERED = 10_000


class DirectoryTransport:
    """Queues in a directory. `lease` is in seconds."""

    def __init__(self, root: Path, lease: float = 60.0) -> None:
        self.features = Features(lease=lease, survives="service", counts=True)
        self._root = root
        self._lease = lease
        self._closed = threading.Event()
        self._closed.set()
        self._ended = False
        self._sequence = 0
        self._acked: deque[str] = deque(maxlen=REMEMBERED)
        self._mutex = threading.Lock()

    @classmethod
    def from_url(cls, url: str) -> DirectoryTransport:
        """`thirdparty:///absolute/directory?lease=60`; `ConfigError` for anything else."""
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        lease = options.pop("lease", ["60"])[-1]
        if parts.netloc or not parts.path.strip("/") or options:
            raise ConfigError(f"{url!r} must be thirdparty:///absolute/directory, with ?lease=SECONDS at most")
        try:
            return cls(Path(unquote(parts.path)), float(lease))
        except ValueError:
            raise ConfigError(f"lease={lease!r} is not a number of seconds") from None

    def open(self) -> None:
        """Make the directory."""
        if self._ended:
            raise Unavailable("this transport is closed: make a new one")
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"{self._root}: {error.strerror}") from error
        self._closed.clear()

    def close(self) -> None:
        """Nothing is held open; leases run out by themselves."""
        self._ended = True
        self._closed.set()

    def declare(self, queues: Sequence[str]) -> None:
        """Make the directories of the queues."""
        self._check()
        for queue in queues:
            self._directory(queue)

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Write a file per message; a file is renamed to its final name when it is complete."""
        self._check()
        now = time.time()
        if any(message.not_before > now for message in batch):
            raise Rejected("a directory has no delayed messages")
        directories = {queue: self._directory(queue) for queue in {message.queue for message in batch}}
        try:
            for message in batch:
                directory = directories[message.queue]
                hidden = directory / f".{uuid.uuid4().hex}"
                hidden.write_bytes(message.payload)
                hidden.rename(directory / f"{self._next():020d}-{os.urandom(4).hex()}.0.ready")
        except OSError as error:
            raise Unavailable(str(error), sent="unknown") from error

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Look through the queues in their order until something is there."""
        end = time.monotonic() + timeout
        while True:
            self._check()
            taken: list[Delivery] = []
            for queue in queues:
                taken += self._take(queue, limit - len(taken))
            left = end - time.monotonic()
            if taken or left <= 0:
                return taken
            self._closed.wait(min(left, LOOK_EVERY))

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Unlink the files that are still held under the same token."""

        def settle(held: Path) -> None:
            held.unlink()
            self._acked.append(held.name)

        return [lost for lost in self._each(batch, settle) if lost.receipt not in self._acked]

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Make the files ready again, under their old place and count."""

        def settle(held: Path) -> None:
            sequence, count, _, _ = held.name.split(".")
            held.rename(held.with_name(f"{sequence}.{count}.ready"))

        return self._each(batch, settle)

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        """Move the end of the leases."""
        end = time.time() + lease
        return self._each(batch, lambda held: os.utime(held, (end, end)))

    # -- inside --------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closed.is_set():
            raise Unavailable("this transport is closed")

    def _directory(self, queue: str) -> Path:
        try:
            directory = self._root / f"q-{quote(queue, safe='')}"
            directory.mkdir(exist_ok=True)
        except (OSError, UnicodeEncodeError) as error:
            raise Rejected(f"queue {queue!r}: {error}") from error
        return directory

    def _next(self) -> int:
        with self._mutex:
            self._sequence = max(self._sequence + 1, time.time_ns())
            return self._sequence

    @contextmanager
    def _locked(self, queue: str) -> Iterator[Path]:
        """The directory of a queue, for one process and thread at a time; the system frees it when a process dies."""
        directory = self._directory(queue)
        try:
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield directory
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unavailable(str(error), sent="unknown") from error

    def _take(self, queue: str, limit: int) -> list[Delivery]:
        taken: list[Delivery] = []
        with self._locked(queue) as directory:
            now = time.time()
            for name in sorted(os.listdir(directory)):
                if len(taken) >= limit:
                    break
                file = directory / name
                sequence, _, rest = name.partition(".")
                if not sequence or (rest.endswith(".held") and file.stat().st_mtime > now):
                    continue
                count = int(rest.partition(".")[0]) + rest.endswith(".held")
                held = directory / f"{sequence}.{count}.{os.urandom(8).hex()}.held"
                # In this order a crash between the two leaves a message that is ready, or held for a whole lease.
                os.utime(file, (now + self._lease, now + self._lease))
                file.rename(held)
                taken.append(Delivery(held.read_bytes(), queue, held.name, count))
        return taken

    def _each(self, batch: Sequence[Delivery], settle: Callable[[Path], None]) -> list[Delivery]:
        """Settle the files that are still held as they were received; the deliveries of the others."""
        self._check()
        lost = []
        for delivery in batch:
            with self._locked(delivery.queue) as directory:
                try:
                    settle(directory / delivery.receipt)
                except FileNotFoundError:
                    lost.append(delivery)
        return lost
