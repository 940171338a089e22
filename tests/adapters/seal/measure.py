"""What sealing and opening take per message: `python tests/adapters/seal/measure.py`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "adapters"), str(ROOT / "tests")]

from kernel_seal import Ring  # noqa: E402
from kernel_seal.kinds import KINDS  # noqa: E402

from kernel.clock import SYSTEM  # noqa: E402
from kernel.sealing.sealing import QUEUE, Sealing  # noqa: E402

#: Runs of which the fastest counts, and seconds of each: short ones, of which some have a shared core to themselves.
RUNS, LASTS = 200, 0.005


def per_call(call: Callable[[], object]) -> float:
    """Microseconds of the processor."""
    best = float("inf")
    for _ in range(RUNS):
        count, began = 0, time.thread_time()
        while (taken := time.thread_time() - began) < LASTS:
            for _ in range(20):
                call()
            count += 20
        best = min(best, taken / count)
    return best * 1e6


def main() -> None:
    """Print a line for each kind of key and size of a frame: microseconds, and bytes that are added."""
    for kind in ("hmac", "aes", "ed25519"):
        sealing = Sealing(Ring(kind, {"2026-07": (kind, KINDS[kind](bytes(range(32))))}, "here"), "refuse", SYSTEM)
        for size in (100, 1000, 100_000):
            frame = bytes(size)
            sealed = sealing.seal(frame, QUEUE, "mail")
            seals = per_call(lambda sealing=sealing, frame=frame: sealing.seal(frame, QUEUE, "mail"))
            opens = per_call(lambda sealing=sealing, sealed=sealed: sealing.open(sealed, QUEUE, "mail"))
            print(
                f"{kind:8} {size:7} bytes: seal {seals:6.1f} us, open {opens:6.1f} us, {len(sealed) - size} bytes more"
            )


if __name__ == "__main__":
    main()
