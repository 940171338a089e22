"""The pytest plugin: an application in test mode as a fixture.

It is loaded by every pytest run of the environment, so it imports nothing more than `kernel` itself and acts only on
tests that ask for one of its fixtures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from kernel.app import Kernel

if TYPE_CHECKING:
    from kernel.testing.clock import VirtualClock
    from kernel.testing.sandbox import Sandbox
    from kernel.worker.worker import Worker

#: The sandbox of a test.
_SANDBOX = pytest.StashKey["Sandbox"]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "kernel(inline=False, **settings): how the application of this test runs, as kernel.testing.of takes it",
    )


@pytest.fixture
def kernel_config() -> dict[str, Any]:
    """Settings of the application in tests; override it. The marker of a test wins over it."""
    return {}


@pytest.fixture
def kernel_under_test() -> Kernel:
    """The application that is put in test mode: a new one. Override it to return your own."""
    return Kernel("test")


@pytest.fixture
def kernel_sandbox(
    request: pytest.FixtureRequest, kernel_under_test: Kernel, kernel_config: dict[str, Any]
) -> Iterator[Sandbox]:
    """The application in test mode: what was sent, what is to run, and the time."""
    from kernel.testing.sandbox import of

    words = _words(request.node)
    with of(kernel_under_test, **{**kernel_config, **words}) as sandbox:
        request.node.stash[_SANDBOX] = sandbox
        yield sandbox


@pytest.fixture
def kernel_app(kernel_sandbox: Sandbox) -> Kernel:
    """The application, in test mode."""
    return kernel_sandbox.app


@pytest.fixture
def kernel_clock(kernel_sandbox: Sandbox) -> VirtualClock:
    """The time of the application."""
    return kernel_sandbox.clock


@pytest.fixture
def kernel_worker(kernel_sandbox: Sandbox) -> Iterator[Worker]:
    """A worker in a thread, with the pool of the configuration. An error of the test when its tasks do not end."""
    with kernel_sandbox.worker() as worker:
        yield worker


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Say what was left in the queues below the failure of a test."""
    report = yield
    sandbox = item.stash.get(_SANDBOX, None)
    if report.failed and report.when == "call" and sandbox is not None:
        left = sandbox.leftovers()
        if left:
            report.sections.append(("kernel, not run yet", "\n".join(map(str, left))))
    return report


def _words(item: pytest.Item) -> dict[str, Any]:
    """What the markers of a test say, the nearest last."""
    words: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers("kernel"))):
        if mark.args:
            raise pytest.UsageError("the marker kernel takes settings by name, as in @pytest.mark.kernel(inline=True)")
        words.update(mark.kwargs)
    return words
