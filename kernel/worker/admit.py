"""From deliveries to jobs: what may run, what ends here, and what is a suspect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kernel import discovery
from kernel import envelope as wire
from kernel.body.reading import Before
from kernel.call import RESULT_KEPT
from kernel.clock import Clock
from kernel.compression import method
from kernel.configuration.settings import Tasks
from kernel.envelope import (
    CARRIER,
    Carrier,
    Envelope,
    decode,
    decode_carrier,
    encode_carrier,
)
from kernel.errors import ConfigError, DecodeError, NewerVersion, UnknownTask, Unsupported
from kernel.outcome import Again, Drop, Error, Failed, Outcome, name_of
from kernel.ports import Delivery, Outgoing, Serializer
from kernel.sealing.transport import Opened, fault
from kernel.task import Task
from kernel.versions import FIRST
from kernel.worker.job import Job
from kernel.worker.plan import Plan

#: An envelope for bytes that are none.
BLANK = Envelope("", "", b"", "")
#: Fields of which this release keeps nothing: a worker of a later one must have the message, because running it here
#: would break a promise without a word.
LATER = frozenset({wire.ON_OK, wire.ON_ERROR})
#: Fields of which nothing is kept where the services are missing that limits need.
BOUNDS = frozenset({wire.UNIQUE, wire.LIMITS})
#: Seconds for which a message of an unknown task or version waits before the next worker looks at it; doubled with
#: each hop, up to the second number.
FIRST_HOP, LAST_HOP = 1.0, 30.0


class Admission:
    """What came of one batch of deliveries."""

    __slots__ = ("bounded", "ended", "flows", "ready", "suspects")

    def __init__(self) -> None:
        #: Jobs to run.
        self.ready: list[Job] = []
        #: Jobs that were delivered before and may be what ended their worker.
        self.suspects: list[Job] = []
        #: Those of the two that belong to workflows.
        self.flows: list[Job] = []
        #: Jobs whose outcome is known without running them.
        self.ended: list[Job] = []
        #: Some of them are subject to limits.
        self.bounded = False


class Admit:
    """Judges deliveries. Total: no bytes whatsoever raise here."""

    def __init__(
        self,
        tasks: Callable[[], dict[str, Task[..., Any, Any]]],
        defaults: Tasks,
        unknown_for: float,
        clock: Clock,
        node: str,
        build: Callable[[Plan], None],
        store: bool,
        limits: bool = False,
    ) -> None:
        """`build` completes a new plan (hooks, pool); `store`: there is a result store; `limits` are kept here."""
        self._later = LATER if limits else LATER | BOUNDS
        self._tasks = tasks
        self._defaults = defaults
        self._unknown_for = unknown_for
        self._clock = clock
        self._node = node
        self._build = build
        self._store = store
        self._serializer: Serializer = discovery.serializer(defaults.serializer)
        self._stray = Plan("", None, defaults, self._serializer)
        self._plans: dict[str, Plan] = {}
        self._loaders: dict[str, Callable[[bytes], Any]] = {}

    def plan(self, name: str) -> Plan | None:
        """The plan of a task, None when it is unknown here."""
        plan = self._plans.get(name)
        if plan is None:
            task = self._tasks().get(name)
            if task is None:
                return None
            codec = task.options.get("serializer")
            plan = Plan(name, task, self._defaults, discovery.serializer(codec) if codec else self._serializer)
            self._build(plan)
            self._plans[name] = plan
        return plan

    def admit(self, deliveries: Sequence[Delivery], held_until: float) -> Admission:
        """Judge a batch; the hot path of the worker for what is plain."""
        admission = Admission()
        ready = admission.ready
        plans, node = self._plans, self._node
        now = self._clock.now()
        limit = self._defaults.max_payload
        for delivery in deliveries:
            payload = delivery.payload
            if len(payload) > limit:
                self._dead(admission, delivery, held_until, f"{len(payload)} bytes are more than max_payload {limit}")
                continue
            try:
                envelope = decode(payload)
            except DecodeError as error:
                self._undecodable(admission, delivery, held_until, error, now)
                continue
            plan = plans.get(envelope.task) or self.plan(envelope.task)
            loads = None if plan is None else plan.loaders.get(envelope.codec) or self._loader(plan, envelope.codec)
            if plan is None or loads is None or not self._later.isdisjoint(envelope.extra):
                self._misfit(admission, delivery, envelope, plan, loads is not None, held_until, now)
                continue
            job = Job(delivery, envelope, plan, held_until, node, loads, plan.coroutine)
            job.store = self._store and not plan.ignore_result
            job.ttl = plan.ttl
            job.early = plan.early
            job.soft_limit = plan.soft_limit
            job.hard_limit = plan.hard_limit
            if plan.bounds is not None:
                admission.bounded = True
            if (envelope.extra and not self._particular(admission, job, now)) or delivery.redelivered:
                if job.outcome is None:
                    admission.suspects.append(job)
                continue
            ready.append(job)
        return admission

    def _loader(self, plan: Plan, codec: str) -> Callable[[bytes], Any] | None:
        """How to read bodies of this codec; None when it is unknown, or unsafe and not accepted here."""
        try:
            serializer = discovery.serializer(codec)
        except ConfigError:
            return None
        if not serializer.safe and codec not in self._defaults.accept:
            return None
        self._loaders[codec] = serializer.loads
        plan.loaders[codec] = plan.reading.of(serializer.loads)
        return plan.loaders[codec]

    def _reading(self, job: Job) -> str:
        """Have the body of a job read as its message says; what of that is not known here, "" when it is."""
        extra, plan = job.envelope.extra, job.plan
        version, packed = extra.get(wire.SCHEMA, FIRST), extra.get(wire.ENCODING)
        if version > plan.version:
            return f"version {version} of {plan.name}"
        try:
            by = None if packed is None else method(packed)
        except ConfigError as error:
            return str(error)
        job.loads = plan.reading.of(self._loaders[job.envelope.codec], version, by)
        return ""

    def give(self, job: Job, value: Any) -> None:
        """Have its arguments begin with a value that its message does not carry."""
        extra, packed = job.envelope.extra, job.envelope.extra.get(wire.ENCODING)
        loads = Before(self._loaders[job.envelope.codec], value)
        by = None if packed is None else method(packed)
        job.loads = job.plan.reading.of(loads, extra.get(wire.SCHEMA, FIRST), by)

    def _particular(self, admission: Admission, job: Job, now: float) -> bool:
        """Apply the optional fields, whose types `decode` has checked; False when the job does not run now."""
        extra = job.envelope.extra
        job.soft_limit = extra.get(wire.SOFT_LIMIT, job.soft_limit)
        job.hard_limit = extra.get(wire.HARD_LIMIT, job.hard_limit)
        if wire.RESULT in extra:
            job.store = self._store and extra[wire.RESULT] == RESULT_KEPT
        job.ttl = extra.get(wire.RESULT_TTL, job.ttl)
        if wire.FLOW in extra:
            self._of_workflow(job)
        if wire.ACK_EARLY in extra:
            job.early = extra[wire.ACK_EARLY]
        if not BOUNDS.isdisjoint(extra):
            admission.bounded = True
        expires_at, eta = extra.get(wire.EXPIRES_AT, 0.0), extra.get(wire.ETA, 0.0)
        strange = self._reading(job) if wire.SCHEMA in extra or wire.ENCODING in extra else ""
        if expires_at and now >= expires_at:
            job.outcome = Drop("expired before it was started", "EXPIRED")
        elif eta > now:
            job.outcome = Again(eta, hop=True)
        elif strange:
            job.outcome = self._unknown(job.envelope, strange, now)
        else:
            if job.flow:
                admission.flows.append(job)
            return wire.FENCE not in extra  # it goes on from one that was delivered before: a suspect as that one
        admission.ended.append(job)
        return False

    def _of_workflow(self, job: Job) -> None:
        """Its record decides what comes after it, so it is kept, for as long as a workflow may last."""
        job.flow, job.store = True, self._store
        kept = self._defaults.workflow_expires
        job.ttl = max(job.ttl, kept) if job.ttl and kept else 0.0

    # -- what does not become a task -----------------------------------------------------------------------

    def _blank(self, delivery: Delivery, envelope: Envelope, held_until: float) -> Job:
        return Job(delivery, envelope, self._stray, held_until, self._node, self._serializer.loads)

    def _dead(self, admission: Admission, delivery: Delivery, held_until: float, reason: str) -> None:
        job = self._blank(delivery, BLANK, held_until)
        job.outcome = Failed(Error(name_of(DecodeError), reason), "unprocessable", reason)
        admission.ended.append(job)

    def _undecodable(
        self, admission: Admission, delivery: Delivery, held_until: float, error: DecodeError, now: float
    ) -> None:
        payload = delivery.payload
        broken = fault(delivery)
        if broken:
            self._dead(admission, delivery, held_until, broken)
            return
        carrier: Carrier | None = None
        if payload[:1] == bytes((CARRIER,)):
            carrier = decode_carrier(payload)
            if carrier is None:
                self._dead(admission, delivery, held_until, "damaged carrier frame")
                return
            inner = self._unpacked(carrier)
            if inner:
                self._dead(admission, delivery, held_until, f"inside of a carrier: {inner}")
                return
            if inner is not None:  # this worker can read it: back to its queue, plain
                self._onward(admission, delivery, held_until, Outgoing(delivery.queue, carrier.payload))
                return
        elif not isinstance(error, NewerVersion):
            self._dead(admission, delivery, held_until, str(error))
            return
        carrier = carrier or Carrier(now, 0, payload)
        if now - carrier.first_at >= self._unknown_for:
            reason = f"a frame of a newer version that no worker could read for {self._unknown_for:g} s"
            if not isinstance(delivery, Opened):  # a sealed carrier is of no use without its seal
                delivery = Delivery(carrier.payload, delivery.queue, delivery.receipt)
            self._dead(admission, delivery, held_until, reason)
            return
        onward = encode_carrier(Carrier(carrier.first_at, carrier.hops + 1, carrier.payload))
        message = Outgoing(delivery.queue, onward, not_before=now + _hop_wait(carrier.hops))
        self._onward(admission, delivery, held_until, message)

    def _onward(self, admission: Admission, delivery: Delivery, held_until: float, message: Outgoing) -> None:
        job = self._blank(delivery, BLANK, held_until)
        job.outcome = Drop("sent on")
        job.onward = message
        admission.ended.append(job)

    def _unpacked(self, carrier: Carrier) -> str | None:
        """What is wrong with the frame in a carrier, "" when it can be read here; None when it still cannot be."""
        try:
            decode(carrier.payload)
        except NewerVersion:
            return None
        except DecodeError as error:
            return str(error)
        return ""

    def _misfit(
        self,
        admission: Admission,
        delivery: Delivery,
        envelope: Envelope,
        plan: Plan | None,
        readable: bool,
        held_until: float,
        now: float,
    ) -> None:
        """A task, a codec or a promise of the envelope that nobody here knows."""
        job = self._blank(delivery, envelope, held_until)
        job.store, job.ttl = self._store, self._stray.ttl
        if wire.FLOW in envelope.extra:
            self._of_workflow(job)
        admission.ended.append(job)
        if plan is not None and not readable:
            reason = f"codec {envelope.codec!r} is not accepted here: add it to accept= if you trust who sends it"
            job.outcome = Failed(Error(name_of(DecodeError), reason), "unprocessable", reason)
            return
        job.outcome = self._unknown(envelope, _what(envelope, plan), now)

    def _unknown(self, envelope: Envelope, what: str, now: float) -> Outcome:
        """Another worker may know it, for a while."""
        since = envelope.extra.get(wire.UNKNOWN_SINCE, now)
        if now - since < self._unknown_for:
            return Again(now + _hop_wait(envelope.extra.get(wire.HOP, 0)), hop=True, since=float(since))
        reason = f"no worker knew {what} for {self._unknown_for:g} s"
        return Failed(Error(name_of(UnknownTask), reason), "unprocessable", reason)


def _what(envelope: Envelope, plan: Plan | None) -> str:
    """What is unknown here."""
    if plan is None:
        return f"the task {envelope.task!r}"
    if LATER.isdisjoint(envelope.extra):
        return "how to keep its limits, which takes a coordination service and a schedule store,"
    return "what its fields of a later release mean"


def _hop_wait(hops: int) -> float:
    return min(LAST_HOP, FIRST_HOP * 2.0 ** min(hops, 16))


def check_limits(plans: Iterable[Plan], lease_total: float, killable: bool, pool: str) -> None:
    """Refuse at boot what cannot be kept later: `Unsupported` with the task's name."""
    for plan in plans:
        if plan.hard_limit > lease_total:
            raise Unsupported(
                f"task {plan.name} has a hard limit of {plan.hard_limit:g} s, but the transport holds a message for "
                f"{lease_total:g} s at most: lower time_limit"
            )
        if plan.hard_limit and not killable:
            raise Unsupported(
                f"task {plan.name} has a hard limit, which the {pool} pool can only keep in a process of its own: "
                f"run it with `kernel worker`"
            )
