"""Prints what a message and a record cost, in microseconds each; an argument names the directory to measure in."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from uuid import uuid4

from kernel_sqlite import SqliteResults, SqliteTransport

from kernel.ports import Outgoing, Record

BATCH = 1000
ROUNDS = 30


def mean(action: Callable[[], object], rounds: int, each: int) -> float:
    """Mean microseconds per item."""
    start = time.perf_counter()
    for _ in range(rounds):
        action()
    return (time.perf_counter() - start) / rounds / each * 1e6


def messages(transport: SqliteTransport, title: str) -> None:
    batch = [Outgoing("q", os.urandom(100)) for _ in range(BATCH)]
    print(f"{title}: send {mean(lambda: transport.send(batch), ROUNDS, BATCH):.2f}", end=", ")
    held = []
    print(f"receive {mean(lambda: held.append(transport.receive(['q'], BATCH, 0.0)), ROUNDS, BATCH):.2f}", end=", ")
    print(f"ack {mean(lambda: transport.ack(held.pop(0)), ROUNDS, BATCH):.2f}")


def records() -> list[Record]:
    return [Record(uuid4().hex, os.urandom(100), True, (0, 0, 0)) for _ in range(BATCH)]


def puts(store: SqliteResults, title: str, rounds: int) -> None:
    batches = [records() for _ in range(rounds)]
    print(f"{title}: put {mean(lambda: store.put(batches.pop(), 3600.0), rounds, BATCH):.2f}")


def main(directory: str) -> None:
    url = f"sqlite:///{directory}/kernel.db"
    transport, store = SqliteTransport.from_url(url), SqliteResults.from_url(url)
    transport.open()
    store.open()
    messages(transport, "empty queue")
    alone = Outgoing("q", b"x")

    def one() -> None:
        transport.send([alone])
        transport.ack(transport.receive(["q"], 1, 0.0))

    print(f"one message alone, three commits: {mean(one, 300, 1):.0f}")
    print(f"looking for waiters, per batch: {mean(transport._room.waiting, 10_000, 1):.2f}")
    puts(store, "first 10,000 results", 10)
    puts(store, "next 40,000 results", 40)
    puts(store, "next 50,000 results", 50)
    for _ in range(200):
        transport.send([alone] * 5000)
    messages(transport, "backlog of 1,000,000")
    transport.close()
    store.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as scratch:
        main(scratch)
