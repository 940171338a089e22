"""How a commit wakes a process that waits: one named pipe per waiter, in a directory beside the database.

A waiter makes a pipe whose name lists its topics, looks once more, and sleeps on it. Whoever commits something reads
the directory, removes the names of as many fitting waiters as there are messages, and writes one byte to each.
Removing the name decides who has woken that waiter, so no waiter is woken twice and no message wakes a herd. A waiter
that was woken and leaves without looking again passes the call on. Nothing here is needed to be right: a slow look
stands behind it, and where pipes are impossible a faster one.
"""

from __future__ import annotations

import _socket
import os
import select
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from errno import ENXIO
from typing import Final
from zlib import crc32

from kernel.errors import Unavailable
from kernel.native import allocate_lock, original

#: Seconds between two looks where named pipes are impossible.
POLL_FOR: Final = 0.02
#: Nanoseconds for which a directory's time of change is not trusted to tell of a later change: file systems take it
#: from a coarse clock.
COARSE: Final = 50_000_000
#: Bytes of a waiter's name; with more topics it waits for all of them.
LONGEST_NAME: Final = 200
#: Begins the topic of a waiter that waits for more topics than its name can hold; the kinds of topics follow.
ANY: Final = "any-"
#: Seconds after which a name that nobody reads is what a dead process has left behind.
STALE: Final = 1.0

_poll = original("select", "poll") if hasattr(select, "poll") else None
_select = original("select", "select")
_CAN_PIPE = hasattr(os, "mkfifo") and _poll is not None


def queue_topic(queue: int) -> str:
    """The topic of messages in a queue."""
    return f"q{queue}"


def channel_topic(channel: str) -> str:
    """The topic of a broadcast channel; channels may share one."""
    return f"c{_bucket(channel)}"


def result_topic(key: str) -> str:
    """The topic of a final record; keys may share one, which wakes for nothing now and then."""
    return f"r{_bucket(key)}"


class Bell:
    """Ends waits from another thread or a signal handler. Its sockets live until nobody waits on them any more."""

    def __init__(self) -> None:
        #: The end that is waited on and the end that is rung, made for the first wait.
        self._ends: tuple[_socket.socket, _socket.socket] | None = None
        self._lock = allocate_lock()
        self._listeners = 0
        self._closed = False
        self._pid = os.getpid()

    def ring(self) -> None:
        """Ring; it stays rung until `hush`. Takes no lock. In a forked child it does nothing: the parent hears it."""
        ends = self._ends
        if ends is not None and self._pid == os.getpid():
            with suppress(OSError):
                ends[1].send(b"\0")

    def hush(self) -> None:
        """Forget what has rung."""
        ends = self._ends
        if ends is not None:
            with suppress(OSError):
                while ends[0].recv(4096):
                    pass

    @contextmanager
    def heard(self) -> Iterator[int]:
        """A descriptor to wait on inside of the block, readable once it rang; look for what was before.

        `Unavailable` when the process has no descriptor left.
        """
        with self._lock:
            if self._ends is None:
                try:
                    self._ends = _socket.socketpair()
                except OSError as error:
                    raise Unavailable(f"cannot wait: {error}") from error
                for end in self._ends:
                    end.setblocking(False)
            self._listeners += 1
            inside = self._ends[0]
        try:
            yield inside.fileno()
        finally:
            with self._lock:
                self._listeners -= 1
                self._release()

    def close(self) -> None:
        """Ring for good."""
        self.ring()
        with self._lock:
            self._closed = True
            self._release()

    def _release(self) -> None:
        if self._closed and not self._listeners and self._ends is not None:
            ends, self._ends = self._ends, None
            for end in ends:
                end.close()


class Waiter:
    """One who waits; made by `WaitingRoom.enter`."""

    def __init__(self, path: str) -> None:
        self._path = path
        os.mkfifo(path)
        try:
            # For writing too, so that the pipe never reports its end when a caller closes it.
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError:
            os.unlink(path)
            raise

    def wait(self, timeout: float, bell: int) -> bool:
        """Sleep until called, rung or `timeout` seconds have passed; whether it was called."""
        return self._fd in readable((self._fd, bell), timeout)

    def leave(self) -> bool:
        """Stop waiting; whether somebody has called it."""
        os.close(self._fd)
        try:
            os.unlink(self._path)
        except OSError:
            return True
        return False


class WaitingRoom:
    """The waiters of all processes that use one database."""

    def __init__(self, database: str) -> None:
        self._directory = f"{database}.wake"
        #: Time of change of the directory, whether it is old enough to be trusted, and the names then.
        self._seen: tuple[int, bool, list[str]] = (0, False, [])

    def watch(self, topics: Sequence[str], timeout: float, bell: Bell, look: Callable[[], float | None]) -> None:
        """Look until `look` returns None or `timeout` seconds have passed, and at least once.

        `look` returns the seconds after which it wants to look again; a call or the bell makes it look at once.
        """
        ends = time.monotonic() + timeout
        waiter: Waiter | None = None
        called = False
        with bell.heard() as rung:
            try:
                while True:
                    waiter = waiter or self.enter(topics)
                    called = False
                    nap = look()
                    left = ends - time.monotonic()
                    if nap is None or left <= 0:
                        return
                    nap = max(0.0, min(nap, left))
                    if waiter is None:
                        readable((rung,), min(nap, POLL_FOR))
                    elif waiter.wait(nap, rung):
                        waiter.leave()
                        waiter = None
                        called = True
            finally:
                if (waiter is not None and waiter.leave()) or called:
                    self.call(dict.fromkeys(topics, 1.0))

    def enter(self, topics: Iterable[str]) -> Waiter | None:
        """Wait for these topics; None where it cannot be done and the caller must poll."""
        if not _CAN_PIPE:
            return None
        start = os.urandom(5).hex()
        name = "~".join((start, *topics))
        if len(name) > LONGEST_NAME:
            name = f"{start}~{ANY}{''.join(sorted({topic[0] for topic in topics}))}"
        try:
            return Waiter(os.path.join(self._directory, name))
        except FileNotFoundError:
            pass
        except OSError:
            return None
        try:
            os.makedirs(self._directory, exist_ok=True)
            return Waiter(os.path.join(self._directory, name))
        except OSError:
            return None

    def waiting(self) -> Sequence[str]:
        """Names of those who wait; one system call while nobody comes or goes."""
        try:
            changed = os.stat(self._directory).st_mtime_ns
            seen = self._seen
            if changed == seen[0] and seen[1]:
                return seen[2]
            now = time.time_ns()
            names = os.listdir(self._directory)
        except OSError:
            return ()
        self._seen = (changed, now - changed > COARSE, names)
        return names

    def call(self, wanted: MutableMapping[str, float]) -> None:
        """Wake waiters by topic, of each topic no more than the number beside it. Never blocks, never fails."""
        for name in self.waiting():
            topics = name.split("~")[1:]
            if topics[0].startswith(ANY):
                # It may wait for something else, so that it counts for nobody.
                if any(topic[0] in topics[0][len(ANY) :] for topic in wanted):
                    self._knock(os.path.join(self._directory, name))
                continue
            for topic in topics:
                if wanted.get(topic, 0) > 0:
                    if self._knock(os.path.join(self._directory, name)):
                        wanted[topic] -= 1
                    break

    @staticmethod
    def _knock(path: str) -> bool:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            # No reader: what a dead process has left behind, or one that is just moving in and looks by itself. Other
            # errors are ours, such as no descriptor left, and no reason to take a name away.
            if error.errno == ENXIO:
                with suppress(OSError):
                    if time.time() - os.stat(path).st_mtime > STALE:
                        os.unlink(path)
            return False
        try:
            os.unlink(path)
            os.write(fd, b"\0")
        except OSError:
            return False
        finally:
            os.close(fd)
        return True


def readable(fds: Sequence[int], timeout: float) -> list[int]:
    """Those of `fds` that are readable within `timeout` seconds; blocks the thread, also where select is patched."""
    if _poll is None:
        return list(_select(fds, (), (), timeout)[0])
    poll = _poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    # Rounded up: a wait that ends a fraction of a millisecond early would spin.
    return [fd for fd, _ in poll.poll(int(timeout * 1000) + 1)]


def _bucket(text: str) -> str:
    return f"{crc32(text.encode(errors='surrogatepass')) & 0xFFFF:x}"
