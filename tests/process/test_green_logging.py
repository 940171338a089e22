"""Native threads that log in a patched process: one that waits for a green lock of another would wait for ever."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(90)
@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_native_threads_log_beside_each_other(pool: str) -> None:
    if importlib.util.find_spec(pool) is None:
        pytest.skip(f"{pool} is not installed")
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("native_loggers.py")), pool],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )
    assert ran.stdout.strip() == "[True, True, True]", ran.stderr
