"""The pytest plugin: its fixtures, its marker, what it reports, and its weight for those who do not use it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

#: The plugin by its module: the tree may be newer than what is installed.
PLUGIN = ("-p", "no:kernel", "-p", "kernel.fixtures", "-p", "no:cacheprovider", "-W", "error")
OWN = """
    import pytest
    from kernel import Kernel

    app = Kernel("shop", transport="redis://nowhere.invalid")

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @pytest.fixture
    def kernel_under_test():
        return app
"""


def run(pytester: pytest.Pytester, conftest: str, tests: str, *arguments: str) -> pytest.RunResult:
    pytester.makeconftest(conftest)
    pytester.makepyfile(tests)
    return pytester.runpytest_subprocess(*PLUGIN, *arguments)


def test_the_fixtures(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "",
        """
        import pytest
        from kernel import Kernel, current_app

        def declared(app):
            @app.task(name="add")
            def add(x, y):
                return x + y
            return add

        @pytest.fixture
        def kernel_config():
            return {"max_retries": 7, "pool": "threads", "concurrency": 2}

        def test_an_application_of_its_own(kernel_app, kernel_sandbox, kernel_clock):
            assert type(kernel_app) is Kernel and kernel_app is kernel_sandbox.app is current_app()
            assert kernel_clock is kernel_sandbox.clock is kernel_app.clock
            assert kernel_app.config.tasks.max_retries == 7
            result = declared(kernel_app).delay(1, 2)
            kernel_sandbox.assert_enqueued("add", args=(1, 2))
            kernel_sandbox.run_until_idle()
            assert result.get() == 3

        def test_it_is_a_new_one(kernel_app, kernel_sandbox):
            assert kernel_sandbox.enqueued() == [] and dict(kernel_app.tasks) == {}

        def test_a_worker(kernel_app, kernel_worker):
            add = declared(kernel_app)
            assert add.delay(1, 2).get(timeout=5) == 3
            assert kernel_worker.settings.pool == "threads" and kernel_worker.pool.slots == 2

        @pytest.mark.kernel(pool="solo", concurrency=1, max_retries=0)
        class TestMarked:
            def test_of_the_class(self, kernel_app, kernel_worker):
                assert kernel_worker.settings.pool == "solo"
                assert kernel_app.config.tasks.max_retries == 0

            @pytest.mark.kernel(inline=True, max_retries=1)
            def test_the_nearest_wins(self, kernel_app):
                assert declared(kernel_app).delay(1, 2).get() == 3
                assert kernel_app.config.tasks.max_retries == 1

        @pytest.mark.kernel(inline=True)
        @pytest.mark.usefixtures("kernel_app")
        def test_without_asking_for_it():
            assert declared(current_app()).delay(1, 2).get() == 3
        """,
    )
    result.assert_outcomes(passed=6)


def test_an_application_of_the_user(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        OWN,
        """
        import pytest
        from conftest import app, add
        from kernel.errors import UnknownScheme

        def test_in_test_mode(kernel_app, kernel_sandbox):
            assert kernel_app is app
            add.delay(1, 2)
            kernel_sandbox.assert_enqueued(add, args=(1, 2))

        def test_not_in_test_mode():
            assert app.config.ports.transport == "redis://nowhere.invalid"

        def test_what_fails_says_what_was_left(kernel_app):
            add.apply_async((1, 2), countdown=60)
            assert add.delay(3, 4).ready()
        """,
        "--strict-markers",
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*kernel, not run yet*", "conftest.add(3, 4) to 'default'", "*in 60 s"])


def test_what_is_wrong_is_said(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        OWN,
        """
        import threading
        import pytest
        from conftest import app

        going, ends = threading.Event(), threading.Event()

        @app.task
        def stays():
            going.set()
            ends.wait(20)

        @pytest.mark.kernel(max_retry=1)
        def test_a_setting_that_is_none(kernel_app):
            pass

        @pytest.mark.kernel("inline")
        def test_a_word_without_a_name(kernel_app):
            pass

        @pytest.mark.kernel(pool="threads", grace=0.05)
        def test_a_task_that_does_not_end(kernel_app, kernel_worker):
            stays.delay()
            assert going.wait(10)

        def test_end():
            ends.set()
        """,
    )
    result.assert_outcomes(passed=2, errors=3)
    result.stdout.fnmatch_lines_random(
        [
            "*ConfigError: *max_retries*",
            "*takes settings by name*",
            "*stays did not end: its thread is still there*",
        ]
    )


def test_a_suite_that_does_not_use_it_does_not_notice(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        "",
        """
        import sys

        def test_nothing_of_a_worker_is_loaded():
            loaded = {name for name in sys.modules if name.startswith("kernel")}
            assert not {name for name in loaded if name.startswith(("kernel.worker", "kernel_memory"))}
            assert "kernel.testing.sandbox" not in loaded
            assert "asyncio" not in sys.modules
        """,
    )
    result.assert_outcomes(passed=1)


def test_markers_of_the_plugin_are_listed(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(*PLUGIN, "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.kernel(inline=False, [*][*]settings): *"])


def test_the_package_imports_nothing_of_pytest() -> None:
    code = "import sys, kernel.testing; sys.exit('pytest' in sys.modules)"
    path = os.pathsep.join(str(Path(__file__).parents[2] / place) for place in (".", "adapters"))
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, timeout=30)
    assert done.returncode == 0
