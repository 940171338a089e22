"""What is *not* promised, each shown: the sentences of the pages that take something back.

Not shown, because no test can take the power from a machine: with it go the last commits of `appendfsync everysec` and
of SQLite's `synchronous=normal`, and what the node of a classic queue has not flushed. What a kill leaves is shown.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from running import LONG, Running
from services import redis
from services.rabbitmq import control, rabbitmq_server, shared_rabbitmq
from services.redis import redis_server
from services.server import Server
from services.sqs import CREDENTIALS, sqs_server
from support import eventually

from faults.clock import PLACE, Clocks
from faults.crew import ROOT, TESTS
from faults.proxy import Proxy, Weather
from faults.systems import port_of, through
from kernel import Kernel, discovery
from kernel.errors import PortError, Unavailable
from kernel.ports import Delivery, Inspects, Outgoing, Transport

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"), pytest.mark.timeout(120)]

Opens = Callable[[str], Transport]


@pytest.fixture
def opens() -> Iterator[Opens]:
    """Opens transports, which are closed at the end."""
    with ExitStack() as stack:

        def make(url: str) -> Transport:
            transport = discovery.transport(url)
            stack.callback(transport.close)
            transport.open()
            return transport

        yield make


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test has started."""
    with ExitStack() as stack:
        yield stack


def _ready(transport: Transport, queue: str = "q") -> int | None:
    assert isinstance(transport, Inspects)
    return transport.sizes([queue])[0].ready


def _taken(transport: Transport, timeout: float = 10.0) -> Delivery:
    deadline = time.monotonic() + timeout
    while not (found := transport.receive(["q"], 1, 0.5)):
        assert time.monotonic() < deadline, "nothing came"
    return found[0]


# -- workers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def frail(tmp_path: Path) -> Iterator[Kernel]:
    """Sends to a file of its own."""
    with Kernel("frail", transport=f"sqlite:///{tmp_path}/tasks.db?lease=2") as app:
        yield app


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a worker that runs the tasks of `frail`."""
    with ExitStack() as stack:

        def start(**environment: str) -> Running:
            path = os.pathsep.join(map(str, (PLACE, ROOT, ROOT / "adapters", TESTS)))
            settings = {"KERNEL_TRANSPORT": f"sqlite:///{tmp_path}/tasks.db?lease=2", "PYTHONPATH": path, **environment}
            run = Running(["faults.frail:app"], tmp_path, **settings)
            stack.callback(run.close)
            return run

        yield start


@pytest.mark.parametrize("name", ["mortal", "forgotten"])
def test_a_body_may_run_twice(frail: Kernel, worker: Callable[..., Running], tmp_path: Path, name: str) -> None:
    """At least once: what was done before a crash is done again. Without a result nobody can even ask how it ended."""
    done = tmp_path / "done"
    result = frail.send_task(name, (str(done),))
    worker()
    eventually(lambda: done.exists() and done.stat().st_size == 2, LONG, "it runs a second time")
    eventually(lambda: _ready(frail.ports.transport, "default") == 0, LONG, "and is settled")
    if name == "mortal":
        assert result.get(timeout=LONG) == 2


def test_an_early_acknowledgement_loses_the_task_with_its_worker(
    frail: Kernel, worker: Callable[..., Running], tmp_path: Path
) -> None:
    done = tmp_path / "done"
    result = frail.send_task("early", (str(done),), acks_late=False)
    worker().expect("killed by SIGKILL")
    assert frail.send_task("noop").get(timeout=LONG) is None
    assert _ready(frail.ports.transport, "default") == 0
    assert done.stat().st_size == 1
    assert result.state == "PENDING"


def test_a_retry_goes_by_the_clock_of_who_asks_for_it(
    frail: Kernel, worker: Callable[..., Running], tmp_path: Path
) -> None:
    """Times travel as wall clock: a host that is an hour ahead has its retries run an hour later."""
    clocks = Clocks(tmp_path)
    result = frail.send_task("again")
    run = worker(FAULT_CLOCKS=str(clocks.path))
    # Before its first message: the file is read with each look at the clock.
    for pid in (run.process.pid, *range(run.process.pid, run.process.pid + 3000)):
        clocks.set(pid, 3600.0)
    eventually(lambda: result.state == "RETRY", LONG, "it has asked to be run again")
    transport = frail.ports.transport
    assert isinstance(transport, Inspects)
    eventually(lambda: transport.sizes(["default"])[0].delayed == 1, LONG, "it waits")
    assert _ready(transport, "default") == 0


# -- SQLite ------------------------------------------------------------------------------------------------------------

#: Sends one message, says so, and waits to be killed.
SENDER = """
import sys, time
from kernel import discovery
from kernel.ports import Outgoing
transport = discovery.transport(sys.argv[1])
transport.open()
transport.send([Outgoing("q", b"1")])
print("sent", flush=True)
time.sleep(60)
"""
#: Receives by a clock that is set, and says what it got.
TAKER = """
import sys
from kernel import discovery
transport = discovery.transport(sys.argv[1])
transport.open()
print(len(transport.receive(["q"], 1, 0.0)), flush=True)
"""


def _program(text: str, url: str, **environment: str) -> subprocess.Popen[str]:
    path = os.pathsep.join(map(str, (PLACE, ROOT, ROOT / "adapters")))
    command = [sys.executable, "-c", text, url]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path, **environment}, stdout=subprocess.PIPE, text=True
    )


def test_sqlite_normal_survives_a_kill(tmp_path: Path, opens: Opens) -> None:
    """And only that: what a loss of power takes cannot be shown here."""
    url = f"sqlite:///{tmp_path}/q.db?synchronous=normal"
    with _program(SENDER, url) as sender:
        assert sender.stdout is not None
        assert sender.stdout.readline() == "sent\n"
        sender.kill()
    transport = opens(url)
    assert transport.features.survives == "service"
    assert _ready(transport) == 1


def test_sqlite_leases_end_early_for_who_has_a_fast_clock(tmp_path: Path, opens: Opens) -> None:
    """The token keeps that harmless: the first receiver settles nothing any more."""
    url = f"sqlite:///{tmp_path}/q.db?lease=60"
    transport = opens(url)
    transport.send([Outgoing("q", b"1")])
    held = _taken(transport)
    clocks = Clocks(tmp_path)
    for seconds, got in ((0.0, "0\n"), (120.0, "1\n")):
        text = (
            f"import os, sys; sys.path.insert(0, {str(TESTS)!r})\nfrom faults.clock import Clocks\n" if seconds else ""
        )
        if seconds:
            # Of itself, before kernel reads the time.
            text += f"import struct; file = os.open({str(clocks.path)!r}, os.O_WRONLY)\n"
            text += f"os.pwrite(file, struct.pack('d', {seconds}), os.getpid() * 8)\n"
        with _program(text + TAKER, url, FAULT_CLOCKS=str(clocks.path)) as taker:
            assert taker.stdout is not None
            assert taker.stdout.readline() == got
    assert transport.ack([held]) == [held]


# -- Redis -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fsync", "left"), [("", 0), ("everysec", 1), ("always", 1)])
def test_redis_keeps_through_a_kill_what_it_is_configured_to_keep(
    opens: Opens, stack: ExitStack, fsync: str, left: int
) -> None:
    server, url = redis_server(*(("--appendonly", "yes", "--appendfsync", fsync) if fsync else ()))
    stack.callback(server.close)
    transport = opens(url)
    transport.send([Outgoing("q", b"1")])
    assert _ready(transport) == 1
    claimed = transport.features.survives
    server.kill()
    server.start()
    assert _ready(opens(url)) == left
    assert claimed == ("power" if fsync == "always" else "process")


def test_redis_replication_loses_what_was_confirmed(opens: Opens, stack: ExitStack) -> None:
    """A failover to a replica that had not heard of it."""
    master, url = redis_server()
    proxy = Proxy(("127.0.0.1", port_of(url)))
    replica, other = redis_server("--replicaof", "127.0.0.1", str(proxy.port))
    for each in (replica, proxy, master):
        stack.callback(each.close)
    eventually(lambda: redis.info(other, "replication")["master_link_status"] == "up", LONG, "the replica is in step")
    proxy.set(Weather(lose_down=True))
    opens(url).send([Outgoing("q", b"1")])
    master.kill()
    with redis.control(other) as client:
        client.replicaof("NO", "ONE")
    assert _ready(opens(other)) == 0


# -- RabbitMQ ----------------------------------------------------------------------------------------------------------


def test_rabbitmq_runs_a_zombie_beside_its_successor(opens: Opens, stack: ExitStack) -> None:
    """A message belongs to a connection. Who is cut off does not know it, works on, and cannot settle."""
    url = shared_rabbitmq()
    proxy = Proxy(("127.0.0.1", port_of(url)))
    stack.callback(proxy.close)
    options = f"?heartbeat=1&timeout=2&prefix=zombie{os.getpid()}."
    first = opens(through(proxy, url) + options)
    first.declare(["q"])
    first.send([Outgoing("q", b"1")])
    held = _taken(first)
    proxy.set(Weather(lose_up=True, lose_down=True))
    second = opens(url + options)
    again = _taken(second, 20.0)  # while the first one would still be at work
    assert again.payload == held.payload
    proxy.heal()
    assert second.ack([again]) == []
    eventually(lambda: _lost(first, held), 20.0, "the zombie is told")


def _lost(transport: Transport, held: Delivery) -> bool:
    try:
        return transport.ack([held]) == [held]
    except Unavailable:
        return False


def test_rabbitmq_keeps_through_a_kill_what_is_older_than_a_second(opens: Opens, stack: ExitStack) -> None:
    """Both kinds of queues outlive a kill; of a classic one no more is claimed: nothing says that it was flushed. And a
    younger quorum queue may be lost with its confirmed messages, on RabbitMQ 3.10."""
    server, url = rabbitmq_server()
    stack.callback(server.close)
    urls = {kind: f"{url}?queue_type={kind}&timeout=2&prefix={kind}." for kind in ("quorum", "classic")}
    young = f"{url}?timeout=2&prefix=young."
    survives = {}
    for kind, place in urls.items():
        transport = opens(place)
        transport.declare(["q"])
        survives[kind] = transport.features.survives
    time.sleep(2.0)
    for place in (*urls.values(), young):
        opens(place).send([Outgoing("q", b"1")])
    server.kill()
    server.start()
    for place in urls.values():
        assert _taken(opens(place), 30.0).payload == b"1"
    assert survives == {"quorum": "power", "classic": "service"}
    if control(server, "version").startswith("3.10."):
        with suppress(PortError):  # it may even be left without a leader
            assert opens(young).receive(["q"], 1, 2.0) == []


# -- SQS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moto() -> Iterator[tuple[Server, str]]:
    """A server for these two tests."""
    server, url = sqs_server()
    with pytest.MonkeyPatch.context() as patch:
        for key, text in CREDENTIALS.items():
            patch.setenv(key, text)
        yield server, url
    server.close()


def test_sqs_honours_a_stale_receipt_that_was_held_up_on_its_way(
    opens: Opens, stack: ExitStack, moto: tuple[Server, str]
) -> None:
    """A deletion that left in time and came too late takes the message from its next holder."""
    _, url = moto
    proxy = Proxy(("127.0.0.1", port_of(url)))
    stack.callback(proxy.close)
    options = "&lease=2&wait=1&timeout=20"
    first, second = opens(through(proxy, url) + options), opens(url + options)
    first.send([Outgoing("q", b"1")])
    held = _taken(first)
    proxy.set(Weather(hold_up=True))
    late = threading.Thread(target=first.ack, args=([held],))
    late.start()
    again = _taken(second)
    assert again.payload == held.payload
    proxy.heal()
    late.join(20.0)
    # Nobody settled the second delivery, and nevertheless it does not come back.
    deadline = time.monotonic() + 3.0
    while time.monotonic() < deadline:
        assert second.receive(["q"], 1, 0.5) == []


def test_moto_keeps_nothing(opens: Opens, moto: tuple[Server, str]) -> None:
    """Why its server is not killed in these tests, and what they say nothing of: the durability of SQS itself."""
    server, url = moto
    options = "&lease=2&prefix=kept-"
    opens(url + options).send([Outgoing("q", b"1")])
    server.kill()
    server.start()
    assert opens(url + options).receive(["q"], 1, 1.0) == []
