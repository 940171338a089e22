"""Slots of keys, and the messages that wait for one.

A message over its limit is parked once, in a space of its key, before it is acknowledged. Who leaves a slot hands it
to exactly the next one that waits, which is then sent to its queue again and finds that it has its slot already: slots
belong to messages, not to workers. So no worker is held by what waits, nothing is asked again and again, and a newcomer
cannot take what becomes free.

Two things keep a parked message from being stranded. Who parks looks once more afterwards: had the last slot been left
just before, it gets that one. And each key at which messages wait is noted, with a time: a slot whose holder was killed
is left by nobody, so whoever comes to the note then (`look`) does it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from kernel.clock import Clock
from kernel.envelope import LATEST, dead_queue
from kernel.errors import SealError
from kernel.ids import new_id
from kernel.parts import parts
from kernel.ports import Acquire, Coordination, Outgoing, Parked, ScheduleStore, Transport
from kernel.sealing.transport import Read

log = logging.getLogger("kernel.worker")

#: Space of the notes: one for each key at which messages wait.
KEYS = "limits"
#: Seconds for which who moves a parked message keeps it from the others; a crash meanwhile delays it by so much.
MOVING = 10.0
#: Most keys that one look comes to.
LOOKS = 100
#: Priority of a message that has its slot, on its way back to its queue: the slot is idle until it is there.
URGENT = 9


class Waiting(msgspec.Struct, array_like=True):
    """What is kept of a parked message."""

    limit: int
    queue: str
    #: As it was delivered, with its seal where it has one.
    payload: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Waiting).decode


class Slots:
    """Acquires, parks and hands over. Holds no state of its own: any thread, any number of processes."""

    def __init__(
        self,
        coordination: Coordination,
        schedules: ScheduleStore,
        transport: Transport,
        read: Read,
        ttl: float,
        clock: Clock,
    ) -> None:
        """A slot lives for `ttl` seconds without renewal. `read` opens what was parked with its seal."""
        self._coordination = coordination
        self._schedules = schedules
        self._transport = transport
        self._read = read
        self._clock = clock
        most = min(coordination.features.max_batch, schedules.features.max_batch // 2, transport.features.max_batch)
        self._most = max(1, most)
        self.ttl = ttl
        #: Seconds between two renewals, and between two looks at a key at which messages wait.
        self.pace = ttl / 6

    def acquire(self, wants: Sequence[Acquire]) -> list[bool]:
        """Who has a slot now, in one port call for as many as it takes."""
        got: list[bool] = []
        for part in parts(wants, self._most):
            got += self._coordination.acquire(part)
        return got

    def park(self, waiting: Sequence[tuple[Acquire, float, str, bytes]]) -> None:
        """Keep messages that got no slot: what each wanted, when it was sent, its queue and its payload as delivered.

        Durable on return. The earliest sent goes first, so one that is parked again keeps its place.
        """
        again_at = self._clock.now() + self.pace
        entries = [
            Parked(_space(want.key), want.owner, sent_at, _encode(Waiting(want.limit, queue, payload)))
            for want, sent_at, queue, payload in waiting
        ]
        notes = [Parked(KEYS, key, again_at, b"") for key in {want.key: None for want, *_ in waiting}]
        self._add([*notes, *entries])
        self._look_again([want for want, *_ in waiting])

    def forget(self, owners: Iterable[tuple[str, str, float]]) -> None:
        """Remove what is parked of messages, by key, owner and time of sending, that run after all."""
        self._remove([Parked(_space(key), owner, sent_at, b"") for key, owner, sent_at in owners])

    def let_go(self, held: Sequence[Acquire]) -> None:
        """Leave slots: each to the next message that waits for it, or to anybody."""
        by_key: dict[str, list[Acquire]] = defaultdict(list)
        for slot in held:
            by_key[slot.key].append(slot)
        passed: list[tuple[Parked, str]] = []
        free: list[Acquire] = []
        for key, slots in by_key.items():
            entries = self._take(key, len(slots))
            passed += [(entry, slot.owner) for entry, slot in zip(entries, slots, strict=False)]
            free += slots[len(entries) :]
        self._hand(passed)
        if not free:
            return
        for part in parts(free, self._most):
            self._coordination.release([(slot.key, slot.owner) for slot in part])
        # Who parked between those two steps was refused by a slot that is free now, and found nobody to leave it.
        late = [(entry, "") for key in {slot.key: None for slot in free} for entry in self._take(key, len(by_key[key]))]
        self._hand(late)

    def look(self) -> None:
        """Come to the keys at which messages wait and whose time has come."""
        now = self._clock.now()
        notes = self._schedules.take(KEYS, now, min(LOOKS, self._most), self.pace)
        ended = []
        for note in notes:
            if self._schedules.next_at(_space(note.key)) is None:
                ended.append(note)  # removed only if nobody has noted the key anew meanwhile
            else:
                self._revive(note.key)
        again_at = self._clock.now() + self.pace
        self._add([Parked(KEYS, note.key, again_at, b"") for note in notes if note not in ended])
        self._remove(ended)

    # -- inside --------------------------------------------------------------------------------------------

    def _revive(self, key: str) -> None:
        """Give what slots are free to the messages that wait."""
        for _ in range(self._most):
            entries = self._take(key, 1)
            if not entries or not self._hand([(entries[0], "")]):
                return

    def _hand(self, passed: Sequence[tuple[Parked, str]]) -> bool:
        """Send parked messages that inherit or get a slot, and put the others back; whether all got one."""
        wants: list[Acquire] = []
        known: list[Parked] = []
        for entry, heir_of in passed:
            waiting = _waiting(entry)
            if waiting is None:
                log.error("what waits for a slot of %r cannot be read and is dropped", entry.space)
                self._remove([entry])
                continue
            key = entry.space.removeprefix(_space(""))
            wants.append(Acquire(key, entry.key, waiting.limit, self.ttl, heir_of))
            known.append(entry)
        if not wants:
            return True
        got = self.acquire(wants)
        self._send([entry for entry, has in zip(known, got, strict=True) if has])
        back = [entry for entry, has in zip(known, got, strict=True) if not has]
        if back:
            self._add(back)
            self._look_again([want for want, has in zip(wants, got, strict=True) if not has])
        return not back

    def _look_again(self, wants: Sequence[Acquire]) -> None:
        """After parking. A slot that is there now goes to the next who waits, which may be somebody else.

        It is asked for in a name that nobody else has: the message itself may have been moved by now, and run.
        """
        probes = [Acquire(want.key, f"look:{new_id()}", want.limit, MOVING) for want in wants]
        free = [probe for probe, has in zip(probes, self.acquire(probes), strict=True) if has]
        if free:
            self.let_go(free)

    def _send(self, entries: Sequence[Parked]) -> None:
        """To their queues, then out of the store: a crash in between repeats, never loses."""
        messages = []
        for entry in entries:
            waiting = _waiting(entry)
            assert waiting is not None
            try:
                payload = self._read(waiting.payload, waiting.queue)
                messages.append(Outgoing(waiting.queue, payload, URGENT))
            except SealError as error:
                log.error("what waits for a slot of %r goes to the dead letters: %s", entry.space, error)
                messages.append(Outgoing(dead_queue(waiting.queue), waiting.payload))
        for part in parts(messages, self._most):
            self._transport.send(part)
        self._remove(entries)

    def _take(self, key: str, count: int) -> list[Parked]:
        return self._schedules.take(_space(key), LATEST, min(count, self._most), MOVING)

    def _add(self, entries: Sequence[Parked]) -> None:
        for part in parts(entries, self._most):
            self._schedules.add(part)

    def _remove(self, entries: Sequence[Parked]) -> None:
        for part in parts(entries, self._most):
            self._schedules.remove(part)


def _space(key: str) -> str:
    return f"limit:{key}"


def _waiting(entry: Parked) -> Waiting | None:
    try:
        return _decode(entry.payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
