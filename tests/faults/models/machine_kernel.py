"""The state machine of the whole kernel: a caller, two workers, virtual time, and faults at every moment.

A worker is not run but turned: one look into the queue, with all that follows from it, on the thread of the test. While
a task runs, time may pass with or without the housekeeper, and the other worker may have its turn. A crash is the end
of a worker's ports (`mortal`); a new worker takes its place, and the leases of the old one run out.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from kernel_memory import Limits, MemoryCoordination, MemoryResults, MemoryTransport, Space

from faults.models.machine import Traced
from faults.models.machine_stores import Digits
from faults.models.model import Trouble
from faults.models.mortal import Crash, Life, MortalCoordination, MortalResults, MortalTransport
from kernel import Kernel
from kernel import envelope as wire
from kernel.clock import FakeClock
from kernel.current import running
from kernel.dead import DeadLetters
from kernel.envelope import decode
from kernel.errors import DecodeError
from kernel.outcome import decode_entry
from kernel.worker.worker import Worker

LEASE = 30.0
QUEUE = "default"
#: Masks of the transport: everything, no atomic step, and no exact count of deliveries either.
MASKS = (frozenset[str](), frozenset(("commit",)), frozenset[str](), frozenset(("commit", "counts")))
#: How a task ends: at once, after one failure, after two, never, never and without a retry, by killing its worker.
KINDS = ("ok", "fails once", "ok", "fails twice", "fails", "rejects", "kills")
#: What happens while it runs, execution by execution.
EVENTS = ("", "", "", "lasts", "outlasts", "freezes", "freezes, and others work", "dies", "dies soon", "meets a fault")
#: Retries, and recorded starts of one message.
RETRIES, STARTS = 2, 3
#: Virtual seconds before a retry.
RETRY_AFTER = 5.0
#: Most turns until everything must have ended.
PATIENCE = 150


class Flaky(Exception):
    """What the tasks fail with."""


@dataclass(eq=False)
class Sent:
    """A confirmed task."""

    number: int
    kind: str
    events: Digits
    id: str = ""
    generation: int = 0
    expires: bool = False
    #: Faults that met a worker while it had a message of this task.
    touched: int = 0


@dataclass(eq=False)
class Crew:
    """A worker and its life."""

    worker: Worker
    life: Life
    busy: bool = False


class KernelMachine(Traced):
    """Confirmed tasks end once, whatever happens to the workers."""

    @initialize(variant=st.integers(0, 59))
    def start(self, variant: int) -> None:
        self.trace.append(f"without {sorted(MASKS[variant % len(MASKS)])}")
        self.mask = MASKS[variant % len(MASKS)]
        self.space, self.clock = Space(), FakeClock()
        self.level = logging.getLogger("kernel").level
        logging.getLogger("kernel").setLevel(logging.CRITICAL + 1)
        self.sent: dict[str, Sent] = {}
        self.by_number: list[Sent] = []
        self.runs: Counter[tuple[str, int, int]] = Counter()
        self.finals: dict[str, tuple[int, bytes]] = {}
        self.calm = False
        self.troubles: list[str] = []
        self.caller = self.application("caller", Life(lambda _: None))
        self.crew = [self.hire(), self.hire()]

    def application(self, name: str, life: Life) -> Kernel:
        app = Kernel(
            name, clock=self.clock, transport="memory://", pool="solo", retry_jitter=False, health_interval=1e9
        )
        limits = Limits(lease=LEASE)
        app.use(
            MortalTransport(MemoryTransport(self.space, self.clock, self.mask, limits), life),  # type: ignore[arg-type]
            MortalResults(MemoryResults(self.space, self.clock), life),  # type: ignore[arg-type]
            MortalCoordination(MemoryCoordination(self.space, self.clock), life),  # type: ignore[arg-type]
        )
        app.task(
            name="work",
            autoretry_for=(Flaky,),
            max_retries=RETRIES,
            default_retry_delay=RETRY_AFTER,
            retry_backoff=False,
            max_deliveries=STARTS,
        )(self.body)
        return app

    def hire(self) -> Crew:
        crew: list[Crew] = []
        life = Life(lambda what: self.met(crew[0], what))
        worker = Worker(self.application("worker", life))
        worker.hand.pause = self.clock.advance
        crew.append(Crew(worker, life))
        assert worker._boot()
        worker.pool.start(worker.runner.run, worker.runner.arun)
        return crew[0]

    # -- faults --------------------------------------------------------------------------------------------

    def met(self, crew: Crew, what: str) -> None:
        """A fault: everything that this worker has is touched."""
        self.trace.append(f"    worker {self.crew.index(crew)}: {what}")
        payloads = [job.delivery.payload for job in crew.worker.hand.jobs()]
        payloads += [delivery.payload for delivery in crew.life.received]
        for task_id in {_id(payload) for payload in payloads}:
            if task_id in self.sent:
                self.sent[task_id].touched += 1

    def replace(self, crew: Crew) -> None:
        crew.life.end()
        self.crew[self.crew.index(crew)] = self.hire()

    # -- the task ------------------------------------------------------------------------------------------

    def body(self, number: int) -> int:
        job: Any = running.get()
        envelope = job.envelope
        task, crew = self.by_number[number], next(c for c in self.crew if job in c.worker.runner.active)
        self.runs[envelope.id, envelope.generation, envelope.attempt] += 1
        if envelope.extra.get(wire.ETA, 0.0) > self.clock.now():
            self.troubles.append(f"early: task {number} ran before its time")
        event = "" if self.calm else task.events.of(EVENTS)
        name = f"    worker {self.crew.index(crew)} runs {number} attempt {envelope.attempt} of {task.kind}"
        self.trace.append(f"{name}: {event}".rstrip(": "))
        if event:
            self.happen(crew, event)
        if task.kind == "kills":
            self.die(crew, "killed by its task")
        fails = {"fails once": 1, "fails twice": 2, "fails": 9}.get(task.kind, 0)
        if envelope.attempt < fails:
            raise Flaky(task.kind)
        if task.kind == "rejects":
            raise ValueError(task.kind)
        return number

    def happen(self, crew: Crew, event: str) -> None:
        if event == "lasts":
            self.pass_time(LEASE / 2)
        elif event == "outlasts":
            self.pass_time(LEASE * 1.5)
        elif event.startswith("freezes"):
            self.met(crew, "frozen")
            self.clock.advance(LEASE * 1.2)
            for other in [c for c in self.crew if not c.busy] if "others" in event else ():
                self.turn(other)
        elif event == "dies":
            self.die(crew, "killed at the end of the body")
        elif event == "dies soon":
            crew.life.crash_in = 1 + self.total[0] % 6
        else:
            crew.life.fail_in = 1 + self.total[0] % 6

    def die(self, crew: Crew, how: str) -> None:
        self.met(crew, how)
        crew.life.end()

    # -- commands ------------------------------------------------------------------------------------------

    @rule(
        command=st.sampled_from((*["turn"] * 5, *["send"] * 3, "later", "later", "kill", "arm", "requeue", "requeue")),
        who=st.integers(0, 1),
        number=st.integers(0, (1 << 20) - 1),
    )
    def step(self, command: str, who: int, number: int) -> None:
        try:
            getattr(self, f"do_{command}")(self.crew[who], Digits(number))
            self.check_finals()
            if self.troubles:
                raise Trouble(self.troubles[0])
        except Exception as error:
            raise self.trouble(error) from error

    def do_turn(self, crew: Crew, digits: Digits) -> None:
        self.turn(crew)

    def do_send(self, crew: Crew, digits: Digits) -> None:
        for _ in range(digits.of((1, 2, 5))):
            kind = digits.of(KINDS)
            delay, expires = digits.of((0.0, 0.0, 0.0, 20.0)), digits.of((0.0, 0.0, 0.0, 25.0))
            task = Sent(len(self.by_number), kind, Digits(digits.number * 31 + len(self.by_number)))
            options: dict[str, Any] = {"countdown": delay} if delay else {}
            if expires:
                options["expires"], task.expires = expires, True
            self.by_number.append(task)
            task.id = self.caller.send_task("work", [task.number], **options).id
            self.sent[task.id] = task
            self.trace.append(f"send {task.number}: {kind} {options}")

    def do_later(self, crew: Crew, digits: Digits) -> None:
        seconds = digits.of((1.0, 5.0, LEASE, LEASE / 3))
        self.trace.append(f"{seconds:g} s later")
        self.pass_time(seconds)

    def do_kill(self, crew: Crew, digits: Digits) -> None:
        self.met(crew, "killed while it waits")
        self.replace(crew)

    def do_arm(self, crew: Crew, digits: Digits) -> None:
        """A fault at one of the next moments."""
        at = 1 + digits.of(range(8))
        if digits.of((True, False)):
            crew.life.crash_in = at
        else:
            crew.life.fail_in = at
        self.trace.append(f"armed: worker {self.crew.index(crew)} in {at} moments")

    def do_requeue(self, crew: Crew, digits: Digits) -> None:
        letters = self.letters()
        before = Counter(letter.id for letter in letters.list(limit=1000))
        count = letters.requeue()
        self.trace.append(f"requeue of {count}")
        for task_id in before:
            task = self.sent[task_id]
            task.generation += 1
            task.touched += before[task_id] - 1  # a letter that was there twice goes back twice

    # -- one turn, and time --------------------------------------------------------------------------------

    def turn(self, crew: Crew) -> bool:
        """One look into the queue, and everything that follows; returns whether something came."""
        self.total[0] += 1
        intake = crew.worker.intake
        crew.busy, crew.life.received = True, ()
        try:
            room = intake._room()
            if room > 0:
                held_until = self.clock.monotonic() + crew.worker.hand.lease
                deliveries = intake._receive(min(room, intake._most))
                if deliveries:
                    intake._take(deliveries, held_until)
        except Crash:
            self.replace(crew)
        finally:
            crew.busy = False
            running.set(None)
        return bool(crew.life.received)

    def pass_time(self, seconds: float) -> None:
        """Time passes, and the housekeepers of all that live look at it."""
        step = LEASE / 7
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            for crew in list(self.crew):
                if crew.life.over:
                    continue
                try:
                    crew.worker.housekeeper.tick()
                except Crash:
                    if not crew.busy:
                        self.replace(crew)

    # -- what must hold ------------------------------------------------------------------------------------

    def letters(self) -> DeadLetters:
        return DeadLetters(self.caller.ports.transport, QUEUE, self.clock.monotonic, self.clock.advance)

    def check_finals(self) -> None:
        """A final record stands until one of a higher generation comes."""
        for task_id in self.sent:
            record = self.space.records.get(task_id, self.clock.monotonic())
            known = self.finals.get(task_id)
            if known and (record is None or (record.rank[0] <= known[0] and record.value != known[1])):
                raise Trouble(f"final: the record of task {self.sent[task_id].number} was replaced")
            if record is not None and record.final:
                self.finals[task_id] = record.rank[0], record.value

    def teardown(self) -> None:
        try:
            if not self.broken and hasattr(self, "crew"):
                self.drain()
        except Exception as error:
            raise self.trouble(error) from error
        finally:
            if hasattr(self, "level"):
                logging.getLogger("kernel").setLevel(self.level)

    def drain(self) -> None:
        """No more faults: everything ends, and then it is counted."""
        self.calm = True
        self.trace.append("no more faults")
        for crew in self.crew:
            crew.life.crash_in = crew.life.fail_in = -1
        for _ in range(PATIENCE):
            if not sum(self.turn(crew) for crew in list(self.crew)):
                if self.is_empty():
                    break
                self.pass_time(LEASE / 2)
        else:
            raise Trouble(f"stuck: {self.caller.ports.transport.sizes([QUEUE])}")  # type: ignore[attr-defined]
        self.check_finals()
        if self.troubles:
            raise Trouble(self.troubles[0])
        letters = Counter(letter.id for letter in self.letters().list(limit=10_000))
        for task in self.sent.values():
            self.judge(task, letters[task.id])
        if letters.keys() - self.sent.keys():
            raise Trouble("phantom: a dead letter of nobody")

    def is_empty(self) -> bool:
        size = self.caller.ports.transport.sizes([QUEUE])[0]  # type: ignore[attr-defined]
        waiting = any(crew.worker.outlet.pending or len(crew.worker.hand) for crew in self.crew)
        return not (size.ready or size.delayed or size.in_flight or waiting)

    def judge(self, task: Sent, letters: int) -> None:
        name = f"task {task.number}, {task.kind}"
        record = self.space.records.get(task.id, self.clock.monotonic())
        if record is None or not record.final:
            raise Trouble(f"lost: {name} has no final record")
        if record.rank[0] != task.generation:
            raise Trouble(f"lost: {name} ended in generation {record.rank[0]} of {task.generation}")
        entry = decode_entry(record.value)
        dead = entry.state == "FAILURE" and entry.dead is not None
        most = (1 + task.touched if "commit" in self.mask else 1) if dead else 0
        if not bool(dead) <= letters <= most:
            raise Trouble(f"dead: {name} is {entry.state} and has {letters} letters, at most {most}")
        self.judge_state(task, entry.state, bool(dead), name)
        for (task_id, _, attempt), count in self.runs.items():
            if task_id == task.id:
                bound = 1 + task.touched
                if "commit" not in self.mask:
                    bound = min(bound, 1 + STARTS)
                if count > bound or attempt > RETRIES:
                    raise Trouble(f"twice: {name} ran {count} times in attempt {attempt}, with {task.touched} faults")

    def judge_state(self, task: Sent, state: str, dead: bool, name: str) -> None:
        """A fault may stop what would have succeeded (its starts are limited), and never the reverse."""
        allowed = {"SUCCESS"} if task.kind in ("ok", "fails once", "fails twice") else {"FAILURE"}
        allowed |= {"EXPIRED"} if task.expires else set()
        allowed |= {"FAILURE"} if task.touched > STARTS else set()
        if state not in allowed or (state == "FAILURE" and not dead and task.kind != "rejects"):
            raise Trouble(f"outcome: {name} ended as {state}, with {task.touched} faults")


def _id(payload: bytes) -> str:
    try:
        return decode(payload).id
    except DecodeError:
        return ""
