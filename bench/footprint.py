"""What kernel costs a program before the first task."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

#: Interpreters started of each kind, in turn.
STARTS = 15


def measure() -> dict[str, float]:
    """Milliseconds that `import kernel` adds to a bare start of the interpreter: the median of pairs."""
    differences = []
    for _ in range(STARTS):
        bare = _start("pass")
        differences.append(_start("import kernel") - bare)
    return {"import kernel, ms above a bare start (median)": statistics.median(differences) * 1000}


def _start(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began
