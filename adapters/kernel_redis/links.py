"""The idle connections, kept by thread."""

from __future__ import annotations

import weakref
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from kernel.errors import Unavailable
from kernel.native import original
from kernel_redis.link import Link
from kernel_redis.url import Address

#: Storage of a thread of the operating system, also where a green library has patched `threading.local`.
_Local: Any = original("_thread", "_local")


class Links:
    """Lends connections. A thread gets only those that it made itself, and they end with it.

    Kept by thread because a socket of gevent or eventlet belongs to the loop of the thread that made it, and because
    it needs no lock. There are few threads: intake, outlet and housekeeper of a worker, or the callers of a program.
    """

    def __init__(self, connect: Callable[[Address, int], Link]) -> None:
        self._connect = connect
        self._local = _Local()
        self._all: weakref.WeakSet[Link] = weakref.WeakSet()
        self._closed = False

    def take(self, address: Address) -> Link:
        """A connected link to an address. `faults.FAULTS`."""
        idle = self._idle()[address]
        while idle:
            link = idle.pop()
            if _is_quiet(link):
                return link
            link.close()
        link = self._connect(address, 2)
        link.connect()
        self._all.add(link)
        if self._closed:
            link.close()
            raise Unavailable("closed")
        return link

    def give(self, link: Link) -> None:
        """Take back a link on which nothing is under way."""
        if self._closed:
            link.close()
        else:
            self._idle()[link.address].append(link)

    def drop_idle(self) -> None:
        """Close what this thread keeps: the server behind it has changed."""
        for idle in self._idle().values():
            while idle:
                idle.pop().close()

    def close(self) -> None:
        """Close all, also those that are lent: who uses one gets an error. Idempotent."""
        self._closed = True
        for link in list(self._all):
            link.close()

    def _idle(self) -> defaultdict[Address, deque[Link]]:
        local = self._local
        try:
            idle: defaultdict[Address, deque[Link]] = local.idle
        except AttributeError:
            idle = local.idle = defaultdict(deque)
        return idle


def _is_quiet(link: Link) -> bool:
    """Whether an idle connection still stands. What it says unasked, or its end, means that it is of no use."""
    try:
        return not link.has_data()
    except Exception:  # whatever it is, another connection is made
        return False
