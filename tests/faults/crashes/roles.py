"""What the processes of a case do, each in a fork of its own: send, work, requeue dead letters, look what is left."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from redis import Redis
from services.rabbitmq import remove

from faults.crashes import scenarios
from faults.crashes.places import Place, Urls
from faults.crashes.points import (
    Event,
    Process,
    arm_coordination,
    arm_results,
    arm_schedules,
    arm_transport,
    journal,
    name_of,
)
from kernel import Kernel, discovery
from kernel.dead import DeadLetters
from kernel.emulate import pump
from kernel.emulate.passthrough import Passthrough
from kernel.envelope import dead_queue
from kernel.errors import PartialSend, PortError
from kernel.options import Call
from kernel.outcome import decode_entry
from kernel.ports import Outgoing
from kernel.results.groups import GroupResult
from kernel.steady import persist
from kernel.worker.worker import Worker
from kernel.workflows import flows

QUEUE = "default"
#: Seconds after which an opaque transport that brings nothing, and owes nothing (it may owe something), is at rest.
QUIET, LONG_QUIET = 0.3, 4.0
#: Seconds for which a busy service is asked to open.
OPEN_FOR = 30.0
#: Status of a worker that was told to stop by somebody else.
STOPPED = 75
_LEFT = {
    "leased": "SELECT count(*) FROM leased",
    "delayed": "SELECT count(*) FROM delayed",
    "claims": "SELECT count(*) FROM claim WHERE key NOT LIKE 'settled:%' AND expires_at > unixepoch('now')",
    "slots": "SELECT count(*) FROM slot",
    "parked": "SELECT count(*) FROM parked",
    "starts that are kept for ever": "SELECT count(*) FROM tally WHERE expires_at > unixepoch('now') + 864000",
}


class Ports:
    """The adapters of a place, opened; with a process, its points are around them."""

    def __init__(self, place: Place, urls: Urls, process: Process | None, idle: Callable[[], None]) -> None:
        self.transport: Any = discovery.transport(urls.transport)
        self.results: Any = discovery.results(urls.results)
        self.coordination: Any = discovery.coordination(urls.coordination)
        self.schedules: Any = discovery.schedules(urls.schedules) if urls.schedules else None
        for port in (self.transport, self.results, self.coordination, self.schedules):
            if port is not None:
                persist(port.open, OPEN_FOR)
        if place.changes:
            self.transport = Passthrough(self.transport, replace(self.transport.features, **place.changes))
        if process is not None:
            arm_transport(process, self.transport, idle)
            arm_results(process, self.results)
            arm_coordination(process, self.coordination)
            if self.schedules is not None:
                arm_schedules(process, self.schedules)

    def handed_over(self) -> None:
        """The application uses them."""
        scenarios.app.use(self.transport, self.results, self.coordination, self.schedules)


# -- the roles -----------------------------------------------------------------------------------------------------


def produce(place: Place, urls: Urls, scenario: scenarios.Scenario, process: Process) -> None:
    """Send the calls of a scenario in one batch, and say what the caller was told."""
    ports = Ports(place, urls, process, _nothing)
    ports.handed_over()
    if scenario.flow:
        _named(process.life)
        keys = _steps(scenario, process.life)
    else:
        keys = [f"{process.life}-{index}" for index in range(scenario.count)]
    process.note("crowding", os.getloadavg()[0] / (os.cpu_count() or 1))
    process.note("attempt", *keys)
    told = {"confirmed": keys}
    try:
        if scenario.sends == "bytes":
            scenarios.app.post([Outgoing(QUEUE, b"\xff" + key.encode()) for key in keys])
        elif scenario.flow:
            scenarios.app.flows.start(scenarios.workflow(scenario.flow, scenario.least))
        else:
            if scenario.sends == "into the void" and process.once("vanished"):
                ports.transport.declare([QUEUE])
                remove(urls.transport, [_options(urls.transport)["prefix"] + QUEUE])
            calls = [_call(place, scenario, key, index) for index, key in enumerate(keys)]
            scenarios.app.send_many(scenario.task, calls)
    except PartialSend as partial:
        told = {"unknown": keys} if scenario.flow else _told(partial, keys)
    except PortError as error:
        told = {"refused" if error.sent == "no" else "unknown": keys}
    for word, some in told.items():
        if some:
            process.note(word, *some)
    process.reach("told")
    scenarios.app.close()


def _told(partial: PartialSend, keys: list[str]) -> dict[str, list[str]]:
    """What the caller knows of each call."""
    found: dict[str, list[str]] = {"refused": [], "unknown": []}
    for index, error in partial.errors.items():
        found["refused" if error.sent == "no" else "unknown"].append(keys[index])
    return {"confirmed": [key for index, key in enumerate(keys) if index not in partial.errors], **found}


def _named(life: int) -> None:
    """From now on the ids of workflows are known beforehand, so that the ledger has them before anything is sent."""
    numbers = count()
    flows.new_id = lambda: f"{life}-{next(numbers)}"  # type: ignore[attr-defined]


def _steps(scenario: scenarios.Scenario, life: int) -> list[str]:
    """The ids of the tasks of the workflow that is about to be started: those that it has elsewhere."""
    with Kernel("elsewhere", transport="memory://elsewhere") as app:
        at: Any = app.flows.start(scenarios.workflow(scenario.flow, scenario.least))
        _named(life)
        steps = []
        while at is not None:
            steps += [each.id for each in (at.results if isinstance(at, GroupResult) else [at])]
            at = at.parent
    return steps[::-1]


def _call(place: Place, scenario: scenarios.Scenario, key: str, index: int) -> Call:
    seconds = max(scenario.least, scenario.leases * place.lease) + (0.0 if index else scenario.first)
    due_at = time.time() + scenario.countdown if scenario.countdown else 0.0
    options: Any = {"task_id": key}
    if due_at:
        options["eta"] = due_at
    return Call((seconds, due_at), {}, options)


def work(place: Place, urls: Urls, scenario: scenarios.Scenario, process: Process) -> None:
    """Work until all is at rest."""
    scenarios.process[:] = [process]
    since, rested = [time.monotonic()], []

    def idle() -> None:
        wait, moved = (0.0 if _is_empty(ports) else inf, 0.0) if place.sized else _quiet_for(process.folder)
        if process.busy or wait == inf:
            since[0] = time.monotonic()
        elif time.monotonic() - since[0] >= wait and time.time() - moved >= wait:
            rested.append(True)
            worker.stop()

    ports = Ports(place, urls, process, idle)
    ports.handed_over()
    pump.LEASE = place.lease  # type: ignore[misc]  # how long a case waits for what a dead pump had taken
    scenarios.app.command_line = {"pool": scenario.pool, "concurrency": scenario.slots}
    worker = Worker(scenarios.app)
    worker.handle_signals()
    status = worker.run()
    raise SystemExit(status or (0 if rested else STOPPED))


def operate(place: Place, urls: Urls, scenario: scenarios.Scenario, process: Process) -> None:
    """Send all dead letters again. The scenario says that there is an operator."""
    ports = Ports(place, urls, process, _nothing)
    ports.handed_over()
    deadline = time.monotonic() + 10 * place.lease
    letters = DeadLetters(scenarios.app.ports.transport, QUEUE)
    letters_sent = len({event.words[1] for event in journal(process.folder) if _is_letter(event)})
    # Where the one before this died, its letters come back when its leases have run out.
    while letters_sent > _requeued(process.folder) and time.monotonic() < deadline:
        try:
            letters.requeue()
        except PortError:
            pass  # an operator would try again too
        time.sleep(0.05)
    scenarios.app.close()


def _options(url: str) -> dict[str, str]:
    return dict(parse_qsl(url.partition("?")[2]))


def _is_letter(event: Event) -> bool:
    return event.what == "sent" and event.words[0] == dead_queue(QUEUE)


def _requeued(folder: Path) -> int:
    return len({e.words[1] for e in journal(folder) if e.what == "settled" and e.words[0] == dead_queue(QUEUE)})


def _nothing() -> None:
    pass


# -- at rest -------------------------------------------------------------------------------------------------------


def _is_empty(ports: Ports) -> bool:
    """Of a transport that can count: asked of the transport, because a lost message would seem to be still owed."""

    def waits() -> bool:
        return ports.schedules is not None and ports.schedules.next_at(pump.SPACE) is not None

    if waits():
        return False
    size = ports.transport.sizes([QUEUE])[0]
    # Two looks at two places: what moves between them in either direction is seen by the first or by the last.
    return not (size.ready or size.delayed or size.in_flight or waits())


def _quiet_for(folder: Path) -> tuple[float, float]:
    """Of one that cannot: for how long nothing must have come, if all is to be at rest, and when something came last.

    The journals know what was stored and what was settled. Whether an acknowledgement arrived that another thread was
    making when its process was killed, only the transport knows: if not, the message comes soon.
    """
    owed: Counter[Any] = Counter()
    unclear: set[Any] = set()
    moved = 0.0
    for event in journal(folder):
        if event.words and event.words[0] == QUEUE:
            moved = event.at
            if event.what in ("sent", "settled"):
                owed[event.words[:4]] += 1 if event.what == "sent" else -1
            if event.what == "settling":
                unclear.add((event.life, *event.words))
            elif event.what == "settled":
                unclear.discard((event.life, *event.words))
    names = {each[1:5] for each in unclear}
    left = [name for name, count in owed.items() if count > 0]
    if not left:
        return QUIET, moved
    return LONG_QUIET if names.issuperset(left) else inf, moved


# -- what is left --------------------------------------------------------------------------------------------------


def audit(place: Place, urls: Urls, folder: Path) -> None:
    """Write down what there is when all is at rest: dead letters, results, and what should not be there any more."""
    ports = Ports(place, urls, None, _nothing)
    ports.handed_over()
    transport = scenarios.app.ports.transport
    keys = sorted({key for event in journal(folder) if event.what == "attempt" for key in event.words})
    letters = []
    # Where the queue cannot be counted, a busy service may answer that there is nothing.
    looks = [DeadLetters(transport, QUEUE).list(limit=1000) for _ in range(1 if transport.features.inspect else 3)]
    for letter in max(looks, key=len):
        name = name_of(letter.payload)
        letters.append([*name, letter.kind, letter.reason, letter.deliveries])
    values = ports.results.get(keys)
    results = {key: _shown(value) for key, value in zip(keys, values, strict=True) if value is not None}
    left = [f"{count} {what}" for what, count in _leftovers(place, urls, transport) if count]
    if ports.schedules is not None and ports.schedules.next_at(pump.SPACE) is not None:
        left.append("parked entries")
    gone, until = 0, time.monotonic() + OPEN_FOR
    while place.reuses and gone < len(letters) and time.monotonic() < until:
        gone += DeadLetters(transport, QUEUE).purge()  # what was only looked at is on its way back
    (folder / "audit.json").write_text(json.dumps({"letters": letters, "results": results, "left": left}))
    scenarios.app.close()


def _shown(value: bytes) -> list[Any]:
    entry = decode_entry(value)
    return [entry.state, json.loads(entry.body) if entry.body else None]


def _leftovers(place: Place, urls: Urls, transport: Any) -> Iterator[tuple[str, int]]:
    if transport.features.inspect:
        size = transport.sizes([QUEUE])[0]
        yield "ready", size.ready or 0
        yield "in flight", size.in_flight or 0
        yield "delayed", size.delayed or 0
    if not place.sized:
        yield "messages that are still delivered", len(transport.receive([QUEUE], 10, 0.3))
    if urls.coordination.startswith("sqlite"):
        with closing(sqlite3.connect(urls.coordination.partition("///")[2].partition("?")[0])) as connection:
            for what, statement in _LEFT.items():
                yield what, connection.execute(statement).fetchone()[0]
    if urls.transport.startswith("redis"):
        yield from _redis_keys(urls.transport)


def _redis_keys(url: str) -> Iterator[tuple[str, int]]:
    """Keys of leases, of what is held, of claims and slots; and any key of a fact that never expires."""
    prefix = _options(url)["prefix"]
    with Redis.from_url(url.partition("?")[0]) as client:
        for key in client.scan_iter(f"{prefix}:*"):
            name = key.decode()
            kind = name.removeprefix(f"{prefix}:").partition(":")[0]
            if name.rpartition(":")[2] in ("leases", "held", "delayed") or kind in ("claim", "slots", "s"):
                yield name, 1
            elif kind in ("tally", "r") and client.ttl(key) < 0:
                yield f"{name} for ever", 1


# -- the fork ------------------------------------------------------------------------------------------------------


@contextmanager
def logged(folder: Path, life: int) -> Iterator[None]:
    """Everything that is said goes to a file of its own."""
    file = os.open(folder / f"{life:02}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    # What a machine remembers of starts is that of this case: in others, tasks have the same ids.
    tempfile.tempdir = str(folder)
    logging.basicConfig(level="INFO", format="%(relativeCreated)d %(name)s %(message)s", force=True)
    yield


def fork(folder: Path, life: int, seconds: float, act: Callable[[], None]) -> int:
    """Do something in a fork that ends with it, by itself or by an alarm; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        signal.setitimer(signal.ITIMER_REAL, seconds)
        with logged(folder, life):
            try:
                act()
                status = 0
            except SystemExit as end:
                status = int(end.code or 0)
            except BaseException:
                logging.getLogger("faults").exception("this process failed")
    finally:
        os._exit(status)
