"""PostgreSQL servers of the tests: a private cluster of databases in a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import psycopg

from services.server import Server, free_port, program

#: An existing server to use in place of one of our own, as an URL of SQLAlchemy; its user may create databases.
VARIABLE = "KERNEL_TEST_POSTGRESQL_URL"
INSTALL = "apt-get install postgresql (12 or later), or set KERNEL_TEST_POSTGRESQL_URL"
#: Whom the server runs as when it is started by root, which it refuses.
USER = "postgres"


def binary(name: str) -> str:
    """A program of the server; Debian keeps them off the path."""
    for place in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True):
        return str(place)
    return program(name, install=INSTALL)


def _as_user(*command: str) -> list[str]:
    if os.geteuid() != 0:
        return list(command)
    who = (f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    # Said anew, because a change of the user takes it away.
    return [program("setpriv", install="util-linux"), *who, "--pdeathsig", "KILL", *command]


def _connect(port: int) -> psycopg.Connection:
    return psycopg.connect(f"postgresql://{USER}@127.0.0.1:{port}/postgres", autocommit=True, connect_timeout=5)


def _answers(port: int) -> bool:
    with _connect(port) as connection:
        return connection.execute("SELECT 1").fetchone() == (1,)


def postgresql_server() -> tuple[Server, str]:
    """A private server, started, and its URL."""
    port = free_port()
    postgres = binary("postgres")

    def command(directory: Path) -> list[str]:
        data = directory / "data"
        options = ("-p", str(port), "-h", "127.0.0.1", "-k", "", "-c", "shared_buffers=16MB")
        return _as_user(postgres, "-D", str(data), *options)

    server = Server("postgresql", command, lambda: _answers(port))
    if os.geteuid() == 0:
        shutil.chown(server.directory, USER, USER)
    make = (
        binary("initdb"),
        "-D",
        str(server.directory / "data"),
        "-U",
        USER,
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    )
    done = subprocess.run(
        _as_user(*make), capture_output=True, text=True, timeout=60, check=False, cwd=server.directory
    )
    assert done.returncode == 0, done.stdout + done.stderr
    server.start()
    return server, f"postgresql+psycopg://{USER}@127.0.0.1:{port}/postgres"


@cache
def shared_postgresql() -> str:
    """The URL of the one server that tests share."""
    return os.environ.get(VARIABLE) or postgresql_server()[1]


def database(url: str, name: str) -> str:
    """Make an empty database on a server; its URL."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{url.rpartition('/')[0]}/{name}"
