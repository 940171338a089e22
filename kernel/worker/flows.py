"""The workflows that the tasks of this worker belong to.

`look` says, before a task runs, whether it is decided already, and gives it what comes before it; `replace` and
`caused` say after it what it brings about. Each for the jobs of a batch, with one call of a port for all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from typing import Any

from kernel import envelope as wire
from kernel.canvas.advance import advance
from kernel.canvas.build import chain, group
from kernel.canvas.effects import Send, Settled, Value
from kernel.canvas.flow import Flow, Signature
from kernel.canvas.frames import member_ids
from kernel.canvas.messages import ONE, counted, place_of
from kernel.canvas.names import COLLECT, SPREAD
from kernel.clock import Clock
from kernel.errors import ConfigError, DecodeError, FlowLost, PartialPut, PortError, Unavailable
from kernel.outcome import DECIDED, Drop, Entry, Failed, Ok, Replaced, decode_entry, describe, encode_entry
from kernel.parts import parts
from kernel.ports import Outgoing, Record, ResultStore
from kernel.worker.job import Job
from kernel.workflows.driver import Driver
from kernel.workflows.flows import outgoing_of

log = logging.getLogger("kernel.worker")


class Flows:
    """What the outlet and the intake ask about workflows."""

    def __init__(
        self,
        driver: Driver,
        results: ResultStore | None,
        load: Callable[[Entry], Any],
        replacing: Callable[[Flow, str, int], Generator[Any, Any, None]],
        clock: Clock,
    ) -> None:
        """`load` decodes a result, `replacing` says what is to be recorded for a task that is replaced."""
        self._driver = driver
        self._results = results
        self._load = load
        self._replacing = replacing
        self._clock = clock
        #: Puts a value before the arguments of a job; the worker wires it.
        self.give: Callable[[Job, Any], None] = _nowhere

    # -- before it runs ------------------------------------------------------------------------------------

    def look(self, jobs: Sequence[Job]) -> None:
        """Give an outcome to those that must not run, and arguments to the others.

        A message of a workflow may be there twice without having been delivered twice, because every member that sees
        its join full sends the body. `PortError` when the store does not answer: nothing is decided then.
        """
        if self._results is None:
            return  # what it needs it will miss, and say so
        given = {job: _wanted(job) for job in jobs if wire.INPUTS in job.envelope.extra}
        fresh = [job for job in jobs if not job.envelope.generation]
        values = self._read([job.envelope.id for job in fresh] + [key for keys in given.values() for key in keys])
        # The record of an earlier generation decides nothing. Which one it is of, the store alone knows.
        claimed = self._claimed([job for job in jobs if job.envelope.generation])
        for job, value in (*zip(fresh, values, strict=False), *claimed):
            entry = None if value is None else _readable(value)
            if entry is not None and entry.state in DECIDED:
                job.standing, job.outcome = entry, Drop("its outcome is known already")
        at = len(fresh)
        for job, keys in given.items():
            if job.outcome is None:
                self._give(job, values[at : at + len(keys)])
            at += len(keys)

    def _read(self, keys: list[str]) -> list[bytes | None]:
        assert self._results is not None
        most = self._results.features.max_batch
        return [value for part in parts(keys, most) for value in self._results.get(part)]

    def _claimed(self, jobs: list[Job]) -> list[tuple[Job, bytes | None]]:
        if not jobs:
            return []
        assert self._results is not None
        now = self._clock.now()
        records = []
        for job in jobs:
            started = Entry("STARTED", at=now, attempt=job.envelope.attempt, node=job.node)
            records.append(Record(job.envelope.id, encode_entry(started), False, job.rank))
        ttl, most = max(job.ttl for job in jobs), self._results.features.max_batch
        standing: list[bytes | None] = []
        for part in parts(records, most):
            try:
                standing += self._results.put(part, ttl)
            except PartialPut as partial:  # a mark that was not written says nothing against a start
                standing += partial.standing
        return list(zip(jobs, standing, strict=True))

    def _give(self, job: Job, values: list[bytes | None]) -> None:
        """Put the values that it takes before its arguments."""
        told = job.envelope.extra[wire.INPUTS]
        try:
            value: Any = told if type(told) is dict else self._loaded(values, told[1] != ONE)
        except Exception as error:  # of a codec
            job.outcome = Failed(describe(error), None, "what it is to be given cannot be read")
            return
        self.give(job, value[0] if type(told) is list and told[1] == ONE else value)

    def _loaded(self, values: list[bytes | None], members: bool) -> list[Any]:
        """The values, of `members` of a group each with those that it has added."""
        entries = [None if value is None else decode_entry(value) for value in values]
        there = [entry for entry in entries if entry is not None and entry.state == "SUCCESS"]
        if len(there) < len(values):
            raise FlowLost("a result that this task was to be given has expired, or was forgotten")
        spread = members and any(entry.spread for entry in there)
        if not spread and {entry.codec for entry in there} == {"json"}:
            # JSON between commas is JSON: one reading for the ten thousand results of a group.
            joined = b"[%b]" % b",".join([entry.body for entry in there])
            loaded: list[Any] = self._load(Entry("SUCCESS", "json", joined))
            if len(loaded) == len(there):  # else one of them is damaged, which its own reading will say
                return loaded
        loaded = [self._load(entry) for entry in there]
        if not spread:
            return loaded
        return [one for entry, value in zip(there, loaded, strict=True) for one in (value if entry.spread else [value])]

    # -- after it ------------------------------------------------------------------------------------------

    def replace(self, jobs: Sequence[Job]) -> set[Job]:
        """Record by what tasks are replaced; those that wait for the store. One that cannot be replaced has failed."""
        for job in jobs:
            if job.added and type(job.outcome) is Ok and job.standing is None:
                job.outcome = self._joined_by(job, job.outcome)
        asking = [job for job in jobs if type(job.outcome) is Replaced and job.standing is None]
        works = []
        for job in asking:
            job.store = self._results is not None
            outcome = job.outcome
            assert type(outcome) is Replaced
            works.append(self._replacing(outcome.flow, job.envelope.id, job.envelope.generation))
        held: set[Job] = set()
        for index, error in self._driver.drive(works, _nothing).errors.items():
            if isinstance(error, Unavailable):
                held.add(asking[index])
            else:
                asking[index].outcome = Failed(describe(error), None, "it cannot be replaced by what it asked for")
        return held

    def _joined_by(self, job: Job, ok: Ok) -> Replaced | Failed:
        """A member of a group, and what it has added to that: in its place, one member that is all of them."""
        try:
            value = self._load(Entry("SUCCESS", job.plan.codec, ok.value))
        except Exception as error:  # of a codec
            return Failed(describe(error), None, "its result cannot be read")
        own = Signature(COLLECT, (value,), immutable=True)
        return Replaced(chain(group([own, *(job.added or ())]), Signature(SPREAD)))

    def caused(self, entries: Sequence[tuple[Job, Entry | None]]) -> tuple[dict[Job, list[Outgoing]], set[Job]]:
        """What the records that stand bring about: messages to be sent, and the jobs that wait for a port."""
        settled: list[tuple[Job, Entry]] = []
        members: list[tuple[Job, Entry, tuple[str, str, int]]] = []
        for job, entry in entries:
            if job.flow and entry is not None and entry.state in DECIDED:
                member = counted(job.envelope) if entry.state == "SUCCESS" and not entry.cause else None
                if member is None:
                    settled.append((job, entry))
                else:
                    members.append((job, entry, member))
        settled += self._full(members)
        sends: dict[Job, list[Outgoing]] = {}
        held: set[Job] = set()
        now = self._clock.now()

        def post(index: int, messages: list[Send]) -> None:
            sends.setdefault(settled[index][0], []).extend([outgoing_of(send, now) for send in messages])

        ended = self._driver.drive([advance(_settled(job, entry)) for job, entry in settled], post)
        for index, error in ended.errors.items():
            job = settled[index][0]
            if isinstance(error, Unavailable):
                held.add(job)
                sends.pop(job, None)
            else:
                log.error("the workflow of task %s[%s] stops here: %s", job.envelope.task, job.envelope.id, error)
        return sends, held

    def _full(self, members: list[tuple[Job, Entry, tuple[str, str, int]]]) -> list[tuple[Job, Entry]]:
        """Count members of joins: those that see theirs full, as each of them has to, whoever else does. All of them
        where they cannot be counted, so that each hears why."""
        try:
            sizes = self._driver.count([(join, index) for _, _, (join, index, _) in members]) if members else []
        except (PortError, ConfigError):
            return [(job, entry) for job, entry, _ in members]
        return [(job, entry) for (job, entry, member), size in zip(members, sizes, strict=True) if size >= member[2]]


def _wanted(job: Job) -> list[str]:
    """The keys of the results that a job is to be given."""
    told = job.envelope.extra.get(wire.INPUTS)
    if type(told) is not list:
        return []
    id, size = told
    return [id] if size == ONE else member_ids(id, size)


def _readable(value: bytes) -> Entry | None:
    try:
        return decode_entry(value)
    except DecodeError as error:
        log.error("a record in the result store cannot be read, and is taken for none: %s", error)
        return None


def _settled(job: Job, entry: Entry) -> Settled:
    envelope = job.envelope
    extra = envelope.extra
    return Settled(
        envelope.id,
        envelope.task,
        envelope.generation,
        extra.get(wire.ROOT, envelope.id),
        place_of(extra),
        extra.get(wire.FLOW, b""),
        entry.state,
        Value(entry.body, entry.codec, entry.spread or envelope.task == SPREAD) if entry.state == "SUCCESS" else None,
        entry.error,
        entry.cause,
    )


def _nowhere(job: Job, value: Any) -> None:
    raise AssertionError("nobody can put a value before the arguments of a job")


def _nothing(index: int, sends: list[Send]) -> None:
    raise AssertionError("what is recorded for a replacement sends nothing")
