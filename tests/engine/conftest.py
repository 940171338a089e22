"""The engine fixtures: the same tests over every pool, on memory and on SQLite."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from engine.harness import Engine
from kernel_memory.space import Space

POOLS = ("solo", "threads", "asyncio", "gevent", "eventlet")
Make = Callable[..., Engine]

# eventlet says once, when it is first imported, that it is deprecated.
if importlib.util.find_spec("eventlet") is not None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("eventlet")


def _urls(kind: str, tmp_path: Path) -> str:
    return f"memory://{uuid4().hex}" if kind == "memory" else f"sqlite:///{tmp_path}/kernel.db?synchronous=normal"


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Make]:
    """Makes engines and closes them: `engines(pool, adapter, **settings)`."""
    made: list[Engine] = []

    def make(pool: str = "threads", adapter: str = "memory", query: str = "", **options: Any) -> Engine:
        if importlib.util.find_spec(pool) is None and pool in ("gevent", "eventlet"):
            pytest.skip(f"{pool} is not installed")
        url = _urls(adapter, tmp_path)
        url += f"{'&' if '?' in url else '?'}{query}" if query else ""
        engine = Engine(url, pool, **options)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        try:
            engine.close()
        finally:
            Space.forget(engine.url.removeprefix("memory://").partition("?")[0])


@pytest.fixture(params=("memory", "sqlite"))
def adapter(request: pytest.FixtureRequest) -> str:
    """Each adapter."""
    name: str = request.param
    return name


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    """Each pool."""
    name: str = request.param
    return name


@pytest.fixture
def engine(engines: Make, pool: str, adapter: str) -> Engine:
    """An engine of each pool on each adapter."""
    return engines(pool, adapter)


@pytest.fixture
def pooled(engines: Make, pool: str) -> Engine:
    """An engine of each pool, on memory: for what has nothing to do with the adapter."""
    return engines(pool)


@pytest.fixture
def make(engines: Make, pool: str) -> Callable[..., Engine]:
    """Makes engines of each pool on memory, with settings."""
    return lambda **options: engines(pool, **options)
