"""The same bodies where gevent has patched the standard library: locks, waits and pipes of an adapter stay native."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
from gevent import monkey
monkey.patch_all()
import sys, pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("file", "chosen"), [("test_memory.py", "real_time or TestMemory"), ("test_sqlite.py", "Transport")]
)
def test_the_contract_holds_under_monkey_patching(file: str, chosen: str) -> None:
    command = [
        sys.executable,
        "-c",
        RUN,
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        chosen,
        str(Path(__file__).with_name(file)),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout
