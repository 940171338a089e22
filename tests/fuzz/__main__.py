"""`python -m fuzz [TARGET...] [--seconds N]`: the targets for longer, guided by coverage where atheris is installed.

pip install atheris        where it has a wheel for this Python
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz.targets import BOMBS, SEEDS, TARGETS, bounded

#: Largest input, in bytes.
LONGEST = 4096


def main() -> int:
    """Run; the exit status is 1 when a target failed, and the input is printed."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz what reads bytes of strangers.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"some of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (default: 60)")
    given = parser.parse_args()
    guided = importlib.util.find_spec("atheris") is not None
    if not guided:
        print("atheris is not installed (pip install atheris): inputs are damaged at random, not guided by coverage")
    failed = 0
    for name in given.targets or TARGETS:
        for bomb in BOMBS.values():
            bounded(TARGETS[name], bomb)
        failed += _guided(name, given.seconds) if guided else _random(name, given.seconds)
    return min(1, failed)


def _guided(name: str, seconds: float) -> int:
    """In a process of its own: libFuzzer ends the process that it runs in, and counts its memory."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS[name]):
            Path(corpus, str(number)).write_bytes(seed)
        command = [sys.executable, "-m", "fuzz.guided", name, corpus, f"-max_total_time={seconds:.0f}",
                   f"-max_len={LONGEST}", "-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1",
                   f"-artifact_prefix={corpus}/"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    runs = next((line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line), "?")
    print(f"{name:10} {runs:>9} inputs, guided: {'well' if done.returncode == 0 else 'FAILED'}", flush=True)
    if done.returncode:
        print(done.stdout + done.stderr)
    return int(done.returncode != 0)


def _random(name: str, seconds: float) -> int:
    chance, ends_at, count = random.Random(name), time.monotonic() + seconds, 0
    while time.monotonic() < ends_at:
        data = _damaged(chance, bytearray(chance.choice(SEEDS[name])))
        count += 1
        try:
            TARGETS[name](data)
        except Exception as error:
            print(f"{name:10} FAILED with {type(error).__name__}: {error}\n  input: {data.hex()}")
            return 1
    print(f"{name:10} {count:>9} inputs, at random: well", flush=True)
    return 0


def _damaged(chance: random.Random, data: bytearray) -> bytes:
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.randrange(8))
        match chance.randrange(4):
            case 0:
                data[at:end] = chance.randbytes(chance.randrange(6))
            case 1:
                data[at:end] = data[at:end] * chance.randrange(1, 30)
            case 2 if at < len(data):
                data[at] = chance.choice((0, 1, 0x7F, 0x80, 0x90, 0xDC, 0xDD, 0xDF, 0xC6, 0xCB, 0xFF, 0x22, 0x24, 0x5B))
            case _:
                del data[at:end]
    return bytes(data[:LONGEST])


if __name__ == "__main__":
    sys.exit(main())
