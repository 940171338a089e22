"""Parameters that the worker fills in: who makes them, for how long, and who must not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from engine.harness import Engine

from kernel import ConfigError, Kernel, Retry, provide
from kernel.provided import close_process

#: What the factories have done.
done: list[str] = []


class Session:
    """Something that is opened and closed."""

    def __init__(self, name: str = "session") -> None:
        self.name = name


def session() -> Iterator[Session]:
    done.append("open")
    try:
        yield Session()
    except BaseException as error:
        done.append(f"rollback {type(error).__name__}")
        raise
    done.append("commit")


def repository(own: Session = provide(session)) -> list[Session]:
    return [own]


async def asession() -> AsyncIterator[Session]:
    done.append("aopen")
    await asyncio.sleep(0)
    yield Session("async")
    done.append("aclose")


async def client() -> Session:
    done.append("client")
    await asyncio.sleep(0.01)
    return Session("client")


def engine_() -> Iterator[Session]:
    done.append("engine")
    yield Session("engine")
    done.append("dispose")


def swallows() -> Iterator[int]:
    try:
        yield 1
    except ValueError:
        pass


def late() -> Iterator[int]:
    yield 1
    raise OSError("commit failed")


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    done.clear()
    yield
    close_process()


def test_each_call_has_its_own_and_it_is_closed_after_the_body(pooled: Engine) -> None:
    @pooled.task(bind=True)
    def work(self: Any, x: int, y: int = 2, own: Session = provide(session), *, z: Any = provide(repository)) -> Any:
        done.append("body")
        return [self.name, x, y, own.name, z[0] is own]

    with pooled.run():
        assert pooled.get(work.delay(1)) == ["work", 1, 2, "session", True]
        assert pooled.get(work.delay(1, y=3))[:3] == ["work", 1, 3]
    assert done == ["open", "body", "commit"] * 2


def test_what_the_body_raises_is_raised_in_the_factory(pooled: Engine) -> None:
    @pooled.task(default_retry_delay=0.001)
    def work(kind: str, *, own: Session = provide(session), number: int = provide(swallows)) -> None:
        if kind == "retry" and len(done) < 3:
            raise Retry
        if kind == "fail":
            raise ValueError("mine")

    @pooled.task
    def uncommitted(*, number: int = provide(late)) -> str:
        return "nothing"

    with pooled.run():
        assert pooled.get(work.delay("retry")) is None
        assert done == ["open", "rollback Retry", "open", "commit"]
        assert pooled.fails(work.delay("fail")).message == "mine"
        assert done[-1] == "rollback ValueError"
        assert pooled.fails(uncommitted.delay()).type == "OSError"


def test_coroutines_have_asynchronous_ones(pooled: Engine) -> None:
    @pooled.task
    async def work(
        *,
        own: Session = provide(asession),
        plain: Session = provide(session),
        shared: Any = provide(client, scope="process"),
    ) -> list[str]:
        return [own.name, plain.name, shared.name]

    with pooled.run():
        results = [work.delay() for _ in range(5)]
        assert [pooled.get(result) for result in results] == [["async", "session", "client"]] * 5
        pooled.empty()
    assert done.count("client") == 1
    assert done.count("aopen") == done.count("aclose") == done.count("commit") == 5


def test_one_for_the_process_is_closed_when_its_worker_stops(pooled: Engine) -> None:
    seen: set[int] = set()

    @pooled.task
    def work(*, shared: Session = provide(engine_, scope="process")) -> None:
        seen.add(id(shared))

    with pooled.run():
        for result in [work.delay() for _ in range(10)]:
            pooled.get(result)
        assert done == ["engine"]
    assert (done, len(seen)) == (["engine", "dispose"], 1)


def test_nobody_else_gives_it(pooled: Engine) -> None:
    @pooled.task
    def work(x: int, y: int = 0, own: Any = provide(session), **more: Any) -> Any:
        return own if isinstance(own, str) else own.name

    for args, kwargs in (((1, 2, "mine"), {}), ((1,), {"own": "mine"})):
        with pytest.raises(TypeError):
            work.apply_async(args, kwargs)
    with pytest.raises(TypeError, match="misses the arguments 'x'"):
        work.delay()
    with pooled.run():
        pooled.post(pooled.frame("work", body=b'[[1],{"own":"mine"}]', id="by-hand"))
        assert "given by the worker" in pooled.fails(pooled.app.result("by-hand")).message
    assert work(1) == "session"
    assert work(1, own="fake") == "fake"


def test_what_cannot_be_is_refused_when_it_is_declared() -> None:
    task = Kernel().task

    def leak(value: Any = provide(session)) -> Any: ...

    with pytest.raises(ConfigError, match="must be the last ones"):
        task(lambda own=provide(session), x=1: None)
    with pytest.raises(ConfigError, match="must be the last ones"):
        task(lambda own=provide(session), *more: None)
    with pytest.raises(ConfigError, match=r"is async def and .* is not: nobody awaits it"):
        task(lambda *, own=provide(asession): None)
    with pytest.raises(ConfigError, match="cannot be closed with its process"):
        provide(asession, scope="process")
    with pytest.raises(ConfigError, match="outlives its value"):
        provide(leak, scope="process")
    with pytest.raises(ConfigError, match="must be call or process"):
        provide(session, scope="thread")  # type: ignore[arg-type]
