"""Calls that a checker must refuse, each with the rule of mypy and of pyright by which. Checked, never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kernel import Kernel, Task, chord, group, provide, shared_task

app = Kernel("typed")


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task
async def fetch(url: str, /) -> bytes:
    return url.encode()


@app.task(bind=True)
def bound(self: Task[..., Any, Any], n: int) -> str:
    return str(n)


@shared_task
def library(x: float) -> float:
    return x


class Total(Task[[int], float, float]):
    def run(self, order: int) -> float:
        return order * 2.0


total = app.register_task(Total())

# -- arguments ---------------------------------------------------------------------------------------------

add.delay("1")  # refused: arg-type, reportArgumentType
add.delay()  # refused: call-arg, reportCallIssue
add.delay(1, 2, 3)  # refused: call-arg, reportCallIssue
add.delay(1, z=2)  # refused: call-arg, reportCallIssue
add.delay(1, y="2")  # refused: arg-type, reportArgumentType
add("1")  # refused: arg-type, reportArgumentType
fetch.delay(b"x")  # refused: arg-type, reportArgumentType
fetch.delay(url="x")  # refused: call-arg, reportCallIssue
library.delay("x")  # refused: arg-type, reportArgumentType
bound.delay("x")  # refused: arg-type, reportArgumentType
bound.delay(bound)  # refused: arg-type, reportArgumentType
bound.delay(self=bound, n=1)  # refused: call-arg, reportCallIssue
total.delay("x")  # refused: arg-type, reportArgumentType

# -- options of a call -------------------------------------------------------------------------------------

add.apply_async((1,), coutdown=3)  # refused: call-arg, reportCallIssue
add.apply_async((1,), countdown="3")  # refused: arg-type, reportArgumentType
add.apply_async((1,), priority="high")  # refused: arg-type, reportArgumentType
add.apply_async((1,), headers=["x"])  # refused: arg-type, reportArgumentType
add.apply_async(1)  # refused: arg-type, reportArgumentType
app.send_task(add, (1,))  # refused: arg-type, reportArgumentType
app.send_many(add, [1, 2])  # refused: list-item, reportCallIssue

# -- workflows ---------------------------------------------------------------------------------------------

add.apply(3)  # refused: arg-type, reportArgumentType
add.s(1) | 2  # refused: operator, reportOperatorIssue
group(add.s(1), add)  # refused: arg-type, reportArgumentType
chord(add.s(1), add.s(2))  # refused: arg-type, reportArgumentType
add.chunks([1, 2], 10)  # refused: list-item, reportArgumentType
add.signature((1,), coutdown=3)  # refused: call-arg, reportCallIssue

# -- options of a task -------------------------------------------------------------------------------------

app.task(max_retry=3)  # refused: call-overload, reportCallIssue
app.task(queue=3)  # refused: call-overload, reportArgumentType
app.task(exchange=3)  # refused: call-overload, reportArgumentType
app.task(autoretry_for=[OSError])  # refused: call-overload, reportArgumentType
shared_task(max_retry=3)  # refused: call-overload, reportCallIssue


@app.task(bind=True)  # refused: arg-type, reportArgumentType
def unbound() -> None:
    pass


# -- results -----------------------------------------------------------------------------------------------

word: float = total.delay(1).get()
whole: int = total.delay(1).get()  # refused: assignment, reportAssignmentType
text: str = add.delay(1).get()  # refused: assignment, reportAssignmentType
data: str = fetch.delay("x").get()  # refused: assignment, reportAssignmentType
add.delay(1).get("soon")  # refused: arg-type, reportArgumentType
add.delay(1).value()  # refused: attr-defined, reportAttributeAccessIssue
for result in app.as_completed([add.delay(1)]):
    letters: str = result.get()  # refused: assignment, reportAssignmentType


async def calls() -> int:
    await add.adelay("1")  # refused: arg-type, reportArgumentType
    return await (await fetch.adelay("x")).aget()  # refused: return-value, reportReturnType


# -- inside of a task --------------------------------------------------------------------------------------


def retries(task: Task[..., Any, Any]) -> None:
    if task.name:
        task.replace(add)  # refused: arg-type, reportArgumentType
    if task.requst:  # refused: attr-defined, reportAttributeAccessIssue
        task.retry(countdown="3")  # refused: call-overload, reportArgumentType
    task.retry(exc=3)  # refused: call-overload, reportArgumentType


# -- what a worker provides ----------------------------------------------------------------------------------


def session() -> Iterator[list[int]]:
    yield []


@app.task
def pay(order: int, *, db: str = provide(session)) -> None:  # refused: assignment, reportArgumentType
    ...


pay.delay()  # refused: call-arg, reportCallIssue
