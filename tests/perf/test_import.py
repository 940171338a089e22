"""What `import kernel` loads in a fresh interpreter. A producer pays for it in every process of a web server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = "import sys; before = set(sys.modules); import kernel; print(*sorted(set(sys.modules) - before))"
#: Packages that only a worker, a tool, an adapter or a test needs.
UNWANTED = {
    *("asyncio", "multiprocessing", "concurrent", "ssl", "http", "sqlite3", "unittest", "cProfile", "argparse"),
    *("click", "rich", "pytest", "hypothesis", "gevent", "eventlet", "greenlet"),
    *("redis", "pika", "amqp", "kombu", "boto3", "botocore", "pymongo", "psycopg", "sqlalchemy", "celery"),
}


def loaded() -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_kernel_loads_only_what_a_producer_needs() -> None:
    modules = loaded()
    assert "kernel.app" in modules
    surplus = sorted(name for name in modules if name.partition(".")[0] in UNWANTED or name.startswith("kernel_"))
    assert surplus == [], f"import kernel loads {', '.join(surplus)}"


def test_importing_kernel_loads_no_part_of_the_worker() -> None:
    parts = ("kernel.worker", "kernel.supervisor", "kernel.pools", "kernel.beat", "kernel.cli")
    assert sorted(name for name in loaded() if name.startswith(parts)) == []
