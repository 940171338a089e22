"""The systems that the harness breaks: their servers, and for each run the URLs, what can be broken and be left."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services import rabbitmq as nodes
from services import redis as redises
from services.server import Server
from services.sqs import CREDENTIALS, sqs_server

from faults.proxy import Proxy
from kernel import Kernel
from kernel.envelope import dead_queue
from kernel.ports import Inspects

#: Lease of the transport in these runs, where it has one; seconds.
LEASE = 2.0
#: The same on SQS, where a shorter one makes a worker look four times a second in place of waiting.
SQS_LEASE = 4.0
#: Bytes of the small disk of a SQLite file, where one can be mounted.
DISK = 96 << 20
#: Bytes by which a server may have grown when all of a run is gone.
GROWTH = 4 << 20
QUEUE = "default"


@dataclass
class Rig:
    """What one run works with. `close` ends its proxies and its disk, and leaves the servers."""

    #: Variables of the environment of the processes under test: URLs, through the proxies.
    settings: dict[str, str]
    #: Options of the harness's own application: the same places, reached directly.
    direct: dict[str, str]
    server: Server | None = None
    #: Of the results, where they have one of their own.
    store: Server | None = None
    #: Seconds after which a message that a dead worker held is somebody else's.
    lease: float = LEASE
    #: Whether a server that is killed keeps what it confirmed.
    durable: bool = True
    proxies: list[Proxy] = field(default_factory=list)
    store_proxies: list[Proxy] = field(default_factory=list)
    #: Databases that can be locked: that of the messages, that of the results where it is another one.
    files: list[Path] = field(default_factory=list)
    store_files: list[Path] = field(default_factory=list)
    #: A disk that can be filled.
    disk: Path | None = None
    #: Leases and delays go by the clocks of the workers.
    host_clock: bool = False
    #: Messages that are neither settled nor dead letters, by what they are.
    pending: Callable[[Kernel], dict[str, int]] = lambda app: _counted(app)
    #: What is left that should not be there, once dead letters and results have been looked at and are gone.
    leftovers: Callable[[], list[str]] = list
    #: Makes queues that a server is to keep old enough.
    warm_up_for: float = 0.0
    #: Mends what only an operator can; says what, "" for nothing.
    operator: Callable[[], str] = str
    stack: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """End what was made for this run."""
        for proxy in (*self.proxies, *self.store_proxies):
            proxy.close()
        self.stack.close()


@dataclass
class System:
    """One of them, started."""

    rig: Callable[[Path, int], Rig]
    #: Tasks a second that two worker processes manage at ease while they are broken.
    rate: float


def _counted(app: Kernel) -> dict[str, int]:
    transport = app.ports.transport
    assert isinstance(transport, Inspects)
    size = transport.sizes([QUEUE])[0]
    counts = {"ready": size.ready, "delayed": size.delayed, "in flight": size.in_flight}
    return {what: count for what, count in counts.items() if count}


def _settings(transport: str, results: str, coordination: str = "") -> dict[str, str]:
    pairs = {"KERNEL_TRANSPORT": transport, "KERNEL_RESULTS": results, "KERNEL_COORDINATION": coordination}
    return {key: value for key, value in pairs.items() if value}


def through(proxy: Proxy, url: str) -> str:
    """The URL that leads there through a proxy."""
    return url.replace(f":{port_of(url)}", f":{proxy.port}", 1)


def port_of(url: str) -> int:
    """The port in a URL."""
    return int(url.partition("://")[2].rpartition("@")[2].partition(":")[2].partition("/")[0].partition("?")[0])


# -- SQLite ------------------------------------------------------------------------------------------------------------


def _small_disk(folder: Path, stack: ExitStack) -> Path | None:
    """A disk of its own, which only root may have."""
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if sys.platform != "linux" or os.geteuid() or mount is None or umount is None:
        return None
    made = subprocess.run([mount, "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", disk], capture_output=True, check=False)
    if made.returncode:
        return None
    stack.callback(subprocess.run, [umount, "-l", str(disk)], check=False)
    return disk


#: Tables that hold work or a share of something; all must be empty in the end, but for what is known of tasks that were
#: handed on, for a day.
_TABLES = ("leased", "delayed", "parked", "slot", "claim WHERE key NOT LIKE 'settled:%'")


def _rows(file: Path) -> list[str]:
    connection = sqlite3.connect(file)
    try:
        counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _TABLES}
        for table, column in (("tally", "expires_at"), ("result", "expires_at")):
            counts[f"{table} for ever"] = connection.execute(
                f"SELECT count(*) FROM {table} WHERE {column} IS NULL"
            ).fetchone()[0]
        sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        connection.close()
    found = [f"{count} in {table} of {file.name}" for table, count in counts.items() if count]
    return found if sound == "ok" else [*found, f"{file.name}: {sound}"]


@contextmanager
def sqlite() -> Iterator[System]:
    """A file for each run; the results are in another one where the seed is odd."""

    def rig(folder: Path, seed: int) -> Rig:
        stack = ExitStack()
        disk = _small_disk(folder, stack)
        place = disk or folder
        tasks = place / "tasks.db"
        results = place / "results.db" if seed % 2 else tasks
        url = f"sqlite:///{tasks}?lease={LEASE}&timeout=1"
        apart = f"sqlite:///{results}?timeout=1" if seed % 2 else ""
        return Rig(
            _settings(url, apart),
            {"transport": url, "results": apart},
            files=[tasks],
            store_files=[results] if seed % 2 else [],
            disk=disk,
            host_clock=True,
            leftovers=lambda: [line for file in {tasks, results} for line in _rows(file)],
            stack=stack,
        )

    yield System(rig, 600)


# -- Redis -------------------------------------------------------------------------------------------------------------


class RedisPlace:
    """The keys of one run on one server."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url, self.prefix = url, prefix
        self.base = self._memory()

    def _memory(self) -> int:
        return int(redises.info(self.url, "memory")["used_memory"])

    def leftovers(self) -> list[str]:
        """Keys without an expiry that hold more than names, and memory that does not come back when all is deleted."""
        found: list[str] = []
        with redises.control(self.url) as client:
            keys = list(client.scan_iter(f"{self.prefix}:*", 1000))
            for key in keys:
                name = key.decode()
                kept = name == f"{self.prefix}:queues" or dead_queue(QUEUE) in name or name.endswith(":wake")
                if not kept and client.ttl(key) == -1:
                    found.append(f"{name} ({client.type(key).decode()})")
            for start in range(0, len(keys), 1000):
                client.unlink(*keys[start : start + 1000])
        grown = self._memory() - self.base
        return found + ([f"{grown} bytes of {self.url} are not given back"] if grown > GROWTH else [])


def _durable() -> tuple[Server, str]:
    """A server that loses nothing when it is killed."""
    return redises.redis_server(*redises.DURABLE)


@contextmanager
def redis() -> Iterator[System]:
    """A server that loses nothing when it is killed; the results are in another one where the seed is odd."""
    (server, url), (store, other) = _durable(), _durable()

    def rig(folder: Path, seed: int) -> Rig:
        prefix = f"f{seed}"
        proxy, apart = Proxy(("127.0.0.1", port_of(url))), seed % 2
        options = f"?timeout=1&prefix={prefix}"
        inner = f"{url}{options}&lease={LEASE}"
        places = [RedisPlace(url, prefix)]
        store_proxies = []
        results, outer = "", ""
        if apart:
            places.append(RedisPlace(other, prefix))
            store_proxies.append(Proxy(("127.0.0.1", port_of(other))))
            results = f"{other}{options}"
            outer = through(store_proxies[0], results)
        return Rig(
            _settings(through(proxy, inner), outer),
            {"transport": inner, "results": results},
            server,
            store if apart else None,
            proxies=[proxy],
            store_proxies=store_proxies,
            leftovers=lambda: [line for place in places for line in place.leftovers()],
        )

    try:
        yield System(rig, 600)
    finally:
        server.close()
        store.close()


# -- RabbitMQ ----------------------------------------------------------------------------------------------------------


class Node:
    """What `rabbitmqctl` says of the queues of one run, and of the levels of delays that all share."""

    def __init__(self, server: Server, prefix: str) -> None:
        self._server, self._prefix = server, prefix

    def _lines(self, *columns: str) -> list[list[str]]:
        text = nodes.control(self._server, "-q", "list_queues", "--no-table-headers", "name", *columns)
        rows = [line.split("\t") for line in text.splitlines() if line]
        return [row for row in rows if row[0].startswith((self._prefix, "kernel.delay."))]

    def pending(self, app: Kernel) -> dict[str, int]:
        """Messages outside of the dead letters."""
        dead = self._prefix + dead_queue(QUEUE)
        return {name: int(count) for name, count in self._lines("messages") if name != dead and count not in ("0", "")}

    def operator(self) -> str:
        """Start the node again where levels of delays were left without a leader, a fault of the broker that its page
        names."""
        orphans = [row[0] for row in self._lines("leader") if len(row) < 2 or not row[1]]
        if not orphans:
            return ""
        self._server.restart()
        return f"{', '.join(orphans)} had no leader: the node was started again"


@contextmanager
def rabbitmq() -> Iterator[System]:
    """Quorum queues. Results are in a file of each run where the seed is odd, else in a Redis. A frozen worker is given
    up when it misses its heartbeats."""
    (server, url), (store, other) = nodes.rabbitmq_server(), _durable()

    def rig(folder: Path, seed: int) -> Rig:
        prefix = f"f{seed}."
        proxy = Proxy(("127.0.0.1", port_of(url)))
        inner = f"{url}?heartbeat=1&timeout=2&prefix={prefix}"
        node = Node(server, prefix)
        outer = through(proxy, inner)
        if seed % 2:
            file = folder / "results.db"
            results = f"sqlite:///{file}?timeout=1"
            return Rig(
                _settings(outer, results, results),
                {"transport": inner, "results": results},
                server, proxies=[proxy], store_files=[file], pending=node.pending, operator=node.operator,
                leftovers=lambda: _rows(file), warm_up_for=2.0,
            )  # fmt: skip
        results = f"{other}?timeout=1&prefix=f{seed}"
        place, between = RedisPlace(other, f"f{seed}"), Proxy(("127.0.0.1", port_of(other)))
        apart = through(between, results)
        return Rig(
            _settings(outer, apart, apart),
            {"transport": inner, "results": results},
            server, store, proxies=[proxy], store_proxies=[between], pending=node.pending, operator=node.operator,
            leftovers=place.leftovers, warm_up_for=2.0,
        )  # fmt: skip

    try:
        yield System(rig, 250)
    finally:
        server.close()
        store.close()


# -- SQS ---------------------------------------------------------------------------------------------------------------


def _sqs_pending(endpoint: str, prefix: str) -> dict[str, int]:
    import boto3

    client: Any = boto3.client(
        "sqs", endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    names = (
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    )
    found: dict[str, int] = {}
    for queue in client.list_queues(QueueNamePrefix=prefix).get("QueueUrls", []):
        if not queue.endswith("-dead"):
            values = client.get_queue_attributes(QueueUrl=queue, AttributeNames=list(names))["Attributes"]
            count = sum(int(values[name]) for name in names)
            if count:
                found[queue.rpartition("/")[2]] = count
    client.close()
    return found


@contextmanager
def sqs() -> Iterator[System]:
    """moto, which keeps all in memory: it is frozen and cut off, and not killed. Results in a file of each run."""
    os.environ.update(CREDENTIALS)
    server, url = sqs_server()
    endpoint = url.partition("+")[2].partition("?")[0]

    def rig(folder: Path, seed: int) -> Rig:
        prefix = f"f{seed}-"
        proxy = Proxy(("127.0.0.1", port_of(url)))
        inner = f"{url}&lease={SQS_LEASE:g}&wait=1&timeout=4&prefix={prefix}"
        file = folder / "results.db"
        results = f"sqlite:///{file}?timeout=1"
        return Rig(
            _settings(through(proxy, inner), results, results if seed % 2 else ""),
            {"transport": inner, "results": results},
            server, lease=SQS_LEASE, durable=False, proxies=[proxy], store_files=[file],
            pending=lambda app: _sqs_pending(endpoint, prefix), leftovers=lambda: _rows(file),
        )  # fmt: skip

    try:
        yield System(rig, 40)
    finally:
        server.close()


SYSTEMS: Mapping[str, Callable[[], AbstractContextManager[System]]] = {
    "sqlite": sqlite,
    "redis": redis,
    "rabbitmq": rabbitmq,
    "sqs": sqs,
}
