"""Engines whose messages are sealed, and files of keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from adapters.seal.keyrings import inline
from engine.harness import Engine
from kernel_memory.space import Space

Make = Callable[..., Engine]


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory, and no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("KERNEL_SEAL", "KERNEL_UNSEALED", "KERNEL_CONFIG", "KERNEL_TRANSPORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def keys(tmp_path: Path) -> Callable[..., str]:
    """`keys(kind, *lines)`: the URL of a file that has these lines."""

    def write(kind: str, *lines: str, name: str = "seal.keys") -> str:
        (tmp_path / name).write_text("\n".join(lines) + "\n", "ascii")
        return f"{kind}://?file={tmp_path / name}"

    return write


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes engines and closes them; sealed with HMAC unless `seal` says something else."""
    made: list[Engine] = []

    def make(url: str = "", pool: str = "threads", **options: Any) -> Engine:
        url = url or f"memory://{uuid4().hex}"
        url = f"sqlite:///{tmp_path}/kernel.db?synchronous=normal" if url == "sqlite" else url
        made.append(Engine(url, pool, **{"seal": inline("hmac"), **options}))
        return made[-1]

    yield make
    for engine in made:
        try:
            engine.close()
        finally:
            Space.forget(engine.url.removeprefix("memory://").partition("?")[0])
