"""Calls whose types a checker must see as they are written here. Checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import kernel.testing
from kernel import (
    AsyncResult,
    Call,
    Kernel,
    Retry,
    Signature,
    Task,
    chain,
    chord,
    current_app,
    current_request,
    group,
    provide,
    shared_task,
)
from kernel.canvas import Flow, Group
from kernel.hooks import Settled
from kernel.request import Request

app = Kernel("typed", transport="memory://", max_retries=3)


# -- declaring ---------------------------------------------------------------------------------------------


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
def many(*values: int, scale: float = 1.0) -> list[float]:
    return [value * scale for value in values]


@app.task
def nothing() -> None:
    pass


@app.task
async def fetch(url: str, /) -> bytes:
    return url.encode()


@app.task(queue="slow", priority=9, autoretry_for=(OSError,), retry_backoff=True, max_retries=None)
def configured(order: int) -> dict[str, int]:
    return {"order": order}


@app.task(bind=True)
def bound(self: Task[..., Any, Any], n: int) -> str:
    assert_type(self.request, Request)
    if n:
        raise self.retry(countdown=3)
    assert_type(self.retry(throw=False), Retry)
    self.retry(exc=ValueError("again"), eta=datetime.now(UTC), max_retries=None)


@app.task(bind=True, time_limit=60.0)
async def bound_later(self: Task[..., Any, Any], n: int) -> list[str]:
    return [self.name] * n


class Audited(Task[Any, Any, Any]):
    """The base of a function."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        pass


@app.task(base=Audited)
def audited(order: int) -> bool:
    return order > 0


class Total(Task[[int], float, float]):
    """A task by itself."""

    queue = "slow"

    def run(self, order: int) -> float:
        return order * 2.0


total = app.register_task(Total())


@shared_task
def library(x: float) -> float:
    return x


@shared_task(bind=True, name="library.named")
def named(self: Task[..., Any, Any], text: str) -> str:
    return text


# -- calling -----------------------------------------------------------------------------------------------

assert_type(add(1, 2), int)
assert_type(add.delay(1), AsyncResult[int])
assert_type(add.delay(1, y=2), AsyncResult[int])
assert_type(add.delay(x=1), AsyncResult[int])
assert_type(many.delay(1, 2, 3, scale=2.0), AsyncResult[list[float]])
assert_type(nothing.delay(), AsyncResult[None])
assert_type(fetch.delay("x"), AsyncResult[bytes])
assert_type(configured.delay(7), AsyncResult[dict[str, int]])
assert_type(bound(1), str)
assert_type(bound.delay(1), AsyncResult[str])
assert_type(bound_later.delay(1), AsyncResult[list[str]])
assert_type(library.delay(1.5), AsyncResult[float])
assert_type(named.delay(text="x"), AsyncResult[str])
assert_type(audited.delay(order=1), AsyncResult[bool])
assert_type(total, Total)
assert_type(total.delay(1), AsyncResult[float])

assert_type(add.apply_async((1, 2)), AsyncResult[int])
assert_type(
    add.apply_async(
        [1],
        {"y": 2},
        countdown=3,
        expires=datetime.now(UTC) + timedelta(hours=1),
        queue="slow",
        priority=9,
        headers={"tenant": 7},
        task_id="one",
        max_retries=None,
        ignore_result=False,
    ),
    AsyncResult[int],
)
assert_type(app.send_task("elsewhere.add", (1,), {"y": 2}, countdown=3), AsyncResult[Any])
assert_type(app.send_many(add, [(1, 2), (3, 4)]), list[AsyncResult[int]])
assert_type(app.send_many(fetch, (("x",) for _ in range(3))), list[AsyncResult[bytes]])
assert_type(app.send_many(add, [Call((1,), {"y": 2}, {"countdown": 3})]), list[AsyncResult[int]])
assert_type(app.send_many("elsewhere.add", [(1, 2)]), list[AsyncResult[Any]])
assert_type(add.apply((1, 2)), AsyncResult[int])
assert_type(add.apply((1,), {"y": 2}, throw=True).get(), int)

# -- workflows ---------------------------------------------------------------------------------------------

assert_type(add.s(1), Signature)
assert_type(add.si(1, 2), Signature)
assert_type(add.signature((1,), countdown=3), Signature)
assert_type(add.s(1).set(queue="slow"), Signature)
assert_type(add.apply_async((1,), exchange="events", routing_key="sums"), AsyncResult[int])
assert_type(add.s(1) | add.s(2), Flow)
assert_type(chain(add.s(1), add.s(2)), Flow)
assert_type(group(add.s(n) for n in range(3)), Group)
assert_type(group(add.s(1)).on_error(nothing.si()), Group)
assert_type(chord([add.s(1)], many.s()), Flow)
assert_type(add.chunks([(1, 2)], 10), Group)
assert_type(add.map([1, 2]), Signature)


@app.task(bind=True)
def replaced(self: Task[..., Any, Any], n: int) -> int:
    if n:
        return n
    return self.replace(add.s(1, 2) | add.s(3))


assert_type(replaced.delay(1).get(), int)


async def calls() -> None:
    coroutine = fetch("x")
    kept: Coroutine[Any, Any, bytes] = coroutine
    assert_type(await kept, bytes)
    assert_type(await add.adelay(1, y=2), AsyncResult[int])
    assert_type(await add.aapply_async((1,), countdown=3), AsyncResult[int])
    assert_type(await (await fetch.adelay("x")).aget(timeout=3), bytes)
    async for result in app.as_completed([await add.adelay(1)]):
        assert_type(await result.aget(), int)


# -- results -----------------------------------------------------------------------------------------------

assert_type(add.delay(1).get(), int)
assert_type(add.delay(1).get(timeout=3, propagate=False), int)
assert_type(nothing.delay().get(), None)
assert_type(add.delay(1).ready(), bool)
assert_type(app.result("id"), AsyncResult[Any])
for result in app.as_completed([add.delay(1), add.delay(2)], timeout=3):
    assert_type(result.get(), int)


# -- the rest ----------------------------------------------------------------------------------------------

assert_type(current_app(), Kernel)
assert_type(current_request(), Request | None)
assert_type(app.tasks["x"], Task[..., Any, Any])

with kernel.testing.of(app, inline=True, max_retries=0) as sandbox:
    assert_type(sandbox, kernel.testing.Sandbox)
    assert_type(sandbox.run_one(), Settled | None)
    assert_type(sandbox.assert_enqueued(add, args=(1, 2), times=1), list[kernel.testing.Enqueued])


# -- what a worker provides, and calls here and now -----------------------------------------------------------


def session() -> Iterator[list[int]]:
    yield []


async def client() -> AsyncIterator[bytes]:
    yield b""


async def settings() -> dict[str, int]:
    return {}


@app.task
def pay(order: int, *, db: list[int] = provide(session), factor: float = provide(lambda: 1.0)) -> int:
    assert_type(db, list[int])
    return order


@app.task
async def apay(order: int, *, own: bytes = provide(client), all: dict[str, int] = provide(settings)) -> int:
    return order


assert_type(pay.delay(1), AsyncResult[int])
assert_type(pay.apply((1,), throw=True), AsyncResult[int])
assert_type(apay.apply((1,)).get(), int)
assert_type(pay(1), int)
