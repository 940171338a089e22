"""The servers of the tests: what installs them, what names them, and that none outlives its session."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import eventually

ROOT = Path(__file__).parents[2]
#: Modules of `tests/services` that start a server.
SERVICES = sorted(path.stem for path in (ROOT / "tests" / "services").glob("*.py") if "VARIABLE" in path.read_text())


class Machine:
    """Programs that are there, and a stub of `apt-get` that installs some."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.policy = folder / "policy-rc.d"
        self.calls = folder / "calls"
        for name in ("bash", "sh", "mktemp", "rm", "grep", "tail", "chmod", "cat", "env", "touch"):
            found = shutil.which(name)
            assert found is not None
            (self.bin / name).symlink_to(found)
        self.has("id", "echo 0")

    def has(self, name: str, script: str = "") -> None:
        """A program of this name is installed."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def has_apt(self, *packages: str) -> None:
        """`apt-get` installs these, and notes each call and what the policy says at the time."""
        installs = "".join(
            f'case "$*" in *" {name}") touch {self.bin}/{name}; chmod 755 {self.bin}/{name}; exit 0;; esac\n'
            for name in packages
        )
        forbids = f'[ -x {self.policy} ] && {self.policy}; echo "$? $*" >> {self.calls}'
        update = 'case "$*" in *update) exit 0;; esac'
        self.has("apt-get", f"{forbids}\n{update}\n{installs}echo 'E: Unable to locate package'; exit 100")

    def run(self, **environment: str) -> tuple[int, str]:
        """Status and everything said."""
        done = subprocess.run(
            ["bash", str(ROOT / ".ci" / "services")],
            env={"PATH": str(self.bin), "PLACES": "/nowhere", "POLICY": str(self.policy), **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if os.name != "posix" or not shutil.which("bash"):
        pytest.skip("a shell script")
    return Machine(tmp_path)


@pytest.mark.parametrize("redis", ["redis-server", "valkey-server"])
@pytest.mark.parametrize("postgresql", ["postgres", "pg_ctlcluster"])
def test_nothing_is_said_or_done_when_all_are_there(machine: Machine, redis: str, postgresql: str) -> None:
    machine.has(redis)
    machine.has("rabbitmq-server")
    machine.has(postgresql)
    machine.has_apt()
    assert machine.run(CI="true") == (0, "")
    assert not machine.calls.exists()


def test_what_is_missing_is_installed_and_not_started(machine: Machine) -> None:
    machine.has("redis-server")
    machine.has("postgres")
    machine.has_apt("rabbitmq-server")
    assert machine.run(CI="true") == (0, "installing servers for the tests: rabbitmq\n")
    assert all(line.startswith("101 ") for line in machine.calls.read_text().splitlines()), "the policy was in force"
    assert not machine.policy.exists(), "and is gone"
    assert machine.run() == (0, "")


def test_a_policy_of_the_machine_stays(machine: Machine) -> None:
    machine.has_apt("redis-server", "rabbitmq-server", "postgresql")
    machine.policy.write_text("#!/bin/sh\nexit 101\n# mine\n")
    machine.policy.chmod(0o755)
    assert machine.run()[0] == 0
    assert "# mine" in machine.policy.read_text()


def test_valkey_does_where_there_is_no_redis(machine: Machine) -> None:
    machine.has("rabbitmq-server")
    machine.has("postgres")
    machine.has_apt("valkey-server")
    assert machine.run(CI="true")[0] == 0


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_a_failed_install_is_said_and_is_a_failure_in_ci(machine: Machine, ci: str, status: int) -> None:
    machine.has_apt()
    ended, said = machine.run(CI=ci)
    assert ended == status
    assert "installing failed: E: Unable to locate package\n" in said
    assert "no server for tests of: redis rabbitmq postgresql." in said
    assert not machine.policy.exists()


@pytest.mark.parametrize("who", ["not root", "no apt"])
def test_elsewhere_one_line_says_what_to_install(machine: Machine, who: str) -> None:
    if who == "not root":
        machine.has_apt("redis-server", "rabbitmq-server")
        machine.has("id", "echo 1000")
    status, said = machine.run()
    assert status == 0
    assert said.count("\n") == 1
    assert all(name in said for name in ("apt-get install", "brew install", "dnf install", "docker compose"))
    assert not machine.calls.exists()
    assert machine.run(CI="1")[0] == 1


def test_an_existing_server_needs_no_program(machine: Machine) -> None:
    given = {f"KERNEL_TEST_{name}_URL": "there://host" for name in ("REDIS", "RABBITMQ", "POSTGRESQL")}
    assert machine.run(CI="1", **given) == (0, "")


def test_make_test_asks_for_the_servers_first() -> None:
    recipe = re.search(r"^test: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    lines = recipe[1].split("\n")
    assert lines[0] == "\t.ci/services"
    assert os.access(ROOT / ".ci" / "services", os.X_OK)


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_in_the_compose_file_and_in_tox_and_on_the_page(service: str) -> None:
    compose = (ROOT / "compose.yaml").read_text()
    assert service in re.findall(r"^  (\w+):$", compose, re.MULTILINE)
    variable = f"KERNEL_TEST_{service.upper()}_URL"
    assert f"export {variable}=" in compose
    assert variable in (ROOT / "CONTRIBUTING.md").read_text()
    assert f"[testenv:{service}]" in (ROOT / "tox.ini").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only an orderly end of the session ends its servers")
@pytest.mark.parametrize("end", ["sys.exit()", "os.kill(os.getpid(), 9)"], ids=["ended", "killed"])
def test_no_server_outlives_its_session(end: str) -> None:
    from services.redis import INSTALL
    from services.server import program

    program("redis-server", "valkey-server", install=INSTALL)
    session = f"import os, sys; from services.redis import redis_server; print(redis_server()[1], flush=True); {end}"
    search = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", session],
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    port = int(re.findall(r":(\d+)/", done.stdout)[0])
    eventually(lambda: _refused(port), what=f"port {port} is closed")


def _refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
