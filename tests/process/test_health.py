"""Liveness and readiness of a real worker: by port, by file, and by `kernel health`."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from running import LONG, Running
from services.redis import redis_server
from services.server import free_port
from support import eventually

from kernel.app import Kernel
from kernel.cli.main import cli
from kernel.worker.seat import ExitCode

StartWorker = Callable[..., Running]

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"), pytest.mark.timeout(120)]


def ask(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """Status and body; (0, {}) for no answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5.0) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
    except OSError:
        return 0, {}


def probe(*arguments: str, **environment: str) -> tuple[int, str]:
    """Status and output of `kernel health`."""
    result = CliRunner(env={"KERNEL_CONFIG": "none", **environment}).invoke(cli, ["health", *arguments])
    return result.exit_code, result.output


def test_from_start_to_end(start_worker: StartWorker, sender: Kernel, ledger: Path, tmp_path: Path) -> None:
    port, gate, sign = free_port(), tmp_path / "gate", tmp_path / "ready"
    run = start_worker("--health-port", str(port), "--readiness-file", str(sign), processes=2)
    eventually(lambda: ask(port, "/ready")[0] == 200, LONG)
    assert ask(port, "/live") == (200, {"live": True, "ready": True, "why": []})
    assert probe(KERNEL_HEALTH_PORT=str(port)) == (0, '{"live":true,"ready":true,"why":[]}\n')
    assert probe("--ready", f"http://localhost:{port}")[0] == 0
    eventually(sign.exists, LONG)
    sender.send_task("gated", [str(ledger), "word", str(gate)])
    eventually(ledger.exists, LONG)
    run.send(signal.SIGTERM)
    run.expect("SIGTERM: drain")
    eventually(lambda: ask(port, "/ready")[0] == 503, LONG)
    status, body = ask(port, "/live")
    assert (status, body["why"][0]) == (200, "the worker was told to stop: drain")
    eventually(lambda: not sign.exists(), LONG)
    status, text = probe("--ready", f"http://127.0.0.1:{port}")
    assert (status, "told to stop: drain" in text) == (1, True)
    gate.touch()
    assert run.wait() == ExitCode.OK
    assert ask(port, "/live")[0] == 0
    assert probe(f"http://127.0.0.1:{port}")[0] == 1


def test_a_long_task_is_progress_and_a_frozen_process_is_none(
    start_worker: StartWorker, sender: Kernel, ledger: Path
) -> None:
    """`stale_after` of the supervisor is 30 s, so the frozen one is looked at in the tests of the supervisor."""
    port = free_port()
    start_worker("--health-port", str(port), "--pool", "solo")
    sender.send_task("spin", [str(ledger), 3.0])
    eventually(ledger.exists, LONG)
    for _ in range(3):
        assert ask(port, "/live")[0] == ask(port, "/ready")[0] == 200


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_worker_without_its_broker_is_alive_and_not_ready(start_worker: StartWorker, pool: str) -> None:
    server, url = redis_server()
    port = free_port()
    try:
        server.stop()
        run = start_worker("--health-port", str(port), "--pool", pool, transport=f"{url}?lease=2", wait=False)
        run.expect("is unavailable: ")
        eventually(lambda: "unavailable" in str(ask(port, "/ready")), LONG)
        assert (ask(port, "/live")[0], ask(port, "/ready")[0]) == (200, 503), "away when it starts"
        server.start()
        eventually(lambda: ask(port, "/ready")[0] == 200, LONG)
        server.stop()
        eventually(lambda: ask(port, "/ready")[0] == 503, LONG)
        status, body = ask(port, "/live")
        assert status == 200
        assert "waits: the transport is unavailable" in body["why"][0]
        server.start()
        eventually(lambda: ask(port, "/ready")[0] == 200, LONG)
        assert len(run.find(r"\) started")) == 1, "and it is the same process all the time"
    finally:
        server.close()


def test_a_process_that_is_missing_makes_the_worker_not_ready(start_worker: StartWorker) -> None:
    port = free_port()
    run = start_worker("--health-port", str(port), processes=2)
    eventually(lambda: ask(port, "/ready")[0] == 200, LONG)
    seen: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.append(ask(port, "/ready")[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    os.kill(run.ready(2)[0], signal.SIGKILL)
    run.ready(3)
    eventually(lambda: seen[-1] == 200, LONG)
    stop.set()
    watcher.join(LONG)
    assert 503 in seen
    assert 0 not in seen


def test_hostile_clients_do_not_hold_up_the_supervisor(
    start_worker: StartWorker, sender: Kernel, tmp_path: Path
) -> None:
    port = free_port()
    run = start_worker("--health-port", str(port))
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), 1.0) as client:
                    client.sendall(b"GET /li" + os.urandom(100))
            except OSError:
                pass

    floods = [threading.Thread(target=flood) for _ in range(2)]
    silent = [socket.create_connection(("127.0.0.1", port), 5.0) for _ in range(20)]
    for thread in floods:
        thread.start()
    try:
        (pid,) = run.ready()
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        run.ready(2)
        assert time.monotonic() - began < LONG / 2
        eventually(lambda: ask(port, "/ready")[0] == 200, LONG)
    finally:
        stop.set()
        for thread in floods:
            thread.join(LONG)
        for client in silent:
            client.close()
    assert run.stop() == ExitCode.OK


def test_a_port_that_is_taken_is_one_line(start_worker: StartWorker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run = start_worker("--health-port", str(port), wait=False)
        assert run.wait() == ExitCode.CONFIG
    assert run.lines == [
        f"error: health port {port} on 127.0.0.1: address already in use; choose another --health-port"
    ]


def test_a_file_is_a_sign_of_life_while_it_is_young(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    assert probe(str(path)) == (1, f"error: {path}: no such file or directory\n")
    path.touch()
    assert probe(KERNEL_LIVENESS_FILE=str(path))[0] == 0
    os.utime(path, (0, time.time() - 31))
    assert probe(str(path))[0] == 1
    assert probe(str(path), "--max-age", "60")[0] == 0


def test_what_cannot_be_asked_is_refused() -> None:
    assert probe()[0] == 2
    assert probe("ftp://127.0.0.1:1")[0] == 2
    assert probe("http://127.0.0.1")[0] == 2
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        status, text = probe(f"http://127.0.0.1:{deaf.getsockname()[1]}", "--timeout", "0.1")
    assert (status, "no answer in time" in text) == (1, True)
