"""Redis servers of the tests: one alone, three as a cluster, a pair under a Sentinel, one behind TLS or a socket."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis import Redis
from support import eventually

from services.server import Server, free_port, program

#: An existing server to use in place of one of our own.
VARIABLE = "KERNEL_TEST_REDIS_URL"
#: Path of a server program to use in place of the one that is installed: another version, or Valkey.
PROGRAM_VARIABLE = "KERNEL_TEST_REDIS_SERVER"
INSTALL = "apt-get install redis-server (or any Redis 6.2+ or Valkey), or set KERNEL_TEST_REDIS_URL"
#: What a server is started with that loses nothing when it is killed.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
#: Slots of a cluster.
SLOTS = 16384


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 1.0)


def _pong(connection: socket.socket, *others: bytes) -> bool:
    with connection:
        connection.settimeout(5.0)
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith((b"+PONG", b"-NOAUTH", *others))


def _server(name: str, options: Sequence[str], answers: Callable[[Path], bool]) -> Server:
    """A server that is not started. `answers` is given its directory."""
    binary = os.environ.get(PROGRAM_VARIABLE) or program("redis-server", "valkey-server", install=INSTALL)
    given = ["--save", "", "--daemonize", "no"]
    server = Server(
        name,
        lambda directory: [binary, *given, "--dir", str(directory), *options],
        lambda: answers(server.directory),
    )
    return server


def redis_server(*options: str, port: int = 0, loaded: bool = True) -> tuple[Server, str]:
    """A private server, started, and its URL. `options` are those of the server's command line. Without `loaded` it may
    still be loading its data."""
    port = port or free_port()
    listen = ("--port", str(port), "--bind", "127.0.0.1")
    others = () if loaded else (b"-LOADING",)
    server = _server("redis", [*listen, *options], lambda _: _pong(_connected(port), *others))
    server.start()
    return server, f"redis://127.0.0.1:{port}/0"


def control(url: str) -> Redis:
    """A client for the test's own use of a server; close it."""
    return Redis.from_url(url, socket_timeout=10.0)


def info(url: str, section: str) -> dict[str, Any]:
    """What a server says of itself."""
    with control(url) as client:
        return dict(client.info(section))  # type: ignore[arg-type]


@cache
def shared_redis() -> str:
    """The URL of the one server that tests share: durable, as the claims of the adapter are read from it."""
    return os.environ.get(VARIABLE) or redis_server(*DURABLE)[1]


# -- a socket of the file system, and TLS --------------------------------------------------------------------


def socket_server() -> tuple[Server, str]:
    """A private server that has no port."""

    def answers(directory: Path) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(directory / "redis.sock"))
            return _pong(connection)

    server = _server("redis", ["--port", "0", "--unixsocket", "redis.sock"], answers)
    server.start()
    return server, f"redis+unix://{server.directory}/redis.sock"


def tls_server(*options: str) -> tuple[Server, str]:
    """A private server that speaks TLS only. In its directory are `ca.pem`, and `other.pem` of another authority."""
    port = free_port()

    def answers(directory: Path) -> bool:
        context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
        return _pong(context.wrap_socket(_connected(port), server_hostname="127.0.0.1"))

    listen = ("--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--tls-auth-clients", "optional")
    files = ("--tls-cert-file", "server.pem", "--tls-key-file", "server.key", "--tls-ca-cert-file", "ca.pem")
    server = _server("redis", [*listen, *files, *options], answers)
    for name, text in _certificates():
        (server.directory / name).write_bytes(text)
    server.start()
    return server, f"rediss://127.0.0.1:{port}/0"


def _certificates() -> Iterator[tuple[str, bytes]]:
    from cryptography import x509  # optional: only tests of TLS need it
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.UTC)

    # From 3.13 on Python wants what RFC 5280 says of every certificate: ids of its key and of that of its signer, and
    # of an authority what its key is for.
    uses = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    uses |= dict.fromkeys(("encipher_only", "decipher_only"), False)

    def certificate(subject: str, key: Any, issuer: str, signer: Any, *, authority: bool) -> bytes:
        names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (subject, issuer)]
        places = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = (
            x509.CertificateBuilder()
            .subject_name(names[0])
            .issuer_name(names[1])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(places), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=authority, crl_sign=authority, **uses),
                critical=True,
            )
            .sign(signer, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    ca, other, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    yield "ca.pem", certificate("kernel test", ca, "kernel test", ca, authority=True)
    yield "other.pem", certificate("another", other, "another", other, authority=True)
    yield "server.pem", certificate("server", server, "kernel test", ca, authority=False)
    yield (
        "server.key",
        server.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


# -- several servers -----------------------------------------------------------------------------------------


def _port_of_two() -> int:
    """A free port below one that is free too, 10,000 higher: where the nodes of a cluster talk."""
    while True:
        port = free_port()
        if port < 55000:
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port + 10000))
                except OSError:
                    continue
            return port


def _nothing() -> None:
    """In between nothing happens."""


class Cluster:
    """Three masters with a third of the slots each, and no replicas. Also the `ServiceControl` of a suite."""

    def __init__(self, *options: str) -> None:
        """Started, with the options of the command line for each of them."""
        ports = [_port_of_two() for _ in range(3)]
        of_cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        started = [redis_server(*of_cluster, *options, port=port) for port in ports]
        self.nodes = [server for server, _ in started]
        #: Of each node alone.
        self.urls = [url for _, url in started]
        self.url = f"redis+cluster://127.0.0.1:{ports[0]}"
        for at, url in enumerate(self.urls):
            with control(url) as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
                client.execute_command("CLUSTER", "ADDSLOTS", *range(SLOTS * at // 3, SLOTS * (at + 1) // 3))
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
        self._wait()

    def node_of(self, slot: int) -> int:
        """The index of the node that had this slot in the beginning."""
        return next(at for at in range(3) if slot < SLOTS * (at + 1) // 3)

    def move(self, slot: int, to: int, between: Callable[[], object] = lambda: None) -> None:
        """Move a slot and its keys to another node. `between` is called when one half of the keys has been moved."""
        ids, source = self.ids(), self.node_of(slot)
        with control(self.urls[source]) as old, control(self.urls[to]) as new:
            new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
            old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
            keys = sorted(old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000))
            port = self.urls[to].rpartition(":")[2].partition("/")[0]
            for part in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
                if part:
                    old.execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *part)
                between()
                between = _nothing
            for client in (new, old):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[to])
        eventually(lambda: all(self._serves(url, slot, to) for url in self.urls), 10.0, "all know the new node")

    def _serves(self, url: str, slot: int, node: int) -> bool:
        with control(url) as client:
            told = client.execute_command("CLUSTER", "NODES")
        text = told if isinstance(told, str) else told.decode() if isinstance(told, bytes) else ""
        mine = next(line for line in text.splitlines() if self.urls[node].rpartition(":")[2].partition("/")[0] in line)
        return str(slot) in mine

    def ids(self) -> list[str]:
        """The nodes as they name each other."""
        found = []
        for url in self.urls:
            with control(url) as client:
                found.append(str(client.execute_command("CLUSTER", "MYID").decode()))
        return found

    def start(self) -> None:
        """Start all and wait until every slot is served."""
        for node in self.nodes:
            node.start()
        self._wait()

    def stop(self) -> None:
        """Stop all in the orderly way."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """End all without any chance to save something."""
        for node in self.nodes:
            node.kill()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def _wait(self) -> None:
        for url in self.urls:
            eventually(lambda url=url: self._is_whole(url), 30.0, "the cluster serves all slots")  # type: ignore[misc]

    def _is_whole(self, url: str) -> bool:
        with control(url) as client:
            told = client.execute_command("CLUSTER", "INFO")
            text = told if isinstance(told, dict) else dict(line.split(":") for line in told.decode().split())
            return text["cluster_state"] == "ok" and text["cluster_known_nodes"] == "3"


@cache
def shared_cluster() -> Cluster:
    """The one cluster that tests share: durable."""
    return Cluster(*DURABLE)


class Pair:
    """A master and its replica, and the Sentinel that promotes the replica when the master has been away for 0.5 s."""

    NAME = "mymaster"

    def __init__(self) -> None:
        """Started, with the replica in step."""
        #: No wait for more replicas before the first copy, and changes reach the replica at once.
        quick = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
        self.master, self.master_url = redis_server(*quick)
        port = self.master_url.rpartition(":")[2].partition("/")[0]
        self.replica, self.replica_url = redis_server(*quick, "--replicaof", "127.0.0.1", port)
        eventually(lambda: info(self.replica_url, "replication")["master_link_status"] == "up", 30.0, "in step")
        watch = free_port()
        self.sentinel_url = f"redis://127.0.0.1:{watch}"
        self.url = f"redis+sentinel://127.0.0.1:{watch}/{self.NAME}"
        self.sentinel = self._sentinel(watch, port)
        eventually(self._is_promotable, 30.0, "the Sentinel knows the replica")

    def _sentinel(self, watch: int, port: str) -> Server:
        binary = os.environ.get(PROGRAM_VARIABLE) or program("redis-server", "valkey-server", install=INSTALL)
        server = Server(
            "sentinel",
            lambda directory: [binary, str(directory / "sentinel.conf"), "--sentinel"],
            lambda: _pong(_connected(watch)),
        )
        (server.directory / "sentinel.conf").write_text(
            f"port {watch}\nbind 127.0.0.1\nsentinel monitor {self.NAME} 127.0.0.1 {port} 1\n"
            f"sentinel down-after-milliseconds {self.NAME} 500\nsentinel failover-timeout {self.NAME} 3000\n"
        )
        server.start()
        return server

    def _is_promotable(self) -> bool:
        with Redis.from_url(self.sentinel_url, decode_responses=True) as client:
            told = client.execute_command("SENTINEL", "REPLICAS", self.NAME)
        replicas = [each if isinstance(each, dict) else dict(zip(each[::2], each[1::2], strict=True)) for each in told]
        return [each["master-link-status"] for each in replicas] == ["ok"]

    def await_promotion(self) -> None:
        """Wait until the Sentinel names the replica as the master."""
        port = self.replica_url.rpartition(":")[2].partition("/")[0]
        eventually(lambda: self._port() == port, 30.0, "the replica is the master")
        eventually(lambda: info(self.replica_url, "replication")["role"] == "master", 30.0, "it knows")

    def _port(self) -> str:
        with Redis.from_url(self.sentinel_url, decode_responses=True) as client:
            told = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.NAME)
            return str(told[1])

    def close(self) -> None:
        """End all three."""
        for server in (self.sentinel, self.master, self.replica):
            server.close()
