"""Crash points: the steps of the protocol at which a process can be made to die, to freeze, or to be told a lie.

The product has no hooks for this. A process of the harness opens the adapters itself and puts a `Process` around their
methods, so a point is a moment just before or just after one call of a port, or the begin or the end of a body. What
the process does is written into its journal as it happens, and a point that a fault is meant for makes it happen.

Where a transport publishes and acknowledges in one step (`commit`), the points between the two do not exist; `expected`
says which ones a system has, and the engine insists that each of them was hit.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

import msgspec

from kernel import envelope as wire
from kernel.envelope import decode, decode_dead
from kernel.errors import DecodeError, PartialSend, Unavailable
from kernel.outcome import decode_entry
from kernel.ports import Claim, Delivery, Outgoing, Parked, Record, Tally
from kernel.worker.handing import SETTLED

#: SIGKILL; SIGSTOP until somebody continues it; a call that is refused; one that works and says that it failed; a batch
#: of which the first message is refused; two SIGTERMs, which ask for an end at once.
Mode = Literal["kill", "freeze", "refuse", "lie", "partial", "quit"]
#: What a process is: it sends calls, it works, it sends dead letters again.
Role = Literal["producer", "worker", "operator"]

BEFORE, AFTER = "before ", "after "
#: In the keys of joins (`kernel.canvas.frames.join_key`).
JOIN = ":join:"


class Fault(msgspec.Struct, frozen=True):
    """What happens when a process of this role comes to a point for the `hit`-th time. It happens once."""

    role: Role
    point: str
    mode: Mode = "kill"
    hit: int = 1

    def __str__(self) -> str:
        return f"{self.mode} {self.role} {self.point}{f' ({self.hit})' if self.hit > 1 else ''}"


# -- which points there are ----------------------------------------------------------------------------------------

#: Points of each role, and what a system must have for them: "commit" or "steps" (sends before acks), "lease", "parked"
#: (delays in a schedule store), "handed" (a message is held for a limited time in all).
_POINTS: Final[dict[tuple[Role, str], frozenset[str]]] = {}


def _point(role: Role, needs: str, *names: str) -> None:
    for name in names:
        _POINTS[role, name] = frozenset(needs.split())


def _around(role: Role, needs: str, *steps: str) -> None:
    for step in steps:
        _point(role, needs, BEFORE + step, AFTER + step)


_around("producer", "", "sending a call", "keeping a join", "sending a step")
_around("producer", "parked", "parking")
_point("producer", "", "told")
_point("worker", "", "received", "body begun", "body done")
_around("worker", "", "putting STARTED", "putting SUCCESS", "putting RETRY", "putting FAILURE")
_around("worker", "", "counting a start", "counting a member", "keeping a join", "acking", "releasing")
_around("worker", "lease", "renewing", "extending")
_around("worker", "commit", "committing a retry", "committing a step", "committing a dead letter")
_around("worker", "steps", "sending a step", "sending a dead letter")
_around("worker", "steps native", "sending a retry")
_around("worker", "parked", "parking", "moving", "unparking")
_point("worker", "parked", "delayed taken")
_around("worker", "handed", "claiming", "dropping a claim")
_around("worker", "handed native", "sending a hop")
_point("operator", "", "received")
_around("operator", "commit", "committing a requeue")
_around("operator", "steps", "sending a requeue", "acking")


def expected(traits: frozenset[str]) -> set[tuple[Role, str]]:
    """The points that a system of these traits has."""
    return {point for point, needs in _POINTS.items() if needs <= traits}


def modes(point: str) -> list[Mode]:
    """What can be made to happen at a point, apart from a kill."""
    found: list[Mode] = ["freeze"]
    if point.startswith(BEFORE):
        found.append("refuse")
    if point.startswith(AFTER):
        found.append("lie")
    if point.startswith(BEFORE + "sending"):
        found.append("partial")
    if point == "body begun":
        found.append("quit")
    return found


# -- one process ---------------------------------------------------------------------------------------------------


#: A message for the journal: id, generation, attempt.
Name = tuple[str, int, int]


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One line of a journal."""

    at: float
    #: Number of the process.
    life: int
    what: str
    words: tuple[Any, ...] = ()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


def journal(folder: Path) -> list[Event]:
    """Everything that the processes of a folder have done, in the order of their common clock."""
    events = []
    for path in folder.glob("*.journal"):
        for line in path.read_bytes().split(b"\n")[:-1]:
            events.append(_decode(line))
    return sorted(events, key=lambda event: event.at)


class Process:
    """One process under test: its journal, and the fault that is meant for it."""

    def __init__(self, folder: Path, life: int, role: Role, fault: Fault | None = None, number: int = 0) -> None:
        """`number` is that of the fault within its case; it happens once, whatever process comes to it."""
        self.folder = folder
        self.life = life
        self.role = role
        self._fault = fault if fault is not None and fault.role == role else None
        self._number = number
        self._file = os.open(folder / f"{life:02}.journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._hits: Counter[str] = Counter()
        self._lock = threading.Lock()
        #: Bodies that run now, and calls of ports that are under way.
        self.running = 0
        self.calling = 0
        #: What the pump of delayed messages has taken and not yet removed.
        self.moving: set[Name] = set()

    @property
    def busy(self) -> bool:
        """Whether something is under way beside what asks."""
        return bool(self.calling or self.moving)

    def note(self, what: str, *words: Any) -> None:
        """One line in one write, so that no kill leaves a part of it between those of others."""
        os.write(self._file, _encode(Event(time.time(), self.life, what, words)) + b"\n")

    def once(self, name: str) -> bool:
        """Whether nobody in this case has asked this before."""
        try:
            os.close(os.open(self.folder / name, os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        return True

    def reach(self, point: str) -> None:
        """Be at a point; what is meant to happen there happens. `PartialSend` stands for the mode of that name."""
        with self._lock:
            self._hits[point] += 1
            hit = self._hits[point]
        self.note("point", self.role, point, hit)
        fault = self._fault
        if fault is None or fault.point != point or fault.hit != hit or not self.once(f"fault-{self._number}"):
            return
        self.note("fault", fault.mode, point)
        match fault.mode:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "quit":
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.05)
                os.kill(os.getpid(), signal.SIGTERM)
            case "refuse":
                raise Unavailable("refused by the harness", sent="no")
            case "lie":
                raise Unavailable("the harness lost the answer", sent="unknown")
            case "partial":
                raise PartialSend({0: Unavailable("refused by the harness", sent="no")})

    def call(
        self, step: str, call: Callable[..., Any], *arguments: Any, tell: Callable[[Any], None] = lambda answer: None
    ) -> Any:
        """One call of a port between its two points. `tell` writes into the journal what came of it."""
        self.calling += 1
        try:
            self.reach(BEFORE + step)
            answer = call(*arguments)
            tell(answer)
            self.reach(AFTER + step)
        finally:
            self.calling -= 1
        return answer


# -- around the ports ----------------------------------------------------------------------------------------------


def name_of(payload: bytes) -> Name:
    """Which call a message is, also inside of a dead letter; of foreign bytes, the bytes."""
    dead = decode_dead(payload)
    try:
        envelope = decode(dead.payload if dead is not None else payload)
    except DecodeError:
        return (payload[1:].decode("utf-8", "replace") if dead is None else dead.payload[1:].decode(), 0, 0)
    return envelope.id, envelope.generation, envelope.attempt


def _subject(batch: Sequence[Outgoing]) -> str:
    """What is sent, for the name of a point; of a mixed batch, what matters most."""
    found = {_kind(out) for out in batch}
    kinds = ("a dead letter", "a hop", "a retry", "a requeue", "a step")
    return next((kind for kind in kinds if kind in found), "a call")


def _kind(out: Outgoing) -> str:
    if decode_dead(out.payload) is not None:
        return "a dead letter"
    try:
        envelope = decode(out.payload)
    except DecodeError:
        return "a call"
    if wire.HOP in envelope.extra:
        return "a hop"
    if envelope.attempt:
        return "a retry"
    if envelope.generation:
        return "a requeue"
    return "a step" if wire.FLOW in envelope.extra else "a call"


def arm_transport(process: Process, transport: Any, idle: Callable[[], None]) -> None:
    """Put points around the methods of an adapter, which must be open. `idle` is called when `receive` found none."""
    send, receive, ack, release = transport.send, transport.receive, transport.ack, transport.release

    def told(what: str, batch: Iterable[Outgoing]) -> None:
        for out in batch:
            process.note(what, out.queue, *name_of(out.payload))

    def settled(what: str, batch: Iterable[Delivery]) -> Callable[[Any], None]:
        def tell(lost: list[Delivery]) -> None:
            gone = {id(delivery) for delivery in lost}
            for delivery in batch:
                word = "lost" if id(delivery) in gone else what
                process.note(word, delivery.queue, *name_of(delivery.payload), id(delivery))

        return tell

    def armed_send(batch: Sequence[Outgoing]) -> None:
        step = "moving" if _pumping() else f"sending {_subject(batch)}"
        try:
            process.call(step, send, batch, tell=lambda answer: told("sent", batch))
        except PartialSend as partial:
            if batch[1:] and partial.errors.keys() == {0}:  # meant by the fault of that name: the others are stored
                send(batch[1:])
                told("sent", batch[1:])
            raise

    def armed_receive(queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        found: list[Delivery] = receive(queues, limit, timeout)
        for delivery in found:
            process.note("received", delivery.queue, *name_of(delivery.payload), delivery.redelivered, id(delivery))
        if found:
            process.reach("received")
        else:
            idle()
        return found

    def armed_ack(batch: Sequence[Delivery]) -> list[Delivery]:
        for delivery in batch:
            process.note("settling", delivery.queue, *name_of(delivery.payload), id(delivery))
        return process.call("acking", ack, batch, tell=settled("settled", batch))  # type: ignore[no-any-return]

    def armed_release(batch: Sequence[Delivery]) -> list[Delivery]:
        return process.call("releasing", release, batch, tell=settled("released", batch))  # type: ignore[no-any-return]

    transport.send, transport.receive, transport.ack, transport.release = (
        armed_send, armed_receive, armed_ack, armed_release,
    )  # fmt: skip
    if transport.features.lease is not None:
        extend = transport.extend

        def armed_extend(batch: Sequence[Delivery], lease: float) -> list[Delivery]:
            step = "renewing" if process.running else "extending"
            return process.call(step, extend, batch, lease)  # type: ignore[no-any-return]

        transport.extend = armed_extend
    if transport.features.commit:
        commit = transport.commit

        def armed_commit(batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
            def tell(lost: list[Delivery]) -> None:
                gone = {id(delivery) for delivery in lost}
                for delivery, sends in batch:
                    if id(delivery) not in gone:
                        told("sent", sends)
                settled("settled", [delivery for delivery, _ in batch])(lost)

            subject = _subject([out for _, sends in batch for out in sends])
            return process.call(f"committing {subject}", commit, batch, tell=tell)  # type: ignore[no-any-return]

        transport.commit = armed_commit


def _pumping() -> bool:
    """Whether the caller is the pump of delayed messages, whose thread `threading` does not know."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") != "kernel.emulate.pump":
        frame = frame.f_back
    return frame is not None


def arm_results(process: Process, results: Any) -> None:
    """Put points around the writes of a result store."""
    put = results.put

    def armed_put(items: Sequence[Record], ttl: float) -> list[bytes | None]:
        if JOIN in items[0].key:
            return process.call("keeping a join", put, items, ttl)  # type: ignore[no-any-return]
        states = [decode_entry(item.value).state for item in items]
        began_at = time.time()

        def tell(standing: list[bytes | None]) -> None:
            for item, state, stands in zip(items, states, standing, strict=True):
                process.note("put", item.key, *item.rank, state, stands is None, item.final, began_at)

        return process.call(f"putting {states[0]}", put, items, ttl, tell=tell)  # type: ignore[no-any-return]

    results.put = armed_put


def arm_coordination(process: Process, coordination: Any) -> None:
    """Put points around what the worker asks of a coordination service."""
    tally, claim, drop = coordination.tally, coordination.claim, coordination.drop

    def known(items: Sequence[Claim]) -> None:
        for item in items:
            if item.owner == SETTLED:
                _, _, name, generation, attempt = item.key.split(":")
                process.note("known", name, int(generation), int(attempt))

    def armed_tally(items: Sequence[Tally]) -> list[int]:
        what = "a member" if JOIN in items[0].key else "a start"
        return process.call(f"counting {what}", tally, items)  # type: ignore[no-any-return]

    coordination.tally = armed_tally
    coordination.claim = lambda items: process.call("claiming", claim, items, tell=lambda answer: known(items))
    coordination.drop = lambda items: process.call("dropping a claim", drop, items)


def arm_schedules(process: Process, schedules: Any) -> None:
    """Put points around what the emulation of delays asks of a schedule store."""
    add, take, remove = schedules.add, schedules.take, schedules.remove

    def names(entries: Iterable[Parked]) -> list[tuple[str, *Name]]:
        outs = [msgspec.msgpack.decode(entry.payload, type=Outgoing) for entry in entries]
        return [(out.queue, *name_of(out.payload)) for out in outs]

    def note(what: str, entries: Iterable[Parked]) -> None:
        for name in names(entries):
            process.note(what, *name)

    def armed_add(entries: Sequence[Parked]) -> None:
        process.call("parking", add, entries, tell=lambda answer: note("parked", entries))
        process.moving.difference_update(name[1:] for name in names(entries))

    def armed_take(*arguments: Any) -> list[Parked]:
        taken: list[Parked] = take(*arguments)
        if taken:
            note("taken", taken)
            process.moving.update(name[1:] for name in names(taken))
            process.reach("delayed taken")
        return taken

    def armed_remove(entries: Sequence[Parked]) -> None:
        process.call("unparking", remove, entries, tell=lambda answer: note("unparked", entries))
        process.moving.difference_update(name[1:] for name in names(entries))

    schedules.add, schedules.take, schedules.remove = armed_add, armed_take, armed_remove
