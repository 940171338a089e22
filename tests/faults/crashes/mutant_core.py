"""Mutants of the kernel. Each function breaks this process; its docstring says what is wrong then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import kernel.dead
import kernel.emulate.pump
import kernel.sending.sender
import kernel.worker.effects
import kernel.worker.outlet
from kernel.emulate.pump import DelayPump
from kernel.envelope import JOIN
from kernel.errors import PartialSend, PortError
from kernel.worker.admit import Admit
from kernel.worker.flows import Flows
from kernel.worker.hand import Hand
from kernel.worker.intake import Intake
from kernel.worker.marks import Marks
from kernel.worker.outlet import Outlet
from kernel.worker.starts import Starts


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put something around a method: `make` is given the original."""
    original = getattr(owner, name)
    setattr(owner, name, make(original))


def ack_before_run() -> None:
    """What is received is acknowledged at once."""

    def make(original: Any) -> Any:
        def take(self: Any, deliveries: Any, held_until: float) -> None:
            self._transport.ack(deliveries)
            original(self, deliveries, held_until)

        return take

    _replace(Intake, "_take", make)


def result_after_the_ack() -> None:
    """Results are written when their messages are acknowledged already."""
    late: list[tuple[Any, float]] = []
    put = Outlet._put

    def later(self: Any, items: Any, ttl: float) -> Any:
        late.append((items, ttl))
        return list(items)

    def make(original: Any) -> Any:
        def publish(self: Any, acks: Any, sends: Any) -> Any:
            done = original(self, acks, sends)
            while late:
                put(self, *late.pop())
            return done

        return publish

    Outlet._put = later  # type: ignore[method-assign]
    _replace(Outlet, "_publish", make)


def retry_that_acks_first() -> None:
    """A message is acknowledged, then what follows from it is sent."""

    def make(original: Any) -> Any:
        def send(self: Any, sends: Any) -> Any:
            self._transport.ack([job.delivery for job in sends])
            return original(self, sends)

        return send

    _replace(Outlet, "_send", make)


def dead_letter_that_drops() -> None:
    """A failure for good sends no dead letter."""
    _replace(
        kernel.worker.outlet,
        "sends_of",
        lambda original: lambda job, entry, now: [] if entry.state == "FAILURE" else original(job, entry, now),
    )


def swallowed_publish_error() -> None:
    """What could not be sent counts as sent."""

    def make(original: Any) -> Any:
        def send(self: Any, sends: Any) -> Any:
            try:
                return original(self, sends)
            except PortError:
                return set(), {}

        return send

    _replace(Outlet, "_send", make)


def swallowed_ack_error() -> None:
    """What could not be acknowledged counts as acknowledged."""

    def make(original: Any) -> Any:
        def publish(self: Any, acks: Any, sends: Any) -> Any:
            hold, self._hold = self._hold, lambda jobs, wait: None
            try:
                original(self, acks, sends)
            finally:
                self._hold = hold
            return acks

        return publish

    _replace(Outlet, "_publish", make)


def swallowed_result_error() -> None:
    """A result that the store did not take counts as stored."""

    def make(original: Any) -> Any:
        def put(self: Any, items: Any, ttl: float) -> Any:
            hold, self._hold = self._hold, lambda jobs, wait: None
            try:
                return original(self, items, ttl) or list(items)
            finally:
                self._hold = hold

        return put

    _replace(Outlet, "_put", make)


def partial_failure_that_is_success() -> None:
    """Of a batch of which some could not be sent, the caller is told that all were."""

    def make(original: Any) -> Any:
        def send_all(send: Any, batch: Any, timeout: float) -> None:
            def forgiving(messages: Any) -> None:
                try:
                    send(messages)
                except PartialSend:
                    pass

            original(forgiving, batch, timeout)

        return send_all

    _replace(kernel.sending.sender, "send_all", make)


def lease_without_renewal() -> None:
    """Leases run out while their tasks run."""
    Hand.renew = lambda self: None  # type: ignore[method-assign]


def standing_record_ignored() -> None:
    """A message that was delivered again runs, whatever is known of its task."""

    def make(original: Any) -> Any:
        def mark_started(self: Any, job: Any) -> bool:
            original(self, job)
            job.outcome = job.standing = None
            return True

        return mark_started

    _replace(Marks, "mark_started", make)


def standing_step_without_the_next() -> None:
    """A step of a workflow whose outcome is known already is acknowledged, and the next one is not sent again."""

    def make(original: Any) -> Any:
        def caused(self: Any, entries: Any) -> Any:
            return original(self, [(job, None if job.standing is not None else entry) for job, entry in entries])

        return caused

    _replace(Flows, "caused", make)


def join_that_is_counted_once() -> None:
    """A member that is counted again does not see its join full."""

    def make(original: Any) -> Any:
        def caused(self: Any, entries: Any) -> Any:
            return original(self, [(job, entry) for job, entry in entries if not _is_again(job)])

        return caused

    _replace(Flows, "caused", make)


def _is_again(job: Any) -> bool:
    return bool(job.delivery.redelivered) and JOIN in job.envelope.extra


def standing_failure_without_its_letter() -> None:
    """A message whose failure is known already is acknowledged, and its dead letter is not sent again."""

    def make(original: Any) -> Any:
        def mark_started(self: Any, job: Any) -> bool:
            may: bool = original(self, job)
            job.standing = None
            return may

        return mark_started

    _replace(Marks, "mark_started", make)


def start_not_recorded() -> None:
    """The start of a message that was delivered again is recorded nowhere, so it fences nobody."""
    Marks.mark_started = lambda self, job: True  # type: ignore[method-assign]


def delivery_limit_not_counted() -> None:
    """Every start of a suspect is its first."""
    Starts.record = lambda self, job: 1  # type: ignore[method-assign]


def time_ignored() -> None:
    """Messages are sent without their delay, and workers do not look at the time in them."""

    def make(original: Any) -> Any:
        def send(self: Any, batch: Any) -> None:
            for out in batch:
                out.not_before = 0.0
            original(self, batch)

        return send

    from kernel_sqlite.transport import SqliteTransport

    _replace(SqliteTransport, "send", make)
    Admit._particular = lambda self, admission, job, now: True  # type: ignore[method-assign]


def give_back_that_forgets() -> None:
    """What is to be given back is dropped from the hand and left to its lease."""
    Hand.release = lambda self, jobs: self.remove(jobs)  # type: ignore[method-assign]


def drain_that_acks() -> None:
    """A worker that stops acknowledges what did not end."""

    def release(self: Any, jobs: Sequence[Any]) -> None:
        self._transport.ack([job.delivery for job in jobs if not job.acked])
        self.remove(jobs)

    Hand.release = release  # type: ignore[method-assign]


def tail_that_is_dropped() -> None:
    """Of a batch only the first is run, and the others are kept in the hand for ever."""
    Intake._fitting = lambda self, jobs: jobs[:1]  # type: ignore[method-assign]


def retry_without_a_count() -> None:
    """Each attempt is the first."""

    def make(original: Any) -> Any:
        def next_attempt(job: Any, entry: Any) -> Any:
            entry.attempt -= 1
            return original(job, entry)

        return next_attempt

    _replace(kernel.worker.effects, "next_attempt", make)


def requeue_of_the_same_generation() -> None:
    """A dead letter is sent again as it was, so its failure stands for ever."""
    _replace(
        kernel.dead,
        "revive",
        lambda original: lambda letter: kernel.dead.Outgoing(letter.queue, letter.payload, letter.priority),
    )


def pump_that_removes_first() -> None:
    """Delayed messages are removed from their store, then sent."""

    def make(original: Any) -> Any:
        def send(self: Any, batch: Any, sent: Any) -> None:
            self._schedule.remove(self._taken)
            original(self, batch, sent)

        return send

    _replace(DelayPump, "_send", make)

    def step(original: Any) -> Any:
        def stepping(self: Any) -> float:
            take = self._schedule.take
            if not hasattr(self, "_taken"):
                self._schedule.take = lambda *arguments: _kept(self, take(*arguments))
            wait: float = original(self)
            return wait

        return stepping

    _replace(DelayPump, "step", step)


def _kept(pump: Any, entries: Any) -> Any:
    pump._taken = entries
    return entries


def pump_that_never_removes() -> None:
    """Delayed messages stay in their store when they were sent."""
    DelayPump._remove_moved = lambda self: self._moved.clear()  # type: ignore[method-assign]


def claims_without_expiry() -> None:
    """The claim of a process that died holds for ever."""
    from kernel_sqlite.coordination import SqliteCoordination

    from kernel.ports import Claim

    _replace(
        SqliteCoordination,
        "claim",
        lambda original: lambda self, items: original(self, [Claim(i.key, i.owner, 1e9) for i in items]),
    )
