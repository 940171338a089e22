"""A world in which workflows run: a bag of messages, a store with ranks, sets; and everything that can go wrong.

Whatever does I/O here is an actor, a generator that yields before each step. The scheduler picks at random which actor
goes on, which message is received next, who dies between two steps, and what is delivered twice.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from kernel.canvas import advance, lower
from kernel.canvas.effects import (
    Count,
    Decide,
    Failure,
    Get,
    Inputs,
    Keep,
    Post,
    Request,
    Send,
    Settled,
    Value,
)
from kernel.canvas.evaluate import Fault, Replaced
from kernel.canvas.flow import Flow, Signature
from kernel.canvas.frames import Parcel, Rare, member_id
from kernel.canvas.names import COLLECT, DEADLINE, MAP, SPREAD, STARMAP
from kernel.outcome import Error

MOST = 2**31 - 1
FINAL = {"SUCCESS", "FAILURE"}
#: In place of the argument of an error callback, of which several may be right.
FAILED = "<failure>"

Rank = tuple[int, int, int]
Call = tuple[str, str]


class Again(Exception):
    """Retry."""


class Ignored(Exception):
    """The task ends without a record."""

    def __str__(self) -> str:
        return f"{self.args[0]} ignored"


def call_of(task: str, args: Any, kwargs: Mapping[str, Any]) -> Call:
    """A call, so that it can be compared."""
    args = [FAILED if isinstance(arg, Fault) or (isinstance(arg, dict) and "message" in arg) else arg for arg in args]
    return task, json.dumps([args, dict(kwargs)], sort_keys=True)


def body_of(
    task: str, args: Any, kwargs: Mapping[str, Any], attempt: int, swaps: Mapping[str, Any], generation: int = 0
) -> Any:
    """What the tasks of the tests do; the name says it."""
    kind, _, rest = task.partition(":")
    if kind == "sick" and generation == 0:
        raise ValueError(f"{task} is sick")
    if kind == "bad":
        raise ValueError(f"{task} is bad")
    if kind == "ignored":
        raise Ignored(task)
    if kind == "flaky" and attempt < int(rest):
        raise Again
    if kind == "swap":
        flow = swaps[task]
        raise Replaced(flow if isinstance(flow, Flow) else flow())
    return zlib.crc32(json.dumps(call_of(task, args, kwargs)).encode())


def pack(signature: Signature, options: Mapping[str, Any]) -> Parcel:
    """What an application makes of a signature."""
    body = json.dumps([list(signature.args), dict(signature.kwargs)], separators=(",", ":")).encode()
    extra = {1000: dict(options)} if set(options) - {"countdown"} else {}
    rare = Rare(extra=extra, countdown=options.get("countdown"), immutable=signature.immutable)
    return Parcel(signature.task, body, "json", options.get("queue", "default"), rare)


@dataclass
class Entry:
    """The record of a task."""

    state: str
    value: bytes = b""
    error: Error | None = None
    cause: str = ""
    attempt: int = 0
    spread: bool = False


@dataclass
class Message:
    """A send on its way."""

    send: Send
    attempt: int = 0
    redelivered: int = 0


@dataclass
class Chances:
    """How often what goes wrong, of a hundred steps, and how often in all."""

    crash: int = 0
    twice: int = 0
    most: int = 25


@dataclass
class World:
    """All services, and the workers."""

    #: By the name of the task, what it is replaced by, or what makes that.
    swaps: Mapping[str, Any]
    random: Random
    chances: Chances = field(default_factory=Chances)
    bag: list[Message] = field(default_factory=list)
    #: Watches wait here until they are let go.
    late: list[Message] = field(default_factory=list)
    store: dict[str, tuple[bool, Rank, Any]] = field(default_factory=dict)
    sets: dict[str, set[str]] = field(default_factory=dict)
    #: What ran, under which id.
    ran: dict[str, Call] = field(default_factory=dict)
    posted: Counter[str] = field(default_factory=Counter)
    retried: set[str] = field(default_factory=set)
    actors: list[tuple[Iterator[None], Message | None]] = field(default_factory=list)
    most_actors: int = 4
    #: How many of a hundred steps let a watch go.
    hurry: int = 0
    mishaps: int = 0
    ids: int = 0
    largest: int = 0

    def new_id(self) -> str:
        self.ids += 1
        return f"{self.ids:012x}{self.random.getrandbits(80):020x}"

    # -- services --------------------------------------------------------------------------------------------

    def put(self, key: str, final: bool, rank: Rank, value: Any) -> Any:
        """None, or what stands."""
        standing = self.store.get(key)
        if standing is not None:
            refused = rank[0] <= standing[1][0] if standing[0] else rank < standing[1]
            if refused:
                return standing[2]
        self.store[key] = (final, rank, value)
        return None

    def answer(self, request: Request) -> Any:
        """Do what `lower` or `advance` ask for; everything but a `Post`."""
        match request:
            case Keep(items):
                for item in items:
                    self.put(item.key, item.first, (item.generation, 0, 0), item.value)
                return None
            case Decide(verdicts):
                mine = []
                for verdict in verdicts:
                    state = "SUCCESS" if verdict.error is None else "FAILURE"
                    value = b"" if verdict.value is None else verdict.value.body
                    entry = Entry(
                        state,
                        value,
                        verdict.error,
                        verdict.cause,
                        spread=verdict.value is not None and verdict.value.spread,
                    )
                    standing = self.put(verdict.id, True, (verdict.generation, MOST, MOST), entry)
                    mine.append(standing is None or standing.cause == verdict.cause)
                return mine
            case Get(key):
                return self.store[key][2] if key in self.store else None
            case Count(join, member):
                self.sets.setdefault(join, set()).add(member)
                return len(self.sets[join])
        raise AssertionError(request)

    def drive(self, requests: Generator[Request, Any, Any]) -> Generator[None, None, Any]:
        """Answer one request after the other, with a step before each and before each message."""
        answer: Any = None
        while True:
            try:
                request = requests.send(answer)
            except StopIteration as stop:
                return stop.value
            yield
            if isinstance(request, Post):
                for send in request.sends:
                    yield
                    self.post(Message(send))
                answer = None
            else:
                answer = self.answer(request)

    def post(self, message: Message) -> None:
        self.posted[message.send.id] += 1
        self.largest = max(self.largest, len(message.send.rest))
        (self.late if message.send.call.task == DEADLINE else self.bag).append(message)

    # -- workers ---------------------------------------------------------------------------------------------

    def work(self, message: Message) -> Iterator[None]:
        """One delivery, to its acknowledgement."""
        send, attempt = message.send, message.attempt
        generation, fence = send.generation, message.redelivered
        yield
        entry = self._standing(send.id, generation)
        if entry is None and fence:
            refused = self.put(send.id, False, (generation, attempt, fence), Entry("STARTED", attempt=attempt))
            if refused is not None:
                entry = refused
        if entry is None or (entry.state == "STARTED" and entry.attempt == attempt):
            outcome, flow = self.run(send, attempt)
            yield
            if flow is not None:
                yield from self.drive(lower.replacement(flow, send.id, generation, self.new_id, pack))
                rank = (generation, MOST, MOST)
            else:
                rank = (generation, attempt, fence)
            entry = outcome
            if outcome.state != "IGNORED":
                final = outcome.state in FINAL
                entry = self.put(send.id, final, rank, outcome) or outcome
        yield
        if entry.state == "RETRY":
            if entry.attempt == attempt:
                self.retried.add(send.id)
                self.post(Message(send, attempt + 1))
        elif entry.state != "STARTED":
            value = Value(entry.value, "json", entry.spread) if entry.state == "SUCCESS" else None
            task = send.call.task
            settled = Settled(
                *(send.id, task, generation, send.root, send.place, send.rest),
                *(entry.state, value, entry.error, entry.cause),
            )
            yield from self.drive(advance.advance(settled))
        yield

    def _standing(self, id: str, generation: int) -> Entry | None:
        """What decides without a run."""
        standing = self.store.get(id)
        if standing is None or standing[1][0] < generation:
            return None
        entry: Entry = standing[2]
        return entry if entry.state in FINAL or entry.state == "REPLACED" else None

    def run(self, send: Send, attempt: int) -> tuple[Entry, Flow | None]:
        """What one execution comes to, and what it wants to be replaced by."""
        args, kwargs = json.loads(send.call.body)
        match send.given:
            case Value(body):
                args = [json.loads(body), *args]
            case Failure() as failure:
                args = [failure.told(), *args]
            case Inputs(group, size):
                args = [[each for index in range(size) for each in self._results(member_id(group, index))], *args]
        task = send.call.task
        try:
            if task in (MAP, STARMAP):
                for item in args[1]:
                    self._record(f"{send.id}/{item}", args[0], item if task == STARMAP else [item], {})
                each = [item if task == STARMAP else [item] for item in args[1]]
                value = [body_of(args[0], item, {}, attempt, self.swaps) for item in each]
            elif task in (COLLECT, SPREAD):
                value = args[0] if args else None
            elif task == DEADLINE:
                value = None
            else:
                self._record(send.id, task, args, kwargs)
                value = body_of(task, args, kwargs, attempt, self.swaps, send.generation)
        except Again:
            return Entry("RETRY", attempt=attempt), None
        except Ignored:
            return Entry("IGNORED", error=Error("Ignored", f"{task} ignored")), None
        except Replaced as replaced:
            return Entry("REPLACED", attempt=attempt), replaced.flow
        except ValueError as error:
            return Entry("FAILURE", error=Error("ValueError", str(error)), attempt=attempt), None
        return Entry("SUCCESS", json.dumps(value).encode(), attempt=attempt, spread=task == SPREAD), None

    def _record(self, id: str, task: str, args: Any, kwargs: Mapping[str, Any]) -> None:
        call = call_of(task, args, kwargs)
        assert self.ran.setdefault(id, call) == call, f"{id} ran as {self.ran[id]} and as {call}"

    def _results(self, id: str) -> list[Any]:
        """The value of a member, and those that it has added."""
        entry: Entry = self.store[id][2]
        assert entry.state == "SUCCESS", f"{id} ended as {entry.state}"
        value = json.loads(entry.value)
        return list(value) if entry.spread else [value]

    # -- the scheduler ---------------------------------------------------------------------------------------

    def start(self, actor: Iterator[None], message: Message | None = None) -> None:
        self.actors.append((actor, message))

    def produce(self, lowered: Generator[Request, Any, lower.Handle]) -> list[lower.Handle]:
        """Start a producer; the list has the handle when it is through."""
        handles: list[lower.Handle] = []

        def produce() -> Iterator[None]:
            handles.append((yield from self.drive(lowered)))

        self.start(produce())
        return handles

    def until_quiet(self, most: int = 200_000) -> None:
        """Run until nothing is left to do, but for watches."""
        random, chances = self.random, self.chances
        for _ in range(most):
            if self.late and random.randrange(100) < self.hurry:
                self.bag.append(self.late.pop(random.randrange(len(self.late))))
            if self.bag and (not self.actors or (len(self.actors) < self.most_actors and random.random() < 0.5)):
                message = self.bag.pop(random.randrange(len(self.bag)))
                self.start(self.work(message), message)
            if not self.actors:
                return
            at = random.randrange(len(self.actors))
            actor, message = self.actors[at]
            unlucky = self.mishaps < chances.most and message is not None
            if unlucky and random.randrange(100) < chances.twice:
                self.mishaps += 1
                assert message is not None
                self.bag.append(Message(message.send, message.attempt, message.redelivered))
            if unlucky and random.randrange(100) < chances.crash:
                self.mishaps += 1
                del self.actors[at]
                assert message is not None
                self.bag.append(Message(message.send, message.attempt, message.redelivered + 1))
                continue
            try:
                next(actor)
            except StopIteration:
                del self.actors[at]
        raise AssertionError("it does not end")

    # -- what callers see ------------------------------------------------------------------------------------

    def held(self, handle: lower.Handle) -> list[str]:
        """The ids of a handle."""
        return [member_id(handle.id, index) for index in range(handle.size)] if handle.size >= 0 else [handle.id]

    def ended(self, id: str) -> bool:
        """Whether it has a final record, or ran and wants none."""
        return self._final(id) is not None or self.ignored(id)

    def ignored(self, id: str) -> bool:
        """Whether it ran and wants no record."""
        return id in self.ran and self.ran[id][0].startswith("ignored")

    def failures(self, handle: lower.Handle) -> set[str]:
        """What went wrong, as a caller hears of it."""
        entries = [self._final(id) for id in self.held(handle)]
        return {entry.error.message for entry in entries if entry is not None and entry.error is not None}

    def result(self, handle: lower.Handle) -> Any:
        """The value of a handle that has one."""
        if handle.size < 0:
            [id] = self.held(handle)
            return json.loads(self.store[id][2].value)
        return [each for id in self.held(handle) for each in self._results(id)]

    def _final(self, id: str) -> Entry | None:
        final, _, value = self.store.get(id, (False, (0, 0, 0), None))
        return value if final else None
