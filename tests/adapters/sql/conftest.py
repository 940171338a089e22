"""An outbox on each database, and the queue that a relay sends to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_sql import SqlOutbox
from services.postgresql import database, shared_postgresql

from kernel import Kernel

_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shop.db"
    return database(shared_postgresql(), f"t{tmp_path.name}{next(_numbers)}".lower().replace("-", "_"))


@pytest.fixture
def outbox(url: str) -> Iterator[SqlOutbox]:
    """Its tables are made."""
    made = SqlOutbox.from_url(url)
    made.create()
    made.open()
    yield made
    made.close()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Kernel]:
    """An application on a queue that several processes may use."""
    with Kernel("outboxes", transport=f"sqlite:///{tmp_path}/queue.db?synchronous=normal", results="none") as app:
        yield app
