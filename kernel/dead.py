"""Dead letters: what could not be run, read and sent again without losing any of it.

A letter is a dead frame that a worker wrote, or a raw frame that a broker moved by itself. Looking is done by `peek`
where there is one; sending again and purging take letters under a lease, and what does not match is given back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from math import inf
from typing import Literal

from kernel import envelope as wire
from kernel.envelope import Envelope, dead_queue, decode, decode_carrier, decode_dead, encode
from kernel.errors import DecodeError, SealError
from kernel.held import BATCH, Held, ready
from kernel.ports import Delivery, Inspects, Outgoing, Peeks, Transport
from kernel.sealing.sealing import is_sealed
from kernel.sealing.transport import Read, original, read_plain, reader

#: Letters that a search looks through at most, from the oldest on.
SEARCHED = 100_000
#: Letters that do not match and are held back at a time, and bytes of them.
HELD_MOST, HELD_BYTES = 1000, 64 * 1024 * 1024

#: As `envelope.DeadKind`; "moved" for a frame that a broker moved by itself, "sealed" for one that does not open here.
Kind = Literal["failed", "unprocessable", "moved", "sealed"]
#: What the settlement of one letter sends.
Caused = Sequence[Outgoing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter, decoded as far as it goes."""

    #: The message that died, verbatim.
    payload: bytes
    #: The same without its seal; empty where it does not open.
    frame: bytes
    #: The queue it came from and a requeue sends it to.
    queue: str
    kind: Kind
    reason: str
    #: The last error as text, mostly a traceback; "" for none.
    error: str = ""
    #: Deliveries of the message, its last one included; 0 when unknown.
    deliveries: int = 0
    #: Wall clock of the first sending and of its death; 0.0 when unknown.
    first_at: float = 0.0
    last_at: float = 0.0
    priority: int = 0
    #: The call, None when the payload is none that this release can read.
    envelope: Envelope | None = None
    #: Why the message does not open, "" when it does: without its seal it is not sent again.
    fault: str = ""

    @property
    def id(self) -> str:
        """Id of the task, "" when the payload is no call."""
        return self.envelope.id if self.envelope is not None else ""

    @property
    def task(self) -> str:
        """Name of the task, "" when the payload is no call."""
        return self.envelope.task if self.envelope is not None else ""

    @property
    def summary(self) -> str:
        """The error in one line: of a traceback, the line that names the exception."""
        lines = [line for line in self.error.splitlines() if line.strip()]
        frames = [index for index, line in enumerate(lines) if line.startswith("  ")]
        after = frames[-1] + 1 if frames else 0
        # A note may be indented too; then no line follows and the first unindented one from the end names it.
        named = lines[after] if after < len(lines) else next((line for line in reversed(lines) if line[0] != " "), "")
        return named.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which letters are meant; every condition that is not empty must hold."""

    #: Task ids.
    ids: frozenset[str] = frozenset()
    #: Name of the task, or a pattern such as "shop.*".
    task: str = ""
    kind: Kind | Literal[""] = ""
    #: Part of the error or of the reason.
    error: str = ""

    def __call__(self, letter: Letter) -> bool:
        """Whether this letter is meant."""
        return (
            (not self.ids or letter.id in self.ids)
            and (not self.task or fnmatchcase(letter.task, self.task))
            and (not self.kind or letter.kind == self.kind)
            and (not self.error or self.error in letter.error or self.error in letter.reason)
        )


#: Every letter.
ALL = Match()


class DeadLetters:
    """The dead letters of one queue."""

    def __init__(
        self,
        transport: Transport,
        queue: str,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`queue` is the queue that the letters came from."""
        self.queue = queue
        self.name = dead_queue(queue)
        self._transport = transport
        self._monotonic = monotonic
        self._sleep = sleep
        self._read = reader(transport)
        #: Of the letters that the last call looked at: how many do not open here, and why the first of them does not.
        self.unopened, self.fault = 0, ""

    def _letter(self, payload: bytes) -> Letter:
        """The letter in what was found; one that does not open is noted."""
        letter = read_letter(payload, self.queue, self._read)
        if letter.fault:
            self.unopened += 1
            self.fault = self.fault or letter.fault
        return letter

    def list(self, match: Match = ALL, limit: int = BATCH) -> Sequence[Letter]:
        """Up to `limit` matching letters, the oldest first; all of them stay where they are.

        Where the transport has no `peek` they are taken for as long as the look lasts and given back, which some
        brokers count as a delivery. Nobody works on a queue of dead letters, so nobody misses them meanwhile.
        """
        seen = self._seen(limit if match == ALL else SEARCHED)
        self.unopened, self.fault = 0, ""
        return [letter for letter in map(self._letter, seen) if match(letter)][:limit]

    def find(self, task_id: str) -> Sequence[Letter]:
        """The letters of one task, mostly one; looked for as `list` does."""
        return self.list(Match(ids=frozenset((task_id,))), SEARCHED)

    def _seen(self, most: int) -> Sequence[bytes]:
        transport = self._transport
        if isinstance(transport, Peeks) and transport.features.peek:
            return transport.peek(self.name, most)
        held = Held(transport, self._monotonic)
        payloads: list[bytes] = []
        try:
            for batch in held.received(self.name):
                payloads += map(original, batch)
                if len(payloads) >= most:
                    break
        finally:
            held.release()
        return payloads[:most]

    def requeue(self, match: Match = ALL, limit: int = 0, rate: float = 0.0) -> int:
        """Send matching letters to their queues again and return how many; `limit` 0 for all of them.

        `rate`: at most so many letters a second, 0.0 for no bound: what failed together would come back together. Each
        is sent before it is taken away, so one that is sent and then not taken away (the process dies in between) is
        there twice, and none is lost. `PortError` when some cannot be sent: they stay. Those that do not
        open stay too, and `unopened` says how many: sent again, they would carry the seal of whoever does it.
        """
        return self._take(match, limit, lambda letter: [revive(letter)], once=True, rate=rate)

    def purge(self, match: Match = ALL, limit: int = 0) -> int:
        """Delete matching letters and return how many; `limit` 0 for all of them."""
        transport = self._transport
        if match == ALL and not limit and isinstance(transport, Inspects) and transport.features.inspect:
            return transport.purge(self.name)
        return self._take(match, limit, lambda letter: [], once=False)

    def _take(self, match: Match, limit: int, sends: Callable[[Letter], Caused], once: bool, rate: float = 0.0) -> int:
        """Settle matching letters with what they cause; those in front of them are held back, and released at the end.

        Released at once, the next `receive` would get the same ones again. Above `HELD_MOST` they are put to the end
        of the queue instead, so that no more are held, however many there are. No more letters are taken than there
        were at the start, and with `once` none of a task twice: a task that fails again as fast as it is requeued would
        never let this end.
        """
        most = min(limit or inf, self._matching(match, once))
        if not most:
            return 0
        left = ready(self._transport, self.name)
        held = Held(self._transport, self._monotonic)
        pace = Pace(rate, held.renew, self._monotonic, self._sleep)
        passed: MutableSequence[bytes] = []
        taken: set[str] = set()
        done = 0
        self.unopened, self.fault = 0, ""
        try:
            for batch in held.received(self.name, pace.batch) if left else ():
                wanted: list[tuple[Delivery, Caused]] = []
                for delivery in batch:
                    letter = self._letter(original(delivery))
                    left -= 1
                    if done + len(wanted) >= most or letter.id in taken or not match(letter) or (once and letter.fault):
                        continue
                    wanted.append((delivery, sends(letter)))
                    if once and letter.id:
                        taken.add(letter.id)
                for part in pace.parts(wanted):
                    done += held.settle(part)
                again = passed and any(_mark(delivery) in passed for delivery in batch)
                if left <= 0 or done >= most or again or not self._passed(held, passed):
                    break
        finally:
            held.release()
        return done

    def _matching(self, match: Match, once: bool) -> float:
        """How many letters match, at most; infinite where that cannot be seen without taking them.

        So nothing at all is taken where none matches, and nothing behind the last one that does.
        """
        transport = self._transport
        if match == ALL or not (isinstance(transport, Peeks) and transport.features.peek):
            return inf
        self.unopened, self.fault = 0, ""
        seen = transport.peek(self.name, SEARCHED)
        found = sum(match(letter) and not (once and letter.fault) for letter in map(self._letter, seen))
        return found if len(seen) < SEARCHED else inf

    def _passed(self, held: Held, passed: MutableSequence[bytes]) -> bool:
        """Put what is held to the end of the queue when it is much; False when that is not possible.

        The first of them is remembered: where the transport cannot count, meeting it again is the end.
        """
        if len(held) < HELD_MOST and held.size < HELD_BYTES:
            return True
        if any(read_letter(original(delivery), self.queue, self._read).fault for delivery in held):
            return False  # what does not open here cannot be sent as it is: it would get a seal of ours
        pairs = [(delivery, [Outgoing(self.name, delivery.payload)]) for delivery in held]
        if not passed:
            passed.append(_mark(pairs[0][0]))
        size = self._transport.features.max_batch
        for start in range(0, len(pairs), size):
            held.settle(pairs[start : start + size])
        return True


class Pace:
    """Spreads what is sent over time."""

    def __init__(
        self, rate: float, meanwhile: Callable[[], None], monotonic: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        """`rate`: letters a second, 0.0 for no bound. `meanwhile` is called now and then during waits."""
        self._rate = rate
        self._meanwhile = meanwhile
        self._monotonic = monotonic
        self._sleep = sleep
        self._next_at = monotonic()
        #: Letters to take at a time: what is taken waits under a lease, so no more than a few seconds' worth.
        self.batch = min(BATCH, max(1, int(rate * 5.0))) if rate else BATCH

    def parts(self, pairs: Sequence[tuple[Delivery, Caused]]) -> Iterator[Sequence[tuple[Delivery, Caused]]]:
        """Parts of them, each when its time has come."""
        size = max(1, int(self._rate / 10)) if self._rate else max(1, len(pairs))
        for start in range(0, len(pairs), size):
            part = pairs[start : start + size]
            while (wait := self._next_at - self._monotonic()) > 0:
                self._sleep(min(wait, 1.0))
                self._meanwhile()
            if self._rate:
                self._next_at = max(self._next_at, self._monotonic() - 1.0) + len(part) / self._rate
            yield part


def _mark(delivery: Delivery) -> bytes:
    return sha256(delivery.payload).digest()


# -- letters -----------------------------------------------------------------------------------------------


def read_letter(payload: bytes, queue: str, read: Read = read_plain) -> Letter:
    """The letter in a frame found among the dead letters of `queue`. Total: any bytes are a letter.

    What counts is the seal of the message that died. A letter around it may have none: it comes from a worker without
    a seal, and whoever forges one has nothing sent that was not sealed for the queue that it names.
    """
    outer, fault = _outer(payload, queue, read)
    dead = decode_dead(outer)
    if dead is None:
        envelope = _envelope(outer)
        extra = envelope.extra if envelope is not None else {}
        return Letter(
            payload=payload,
            frame=outer,
            queue=extra.get(wire.HOME) or queue,
            kind="sealed" if fault else "moved",
            reason=fault or "moved here by the broker",
            fault=fault,
            first_at=envelope.sent_at if envelope is not None else 0.0,
            priority=extra.get(wire.PRIORITY, 0),
            envelope=envelope,
        )
    frame, fault = _opened(dead.payload, dead.queue or queue, read)
    return Letter(
        payload=dead.payload,
        frame=frame,
        fault=fault,
        queue=dead.queue or queue,
        kind=dead.kind,
        reason=dead.reason,
        error=dead.error,
        deliveries=dead.deliveries,
        first_at=dead.first_at,
        last_at=dead.last_at,
        priority=dead.priority,
        envelope=_envelope(frame),
    )


def _outer(payload: bytes, queue: str, read: Read) -> tuple[bytes, str]:
    """What was found without its seal, and why that does not open."""
    if not is_sealed(payload) and decode_dead(payload) is not None:
        return payload, ""
    frame, fault = _opened(payload, dead_queue(queue), read)
    if not fault:
        return frame, ""
    frame, other = _opened(payload, queue, read)  # moved by the broker, with the seal that it was sent with
    return frame, other and fault


def _opened(payload: bytes, queue: str, read: Read) -> tuple[bytes, str]:
    try:
        frame = read(payload, queue)
    except SealError as error:
        return b"", str(error)
    carrier = decode_carrier(frame) if frame is not payload else None
    return (frame if carrier is None else carrier.payload), ""


def _envelope(payload: bytes) -> Envelope | None:
    try:
        return decode(payload)
    except DecodeError:
        return None


#: What belongs to the life that has ended: its start time, the detours it took.
_OVER = frozenset((wire.ETA, wire.HOP, wire.UNKNOWN_SINCE, wire.FENCE))


def revive(letter: Letter, now: Callable[[], float] = time.time) -> Outgoing:
    """The message that sends a letter to its queue again: one generation higher, with all its retries ahead.

    An expiry that has passed is taken off, because whoever sends it again wants it run. A payload that is no call
    goes back as it is: a newer worker may know what it is. `SealError` for one that does not open.
    """
    envelope = letter.envelope
    if letter.fault:
        raise SealError(letter.fault)
    if envelope is None:
        return Outgoing(letter.queue, letter.frame, letter.priority)
    extra = {key: value for key, value in envelope.extra.items() if key not in _OVER}
    if extra.get(wire.EXPIRES_AT, now()) <= now():
        extra.pop(wire.EXPIRES_AT, None)
    again = envelope.but(attempt=0, generation=envelope.generation + 1, extra=extra)
    priority = letter.priority or extra.get(wire.PRIORITY, 0)
    return Outgoing(letter.queue, encode(again), priority, 0.0, extra.get(wire.EXPIRES_AT, 0.0))
