from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kernel_sqlite import SqliteCoordination, SqliteResults, SqliteSchedules, SqliteTransport


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/kernel.db?synchronous=normal"


@pytest.fixture
def opened() -> Iterator[Callable[[Any], Any]]:
    """Open adapters and close them at the end, also when the test fails."""
    adapters: list[Any] = []

    def opener(adapter: Any) -> Any:
        adapters.append(adapter)
        adapter.open()
        return adapter

    yield opener
    for adapter in adapters:
        adapter.close()


@pytest.fixture
def transport(url: str, opened: Callable[[Any], Any]) -> SqliteTransport:
    return opened(SqliteTransport.from_url(url))  # type: ignore[no-any-return]


@pytest.fixture
def other(url: str, opened: Callable[[Any], Any]) -> SqliteTransport:
    return opened(SqliteTransport.from_url(url))  # type: ignore[no-any-return]


@pytest.fixture
def results(url: str, opened: Callable[[Any], Any]) -> SqliteResults:
    return opened(SqliteResults.from_url(url))  # type: ignore[no-any-return]


@pytest.fixture
def coordination(url: str, opened: Callable[[Any], Any]) -> SqliteCoordination:
    return opened(SqliteCoordination.from_url(url))  # type: ignore[no-any-return]


@pytest.fixture
def schedules(url: str, opened: Callable[[Any], Any]) -> SqliteSchedules:
    return opened(SqliteSchedules.from_url(url))  # type: ignore[no-any-return]
