"""The application of the crash points: a few tasks, and the scenarios in which they are sent, run and settled."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal

import msgspec

from faults.crashes.points import Process
from kernel import Kernel
from kernel.canvas import Flow, chain, group, signature
from kernel.errors import Reject
from kernel.task import Task

#: Seconds between two attempts.
RETRY_AFTER: Final = 0.1
#: Retries after which `again` works, and after which `failing` does not.
RETRIES: Final = 2
#: Members of a group.
MEMBERS: Final = 3
#: Recorded starts after which `poison` is stopped.
DELIVERIES: Final = 2

app = Kernel(
    "flows", send_timeout=3.0, default_retry_delay=RETRY_AFTER, retry_backoff=1.0, retry_jitter=False, grace=5.0
)
#: The process that runs here.
process: list[Process] = []


class Broken(Exception):
    """Raised by a task that is to fail."""


@contextmanager
def _body(task: Task[..., Any, Any], due_at: float) -> Iterator[None]:
    """Write down that a body begins and ends, and whether it began too early."""
    here, request = process[0], task.request
    name = (request.id, request.generation, request.retries)
    if time.time() < due_at - 0.01:
        here.note("early", *name)
    here.note("begun", *name, request.redelivered)
    here.running += 1
    try:
        here.reach("body begun")
        yield
        here.note("ended", *name)
        here.reach("body done")
    except Exception:
        here.note("failed", *name)
        here.reach("body done")
        raise
    finally:
        here.running -= 1


def _works(self: Task[..., Any, Any], seconds: float, due_at: float) -> list[Any]:
    with _body(self, due_at):
        time.sleep(seconds)
    return [self.request.id, process[0].life]


def _again(self: Task[..., Any, Any], seconds: float, due_at: float) -> list[Any]:
    with _body(self, due_at):
        time.sleep(seconds)
        if self.request.retries < RETRIES:
            raise Broken("not yet")
    return [self.request.id, process[0].life]


def _fails(self: Task[..., Any, Any], seconds: float, due_at: float) -> list[Any]:
    with _body(self, due_at):
        time.sleep(seconds)
        if not self.request.generation:
            raise Broken("never in this generation")
    return [self.request.id, process[0].life]


def _back(self: Task[..., Any, Any], seconds: float, due_at: float) -> list[Any]:
    with _body(self, due_at):
        if process[0].once(f"back-{self.request.id}"):
            raise Reject("somebody else may", requeue=True)
        time.sleep(seconds)
    return [self.request.id, process[0].life]


def _kills(self: Task[..., Any, Any], seconds: float, due_at: float) -> None:
    with _body(self, due_at):
        process[0].note("fault", "poison", "body")
        os.kill(os.getpid(), signal.SIGKILL)


def _joins(self: Task[..., Any, Any], values: Any, seconds: float, due_at: float) -> list[Any]:
    """What comes after other tasks: it is given what they returned."""
    given = values if isinstance(values[0], list) else [values]
    if any(type(each) is not list or len(each) != 2 for each in given):
        raise Broken(f"given {values}")
    return _works(self, seconds, due_at)


def _task(name: str, function: Callable[..., Any], **options: Any) -> None:
    app.task(bind=True, name=name, **options)(function)


_task("plain", _works)
_task("quiet", _works, ignore_result=True)
_task("early", _works, acks_late=False)
_task("again", _again, autoretry_for=(Broken,), max_retries=RETRIES + 1)
_task("quietly again", _again, autoretry_for=(Broken,), max_retries=RETRIES + 1, ignore_result=True)
_task("failing", _fails, autoretry_for=(Broken,), max_retries=1)
_task("back", _back)
_task("poison", _kills, max_deliveries=DELIVERIES)
_task("joins", _joins)


def workflow(name: str, seconds: float) -> Flow:
    """The value of this name in `Scenario.flow`."""
    first = signature("plain", (seconds, 0.0), immutable=True)
    then = signature("joins", (seconds, 0.0))
    if name == "chain":
        return chain(first, then, then)
    members = group([first] * MEMBERS)
    return chain(members, then) if name == "chord" else chain(first, members, then, then)


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent, and what must have become of it when all is at rest."""

    name: str
    task: str
    #: Calls in one batch.
    count: int = 3
    #: How long a body takes, in leases of the system, at least `least` seconds.
    leases: float = 0.0
    least: float = 0.0
    #: Seconds before the first start.
    countdown: float = 0.0
    #: "done": each ran to its end; "dead": each is a dead letter; "once": each ran at most once, and so if nobody died.
    fate: Literal["done", "dead", "once"] = "done"
    #: Kind of the dead letter, and a part of its reason.
    kind: str = "failed"
    reason: str = ""
    #: Whether a result is kept.
    keeps: bool = True
    #: Deliveries of one attempt that begin to run when nothing happens.
    starts: int = 1
    #: Pool of the worker and its slots; how many workers there are.
    pool: str = "solo"
    slots: int = 1
    workers: int = 1
    #: Dead letters are sent again by an operator, once, when all is at rest.
    requeued: bool = False
    #: Traits that a system must have.
    needs: frozenset[str] = frozenset()
    #: How much longer the first body takes, in seconds.
    first: float = 0.0
    #: The workflow that is started in place of calls, "" for none; its tasks are what must have ended.
    flow: str = ""
    #: What the producer sends: calls, bytes that are none, or calls to a queue that somebody deletes just before.
    sends: Literal["calls", "bytes", "into the void"] = "calls"


_ALL: Final = (
    Scenario(name="plain", task="plain"),
    Scenario(name="quiet", task="quiet", keeps=False),
    Scenario(name="beside", task="plain", pool="threads", slots=2, least=0.05),
    Scenario(name="retry", task="again", count=2),
    Scenario(name="quiet retry", task="quietly again", count=2, keeps=False),
    Scenario(name="dead", task="failing", count=2, fate="dead", reason="no retry left"),
    Scenario(name="delayed", task="plain", count=2, countdown=1.2),
    # For mutants alone, on a machine however busy; no system has this trait.
    Scenario(name="much longer", task="plain", count=1, least=3.0, needs=frozenset({"time"})),
    Scenario(name="much later", task="plain", count=1, countdown=6.0, needs=frozenset({"time"})),
    Scenario(name="poison", task="poison", count=1, fate="dead", reason="started", starts=1 + DELIVERIES),
    Scenario(name="long", task="plain", count=1, leases=0.7, least=0.2),
    Scenario(name="back", task="back", count=1, starts=2, least=0.3),
    Scenario(name="early ack", task="early", count=2, fate="once"),
    Scenario(name="unreadable", task="plain", count=2, sends="bytes", fate="dead", kind="unprocessable", keeps=False),
    Scenario(name="requeued", task="failing", count=2, requeued=True),
    Scenario(name="three workers", task="plain", count=2, leases=1.6, least=0.5, workers=3),
    Scenario(name="long and short", task="plain", count=2, first=0.7, pool="threads", slots=2),
    Scenario(name="vanished", task="plain", count=2, sends="into the void", needs=frozenset({"amqp"})),
    Scenario(name="chain", task="plain", flow="chain"),
    Scenario(name="chord", task="plain", flow="chord"),
    Scenario(name="chord in a chain", task="plain", flow="chord in a chain", pool="threads", slots=2, least=0.02),
    Scenario(name="handed on", task="quiet", count=1, least=3.5, keeps=False, needs=frozenset({"handed"})),
)
SCENARIOS: Final[Mapping[str, Scenario]] = {scenario.name: scenario for scenario in _ALL}
