"""The supervisor against real processes, real signals and real kills.

Each test runs a supervisor in a process of its own, with a small program in place of the worker. Everything that
happens is a line on their common standard error, so a test waits for lines, never for time.
"""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from services.server import free_port
from support import eventually

import kernel
from kernel.errors import ConfigError
from kernel.supervisor import ExitCode, Supervisor, SupervisorSpec
from kernel.supervisor.restarts import Restarts

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no supervisor on Windows")

LONG = 9.0

SUPERVISE = """
import logging, os, signal, sys, threading, msgspec
from kernel.supervisor import Supervisor, SupervisorSpec
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
fds = len(os.listdir("/dev/fd"))
supervisor = Supervisor(SupervisorSpec(**msgspec.json.decode(sys.argv[1])))
def report():
    for _ in sys.stdin:
        for status in supervisor.status():
            print("status", status.seat, status.pid, status.state.name, status.settled, status.job, file=sys.stderr)
threading.Thread(target=report, daemon=True).start()
code = supervisor.run()
try:
    os.waitpid(-1, os.WNOHANG)
    print("a child is left", file=sys.stderr)
except ChildProcessError:
    print("no child is left", file=sys.stderr)
print("descriptors left:", len(os.listdir("/dev/fd")) - fds, file=sys.stderr)
print("handlers back:", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, file=sys.stderr, flush=True)
raise SystemExit(code)
"""

WORKER = """
import os, signal, sys, threading, time
from kernel.errors import ConfigError
from kernel.worker.seat import ExitCode, State
from kernel.supervisor.child import main

def say(*words):
    os.write(2, (" ".join(map(str, ("child", os.getpid(), *words))) + "\\n").encode())

def first(options):
    try:
        os.close(os.open(options["flag"], os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False

def run(options, seat):
    mode, told = options["mode"], []
    def hear(number, frame):
        say("got", signal.Signals(number).name)
        told.append(number)
    signal.signal(signal.SIGTERM, hear)
    signal.signal(signal.SIGQUIT, hear)
    if mode == "crash":
        os._exit(7)
    if mode == "config":
        raise ConfigError("no such queue: nope")
    if mode == "error":
        raise ValueError("boom")
    if mode == "late":
        time.sleep(60)
    if mode == "version":
        say("version", open(options["version"]).read())
    if mode == "broken later" and not first(options):
        raise ConfigError("broken now")
    if mode == "preloaded":
        import application
        import random
        say("application", application.VERSION, application.LOADED_BY, random.random())
    if mode == "fds":
        say("fds", sorted(set(os.listdir("/dev/fd"))))
    seat.beat_at = time.monotonic()
    seat.settled, seat.job = 5, "busy with " + mode
    seat.state = State.READY
    if mode == "overrun" and first(options):
        seat.kill_at = time.monotonic() + 0.3
    if mode == "brief":
        with open(options["flag"], "ab", 0) as file:
            file.write(b".")
            if file.tell() < 9:
                os._exit(7)
    if mode == "recycle" and first(options):
        return ExitCode.RECYCLE
    if mode == "shutdown" and first(options):
        return ExitCode.SHUTDOWN
    if mode == "hangs at its end":
        threading.Thread(target=time.sleep, args=(60,)).start()
        return 0
    say("works")
    ends = {"deaf": 99, "stubborn": 2}.get(mode, 1)
    while len(told) < ends:
        seat.beat_at = time.monotonic()
        time.sleep(0.01)
    seat.state = State.DRAINING
    say("ends")
    return 0

if __name__ == "__main__":
    raise SystemExit(main(run))
"""


class Running:
    """A supervisor in a process of its own, and the lines that come from all of its processes."""

    def __init__(self, directory: Path, spec: dict[str, Any]) -> None:
        (directory / "tmp").mkdir()
        self.tmp = directory / "tmp"
        self.lines: list[str] = []
        self._news = threading.Condition()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join((str(Path(kernel.__file__).parents[1]), str(directory))),
            "TMPDIR": str(self.tmp),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(directory / "supervise.py"), msgspec.json.encode(spec).decode()],
            stderr=subprocess.PIPE,
            stdin=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip())
                self._news.notify_all()

    def expect(self, pattern: str, count: int = 1, timeout: float = LONG) -> list[str]:
        """Wait until `count` lines match; returns the first group of each (the pid in most)."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                found = self.find(pattern)
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                assert left > 0, f"{len(found)} of {count} lines match {pattern!r}:\n" + "\n".join(self.lines)
                self._news.wait(left)

    def find(self, pattern: str) -> list[str]:
        return [match[match.re.groups and 1] for line in self.lines if (match := re.search(pattern, line))]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def ask_status(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("status\n")
        self.process.stdin.flush()

    def wait(self) -> int:
        """The exit status, after the last line of the last process."""
        code = self.process.wait(LONG)
        self._reader.join(LONG)
        assert not self._reader.is_alive(), "somebody still holds standard error"
        return code

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.send(number)
        return self.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pid in map(int, self.find(r"^child (\d+)") + self.find(r"process (\d+) \(seat \d+\) started")):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._reader.join(LONG)
        for stream in (self.process.stdin, self.process.stderr):
            assert stream is not None
            stream.close()


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a supervisor over processes of a mode."""
    (tmp_path / "supervise.py").write_text(SUPERVISE)
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "application.py").write_text(APPLICATION.format(version=1))
    (tmp_path / "version").write_text("1")
    runs: list[Running] = []

    def begin(mode: str, **spec: Any) -> Running:
        worker = {"mode": mode, "flag": str(tmp_path / "flag"), "version": str(tmp_path / "version")}
        default = {
            "processes": 2,
            "grace": 5.0,
            "margin": 5.0,
            "command": [sys.executable, str(tmp_path / "worker.py")],
        }
        runs.append(Running(tmp_path, default | {"worker": worker} | spec))
        return runs[-1]

    yield begin
    for run in runs:
        run.close()


APPLICATION = """
import os
VERSION = {version}
LOADED_BY = os.getpid()
os.write(2, b"application imported\\n")
"""

ALL_PRELOADS = pytest.mark.parametrize("preload", ["", "application:VERSION"], ids=["fresh", "preload"])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return sys.platform != "linux"


def gone(pids: list[int]) -> bool:
    """Wait until none of these processes runs; they are nobody's children here, so this has to look."""
    deadline = time.monotonic() + LONG
    while any(alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# -- running and ending ----------------------------------------------------------------------------------------


@ALL_PRELOADS
def test_drains_and_leaves_nothing(start: Start, preload: str) -> None:
    run = start("work", preload=preload)
    pids = run.expect(r"child (\d+) works", 2)
    assert run.stop() == ExitCode.OK
    assert len(run.find("got SIGTERM")) == 2
    assert not run.find("got SIGQUIT")
    assert gone([int(pid) for pid in pids])
    assert run.find("no child is left")
    assert run.find("descriptors left: 0")
    assert run.find("handlers back: True")
    assert list(run.tmp.iterdir()) == []


@ALL_PRELOADS
def test_a_child_holds_no_descriptors_but_its_own(start: Start, preload: str) -> None:
    run = start("fds", processes=1, preload=preload)
    (fds,) = run.expect(r"fds \[(.*)\]")
    # Standard streams, board (and its mapping), lifeline, and the one that lists.
    assert len(fds.split(",")) <= 7
    assert run.stop() == ExitCode.OK


def test_an_interrupt_drains_too(start: Start) -> None:
    run = start("work")
    run.expect("works", 2)
    assert run.stop(signal.SIGINT) == ExitCode.OK
    assert len(run.find("got SIGTERM")) == 2


def test_children_do_not_die_of_an_interrupt_or_a_hangup(start: Start) -> None:
    run = start("work", processes=1)
    (pid,) = run.expect(r"child (\d+) works")
    os.kill(int(pid), signal.SIGINT)
    os.kill(int(pid), signal.SIGHUP)
    assert os.getpgid(int(pid)) == int(pid) != os.getpgid(run.process.pid)
    assert run.stop() == ExitCode.OK
    assert run.find(f"child {pid} ends")


def test_a_second_term_cancels(start: Start) -> None:
    run = start("stubborn", grace=60.0)
    run.expect("works", 2)
    run.send(signal.SIGTERM)
    run.expect("got SIGTERM", 2)
    assert run.stop() == ExitCode.OK
    assert len(run.find("got SIGQUIT")) == 2


def test_quit_cancels_at_once(start: Start) -> None:
    run = start("work", grace=60.0)
    run.expect("works", 2)
    assert run.stop(signal.SIGQUIT) == ExitCode.OK
    assert len(run.find("got SIGQUIT")) == 2
    assert not run.find("got SIGTERM")


def test_a_third_term_kills(start: Start) -> None:
    run = start("deaf", grace=60.0, margin=60.0)
    run.expect("works", 2)
    run.send(signal.SIGTERM)
    run.expect("got SIGTERM", 2)
    run.send(signal.SIGTERM)
    run.expect("got SIGQUIT", 2)
    assert run.stop() == ExitCode.FORCED
    assert run.find("no child is left")


def test_every_step_of_the_end_has_a_deadline(start: Start) -> None:
    run = start("deaf", grace=0.1, margin=0.3)
    pids = run.expect(r"child (\d+) works", 2)
    started = time.monotonic()
    assert run.stop() == ExitCode.FORCED
    assert 0.6 < time.monotonic() - started < 5.0
    assert len(run.find("got SIGTERM")) == len(run.find("got SIGQUIT")) == 2
    assert gone([int(pid) for pid in pids])


def test_a_stopped_child_does_not_hold_up_the_end(start: Start) -> None:
    run = start("work", grace=0.1, margin=0.2)
    pid = run.expect(r"child (\d+) works", 2)[0]
    os.kill(int(pid), signal.SIGSTOP)
    assert run.stop() == ExitCode.FORCED
    assert gone([int(pid)])


def test_a_child_that_hangs_at_its_end_is_killed_and_replaced(start: Start) -> None:
    run = start("hangs at its end", processes=1, margin=0.2)
    run.expect(r"has not ended in time: kill")
    run.expect(r"process \d+ \(seat \d+\) started", 2)
    run.stop()


# -- replacing ---------------------------------------------------------------------------------------------------


@ALL_PRELOADS
def test_replaces_a_killed_child(start: Start, preload: str) -> None:
    run = start("work", preload=preload)
    pid = run.expect(r"child (\d+) works", 2)[0]
    os.kill(int(pid), signal.SIGKILL)
    run.expect(rf"ERROR worker process {pid} .* ended: killed by SIGKILL")
    assert len(set(run.expect(r"child (\d+) works", 3))) == 3
    assert run.stop() == ExitCode.OK
    assert run.find("no child is left")


def test_a_crash_loop_ends_with_one_clear_line(start: Start) -> None:
    run = start("crash", restart_backoff=0.01, crash_limit=3)
    assert run.wait() == ExitCode.CRASH_LOOP
    assert run.find("CRITICAL") == ["CRITICAL"]
    assert run.find("crash loop: 6 starts in a row failed")
    assert len(run.find("ended: exit code 7")) == 6


def test_one_bad_start_is_no_crash_loop_while_another_process_is_ready(start: Start) -> None:
    run = start("broken later", processes=1, restart_backoff=0.01, crash_limit=1)
    run.expect("works")
    assert run.stop() == ExitCode.OK


def test_one_that_dies_as_soon_as_it_works_is_no_bad_start(start: Start) -> None:
    run = start("brief", processes=1, restart_backoff=0.01, crash_limit=3)
    run.expect("works")
    assert len(run.find("ended: exit code 7")) == 8
    assert run.stop() == ExitCode.OK


def test_an_error_at_the_start_is_named(start: Start) -> None:
    run = start("error", processes=1, restart_backoff=0.01, crash_limit=1)
    assert run.wait() == ExitCode.CRASH_LOOP
    assert run.find("ended: exit code 1: ValueError: boom")
    assert run.find("Traceback")


def test_a_program_that_is_not_there_is_a_crash_loop(start: Start) -> None:
    run = start("work", command=["/nonexistent/python"], restart_backoff=0.01, crash_limit=2)
    assert run.wait() == ExitCode.CRASH_LOOP


@ALL_PRELOADS
def test_a_configuration_error_stops_all_and_is_told_once(start: Start, preload: str) -> None:
    run = start("config", processes=3, preload=preload)
    assert run.wait() == ExitCode.CONFIG
    assert len(run.find("no such queue: nope")) == 1
    assert run.find("CRITICAL worker processes cannot start: no such queue: nope")
    assert not run.find("Traceback")


def test_a_child_that_is_not_ready_in_time_is_killed(start: Start) -> None:
    run = start("late", processes=1, start_timeout=0.5, crash_limit=1)
    assert run.wait() == ExitCode.CRASH_LOOP
    assert run.find("killed: not ready after 0.5 s")


def test_what_overruns_is_killed_and_replaced(start: Start) -> None:
    run = start("overrun", processes=1)
    (pid,) = run.expect(r"child (\d+) works")
    run.expect(rf"WARNING worker process {pid} .* killed for overrun: busy with overrun")
    run.expect(rf"worker process {pid} .* ended: killed by SIGKILL")
    run.expect(r"child (\d+) works", 2)
    assert run.stop() == ExitCode.OK


def test_recycling_replaces_at_once(start: Start) -> None:
    run = start("recycle", processes=1, restart_backoff=60.0, restart_backoff_max=60.0)
    run.expect(r"INFO worker process \d+ .* ended: exit code 80 \(RECYCLE\)")
    run.expect("works")
    assert run.stop() == ExitCode.OK


def test_a_child_can_shut_all_down(start: Start) -> None:
    run = start("shutdown", processes=3)
    assert run.wait() == ExitCode.OK
    assert run.find("no child is left")


# -- rolling -----------------------------------------------------------------------------------------------------


def test_hup_replaces_one_at_a_time_by_new_code(start: Start, tmp_path: Path) -> None:
    run = start("version", processes=3)
    old = run.expect(r"child (\d+) works", 3)
    (tmp_path / "version").write_text("2")
    run.send(signal.SIGHUP)
    run.expect("rolling restart done")
    assert run.find(r"version (\d)") == ["1"] * 3 + ["2"] * 3
    # Each new one was ready before the next old one was told to drain.
    story = run.find(r"(ready after|got SIGTERM)")
    assert story[3:] == ["ready after", "got SIGTERM"] * 3
    assert sorted(run.find(r"child (\d+) ends")) == sorted(old)
    assert run.stop() == ExitCode.OK
    assert run.find("no child is left")


def test_hup_with_preload_sees_changed_code(start: Start, tmp_path: Path) -> None:
    run = start("preloaded", preload="application:VERSION")
    run.expect("works", 2)
    (tmp_path / "application.py").write_text(APPLICATION.format(version=2))
    run.send(signal.SIGHUP)
    run.expect("rolling restart done")
    assert run.find(r"application (\d) ") == ["1", "1", "2", "2"]
    assert len(run.find("application imported")) == 2
    assert run.stop() == ExitCode.OK
    assert run.find("descriptors left: 0")


@ALL_PRELOADS
def test_code_that_does_not_start_replaces_nothing(start: Start, tmp_path: Path, preload: str) -> None:
    run = start("broken later", processes=1, preload=preload)
    (pid,) = run.expect(r"child (\d+) works")
    run.send(signal.SIGHUP)
    run.expect("rolling restart given up")
    run.expect("broken now")
    os.kill(run.process.pid, signal.SIGUSR1)
    run.expect("Current thread")
    assert run.stop() == ExitCode.OK
    assert run.find(f"child {pid} ends")


def test_a_template_that_cannot_import_replaces_nothing(start: Start, tmp_path: Path) -> None:
    run = start("work", processes=1, preload="application:VERSION")
    (pid,) = run.expect(r"child (\d+) works")
    (tmp_path / "application.py").write_text("import nonsense_that_is_not_there\n")
    run.send(signal.SIGHUP)
    run.expect("rolling restart given up")
    assert run.find("ERROR the new template ended: cannot preload application:VERSION: ModuleNotFoundError")
    assert run.stop() == ExitCode.OK
    assert run.find(f"child {pid} ends")


def test_a_second_hup_rolls_once_more(start: Start) -> None:
    run = start("work")
    run.expect("works", 2)
    run.send(signal.SIGHUP)
    run.expect("works", 3)
    run.send(signal.SIGHUP)
    run.expect("rolling restart done", 2)
    assert len(run.find("works")) == 6
    assert run.stop() == ExitCode.OK


# -- preload -----------------------------------------------------------------------------------------------------


def test_preload_imports_once_and_reseeds(start: Start) -> None:
    run = start("preloaded", processes=3, preload="application:VERSION")
    run.expect("works", 3)
    assert len(run.find("application imported")) == 1
    assert len(set(run.find(r"application 1 (\d+)"))) == 1
    assert len(set(run.find(r"application 1 \d+ (0\.\d+)"))) == 3
    assert run.stop() == ExitCode.OK


def test_preload_of_what_is_not_there_is_a_configuration_error(start: Start) -> None:
    run = start("work", processes=3, preload="application:NOTHING")
    assert run.wait() == ExitCode.CONFIG
    assert len(run.find("CRITICAL worker processes cannot start: cannot preload application:NOTHING")) == 1


def test_preload_refuses_to_fork_beside_a_thread_and_names_it(start: Start, tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(
        "import threading, time\nVERSION = 1\n"
        "threading.Thread(target=time.sleep, args=(60,), name='poller', daemon=True).start()\n"
    )
    run = start("work", preload="application:VERSION")
    assert run.wait() == ExitCode.CONFIG
    assert len(run.find("CRITICAL worker processes cannot start: cannot fork with threads running: poller;")) == 1


def test_a_thread_that_starts_after_the_import_is_found_at_the_next_fork(start: Start, tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(
        "import os, threading, time\nVERSION = 1\n"
        "poller = threading.Thread(target=time.sleep, args=(60,), name='poller', daemon=True)\n"
        "os.register_at_fork(after_in_parent=poller.start)\n"
    )
    run = start("work", preload="application:VERSION")
    assert run.wait() == ExitCode.CONFIG
    assert len(run.find("CRITICAL worker processes cannot start: cannot fork with threads running: poller;")) == 1
    assert run.find("no child is left")


def test_a_killed_template_is_replaced_and_its_processes_go_on(start: Start) -> None:
    run = start("preloaded", preload="application:VERSION")
    pids = run.expect(r"child (\d+) works", 2)
    template = run.expect(r"application 1 (\d+)")[0]
    os.kill(int(template), signal.SIGKILL)
    run.expect("the template ended; its processes go on")
    os.kill(int(pids[0]), signal.SIGKILL)
    run.expect("exit status unknown")
    run.expect("works", 3)
    assert run.find("application imported") == ["application imported"] * 2
    assert run.stop() == ExitCode.OK
    assert run.find(f"child {pids[1]} ends")
    assert gone([int(pids[1])])


def test_term_during_a_long_import_ends_at_once(start: Start, tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text("import os, time\nos.write(2, b'importing\\n')\ntime.sleep(60)\n")
    run = start("work", preload="application:VERSION")
    run.expect("importing")
    assert run.stop() == ExitCode.OK


# -- watching ----------------------------------------------------------------------------------------------------


@ALL_PRELOADS
def test_no_orphans_when_the_supervisor_is_killed(start: Start, preload: str) -> None:
    run = start("work", preload=preload)
    pids = [int(pid) for pid in run.expect(r"process (\d+) \(seat \d+\) started", 2)]
    run.expect("works", 2)
    run.send(signal.SIGKILL)
    run.wait()
    assert gone(pids)
    assert len(run.find("got SIGTERM")) == 2
    assert list(run.tmp.iterdir()) == []


def test_a_deaf_orphan_ends_itself(start: Start) -> None:
    run = start("deaf", processes=1, grace=0.1, margin=0.2)
    (pid,) = run.expect(r"child (\d+) works")
    run.send(signal.SIGKILL)
    run.wait()
    assert gone([int(pid)])
    assert run.find("got SIGQUIT")


def test_the_liveness_file_shows_progress(start: Start, tmp_path: Path) -> None:
    probe = tmp_path / "alive"
    probe.write_text("of an earlier run")
    run = start("work", liveness_file=str(probe), stale_after=0.5)
    pid = int(run.expect(r"child (\d+) works", 2)[0])

    def age_falls_below(age: float, within: float) -> bool:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if probe.exists() and probe.stat().st_size == 0 and time.time() - probe.stat().st_mtime < age:
                return True
            time.sleep(0.02)
        return False

    assert age_falls_below(1.0, within=LONG)
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + LONG
    while time.time() - probe.stat().st_mtime < 2.0:
        assert time.monotonic() < deadline, "touched although a process hangs"
        time.sleep(0.02)
    os.kill(pid, signal.SIGCONT)
    assert age_falls_below(1.0, within=3.0)
    assert run.stop() == ExitCode.OK
    assert not probe.exists()


def health(port: int, path: str = "/ready") -> tuple[int, str]:
    """Status and body of an answer, (0, "") for none."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
    try:
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        client.close()


def test_the_health_port_tells_progress_from_existence(start: Start) -> None:
    port = free_port()

    def status(path: str) -> int:
        return health(port, path)[0]

    run = start("work", health_port=port, stale_after=0.5)
    pid = int(run.expect(r"child (\d+) works", 2)[0])
    eventually(lambda: status("/ready") == 200, LONG)
    assert status("/live") == 200
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: status("/live") == 503, LONG)
    assert status("/ready") == 503
    assert re.search(rf"worker process {pid} \(seat \d\) has not got on for \d+ s", health(port, "/live")[1])
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: status("/live") == status("/ready") == 200, LONG)
    assert run.stop() == ExitCode.OK


def test_a_start_that_fails_again_and_again_is_not_ready(start: Start) -> None:
    port = free_port()
    start("crash", health_port=port, processes=1, restart_backoff=2.0)
    eventually(lambda: "wait for their start" in health(port)[1], LONG)


@ALL_PRELOADS
def test_usr1_dumps_the_stacks_of_all(start: Start, preload: str) -> None:
    run = start("work", preload=preload)
    run.expect("works", 2)
    # The supervisor, the children, the template; a template and a supervisor show their loops.
    wanted = [(r"Current thread|Thread 0x", 3 + bool(preload)), (r'worker\.py", line \d+ in run', 2)]
    wanted += [(r'supervisor\.py", line \d+ in run', 1)]
    wanted += [(r'template\.py", line \d+ in serve', 1)] if preload else []
    # A dump has no lock, so that a line of the log may fall into one of its lines: then the next dump has it whole.
    for last in (False, False, True):
        run.send(signal.SIGUSR1)
        try:
            for pattern, count in wanted:
                run.expect(pattern, count, timeout=10.0)
            break
        except AssertionError:
            if last:
                raise
    assert run.stop() == ExitCode.OK
    assert len(run.find("works")) == 2


def test_status_says_what_the_board_says(start: Start) -> None:
    run = start("work")
    run.expect("ready after", 2)
    run.ask_status()
    pids = run.expect(r"status \d (\d+) READY 5 busy with work", 2)
    assert sorted(pids) == sorted(run.find(r"child (\d+) works"))
    assert run.stop() == ExitCode.OK


# -- parts ---------------------------------------------------------------------------------------------------


def test_the_pause_before_a_restart_doubles_with_each_round_up_to_a_limit() -> None:
    spec = SupervisorSpec(processes=2, restart_backoff=1.0, restart_backoff_max=3.0, crash_limit=3, crash_window=100.0)
    restarts = Restarts(spec)
    assert [restarts.failed(float(at)) for at in range(5)] == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert restarts.looping(5.0) == 0
    assert restarts.failed(5.0) == 3.0
    assert restarts.looping(5.0) == 6
    assert restarts.looping(100.5) == 0, "the first has left the window"
    restarts.succeeded()
    assert restarts.failed(101.0) == 1.0


@pytest.mark.parametrize(
    "wrong",
    [{"processes": 0}, {"margin": 0.0}, {"grace": -1.0}, {"preload": "module"}, {"preload": ":app"}],
    ids=str,
)
def test_a_spec_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SupervisorSpec(**wrong)


def test_a_liveness_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a directory"):
        Supervisor(SupervisorSpec(liveness_file=str(tmp_path / "missing" / "alive")))


# -- the package -------------------------------------------------------------------------------------------------


def in_fresh_interpreter(code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(Path(kernel.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_supervisor_imports_neither_asyncio_nor_multiprocessing() -> None:
    code = "import sys, kernel.supervisor; print(sorted({'asyncio', 'multiprocessing'} & set(sys.modules)))"
    assert in_fresh_interpreter(code).strip() == "[]"


def test_importing_does_not_need_what_windows_lacks() -> None:
    code = """
import os, select, signal, subprocess, faulthandler, logging, tempfile, mmap, socket, msgspec
for module, names in {
    os: "fork setpgid killpg getpgrp waitid P_ALL WNOHANG WEXITED WNOWAIT memfd_create pread register_at_fork",
    signal: "SIGHUP SIGKILL SIGUSR1 SIGQUIT SIGCHLD pthread_sigmask pthread_kill SIG_BLOCK SIG_SETMASK",
    select: "poll POLLIN epoll",
    faulthandler: "register unregister",
    socket: "MSG_DONTWAIT",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
import kernel.supervisor, kernel.supervisor.child
"""
    in_fresh_interpreter(code)


def test_the_first_process_of_a_container_reaps_strangers() -> None:
    code = """
import os, signal
from kernel.supervisor.strangers import reap_strangers
assert reap_strangers(set()) == 0
pids = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    pids.append(pid)
for pid in pids:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
assert reap_strangers(set(pids)) == 0
assert reap_strangers(set()) == 2
"""
    in_fresh_interpreter(code)
