"""A virtual environment per peer, made once from the newest releases and kept under `build/peers`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DRIVERS = Path(__file__).parent / "drivers"
FOLDER = ROOT / "build" / "peers"
#: What `pip` is asked for. hiredis goes wherever redis-py does, so that nobody parses replies in Python.
PACKAGES = {
    "celery": ["celery[redis]", "hiredis"],
    "dramatiq": ["dramatiq[redis,rabbitmq]", "hiredis"],
    "taskiq": ["taskiq", "taskiq-redis", "taskiq-aio-pika", "hiredis"],
    "rq": ["rq", "hiredis"],
    "huey": ["huey", "redis[hiredis]"],
    "bare": ["redis[hiredis]", "pika"],
}
#: Longest installation, in seconds.
LONG = 600.0


def programs(name: str) -> Path:
    """The folder of programs of an environment, made on first use. The name of no peer means our own."""
    if name not in PACKAGES:
        return Path(sys.executable).parent
    folder = FOLDER / name
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=LONG)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--upgrade", *PACKAGES[name]], check=True, timeout=LONG, stderr=subprocess.DEVNULL)
        (folder / "installed").touch()
    return folder / "bin"


def ask(name: str, driver: str, command: str, environment: dict[str, str], timeout: float) -> dict[str, Any]:
    """Run a driver in an environment: its answer. `RuntimeError` with what it said when it fails."""
    line = [str(programs(name) / "python"), str(DRIVERS / f"{driver}.py"), command]
    done = subprocess.run(line, env=variables(environment), capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"{driver} {command} ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def variables(more: dict[str, str]) -> dict[str, str]:
    """The environment variables of a driver or worker: no setting of kernel, the drivers importable."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("KERNEL_")}
    return {**ours, "PYTHONPATH": str(DRIVERS), **more}
