"""A transport on a directory: one file per message, for one host or a shared file system with atomic renames.

<root>/<queue>/new/    being written; a file here is no message yet
<root>/<queue>/ready/  <sequence>.<earlier deliveries>
<root>/<queue>/leased/ <sequence>.<earlier deliveries>.<token>, its modification time is the end of the lease
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from kernel.errors import ConfigError, Rejected, Unavailable
from kernel.ports import Delivery, Features, Outgoing
from kernel.ports.query import Query

#: Seconds between two looks of a blocked `receive`.
LOOK_EVERY = 0.02


class SpoolTransport:
    """The seven methods, and `extend` because the lease is a number."""

    def __init__(self, root: Path, lease: float = 60.0) -> None:
        self._root = root
        self._features = Features(lease=lease, survives="power", max_batch=100, counts=True)
        self._lease = lease
        self._lock = threading.Lock()
        self._last = 0
        self._is_open = False
        self._closed = threading.Event()

    @classmethod
    def from_url(cls, url: str) -> SpoolTransport:
        """From `spool:///absolute/directory?lease=60`; `ConfigError` for anything else."""
        parts = urlsplit(url)
        if parts.netloc or not parts.path:
            raise ConfigError(f"{url}: write spool:///absolute/directory?lease=60")
        options = Query(url, parts.query)
        lease = options.seconds("lease", 60.0)
        options.finish()
        return cls(Path(unquote(parts.path)), lease)

    @property
    def features(self) -> Features:
        """What this transport can do; what is not named here, kernel emulates or refuses."""
        return self._features

    def open(self) -> None:
        """Make the directory. A closed spool stays closed."""
        if self._closed.is_set():
            raise Unavailable("the spool is closed")
        with _translated():
            self._root.mkdir(parents=True, exist_ok=True)
        self._is_open = True

    def close(self) -> None:
        """End a blocked `receive`. Leases of what is held run out by themselves."""
        self._is_open = False
        self._closed.set()

    def declare(self, queues: Sequence[str]) -> None:
        """Make a directory per queue."""
        self._check()
        with _translated():
            for queue in queues:
                for part in ("new", "ready", "leased"):
                    self._folder(queue, part).mkdir(parents=True, exist_ok=True)

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Write, flush, and only then rename each message into its place."""
        self.declare(list(dict.fromkeys(out.queue for out in batch)))
        now = time.time()
        if any(out.not_before > now for out in batch):
            raise Rejected("a spool cannot delay messages")
        with _translated(sent=True):
            for out in batch:
                name = self._next_name()
                new = self._folder(out.queue, "new") / name
                with new.open("xb") as file:
                    file.write(out.payload)
                    file.flush()
                    os.fsync(file.fileno())
                new.rename(self._folder(out.queue, "ready") / name)
            for queue in {out.queue for out in batch}:
                _flush(self._folder(queue, "ready"))

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Look through the queues in their order, again and again until something is there."""
        self.declare(queues)
        ends_at = time.monotonic() + timeout
        while True:
            found: list[Delivery] = []
            with _translated():
                for queue in queues:
                    self._free_expired(queue)
                    self._take(queue, limit, found)
            left = ends_at - time.monotonic()
            if found or left <= 0:
                return found
            self._closed.wait(min(left, LOOK_EVERY))
            self._check()

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Delete the leased file. Its name holds the token, so a lost lease is a missing file."""
        return self._each(batch, lambda delivery: delivery.receipt.unlink())

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Rename the leased file back to where it was: the sequence in its name puts it to the front."""
        return self._each(batch, lambda delivery: self._give_back(delivery.receipt, 0))

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        """Set the end of the lease."""
        until = time.time() + lease
        return self._each(batch, lambda delivery: os.utime(delivery.receipt, (until, until)))

    # -- inside ------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if not self._is_open:
            raise Unavailable("the spool is not open")

    def _folder(self, queue: str, part: str) -> Path:
        return self._root / f"q-{quote(queue, safe='')}" / part

    def _next_name(self) -> str:
        """Later than every name before it of this process, unique among processes; never delivered so far."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns())
            return f"{self._last:020d}-{secrets.token_hex(4)}.0"

    def _take(self, queue: str, limit: int, found: list[Delivery]) -> None:
        for name in sorted(os.listdir(self._folder(queue, "ready"))):
            if len(found) >= limit:
                return
            ready = self._folder(queue, "ready") / name
            leased = self._folder(queue, "leased") / f"{name}.{secrets.token_hex(8)}"
            until = time.time() + self._lease
            try:
                # The end of the lease is set before the rename, so that nobody sees a leased file without it.
                os.utime(ready, (until, until))
                ready.rename(leased)
            except FileNotFoundError:
                continue  # another receiver was faster: a rename has one winner
            found.append(Delivery(leased.read_bytes(), queue, leased, int(name.split(".")[1])))

    def _free_expired(self, queue: str) -> None:
        for leased in self._folder(queue, "leased").iterdir():
            try:
                if leased.stat().st_mtime <= time.time():
                    self._give_back(leased, 1)
            except FileNotFoundError:
                pass  # settled meanwhile, or given back by another receiver

    def _give_back(self, leased: Path, deliveries: int) -> None:
        sequence, earlier, _ = leased.name.split(".")
        leased.rename(leased.parent.parent / "ready" / f"{sequence}.{int(earlier) + deliveries}")

    def _each(self, batch: Sequence[Delivery], settle: Callable[[Delivery], None]) -> list[Delivery]:
        self._check()
        lost: list[Delivery] = []
        with _translated():
            for delivery in batch:
                try:
                    settle(delivery)
                except FileNotFoundError:
                    lost.append(delivery)
        return lost


@contextmanager
def _translated(sent: bool = False) -> Iterator[None]:
    """Errors of the library become errors of the port: this works never, or this may work later."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EACCES, errno.EROFS, errno.ENOTDIR):
            raise Rejected(str(error)) from error
        raise Unavailable(str(error), sent="unknown" if sent else "no") from error


def _flush(folder: Path) -> None:
    """Make renames into a directory survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
