"""Waiting for records without polling: each record is told of on the channel of its key when it is written."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from kernel.native import monotonic, original
from kernel_redis import faults
from kernel_redis.bell import Bell
from kernel_redis.client import Client
from kernel_redis.link import Link, Parts, checked, readable
from kernel_redis.scripts import Script, in_full

_Local: Any = original("_thread", "_local")
_LOOK = Script("told", "look")
#: A wait that lasted so long without news ends with a look of its own; seconds. The nodes of a cluster tell each other
#: of a notice, and what breaks between them loses it.
LOOK = 1.0
#: What a notice begins with; a list of records never does, because the first byte of each is 0 to 3.
_NOTICES = (b"message", b"subscribe", b"unsubscribe")


class Subscription:
    """A connection that is told of some records, and what they are as far as it was told: see `lua/told.lua`."""

    __slots__ = ("__weakref__", "link", "records")

    def __init__(self, link: Link) -> None:
        self.link = link
        self.records: dict[bytes, bytes | None] = {}

    def heed(self, notice: Any) -> bool:
        """Take note of a notice; False for an answer to a command, which is none."""
        if not (isinstance(notice, list) and notice and notice[0] in _NOTICES):
            return False
        if notice[0] == b"message" and notice[1] in self.records:
            self.records[notice[1]] = notice[2]
        return True

    def close(self) -> None:
        """Disconnect."""
        self.link.close()


class Watch:
    """The records that somebody waits for. `wait` by one thread at a time, `rouse` and `close` by any.

    A subscription stays from one wait to the next, so that asking for the same records again costs nothing. It is kept
    by thread, for the reason that `Links` has.
    """

    def __init__(self, client: Client, fetch: Callable[[Sequence[str]], list[bytes | None]]) -> None:
        """`fetch` reads records that may be on several nodes."""
        self._client = client
        self._fetch = fetch
        self._bell = Bell()
        self._waiting = self._closed = False
        self._local = _Local()
        self._all: weakref.WeakSet[Subscription] = weakref.WeakSet()

    def wait(self, names: Sequence[str], timeout: float) -> list[bytes | None]:
        """The records, as soon as one is final, when roused, or after `timeout` seconds. `Unavailable`."""
        if timeout <= 0:
            return self._look(names)
        self._waiting = True
        try:
            return self._wait(names, timeout)
        finally:
            self._waiting = False
            if self._closed:
                self.close()

    def _look(self, names: Sequence[str]) -> list[bytes | None]:
        """What is there. Not what was told of it: a notice may come behind the answer that the writer has already."""
        found = self._fetch(names)
        if self._bell.rung:
            self._bell.hush()
        return found

    def _wait(self, names: Sequence[str], timeout: float) -> list[bytes | None]:
        until = monotonic() + timeout
        wanted = [name.encode("utf-8", "surrogatepass") for name in names]
        try:
            watching = self._watching()
            self._subscribe(watching, wanted)
            records = watching.records
            lapsed = False
            while not any(map(_is_final, map(records.__getitem__, wanted))):
                left = until - monotonic()
                lapsed = left <= 0
                if lapsed or self._bell.rung:
                    break
                self._client.check()
                if readable([watching.link], self._bell.fileno(), left)[0]:
                    self._drain(watching)
        except faults.FAULTS as error:
            self._forget()
            self._client.check()
            self._client.forget()
            raise faults.translate(error, self._client.location.shown, "no") from error
        except BaseException:
            self._forget()  # an answer may still be under way on it
            raise
        self._client.check()
        if self._bell.rung:
            self._bell.hush()
        told = [records[name] for name in wanted]
        return self._completed(names, told, lapsed and timeout >= LOOK)

    def rouse(self) -> None:
        """End a wait, or the next one."""
        self._bell.ring()

    def close(self) -> None:
        """End a wait and disconnect. Idempotent."""
        self._closed = True
        self._bell.ring()
        # A loop of eventlet or gevent never hears of descriptors that are closed right after they became ready. So who
        # waits closes what it waits on.
        if not self._waiting:
            self._bell.close()
            for watching in list(self._all):
                watching.close()

    def _completed(self, names: Sequence[str], told: list[bytes | None], every: bool) -> list[bytes | None]:
        """Read the records of which only a notice came, or every one."""
        short = [at for at, record in enumerate(told) if every or (record is not None and len(record) == 1)]
        for at, record in zip(short, self._fetch([names[at] for at in short]) if short else [], strict=True):
            told[at] = record
        return told

    # -- inside ----------------------------------------------------------------------------------------------------

    def _watching(self) -> Subscription:
        self._client.check()
        watching: Subscription | None = getattr(self._local, "watching", None)
        if watching is not None:
            try:
                self._drain(watching)
                return watching
            except faults.FAULTS:
                self._forget()  # cut off while nobody waited
        link = self._client.connect(self._client.address(""), 3)
        link.connect()
        watching = self._local.watching = Subscription(link)
        self._all.add(watching)
        return watching

    def _forget(self) -> None:
        watching: Subscription | None = getattr(self._local, "watching", None)
        self._local.watching = None
        if watching is not None:
            watching.close()

    def _subscribe(self, watching: Subscription, wanted: Sequence[bytes]) -> None:
        """Be told of these records and of no others, and read those that are new, in this order: so none is missed.

        What was final at the last wait is read anew, because it may have been deleted meanwhile.
        """
        records, link = watching.records, watching.link
        asked = set(wanted)
        gone = [name for name, record in records.items() if name not in asked or _is_final(record)]
        for name in gone:
            del records[name]
        new = [name for name in dict.fromkeys(wanted) if name not in records]
        records.update(dict.fromkeys(new))
        commands: list[Parts] = [("UNSUBSCRIBE", *gone)] if gone else []
        if new:
            commands.append(("SUBSCRIBE", *new))
            if self._client.spans:
                commands.append(look := _LOOK.command(tuple(new)))
        if not commands:
            return
        link.send(commands)
        if new and not self._client.spans:
            self._await_notices(watching, len(gone) + len(new))
            found = self._fetch([name.decode("utf-8", "surrogatepass") for name in new])
        elif new:
            while watching.heed(answer := link.read()):
                pass
            if isinstance(answer, faults.Refused) and answer.word == "NOSCRIPT":
                link.send([in_full(look)])
                while watching.heed(answer := link.read()):
                    pass
            found = checked(answer)
        else:
            self._await_notices(watching, len(gone))
            return
        for name, record in zip(new, found, strict=True):
            # A record that was published meanwhile is as new as what was read, or newer.
            if records[name] is None:
                records[name] = record

    def _await_notices(self, watching: Subscription, count: int) -> None:
        """Read until so many subscriptions and their ends are confirmed."""
        while count:
            notice = checked(watching.link.read())
            watching.heed(notice)
            count -= notice[0] != b"message"

    def _drain(self, watching: Subscription) -> None:
        while watching.link.has_data():
            watching.heed(checked(watching.link.read()))


def _is_final(record: bytes | None) -> bool:
    """Of a record or the notice of one: its first byte is odd."""
    return record is not None and record[0] & 1 == 1
