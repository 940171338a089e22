"""A command line to call, and an application to call it on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.shop import Shop

from kernel import Kernel

_numbers = itertools.count()


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shop]:
    """Tests run in an empty working directory and without settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("KERNEL_APP", "KERNEL_TRANSPORT", "KERNEL_CONFIG", "KERNEL_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    url = f"memory://cli{next(_numbers)}"
    with Kernel("shop", transport=url) as app:
        yield Shop(app, url)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file into the working directory of the test."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
