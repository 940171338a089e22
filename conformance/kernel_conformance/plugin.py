"""The pytest plugin: guards the standard tests, applies deviations, explains failures and writes the report.

It is loaded by every pytest run of the environment, so it imports nothing but pytest and acts on classes that
carry the suite's tests only.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

# Named one by one, because the package itself is imported already when this line runs.
pytest.register_assert_rewrite(
    "kernel_conformance.bench",
    "kernel_conformance.coordination",
    "kernel_conformance.pool",
    "kernel_conformance.results",
    "kernel_conformance.schedule",
    "kernel_conformance.serializer",
    "kernel_conformance.transport",
)

#: Key of the data that a test attaches to its pytest report.
PROPERTY = "kernel_conformance"


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option: where the reports go."""
    parser.getgroup("kernel conformance").addoption(
        "--kernel-conformance-report",
        metavar="DIR",
        type=Path,
        help="write one JSON report and one Markdown table per adapter to DIR",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect outcomes only where a report is asked for."""
    directory = config.getoption("--kernel-conformance-report")
    if directory is not None and not hasattr(config, "workerinput"):
        from kernel_conformance.recorder import Recorder  # only here: every pytest run loads this module

        recorder = Recorder(directory, PROPERTY)
        config.pluginmanager.register(recorder, "kernel-conformance-recorder")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse classes whose standard tests were tampered with; mark deviations as expected failures."""
    for suite in {item.cls for item in items if isinstance(item, pytest.Function) and _is_suite(item.cls)}:
        problems = tampering(suite)
        if problems:
            raise pytest.UsageError(f"{suite.__module__}.{suite.__qualname__}: " + "; ".join(problems))
    for item in items:
        if isinstance(item, pytest.Function) and _is_standard(item):
            _describe(item)


def tampering(suite: Any) -> list[str]:
    """Standard tests that are overridden or deleted without a written deviation, and deviations of nothing."""
    ids = {name: _identity(test) for name, test in suite.standard.items()}
    problems = [
        f"{name} ({ids[name]}) is overridden or deleted without an entry in deviations"
        for name, test in suite.standard.items()
        if _static(suite, name) is not test and ids[name] not in suite.deviations
    ]
    problems += [f"deviations name {id}, which is no clause" for id in suite.deviations if id not in ids.values()]
    problems += [f"the deviation {id} has no reason" for id, why in suite.deviations.items() if not why.strip()]
    return problems


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Say what to do below the failure of a standard test."""
    report = yield
    if report.failed and isinstance(item, pytest.Function) and _is_standard(item):
        clause = import_module("kernel_conformance.clause").clause_of(item.function)
        report.sections.append((f"{clause.id}, what to do", f"{clause.text}\n{clause.advice}"))
    return report


def _describe(item: pytest.Function) -> None:
    """Attach the facts of a standard test, and its deviation as a strict expected failure."""
    suite: Any = item.cls
    identity = _identity(suite.standard[item.originalname])
    deviation = suite.deviations.get(identity, "")
    if deviation and _static(suite, item.originalname) is suite.standard[item.originalname]:
        item.add_marker(pytest.mark.xfail(reason=f"deviation from {identity}: {deviation}", strict=True))
    facts = {
        "suite": f"{suite.__module__}.{suite.__qualname__}",
        "label": suite.label,
        "port": suite.port,
        "id": identity,
        "text": _first_line(suite.standard[item.originalname]).partition(": ")[2],
        "deviation": deviation,
    }
    item.user_properties.append((PROPERTY, facts))


def _is_suite(kind: Any) -> bool:
    return isinstance(getattr(kind, "standard", None), dict) and hasattr(kind, "deviations")


def _is_standard(item: pytest.Function) -> bool:
    return _is_suite(item.cls) and item.originalname in item.cls.standard


def _static(suite: Any, name: str) -> Any:
    found = inspect.getattr_static(suite, name, None)
    return found.__func__ if isinstance(found, staticmethod) else found


def _first_line(test: Any) -> str:
    return str(test.__doc__).strip().partition("\n")[0]


def _identity(test: Any) -> str:
    return _first_line(test).partition(":")[0]
