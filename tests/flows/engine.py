"""Random workflows run by real workers over a real service, with crashes and duplicates.

Workers are driven by hand, one message or a few at a time, in the order of a seed. Each has an application and ports of
its own, as in a process of its own. A crash comes before or after any request to any port, and ends the worker there
and then: what it held is given to others when its lease has run out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import msgspec
from flows.random_flows import CALLBACKS, KINDS, SWAPS
from flows.simulator import Again, Call, Chances, Ignored, body_of, call_of

from kernel import Ignore, Kernel, current_request, current_task
from kernel.canvas import Flow
from kernel.canvas.evaluate import Replaced
from kernel.canvas.flow import Chain, Chord, Group, Signature
from kernel.canvas.names import SPREAD
from kernel.outcome import Entry
from kernel.ports import Outgoing
from kernel.worker.worker import Worker

QUEUE = "default"
#: Requests of a worker to its ports, as far as they change or read anything of a workflow.
REQUESTS = {
    "transport": ("send", "receive", "ack", "release", "commit", "extend"),
    "results": ("put", "get"),
    "coordination": ("tally", "claim", "drop"),
}
#: Workers at a time.
WORKERS = 3
#: Seconds without anything to do after which a workflow that has not ended hangs.
PATIENCE = 30.0


class Crash(BaseException):
    """The end of a process."""


def names(flow: Flow) -> Iterator[str]:
    """The tasks of a workflow."""
    for each in (*flow.callbacks, *flow.errbacks):
        yield from names(each)
    match flow:
        case Signature(task=task):
            yield task
        case Chain(steps=parts) | Group(members=parts):  # type: ignore[misc]
            for part in parts:
                yield from names(part)
        case Chord(header=header, body=body):
            yield from names(header)
            yield from names(body)


#: All tasks that a random workflow may have.
TASKS = sorted({*KINDS, *(name for flow in (*SWAPS.values(), *CALLBACKS) for name in names(flow))} - {SPREAD})


class Service:
    """Where workflows run."""

    def __init__(self, url: str, gives_back: bool = False) -> None:
        """`gives_back`: closing an adapter gives back at once what it holds, so no lease has to run out."""
        self.url = url
        self.gives_back = gives_back


class Engine:
    """The workers of one service, and what ran."""

    def __init__(self, service: Service, random: Random, chances: Chances) -> None:
        self.service = service
        self.random = random
        self.chances = chances
        self.mishaps = 0
        #: Requests so far, and the one at which a worker ends: its number, and whether before or after it.
        self.requests = 0
        self.fuse: tuple[int, bool] | None = None
        #: What ran, under which id; and what was not the same when it ran again.
        self.ran: dict[str, Call] = {}
        self.conflicts: list[str] = []
        #: How often.
        self.runs: Counter[str] = Counter()
        self.app = self.application()
        self._dead: list[Kernel] = []
        self._workers = [self._hire() for _ in range(WORKERS)]

    # -- processes -------------------------------------------------------------------------------------------

    def application(self) -> Kernel:
        """One with all tasks, and ports of its own."""
        app = Kernel("flows", transport=self.service.url, max_retries=-1, health_interval=60.0)
        for name in TASKS:
            # However often a worker ends while it runs, that is not its fault here.
            app.task(name=name, dead_letter=False, max_deliveries=1000)(self._body(name))
        return app

    def _body(self, name: str) -> Callable[..., Any]:
        def body(*args: Any, **kwargs: Any) -> Any:
            task, request = current_task(), current_request()
            assert task is not None
            assert request is not None
            # What is mapped over a list runs in the place of the task that maps it.
            self._note(request.id if task.name == name else f"{request.id}/{args}", call_of(name, args, kwargs))
            try:
                return body_of(name, args, kwargs, request.retries, SWAPS)
            except Again:
                task.retry(countdown=0)
            except Ignored as ignored:
                raise Ignore(str(ignored)) from None
            except Replaced as replaced:
                return task.replace(replaced.flow)

        return body

    def _note(self, id: str, call: Call) -> None:
        self.runs[id] += 1
        if self.ran.setdefault(id, call) != call:
            self.conflicts.append(f"{id} ran as {self.ran[id]} and as {call}")

    def _hire(self) -> Worker:
        app = self.application()
        ports = app.ports
        self._arm(ports.transport, "transport")
        self._arm(ports.results, "results")
        self._arm(ports.coordination, "coordination")
        settings = msgspec.structs.replace(app.config.worker, pool="solo", concurrency=1)
        return Worker(app, guest=True, settings=settings)

    def _arm(self, port: Any, role: str) -> None:
        for name in REQUESTS[role]:
            if hasattr(port, name):
                setattr(port, name, self._risky(getattr(port, name), name))

    def _risky(self, request: Callable[..., Any], name: str) -> Callable[..., Any]:
        def risky(batch: Any, *rest: Any) -> Any:
            self.requests += 1
            burnt = self.fuse is not None and self.requests == self.fuse[0]
            crash = burnt or self._chance(self.chances.crash)
            if crash and (self.fuse[1] if self.fuse else self.random.random() < 0.5):
                raise Crash
            if name == "send" and self._chance(self.chances.twice):
                batch = self._twice(batch)
            elif name == "commit" and self._chance(self.chances.twice):
                batch = [(delivery, self._twice(outs)) for delivery, outs in batch]
            answer = request(batch, *rest)
            if crash:
                raise Crash
            return answer

        return risky

    def _chance(self, percent: int) -> bool:
        if self.mishaps >= self.chances.most or self.random.randrange(100) >= percent:
            return False
        self.mishaps += 1
        return True

    def _twice(self, batch: Sequence[Outgoing]) -> list[Outgoing]:
        return [*batch, self.random.choice(batch)] if batch else []

    # -- running ---------------------------------------------------------------------------------------------

    def start(self, flow: Flow) -> Any:
        """Send what runs first; returns the result."""
        self.mishaps = self.requests = 0
        self.ran.clear()
        self.runs.clear()
        self.conflicts.clear()
        return self.app.flows.start(flow)

    def until_quiet(self) -> None:
        """Run until no message is left, but those that only matter if nothing else happens."""
        ends = time.monotonic() + PATIENCE
        quiet = 0
        while quiet < 2:
            at = self.random.randrange(WORKERS)
            try:
                taken = self._workers[at].step([QUEUE], 1 if self._exact else self.random.randrange(1, 5))
            except Crash:
                self._bury(at)
                continue
            if taken:
                quiet, ends = 0, time.monotonic() + PATIENCE
                continue
            size = self.app.ports.transport.sizes([QUEUE])[0]  # type: ignore[attr-defined]
            quiet = 0 if size.ready or size.in_flight else quiet + 1
            assert quiet or time.monotonic() < ends, f"it does not end: {size}"
            time.sleep(0.002)  # what is tried again at once is due at once, by a clock that may be a bit behind

    @property
    def _exact(self) -> bool:
        """Whether nobody ends, so that each task can be asked to run once. Then no two copies are taken at a time."""
        return self.fuse is None and not self.chances.crash

    def _bury(self, at: int) -> None:
        app = self._workers[at].app
        if self.service.gives_back:
            app.close()
        else:
            self._dead.append(app)
        self._workers[at] = self._hire()

    def tidy(self) -> None:
        """Nothing of one workflow is left for the next one, nor is what its dead workers had open."""
        while self._dead:
            self._dead.pop().close()
        self.app.ports.transport.purge(QUEUE)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close everything."""
        self.chances, self.fuse = Chances(most=0), None
        for worker in self._workers:
            worker.close()
            worker.app.close()
        for app in (*self._dead, self.app):
            app.close()

    # -- what callers see ------------------------------------------------------------------------------------

    def entries(self, result: Any) -> dict[str, Entry | None]:
        """The records of what a result is made of."""
        members = getattr(result, "results", None)
        ids = [result.id] if members is None else [member.id for member in members]
        return dict(zip(ids, self.app.results.entries(ids), strict=True)) if ids else {}

    def ignored(self, id: str) -> bool:
        """Whether it ran and wants no record."""
        return id in self.ran and self.ran[id][0].startswith("ignored")

    def repeated(self) -> list[str]:
        """What ran more than once although nothing went wrong but that messages were there twice, one after the other.
        What is retried may: the record of its first try is not the last word."""
        if not self._exact:
            return []
        return [f"{self.ran[id]} {n} times" for id, n in self.runs.items() if n > 1 and "flaky" not in self.ran[id][0]]

    def calls(self) -> Counter[Call]:
        """What ran, each id once."""
        return Counter(self.ran.values())
