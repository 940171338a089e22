"""What a worker says about itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kernel import Kernel, discovery
from kernel.declaring import shared
from kernel.worker.banner import SHOWN, WIDTH, banner


@pytest.fixture(autouse=True)
def nothing_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of other tests may share tasks; here they would be in the way."""
    for name in list(shared):
        monkeypatch.delitem(shared, name)


def said(tasks: int = 1, **options: Any) -> str:
    """The banner of an application with some tasks."""
    options = {"transport": "memory://banner", "results": "none", **options}
    with Kernel("shop", **options) as app:
        for number in range(tasks):
            app.task(name=f"shop.task{number:03}")(lambda: None)
        pool = discovery.pool("solo", 1)
        return banner(app, SimpleNamespace(settings=app.config.worker, pool=pool, ports=app.ports))


def test_what_matters_is_there() -> None:
    text = said(queues=("mail:5", "default"), transport="memory://banner?mask=dedup,lease")
    for part in (
        "application shop",
        "memory://banner",
        "held while connected",
        "dedup: claims",
        "mail:5, default (fair",
    ):
        assert part in text
    assert "results      none" in text or "results    none" in text
    assert "1: shop.task000" in text


def test_only_some_names_are_shown() -> None:
    text = said(SHOWN + 5)
    assert f"shop.task{SHOWN - 1:03}, and 5 more" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "none: the application declares no task" in said(0)


def test_secrets_are_masked() -> None:
    assert "hunter2" not in said(transport="memory://me:hunter2@banner", results="memory://me:hunter2@banner")


def test_the_number_of_processes_is_said(monkeypatch: Any) -> None:
    assert "in 1 process" in said()
    monkeypatch.setenv("KERNEL_PROCESSES", "3")
    assert "each of 3 processes" in said()
