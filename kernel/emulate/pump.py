"""The thread that sends delayed messages when they are due."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from kernel.clock import Clock
from kernel.envelope import Dead, dead_queue, decode_dead, encode_dead
from kernel.errors import PartialSend, PortError, Rejected
from kernel.native import Signal, Thread
from kernel.ports import Outgoing, Parked, ScheduleStore, Transport
from kernel.steady import Outage

log = logging.getLogger("kernel.emulate")

#: Family of the entries in the schedule store.
SPACE: Final = "delay"
#: Seconds for which a pump keeps what it took from the others.
LEASE: Final = 60.0
#: Seconds between two looks: another process may add an entry and cannot tell this one.
LOOK_EVERY: Final = 1.0

_decode = msgspec.msgpack.Decoder(Outgoing).decode


class DelayPump:
    """Takes due entries under a lease, sends them, and removes them in this order.

    A crash between sending and removing repeats the messages when the lease has ended and never loses one. Any
    number of processes may run one.
    """

    def __init__(self, transport: Transport, schedule: ScheduleStore, clock: Clock) -> None:
        self._transport = transport
        self._schedule = schedule
        self._clock = clock
        self._limit = min(transport.features.max_batch, schedule.features.max_batch)
        self._outage = Outage("moving delayed messages", clock)
        #: Sent and not removed yet, because the store was away: removed before anything else is taken.
        self._moved: list[Parked] = []
        self._signal = Signal()
        self._stopping = False
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin, once."""
        if self._thread is None and not self._stopping:
            self._thread = Thread(self._run, "kernel-delay")
            self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End after the batch at hand; returns whether it has ended within `timeout` seconds. Idempotent."""
        self._stopping = True
        self._signal.set()
        return self._thread is None or self._thread.join(timeout)

    def look(self) -> None:
        """Look again now: an entry was added."""
        self._signal.set()

    def step(self) -> float:
        """Move what is due, at most one batch; returns the seconds until there may be more.

        Raises what the ports raise; entries that were not sent are free again, or will be when their lease ends.
        """
        self._remove_moved()
        entries = self._schedule.take(SPACE, self._clock.now(), self._limit, LEASE)
        if not entries:
            next_at = self._schedule.next_at(SPACE)
            return LOOK_EVERY if next_at is None else min(LOOK_EVERY, max(0.0, next_at - self._clock.now()))
        sent = [False] * len(entries)
        try:
            self._send([_outgoing(entry) for entry in entries], sent)
        finally:
            self._moved = [entry for entry, is_sent in zip(entries, sent, strict=True) if is_sent]
            all_sent = len(self._moved) == len(entries)
            self._remove_moved()
            if not all_sent:
                # Added again, an entry is as it was, without the lease.
                self._schedule.add([entry for entry, is_sent in zip(entries, sent, strict=True) if not is_sent])
        return 0.0

    def _remove_moved(self) -> None:
        if self._moved:
            self._schedule.remove(self._moved)
            self._moved = []

    def _send(self, batch: Sequence[Outgoing], sent: list[bool]) -> None:
        """Send all, and mark what is stored; what is refused for good goes to the dead letters."""
        errors: dict[int, PortError] = {}
        try:
            self._transport.send(batch)
        except PartialSend as partial:
            errors = partial.errors
        except Rejected as refusal:
            # Which one was it? Alone, each has an answer of its own.
            errors = {0: refusal} if len(batch) == 1 else self._send_each(batch)
        for index in range(len(batch)):
            sent[index] = index not in errors
        for index, error in errors.items():
            # A dead letter that is refused in its turn stays in the store: nothing is better placed to keep it.
            if isinstance(error, Rejected) and decode_dead(batch[index].payload) is None:
                self._transport.send([_dead(batch[index], str(error), self._clock.now())])
                sent[index] = True
        for index, error in errors.items():
            if not sent[index]:
                raise error

    def _send_each(self, batch: Sequence[Outgoing]) -> dict[int, PortError]:
        """Send one by one; the errors by index."""
        errors: dict[int, PortError] = {}
        for index, out in enumerate(batch):
            try:
                self._transport.send([out])
            except PartialSend as partial:
                errors[index] = next(iter(partial.errors.values()))
            except PortError as error:
                errors[index] = error
        return errors

    def _run(self) -> None:
        while not self._stopping:
            # Cleared before looking: what is added after the look raises it again.
            self._signal.clear()
            try:
                wait = self.step()
                self._outage.worked()
            except PortError as error:
                wait = self._outage.failed(error)
            except Exception:
                # A defect, not an outage; but delayed messages wait for nobody else.
                log.exception("moving delayed messages failed; trying again")
                wait = LOOK_EVERY
            if not self._stopping:
                self._signal.wait(wait)


def _outgoing(entry: Parked) -> Outgoing:
    """The parked message; one that cannot be read becomes a dead letter of the queue "delay"."""
    try:
        out = _decode(entry.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _dead(Outgoing(SPACE, entry.payload), f"a parked message cannot be read: {error}", entry.due_at)
    # The time is over by this clock; the clock of the service must not find that it is not.
    out.not_before = 0.0
    return out


def _dead(out: Outgoing, reason: str, now: float) -> Outgoing:
    log.error("a delayed message of queue %r goes to the dead letters: %s", out.queue, reason)
    letter = Dead(out.payload, out.queue, "unprocessable", reason, first_at=now, last_at=now, priority=out.priority)
    return Outgoing(dead_queue(out.queue), encode_dead(letter))
