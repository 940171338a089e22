"""Settles what has ended: results, then sends, then acks, always in this order and always in batches.

A crash between the steps repeats work and never loses it. Sends are derived from the record that *stands* in the
store, which is not always the one that this execution would have written.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from kernel.clock import Clock
from kernel.envelope import Dead, decode_dead
from kernel.errors import CodecError, PartialPut, PartialSend, PortError, Unavailable
from kernel.native import Signal, Thread, allocate_lock
from kernel.outcome import DECIDED, OVERTAKEN, Again, Entry, Failed, GiveBack, Ok, decode_entry, describe
from kernel.ports import Commits, Extends, Outgoing, ResultStore, Transport
from kernel.sending.batcher import in_chunks
from kernel.steady import Outage, Service
from kernel.worker.effects import bare_letter, entry_of, hop, record_of, sends_of
from kernel.worker.flows import Flows
from kernel.worker.hand import Hand
from kernel.worker.job import Job
from kernel.worker.marks import Marks
from kernel.worker.plan import SETTLING, Plan, learned

log = logging.getLogger("kernel.worker")

#: A lease that ends within so many seconds is extended before anything is written under it.
MARGIN = 2.0

Sends = dict[Job, list[Outgoing]]


class Outlet:
    """`put` takes ended jobs from any thread; `flush` settles all that are there."""

    def __init__(
        self,
        transport: Transport,
        results: ResultStore | None,
        hand: Hand,
        clock: Clock,
        settled: Callable[[Sequence[Job]], None],
        inline: bool,
        buried: Callable[[Dead, str], None] | None = None,
        flows: Flows | None = None,
    ) -> None:
        """`settled` is told of every batch that is through, `buried` of every dead letter that was sent; `flows` says
        what comes after the tasks of workflows.

        `inline`: whoever runs the jobs calls `flush`; else `start` is called, and a thread does it.
        """
        self._transport = transport
        self._results = results
        self._hand = hand
        self._clock = clock
        self._settled = settled
        self._inline = inline
        self._buried = buried
        self.leaving: Callable[[Sequence[Job]], None] = lambda jobs: None  # told of what is about to be settled
        #: What is known of workflows.
        self.flows = flows
        self.marks = Marks(transport, results, hand, clock)
        self._ended: deque[Job] = deque()
        self.lock = allocate_lock()  # held while a batch is settled; also by who changes a job that may end meanwhile
        self._most = min(transport.features.max_batch, results.features.max_batch if results is not None else 1 << 30)
        self._send_all = in_chunks(transport.send, self._most)
        self._commit = transport.commit if transport.features.commit and isinstance(transport, Commits) else None
        #: A plain call turned out to have been replaced by another execution of it.
        self._replaced = False
        self._held: list[Job] = []
        self._held_until = 0.0
        self.store = Service("the result store", clock, hand.service.longest)
        self._store_outage = Outage(self.store)
        self._transport_outage = Outage(hand.service)
        self._arrived = Signal()
        self._stopping = False
        self._thread: Thread | None = None
        #: Goes up with each turn of the thread, where there is one.
        self.turns = 0
        self.keeps = results is not None  # whether there is a result store
        #: Mean runtime of a task here in seconds, recent ones counting more; 0.0 before the first.
        self.mean = 0.0
        #: Takes an ended job. The plain method of a deque where that is enough, because it is called once per task.
        self.put: Callable[[Job], None] = self._ended.append if inline else self._put_and_tell

    @property
    def held(self) -> int:
        """Jobs that wait for a port to come back."""
        return len(self._held)

    @property
    def pending(self) -> int:
        """Jobs that have ended and are not settled."""
        return len(self._ended) + len(self._held)

    def flush(self, patient: bool = True) -> None:
        """Settle what has ended. Without `patient`, try at once what an earlier outage holds back."""
        with self.lock:
            now = self._clock.monotonic()
            batch: list[Job] = []
            if self._held and (now >= self._held_until or not patient):
                batch, self._held = self._held, []
            ended = self._ended
            while True:
                while ended and len(batch) < self._most:
                    batch.append(ended.popleft())
                if not batch:
                    return
                self._settle(batch[: self._most])
                batch = batch[self._most :]

    # -- for pools that run jobs beside each other ---------------------------------------------------------

    def start(self, failed: Callable[[BaseException], None]) -> None:
        """Flush in a thread of its own, as soon as one job has ended, everything that has ended by then."""
        self._thread = Thread(self._serve, "kernel-outlet", failed)
        self._thread.start()

    def _put_and_tell(self, job: Job) -> None:
        self._ended.append(job)
        if not self._arrived.is_set():
            self._arrived.set()

    def _serve(self) -> None:
        while not self._stopping:
            self.turns += 1
            self._arrived.wait(1.0)
            self._arrived.clear()
            self.flush()

    def stop(self, timeout: float) -> None:
        """End the thread and settle what is there; what a sick port still holds back after `timeout` is given up."""
        self._stopping = True
        self._arrived.set()
        deadline = self._clock.monotonic() + timeout
        if self._thread is not None:
            self._thread.join(timeout)
        self.flush(patient=False)
        while self._held and self._clock.monotonic() < deadline:
            self._hand.pause(min(0.2, timeout))
            self.flush(patient=False)
        if self._held:
            log.error("%d tasks could not be settled: their leases run out and they run again", len(self._held))

    # -- one batch -----------------------------------------------------------------------------------------

    def _settle(self, batch: list[Job]) -> None:
        now = self._clock.now()
        began = self._clock.monotonic()
        live = self._surely_held(batch, began)
        flows = self.flows if [job for job in live if job.flow] else None
        if flows is not None:
            live = self._kept(live, flows.replace(live))
        entries = self._record(live, now)
        if self._replaced:  # found out just now
            flows, self._replaced = self.flows, False
        sends: Sends = {}
        if flows is not None:
            entries, sends = self._flowing(entries, flows)
        acks: list[Job] = []
        releases: list[Job] = []
        for job, entry in entries:
            outcome = job.outcome
            if type(outcome) is GiveBack:
                releases.append(job)
                continue
            acks.append(job)
            if job.onward is not None:
                sends[job] = [job.onward]
            elif entry is not None and entry.state != "SUCCESS":
                caused = sends_of(job, entry, now)
                if caused:
                    sends[job] = [*sends.get(job, ()), *caused]
            elif type(outcome) is Again and outcome.hop:
                sends[job] = [hop(job, outcome)]
        self.leaving(acks)
        done = self._publish(acks, sends) if acks else []
        self._hand.remove(done)
        if self._buried is not None and sends:
            for message in [message for job in done for message in sends.get(job, ())]:
                letter = decode_dead(message.payload)
                if letter is not None:
                    self._buried(letter, message.queue)
        if releases:
            self._hand.release(releases)
        self._measure(done, began)
        self._settled(done)

    def _kept(self, jobs: list[Job], held: set[Job]) -> list[Job]:
        """Hold back those that wait for the store; the others."""
        if held:
            self._hold(list(held), self._store_outage.backoff.wait_for())
        return [job for job in jobs if job not in held]

    def _flowing(
        self, entries: list[tuple[Job, Entry | None]], flows: Flows
    ) -> tuple[list[tuple[Job, Entry | None]], Sends]:
        """What the tasks of workflows bring about, without those that wait for the store."""
        sends, held = flows.caused(entries)
        left = set(self._kept([job for job, _ in entries], held))
        return [(job, entry) for job, entry in entries if job in left], sends

    def _surely_held(self, batch: list[Job], monotonic: float) -> list[Job]:
        """Extend the leases that could run out before the settlement; the jobs of which none is known to be lost."""
        near = [job for job in batch if job.held_until < monotonic + MARGIN and not job.acked and not job.lost]
        if near and isinstance(self._transport, Extends) and self._transport.features.lease is not None:
            self._hand.extend(near)
        lost = [job for job in batch if job.lost]
        if not lost:
            return batch
        log.warning("%d tasks were taken over by another worker: their outcome is dropped here", len(lost))
        self._hand.drop(lost)
        return [job for job in batch if not job.lost]

    def _record(self, batch: list[Job], now: float) -> list[tuple[Job, Entry | None]]:
        """Write what is to be kept; per job the record that decides, None where none is kept.

        Jobs whose record cannot be written now are held back and are not in the list.
        """
        decided: list[tuple[Job, Entry | None]] = []
        writes: dict[float, list[tuple[Job, Entry]]] = defaultdict(list)
        for job in batch:
            outcome = job.outcome
            if type(outcome) is Ok and not job.store:
                decided.append((job, None))
                continue
            entry = job.standing or (entry_of(job, outcome, now) if outcome is not None else None)
            if entry is None or job.standing is not None or not (job.store and self._results is not None):
                decided.append((job, entry))
            else:
                writes[job.ttl].append((job, entry))
        for ttl, items in writes.items():
            decided += self._put(items, ttl)
        return decided

    def _put(self, items: list[tuple[Job, Entry]], ttl: float) -> list[tuple[Job, Entry | None]]:
        assert self._results is not None
        records = [record_of(job, entry) for job, entry in items]
        refused: dict[int, PortError] = {}
        try:
            standing = self._results.put(records, ttl)
            self._store_outage.worked()
        except PartialPut as partial:
            standing, refused = partial.standing, partial.errors
        except Unavailable as error:
            self._hold([job for job, _ in items], self._store_outage.failed(error))
            return []
        except PortError as error:
            standing, refused = [None] * len(items), dict.fromkeys(range(len(items)), error)
        decided: list[tuple[Job, Entry | None]] = []
        for index, (job, entry) in enumerate(items):
            if index in refused:
                self._refused(job, entry, refused[index], ttl, decided)
            elif standing[index] is None:
                decided.append((job, entry))
            else:
                decided.append((job, self._overruled(job, entry, standing[index] or b"")))
        return decided

    def _refused(
        self, job: Job, entry: Entry, error: PortError, ttl: float, decided: list[tuple[Job, Entry | None]]
    ) -> None:
        """One record that the store will not take is that task's failure; one it cannot take now waits."""
        if isinstance(error, Unavailable):
            self._hold([job], self._store_outage.failed(error))
        elif type(job.outcome) is Ok:
            text = f"the result of {job.envelope.task} was refused by the result store: {error}"
            job.outcome = Failed(describe(CodecError(text)))
            failure = entry_of(job, job.outcome, entry.at)
            assert failure is not None
            decided += self._put([(job, failure)], ttl)
        else:
            log.error("the record of task %s was refused by the result store: %s", job.envelope.id, error)
            decided.append((job, entry))

    def _overruled(self, job: Job, entry: Entry, value: bytes) -> Entry | None:
        """Another record stands. A final one decides what is sent; otherwise somebody else is at work on it."""
        try:
            stands = decode_entry(value)
        except CodecError as error:
            log.error("the record of task %s cannot be read: %s", job.envelope.id, error)
            return entry
        if stands.state not in DECIDED:
            job.lost = True
            job.outcome = OVERTAKEN
            return None
        job.standing = stands
        if stands.state == "REPLACED":
            job.flow = self._replaced = True
        return stands

    # -- sends and acks ------------------------------------------------------------------------------------

    def _publish(self, acks: list[Job], sends: Sends) -> list[Job]:
        """Send and acknowledge; returns the jobs that are through, lost ones included, and leaves in `sends` what was
        sent for them."""
        open_acks = [job for job in acks if not job.acked]
        if sends and self._commit is not None and 0 < len(open_acks) < len(acks):
            # Apart, because a job that was acknowledged early must not take the others out of the one step that
            # publishes nothing for a lost lease.
            return self._in_parts([open_acks, [job for job in acks if job.acked]], sends)
        refused: dict[Job, PortError] = {}
        try:
            if sends and self._commit is not None and len(open_acks) == len(acks):
                lost = self._commit([(job.delivery, sends.get(job, ())) for job in acks])
                gone = {id(delivery) for delivery in lost}
                for job in [job for job in sends if id(job.delivery) in gone]:
                    del sends[job]
            else:
                unsent = {job: caused for job, caused in sends.items() if not job.sent}
                held, refused = self._send(unsent) if unsent else (set(), refused)
                if held or refused:
                    acks = [job for job in acks if job not in held and job not in refused]
                    open_acks = [job for job in acks if not job.acked]
                lost = self._transport.ack([job.delivery for job in open_acks]) if open_acks else []
            self._transport_outage.worked()
        except Unavailable as error:
            self._hold([*acks, *refused], self._transport_outage.failed(error))
            return []
        except PortError as error:
            return self._apart([*acks, *refused], sends, error)
        if lost:
            log.warning("%d tasks had been delivered again before they were acknowledged", len(lost))
            gone = {id(delivery) for delivery in lost}
            for job in open_acks:
                job.lost = job.lost or id(job.delivery) in gone
        for job, reason in refused.items():
            acks = acks + self._apart([job], sends, reason)
        return acks

    def _in_parts(self, parts: list[list[Job]], sends: Sends) -> list[Job]:
        through: list[Job] = []
        for part in parts:
            own = {job: sends.pop(job) for job in part if job in sends}
            through += self._publish(part, own)
            sends.update(own)
        return through

    def _apart(self, acks: list[Job], sends: Sends, error: PortError) -> list[Job]:
        """The transport refuses for good: settle one by one, so that one message holds up no other.

        In place of a next message that is refused, such as a dead letter that outgrew the transport, the message itself
        goes to the dead letters: the transport took it once.
        """
        if len(acks) > 1:
            return self._in_parts([[job] for job in acks], sends)
        job = acks[0]
        bare = [bare_letter(job)]
        if sends.get(job, bare) == bare:
            log.error("the transport refused to settle task %s, which will be delivered again: %s", _name(job), error)
            return acks
        log.error("the message that follows task %s was refused, so its own is a dead letter: %s", _name(job), error)
        sends[job] = bare
        return self._publish(acks, {job: bare})

    def _send(self, sends: Sends) -> tuple[set[Job], dict[Job, PortError]]:
        """Send without commit; which jobs wait for the transport now, and of which a message is refused for good."""
        owners = [job for job, caused in sends.items() for _ in caused]
        errors: dict[Job, PortError] = {}
        try:
            self._send_all([message for caused in sends.values() for message in caused])
        except PartialSend as partial:
            errors = {owners[index]: error for index, error in partial.errors.items()}
        for job in sends:
            job.sent = job not in errors
        again = {job: error for job, error in errors.items() if isinstance(error, Unavailable)}
        if again:
            self._hold(list(again), self._transport_outage.failed(next(iter(again.values()))))
        return set(again), {job: error for job, error in errors.items() if job not in again}

    def _hold(self, jobs: list[Job], wait: float) -> None:
        """Keep jobs until a port is back; their leases are renewed meanwhile."""
        self._held += jobs
        self._held_until = self._clock.monotonic() + wait

    def _measure(self, done: list[Job], began: float) -> None:
        """Learn how long each task takes, and tasks on the whole, for the prefetch: with their settling where the next
        ones wait for that."""
        runtimes: dict[Plan, list[float]] = defaultdict(list)
        for job in done:
            if job.ended_at:
                runtimes[job.plan].append(job.ended_at - job.started_at)
        for plan, own in runtimes.items():
            plan.mean = learned(plan.mean, own)
        if runtimes:
            each = [runtime for own in runtimes.values() for runtime in own]
            settling = min(self._clock.monotonic() - began, len(each) * SETTLING) if self._inline else 0.0
            self.mean = learned(self.mean, each, settling)


def _name(job: Job) -> str:
    return f"{job.envelope.task}[{job.envelope.id}]"
