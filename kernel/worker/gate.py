"""Who may start: limits and unique calls, asked for all that one receive brings in a few port calls.

A job that passes holds its slots until it is settled. What is over a limit of running at once is parked; what is over a
rate goes on with a time of its own, for which its tokens are taken already. Neither is kept here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import msgspec

from kernel import envelope as wire
from kernel.clock import Clock
from kernel.errors import ConfigError, PortError, Unsupported
from kernel.limits.bounds import UNTIL_DONE, UNTIL_START
from kernel.native import Signal, Thread, allocate_lock
from kernel.outcome import Again, Drop, Error, Failed, name_of
from kernel.parts import parts
from kernel.ports import Acquire, Claim, Coordination, ScheduleStore, Take, Transport
from kernel.sealing.transport import original, reader
from kernel.steady import Outage
from kernel.worker.effects import paid
from kernel.worker.hand import Hand
from kernel.worker.job import Job
from kernel.worker.plan import Plan
from kernel.worker.slots import Slots

log = logging.getLogger("kernel.worker")

#: Part of a lease for which a slot lives: before the lease of a dead holder is over, its slot is free and handed on.
SHARE = 0.75
#: Lease, in seconds, of slots where the transport has none.
LEASE = 60.0
#: A message may come so much later than its tokens were taken for, in seconds, or by a whole burst.
LATE = 1.0


class Pass(msgspec.Struct, eq=False):
    """What a job holds while it is in hand."""

    slots: list[Acquire]
    #: Its claim until it is done.
    claim: Claim | None = None
    #: Tokens were taken for it, of which its message knows nothing yet.
    paid: bool = False


class Gate:
    """`sift` is called by the intake, `leave` by the outlet; a thread renews, and looks after the dead."""

    def __init__(
        self,
        transport: Transport,
        coordination: Coordination | None,
        schedules: ScheduleStore | None,
        hand: Hand,
        put: Callable[[Job], None],
        clock: Clock,
    ) -> None:
        """`put` takes jobs that go on without having run. Without both a coordination service and a schedule store
        there is no gate, and nothing limited may run."""
        self._coordination = coordination
        self._hand = hand
        self._put = put
        self._clock = clock
        self._slots: Slots | None = None
        if coordination is not None and schedules is not None:
            ttl = SHARE * min(hand.lease, LEASE)
            self._slots = Slots(coordination, schedules, transport, reader(transport), ttl, clock)
            self._pace = self._slots.pace
        self._passes: dict[Job, Pass] = {}
        #: Held by who takes jobs out, and while slots are renewed.
        self._lock = allocate_lock()
        #: What could not be left because a port was away.
        self._owed: list[Acquire] = []
        self._outage = Outage("the coordination service", clock)
        self._signal = Signal()
        self._stopping = False
        self._thread: Thread | None = None

    @property
    def stands(self) -> bool:
        """Whether limits can be kept here."""
        return self._slots is not None

    def check(self, plans: Sequence[Plan]) -> None:
        """Refuse at boot, with `Unsupported`, what cannot be kept."""
        for plan in plans:
            if plan.bounds is not None and self._slots is None:
                raise Unsupported(
                    f"task {plan.name} has limits or is unique, which needs a coordination service and a schedule "
                    f"store: set coordination= and schedules=, to a Redis or an SQLite file for instance"
                )

    # -- admission -----------------------------------------------------------------------------------------

    def sift(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that may start now; the others get an outcome."""
        bound = [job for job in jobs if _is_bound(job)]
        if not bound or self._slots is None:
            return list(jobs)
        try:
            self._judge(self._slots, bound)
            self._outage.worked()
        except PortError as error:
            wait = max(1.0, self._outage.failed(error))
            for job in bound:
                job.outcome = job.outcome or Again(self._clock.now() + wait, hop=True)
        return [job for job in jobs if job.outcome is None]

    def note(self, ended: Sequence[Job]) -> None:
        """Jobs that end without running, such as expired ones, leave what was handed to them while they waited, and
        what their caller has claimed."""
        for job in ended:
            if self._slots is None or type(job.outcome) is Again or not _is_bound(job):
                continue
            mark = job.envelope.extra.get(wire.UNIQUE)
            claim = Claim(mark[0], job.envelope.id, mark[3]) if mark and mark[1] in (UNTIL_START, UNTIL_DONE) else None
            self._passes[job] = Pass(self._wants(job), claim)

    def _judge(self, slots: Slots, jobs: Sequence[Job]) -> None:
        left = self._enter(slots, jobs)
        left = self._pay(slots, left)
        self._unite(slots, left)

    def _enter(self, slots: Slots, jobs: Sequence[Job]) -> list[Job]:
        """Slots of all keys of a job, or none of them: what would hold some and wait for others could wait for ever."""
        wants = [(job, want) for job in jobs for want in self._wants(job)]
        got = slots.acquire([want for _, want in wants]) if wants else []
        held: dict[Job, list[Acquire]] = {job: [] for job in jobs}
        refused: dict[Job, Acquire] = {}
        for (job, want), has in zip(wants, got, strict=True):
            if has:
                held[job].append(want)
            else:
                refused.setdefault(job, want)
        entered = [job for job in jobs if job not in refused and job.outcome is None]
        for job in entered:
            self._passes[job] = Pass(held[job])
        if refused:
            self._park(slots, refused)
            vain = [want for job in refused for want in held[job]]
            if vain:
                slots.let_go(vain)
        again = [job for job in entered if job.redelivered]
        if again:  # one whose worker died between parking it and acknowledging it is parked as well
            slots.forget([(want.key, want.owner, job.envelope.sent_at) for job in again for want in held[job]])
        return entered

    def _park(self, slots: Slots, refused: dict[Job, Acquire]) -> None:
        slots.park([
            (want, job.envelope.sent_at, job.delivery.queue, original(job.delivery)) for job, want in refused.items()
        ])  # fmt: skip
        for job, want in refused.items():
            job.outcome = Drop(f"it waits for one of {want.limit} slots of {want.key}")

    def _pay(self, slots: Slots, jobs: Sequence[Job]) -> list[Job]:
        """Take the tokens of rates, now or for later; who has to wait leaves its slots."""
        now = self._clock.now()
        takes = [(job, take) for job in jobs for take in self._takes(job, now)]
        if not takes:
            return list(jobs)
        waits: dict[Job, float] = {}
        most = self._most()
        for part in parts(takes, most):
            assert self._coordination is not None
            for (job, _), wait in zip(part, self._coordination.take([take for _, take in part]), strict=True):
                waits[job] = max(waits.get(job, 0.0), wait)
        now = self._clock.now()
        for job, wait in waits.items():
            if wait > 0.0:
                job.onward = paid(job, self._demands(job), now + wait)
                job.outcome = Drop("its turn comes later")
            self._passes[job].paid = True
        self._turn_back(slots, [job for job in jobs if job.outcome is not None])
        return [job for job in jobs if job.outcome is None]

    def _unite(self, slots: Slots, jobs: Sequence[Job]) -> None:
        """Unique calls: one whose place was taken ends, the claim of one that starts is dropped or renewed."""
        assert self._coordination is not None
        marks = [(job, job.envelope.extra[wire.UNIQUE]) for job in jobs if wire.UNIQUE in job.envelope.extra]
        fresh = [(job, mark) for job, mark in marks if job.envelope.attempt == 0 and mark[2]]
        done = [(job, mark) for job, mark in marks if mark[1] == UNTIL_DONE]
        claims = [Claim(replaced(job.envelope.id), job.envelope.id, mark[3]) for job, mark in fresh]
        renewals = [Claim(mark[0], job.envelope.id, mark[3]) for job, mark in done]
        if not marks:
            return
        owners = self._claimed([*claims, *renewals])
        for (job, _), owner in zip(fresh, owners, strict=False):
            if owner != job.envelope.id:
                job.outcome = Drop(f"{owner} was called in its place", "REVOKED")
        for (job, _), claim in zip(done, renewals, strict=True):
            if job.outcome is None:
                self._passes[job].claim = claim
        started = [(mark[0], job.envelope.id) for job, mark in marks if mark[1] == UNTIL_START and job.outcome is None]
        most = self._most()
        for part in parts(started, most):
            self._coordination.drop(part)
        self._turn_back(slots, [job for job, _ in marks if job.outcome is not None])

    def _turn_back(self, slots: Slots, jobs: Sequence[Job]) -> None:
        with self._lock:
            held = [slot for job in jobs for slot in self._passes.pop(job).slots]
        if held:
            slots.let_go(held)

    def _claimed(self, claims: Sequence[Claim]) -> list[str]:
        assert self._coordination is not None
        owners: list[str] = []
        most = self._most()
        for part in parts(claims, most):
            owners += self._coordination.claim(part)
        return owners

    def _most(self) -> int:
        assert self._coordination is not None
        return self._coordination.features.max_batch

    # -- what a job demands --------------------------------------------------------------------------------

    def _demands(self, job: Job) -> list[list[Any]]:
        """What its message says; where it says nothing, what its task says: the sender may not have known the task."""
        given: list[list[Any]] | None = job.envelope.extra.get(wire.LIMITS)
        if given is not None or job.plan.bounds is None:
            return given or []
        try:
            args, kwargs = job.loads(job.envelope.body)
            return job.plan.bounds.demands(args, kwargs)
        except ConfigError as error:
            job.outcome = Failed(Error(name_of(ConfigError), str(error)))
        except Exception:
            pass  # arguments that cannot be read: the runner says so
        return []

    def _wants(self, job: Job) -> list[Acquire]:
        assert self._slots is not None
        envelope = job.envelope
        owner = f"{envelope.id}:{envelope.generation}:{envelope.attempt}"
        ttl = self._slots.ttl
        return [Acquire(one[0], owner, one[1], ttl) for one in self._demands(job) if len(one) == 2]

    def _takes(self, job: Job, now: float) -> list[Take]:
        """Tokens to take. Paid for once; but a message that comes so late that others would come on top of it pays
        anew. Not where it had to wait for a slot as well: then the slots say how many start at once."""
        demands = self._demands(job)
        rates = [one for one in demands if len(one) > 2]
        takes = []
        for key, limit, per, burst, *paid_for in rates:
            rate, window = limit / per, not burst
            most = limit if window else burst
            if paid_for and (len(rates) < len(demands) or now <= paid_for[0] + max(LATE, most / rate)):
                continue
            takes.append(Take(key, 1.0, rate, float(most), inf, float(per) if window else 0.0))
        return takes

    # -- leaving -------------------------------------------------------------------------------------------

    def leave(self, jobs: Sequence[Job]) -> None:
        """These have ended and are about to be settled: their slots go on, their claims end. Any thread; never raises.

        Before they are acknowledged: a crash in between finds the message again and its slots free, while the other
        way round its key would be blocked until its claim ends.
        """
        if not self._passes or self._slots is None:
            return
        with self._lock:
            left = [(job, own) for job in jobs if (own := self._passes.pop(job, None)) is not None]
        held = [slot for _, own in left for slot in own.slots]
        claims = [
            (own.claim.key, own.claim.owner)
            for job, own in left
            if own.claim is not None and type(job.outcome) is not Again
        ]
        try:
            if claims:
                assert self._coordination is not None
                most = self._most()
                for part in parts(claims, most):
                    self._coordination.drop(part)
            if held:
                self._slots.let_go(held)
        except PortError as error:
            log.warning("%d slots could not be left, which is tried again: %s", len(held), error)
            self._owed += held
            self._signal.set()

    def put_back(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Of jobs that have not started and are to be given back, those that can be as they are. The others go on with
        what was paid for them: given back, they would pay again. Any thread.

        Slots stay with a message that is given back: whoever receives it next has them.
        """
        passes = self._passes
        if not passes:
            return jobs
        spent = [job for job in jobs if (own := passes.get(job)) is not None and own.paid and not job.acked]
        for job in spent:
            job.onward = paid(job, self._demands(job), self._clock.now())
            job.outcome = Drop("it is given back, and paid for")
            self._put(job)
        return [job for job in jobs if job not in spent] if spent else jobs

    # -- on time -------------------------------------------------------------------------------------------

    def start(self, failed: Callable[[BaseException], None]) -> None:
        """Begin to renew and to look; does nothing where no limits can be kept."""
        if self._slots is not None:
            self._thread = Thread(self._serve, "kernel-limits", failed)
            self._thread.start()

    def stop(self, timeout: float) -> None:
        """End within `timeout` seconds. Idempotent."""
        self._stopping = True
        self._signal.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def tick(self) -> float:
        """Renew the slots of what is in hand, leave what is owed, look after keys whose holders may be dead; the
        seconds until the next time."""
        slots = self._slots
        assert slots is not None
        try:
            self._leave_owed(slots)
            self._renew(slots)
            slots.look()
            self._outage.worked()
        except PortError as error:
            return min(self._pace, self._outage.failed(error))
        return self._pace

    def _leave_owed(self, slots: Slots) -> None:
        owed, self._owed = self._owed, []
        try:
            if owed:
                slots.let_go(owed)
        except PortError:
            self._owed += owed
            raise

    def _renew(self, slots: Slots) -> None:
        with self._lock:  # what is left meanwhile must not be taken again
            for job in list(self._passes):
                if job not in self._hand or job.lost:
                    # Given back or taken over: its slots are its message's, and whoever has that one holds them.
                    del self._passes[job]
            passes = list(self._passes.values())
            held = [slot for own in passes for slot in own.slots]
            lost = held and [slot for slot, has in zip(held, slots.acquire(held), strict=True) if not has]
            if lost:
                log.warning("%d slots of running tasks had ended before they were renewed", len(lost))
            self._claimed([own.claim for own in passes if own.claim is not None])

    def _serve(self) -> None:
        while not self._stopping:
            self._signal.clear()
            wait = self.tick()
            if not self._stopping:
                self._signal.wait(wait)


def replaced(task_id: str) -> str:
    """The key of the claim that decides whether a call starts or another one has taken its place."""
    return f"replaced:{task_id}"


def _is_bound(job: Job) -> bool:
    extra = job.envelope.extra
    return job.plan.bounds is not None or wire.LIMITS in extra or wire.UNIQUE in extra
