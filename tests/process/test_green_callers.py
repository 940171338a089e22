"""Programs that call tasks from greenlets, over a network: nobody who waits may keep the others of its thread."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Running
from services.redis import redis_server

StartWorker = Callable[..., Running]

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"), pytest.mark.timeout(60)]


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_greenlets_of_one_thread_wait_beside_each_other(start_worker: StartWorker, kind: str) -> None:
    server, url = redis_server()
    try:
        start_worker(transport=url)
        program = Path(__file__).with_name("green_callers.py")
        ran = subprocess.run(
            [sys.executable, str(program), kind, url], capture_output=True, text=True, timeout=40, check=False
        )
        assert ran.stdout.strip() == str(list(range(1, 21))), ran.stderr
    finally:
        server.close()
