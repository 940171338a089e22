"""The pages that come from the suite are current."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import test_memory
import test_pools
import test_rabbitmq
import test_redis
import test_serializers
import test_sqlite
import test_sqs
from kernel_conformance.clause import clause_of
from kernel_conformance.compare import claims
from kernel_conformance.report import Report
from services.sqs import CREDENTIALS

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = Path(__file__).parent / "example"

#: The suites whose reports make the capability page: all that have a label.
SUITES: list[type[Any]] = [
    suite
    for module in (test_memory, test_pools, test_rabbitmq, test_redis, test_serializers, test_sqlite, test_sqs)
    for suite in vars(module).values()
    if isinstance(suite, type) and getattr(suite, "label", "") and suite.__module__ == module.__name__
]
PORTS = sorted({suite.port for suite in SUITES})


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def claimed(suite: type[Any]) -> Report:
    """A report with nothing but what the adapter says of itself now."""
    with suite().benched() as bench:
        facts = bench.facts()
    return Report(suite.__name__, suite.port, suite.label, facts["adapter"], facts["features"])


@pytest.mark.parametrize("port", PORTS)
def test_the_capability_page_has_the_claims_of_today(port: str) -> None:
    reports = [claimed(suite) for suite in SUITES if suite.port == port]
    table = claims(sorted(reports, key=lambda report: report.title))
    page = (ROOT / "docs" / "capabilities.md").read_text()
    assert table in page, "run `make docs` and commit docs/capabilities.md"


@pytest.mark.parametrize("port", PORTS)
def test_the_capability_page_has_every_clause(port: str) -> None:
    page = (ROOT / "docs" / "capabilities.md").read_text()
    suite = next(suite for suite in SUITES if suite.port == port)
    for test in suite.standard.values():
        clause = clause_of(test)
        assert f"| {clause.id} |" in page, "run `make docs` and commit docs/capabilities.md"
        assert clause.text in page, "run `make docs` and commit docs/capabilities.md"


@pytest.mark.parametrize("name", ["pyproject.toml", "kernel_spool.py", "test_spool.py"])
def test_the_example_on_the_page_is_the_one_that_is_tested(name: str) -> None:
    page = (ROOT / "docs" / "write-an-adapter.md").read_text()
    assert f"`{name}`:\n\n```" in page
    assert (EXAMPLE / name).read_text() in page, f"copy {EXAMPLE.name}/{name} into docs/write-an-adapter.md"
