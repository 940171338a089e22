"""`kernel demo` on trees as they are in the world."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from process.brokers import started
from services.redis import redis_server, shared_redis

from kernel import discovery
from kernel.cli import demo as module
from kernel.cli.demo_tasks import BLOCK, Facts, facts
from kernel.cli.demo_tree import SKIPPED, Tree, listed, totals
from kernel.cli.main import cli
from kernel.ports import Outgoing


def run(*arguments: str) -> tuple[int, Any, str]:
    """Status, JSON and standard error of the demo."""
    result = CliRunner().invoke(cli, ["demo", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout) if result.stdout else None, result.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of all sorts."""
    root = tmp_path / "tree"
    (root / "empty" / "nested").mkdir(parents=True)
    for number in range(120):
        (root / f"{number}.txt").write_bytes(b"line\n" * number)
    (root / "large.BIN").write_bytes(b"\n" * (2 * BLOCK + 1))
    (root / "none").write_bytes(b"")
    (root / "link.txt").symlink_to(root / "1.txt")
    (root / "loop").symlink_to(root)
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def odd(tree: Path) -> bytes:
    """A file whose name is not UTF-8, where the file system allows it."""
    path = os.path.join(os.fsencode(tree), b"caf\xe9 \xff.txt")
    try:
        Path(os.fsdecode(path)).write_bytes(b"odd\n")
    except OSError:
        pytest.skip("file names are UTF-8 here")
    return path


def test_a_tree_is_counted_exactly_once(tree: Path, odd: bytes) -> None:
    status, found, err = run(str(tree))
    assert status == 0, err
    assert found["equal"]
    assert found["files"] == found["worker"]["files"] == found["sequential"]["files"] == 123
    assert found["worker"]["digest"] == found["sequential"]["digest"]
    assert found["worker"]["types"][".txt"] == {"files": 121, "size": 5 * 7140 + 4, "lines": 7141}
    assert found["worker"]["types"][".bin"]["lines"] == 2 * BLOCK + 1
    assert found["worker"]["types"]["(none)"]["files"] == 1
    assert sum(found["processes"].values()) == 123


def test_a_killed_process_costs_nothing(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number}.txt").write_bytes(str(number).encode() * 200)
    status, found, err = run(str(tmp_path), "--kill")
    assert status == 0, err
    assert found["killed"] is not None, "a process was killed before the end"
    assert f"killed worker process {found['killed']['pid']}" in err
    assert found["killed"]["after"] < 2000
    assert found["worker"]["files"] == 2000
    assert found["equal"]


def test_a_table_for_people(tree: Path) -> None:
    result = CliRunner().invoke(cli, ["demo", str(tree), "--processes", "1", "--keep"])
    assert result.exit_code == 0, result.output
    assert "all, by workers" in result.stdout
    assert result.stdout.rstrip().endswith("equal")
    kept = Path(result.stderr.split("kept: ")[1].strip())
    assert {"demo.db", "worker.log"} <= {path.name for path in kept.iterdir()}


def test_totals_that_differ_are_status_1(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "facts", lambda path: Facts("0" * 64, 1, 1))
    status, found, err = run(str(tree))
    assert (status, found["equal"]) == (1, False)
    assert "error: the totals differ" in err


def test_unreadable_files_are_reported(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not by permissions: root, who builds images, may read everything.
    def one_vanishes(directory: str) -> Tree:
        found = listed(directory)
        found.unlisted.append((str(tree / "secret"), "Permission denied"))
        (tree / "1.txt").unlink()
        return found

    monkeypatch.setattr(module, "listed", one_vanishes)
    monkeypatch.setattr(Tree, "changed", lambda self, path: False)
    status, found, _ = run(str(tree))
    assert status == 0
    assert found["worker"]["unreadable"] == {str(tree / "1.txt"): "No such file or directory"}
    assert found["worker"]["files"] == found["files"] - 1
    assert found["unlisted"] == {str(tree / "secret"): "Permission denied"}


def test_files_that_change_are_reported_and_not_compared(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_differently(path: bytes) -> Facts:
        if path.endswith(b"/1.txt"):
            (tree / "1.txt").write_text("something else")
        return facts(path)

    monkeypatch.setattr(module, "facts", read_differently)
    status, found, _ = run(str(tree))
    assert status == 0
    assert found["changed"] == [str(tree / "1.txt")]


def test_a_directory_without_files(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, _, err = run(str(tmp_path))
    assert (status, err) == (1, f"error: no regular file below {tmp_path}\n")
    assert run(str(tmp_path / "nowhere"))[0] == 2


def test_facts_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"a\nb")
    assert facts(os.fsencode(file)) == Facts(hashlib.sha256(b"a\nb").hexdigest(), 3, 1)
    assert facts(os.fsencode(tmp_path / "gone")) == Facts(error="No such file or directory")


def test_what_took_the_place_of_a_file_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert facts(os.fsencode(tmp_path / "pipe")) == Facts(error="not a regular file any more")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    assert facts(os.fsencode(tmp_path / "link")).error != ""
    assert facts(os.fsencode(tmp_path)).error != ""


def test_a_file_that_changes_is_known(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    tree = listed(str(tmp_path))
    path = os.fsencode(file)
    assert not tree.changed(path)
    file.write_bytes(b"three")
    assert tree.changed(path)
    file.unlink()
    assert tree.changed(path)
    assert totals({path: Facts("x", 1, 1)}, [path]).all.files == 0


def test_what_is_skipped_in_the_standard_library(tmp_path: Path) -> None:
    for name in ("site-packages", "__pycache__", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("")
    assert list(listed(str(tmp_path), SKIPPED).files) == [os.fsencode(tmp_path / "json" / "a.py")]


# -- through a server --------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Work for a second or two."""
    root = tmp_path / "files"
    root.mkdir()
    for number in range(1500):
        (root / f"{number}.txt").write_bytes(str(number).encode() * 200)
    return root


def transport_of(url: str) -> Any:
    transport = discovery.transport(url)
    transport.open()
    return transport


def left_of_the_demo(url: str) -> dict[str, int]:
    """Messages in queues of the demo."""
    transport = transport_of(url)
    try:
        queues = [queue for queue in transport.queues() if queue.startswith("kernel-demo-")]
        sizes = transport.sizes(queues)
        return {size.queue: size.ready + (size.delayed or 0) + (size.in_flight or 0) for size in sizes}
    finally:
        transport.close()


def through(url: str, *arguments: str) -> Any:
    """What the demo found, nothing lost and nothing left."""
    status, found, err = run(*arguments, "--transport", url)
    assert status == 0, err
    assert found["equal"]
    left = left_of_the_demo(url)
    assert left
    assert set(left.values()) == {0}
    return found


def test_a_transport_of_the_user_is_left_as_it_was(tree: Path, tmp_path: Path) -> None:
    """Its queues keep what they had, and the demo takes nothing from them."""
    url = f"sqlite:////{str(tmp_path / 'own.db').lstrip('/')}?synchronous=normal"
    own = transport_of(url)
    own.send([Outgoing("default", b"mine")])
    found = through(url, str(tree))
    assert sum(found["processes"].values()) == found["files"]
    assert own.peek("default", 10) == [b"mine"]
    own.close()
    with sqlite3.connect(tmp_path / "own.db") as database:
        assert database.execute("SELECT count(*) FROM result").fetchone() == (0,)
    database.close()


def test_redis_with_a_killed_process(files: Path) -> None:
    found = through(shared_redis(), str(files), "--kill")
    assert found["killed"]["after"] < 1500


class Restarted:
    """A command that restarts a server of this test: two pipes, because the server is a child of this process."""

    def __init__(self, folder: Path, restart: Callable[[], None]) -> None:
        self._ask, self._done = folder / "ask", folder / "done"
        self._restart = restart
        #: The thread that starts a server must outlive it: the system ends a child with the thread that made it.
        self.over = threading.Event()
        self.error: BaseException | None = None
        for pipe in (self._ask, self._done):
            os.mkfifo(pipe)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def command(self) -> str:
        return f"echo now > {shlex.quote(str(self._ask))} && cat {shlex.quote(str(self._done))}"

    def _serve(self) -> None:
        self._ask.read_text()
        try:
            self._restart()
        except BaseException as error:
            self.error = error
        self._done.write_text("done")
        self.over.wait(120.0)


@pytest.mark.timeout(120)
def test_redis_that_is_restarted_half_way(files: Path, tmp_path: Path) -> None:
    server, url = redis_server("--appendonly", "yes", "--appendfsync", "always")
    restarted = Restarted(tmp_path, server.restart)
    try:
        found = through(url, str(files), "--kill", "--restart", restarted.command)
        assert restarted.error is None
        assert found["killed"] is not None
        assert 750 <= found["restarted"]["after"] < 1500
    finally:
        restarted.over.set()
        server.close()


@pytest.mark.timeout(180)
def test_rabbitmq_that_is_restarted_half_way(files: Path, tmp_path: Path) -> None:
    """Its results are in a file beside it, because it keeps none."""
    server, url = started("rabbitmq")
    restarted = Restarted(tmp_path, server.restart)
    try:
        status, found, err = run(
            str(files), "--transport", f"{url}?prefix=demo.", "--kill", "--restart", restarted.command
        )
        assert status == 0, err
        assert restarted.error is None
        assert found["equal"]
        assert found["killed"] is not None
        assert 750 <= found["restarted"]["after"] < 1500
    finally:
        restarted.over.set()
        server.start()


@pytest.mark.timeout(120)
def test_redis_that_forgets_everything_is_found_out(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that keeps nothing over a restart loses tasks: that is said, and not waited for."""
    server, url = redis_server()

    def forget() -> None:
        monkeypatch.setattr(module, "SILENT_FOR", 1.0)
        server.kill()
        server.start()

    restarted = Restarted(tmp_path, forget)
    try:
        status, _, err = run(str(files), "--transport", url, "--restart", restarted.command)
        assert status == 1
        assert "does the server keep its messages over a restart?" in err
    finally:
        restarted.over.set()
        server.close()


def test_a_restart_that_fails_is_a_failure(files: Path) -> None:
    status, _, err = run(str(files), "--restart", "echo no such container >&2; exit 7")
    assert status == 1
    assert "error: --restart: status 7: no such container" in err


@pytest.mark.parametrize(
    ("url", "status", "says"),
    [
        ("memory://", 2, "lives in one process"),
        ("nosuch://host", 2, "unknown transport 'nosuch'"),
        ("redis://user:secret@127.0.0.1:1/0", 3, "redis://user:***@127.0.0.1:1/0"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_a_status(tmp_path: Path, url: str, status: int, says: str) -> None:
    (tmp_path / "a").write_text("a")
    ended, _, err = run(str(tmp_path), "--transport", url)
    assert ended == status
    assert says in err
    assert err.count("\n") == 1
    assert "secret" not in err
