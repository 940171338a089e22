"""Starts workflows: what an application does with a value of `kernel.canvas`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol, Unpack, cast

from kernel import envelope as wire
from kernel.call import CallSheet
from kernel.canvas.effects import Send
from kernel.canvas.flow import Flow, Signature, leaves
from kernel.canvas.frames import Parcel, member_ids
from kernel.canvas.lower import Handle, lower, replacement
from kernel.canvas.messages import envelope_of
from kernel.canvas.names import COLLECT, DEADLINE, MAP, STARMAP
from kernel.clock import Clock
from kernel.configuration.settings import Tasks
from kernel.current import note_child, running
from kernel.envelope import encode
from kernel.errors import ConfigError
from kernel.ids import new_id
from kernel.options import CallOptions
from kernel.ports import Coordination, Outgoing, ResultStore
from kernel.results.groups import GroupResult
from kernel.results.result import AsyncResult, Results
from kernel.sending.batcher import open_batch
from kernel.steady import persist
from kernel.workflows.driver import Driver


class Ports(Protocol):
    """Where records of workflows are kept."""

    @property
    def results(self) -> ResultStore | None:
        """The result store."""

    @property
    def coordination(self) -> Coordination | None:
        """The coordination service."""


class Application(Protocol):
    """What workflows need of an application."""

    @property
    def ports(self) -> Ports:
        """The opened ports."""

    @property
    def results(self) -> Results:
        """Where results are read."""

    def sheet(self, name: str) -> CallSheet:
        """How calls of a task become messages."""

    def send_task(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], **options: Unpack[CallOptions]
    ) -> AsyncResult[Any]:
        """Send one call."""

    def post(self, messages: Sequence[Outgoing]) -> None:
        """Send."""


class Flows:
    """The workflows of one application."""

    def __init__(self, app: Application, tasks: Tasks, clock: Clock) -> None:
        self._app = app
        self._tasks = tasks
        self._clock = clock

    def start(self, flow: Flow) -> AsyncResult[Any] | GroupResult[Any]:
        """Send what runs first; durable when this returns.

        Errors as of a call, for any task of the workflow and before anything is sent, unless its members come from a
        generator. When only some of them could be sent, a join ends by its deadline, or is forgotten with its records.
        """
        if isinstance(flow, Signature) and not flow.linked:
            self._ours(flow)
            options = cast(CallOptions, _routed(self._app, flow, flow.options))
            return self._app.send_task(flow.task, flow.args, flow.kwargs, **options)
        job = running.get()
        root = parent = ""
        if job is not None:
            parent = job.envelope.id
            root = job.envelope.extra.get(wire.ROOT, parent)
        pack = Packer(self._app, _first(flow), self._ours)
        work = lower(flow, new_id, pack, deadline=self._tasks.workflow_deadline, root=root, parent=parent)
        ended = self._driver().drive([work], lambda _, sends: self._post(sends))
        if ended.errors:
            raise ended.errors[0]
        handle: Handle = ended.values[0]
        if job is not None:
            note_child(job, handle.id)
        return self.result(handle)

    async def astart(self, flow: Flow) -> AsyncResult[Any] | GroupResult[Any]:
        """The same for coroutines, which other ones do not wait for."""
        from asyncio import to_thread  # already imported by whoever awaits; `import kernel` must not load it

        return await to_thread(self.start, flow)

    def replacing(self, flow: Flow, id: str, generation: int) -> Any:
        """The requests that record what a task is replaced by."""
        pack = Packer(self._app, _first(flow), self._ours)
        return replacement(flow, id, generation, new_id, pack, self._tasks.workflow_deadline)

    def result(self, handle: Handle) -> AsyncResult[Any] | GroupResult[Any]:
        """What a caller gets."""
        line: list[Handle] = []
        at: Handle | None = handle
        while at is not None:
            line.append(at)
            at = at.parent
        results = self._app.results
        made: AsyncResult[Any] | GroupResult[Any] | None = None
        for at in reversed(line):
            if at.size < 0:
                made = AsyncResult(at.id, results, made)
            else:
                # Not AsyncResult[Any](...), which goes through typing and costs as much again for each of thousands.
                members: list[AsyncResult[Any]]
                members = [AsyncResult(id, results) for id in member_ids(at.id, at.size)]
                made = GroupResult(at.id, members, results, made)
        assert made is not None
        return made

    def _ours(self, signature: Signature) -> None:
        if signature.app is not None and signature.app is not self._app:
            raise ConfigError(
                f"{signature.task} belongs to {signature.app!r} and not to {self._app!r}: a workflow has tasks of one "
                f"application; name a task of another one with signature({signature.task!r}, ...)"
            )

    def _driver(self) -> Driver:
        ports, tasks = self._app.ports, self._tasks
        steady = partial(persist, timeout=tasks.send_timeout)
        return Driver(ports.results, ports.coordination, tasks.workflow_expires, self._clock.now, steady)

    def _post(self, sends: list[Send]) -> None:
        now = self._clock.now()
        messages = [outgoing_of(send, now) for send in sends]
        batch = open_batch.get()
        if batch is not None:
            batch.messages.extend(messages)
        else:
            self._app.post(messages)


class Packer:
    """Makes parcels of signatures. Tasks of the workflow itself go where its other tasks go: that queue is served."""

    def __init__(self, app: Application, first: str, check: Any) -> None:
        self._app = app
        self._check = check
        self._queue = app.sheet(first).queue if first else ""

    def __call__(self, signature: Signature, options: Mapping[str, Any]) -> Parcel:
        """As `kernel.canvas.lower.Pack`."""
        self._check(signature)
        given = _routed(self._app, signature, options)
        if signature.task in (COLLECT, DEADLINE) and self._queue:
            given.setdefault("queue", self._queue)
        sheet = self._app.sheet(signature.task)
        parcel = sheet.parcel(signature.args, signature.kwargs, cast(CallOptions, given), signature.immutable)
        self._queue = parcel.queue
        return parcel


def outgoing_of(send: Send, now: float) -> Outgoing:
    """The message of a step, for the transport."""
    envelope = envelope_of(send, now)
    extra, rare = envelope.extra, send.call.rare
    return Outgoing(
        send.call.queue,
        encode(envelope),
        extra.get(wire.PRIORITY, 0),
        extra.get(wire.ETA, 0.0),
        extra.get(wire.EXPIRES_AT, 0.0),
        exchange=rare.exchange,
        routing_key=rare.routing_key,
    )


def _routed(app: Application, signature: Signature, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a call; a map goes where the task goes that it calls."""
    if signature.task in (MAP, STARMAP) and "queue" not in options and "exchange" not in options:
        return {**app.sheet(signature.args[0]).address.usual.options, **options}
    return dict(options)


def _first(flow: Flow) -> str:
    """A task of a workflow that is not one of its own, so its queue is one that is served; "" where there is none."""
    return next((leaf.task for leaf in leaves(flow) if leaf.task not in (COLLECT, MAP, STARMAP)), "")
