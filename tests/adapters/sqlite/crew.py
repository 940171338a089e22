"""A sender or a receiver in a process of its own; prints what the tests check."""

from __future__ import annotations

import os
import random
import sys
import time
from itertools import count

from kernel_sqlite import SqliteTransport

from kernel.ports import Outgoing


def send(transport: SqliteTransport, name: str, batches: int) -> None:
    """Send batches of 20; prints each message once it is durable."""
    for batch in range(batches):
        payloads = [f"{name}-{batch}-{index}" for index in range(20)]
        transport.send([Outgoing("q", payload.encode()) for payload in payloads])
        print(*payloads, sep="\n", flush=True)


def receive(transport: SqliteTransport, idle_for: float) -> None:
    """Receive until nothing came for a while; prints each message with "?" before its ack and plain after it."""
    print("ready", flush=True)
    while batch := transport.receive(["q"], 7, idle_for):
        print(*(f"?{one.payload.decode()}" for one in batch), sep="\n", flush=True)
        lost = transport.ack(batch)
        print(*(one.payload.decode() for one in batch if one not in lost), sep="\n", flush=True)


def churn(transport: SqliteTransport, name: str, ledger: str) -> None:
    """Send, receive and hand on for ever; notes in the ledger what is durable."""
    chance = random.Random(name)
    notes = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for round_ in count():
        payloads = [f"{name}-{round_}-{index}" for index in range(chance.randint(1, 20))]
        at = chance.choice((0.0, time.time() + 0.05))
        transport.send([Outgoing("q", payload.encode(), not_before=at) for payload in payloads])
        os.write(notes, "".join(f"{payload}\n" for payload in payloads).encode())
        batch = transport.receive(["q"], chance.randint(1, 30), 0.01)
        transport.commit([(one, [Outgoing("done", one.payload)]) for one in batch])


def clock(transport: SqliteTransport) -> None:
    """Receive one at a time; prints the monotonic time of each."""
    print("ready", flush=True)
    while batch := transport.receive(["q"], 1, 5.0):
        print(time.monotonic(), flush=True)
        transport.ack(batch)
        if batch[0].payload == b"end":
            return


def main(role: str, url: str, *rest: str) -> None:
    transport = SqliteTransport.from_url(url)
    transport.open()
    if role == "send":
        send(transport, rest[0], int(rest[1]))
    elif role == "receive":
        receive(transport, float(rest[0]))
    elif role == "churn":
        churn(transport, *rest)
    elif role == "clock":
        clock(transport)
    else:
        print("open", flush=True)
    transport.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
