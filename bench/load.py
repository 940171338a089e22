"""One measurement, in a process of its own: `python -m bench.load '<json>'` prints one JSON object."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from kernel import Kernel, discovery
from kernel.envelope import Envelope, decode, encode
from kernel.ids import new_id
from kernel.ports import Outgoing, Record, ResultStore, Transport
from kernel.worker.worker import Worker

#: Seconds for which results are kept, on both sides.
TTL = 3600.0


def noop(number: int) -> int:
    """The task."""
    return number


def application(url: str, results: bool, batch: int) -> Kernel:
    """An application with the no-op task."""
    app = Kernel(
        "bench",
        transport=url,
        results="" if results else "none",
        ignore_result=not results,
        result_expires=TTL,
        prefetch_max=batch,
        pool="solo",
    )
    app.task(name="bench.noop")(noop)
    return app


# -- sending -----------------------------------------------------------------------------------------------


def enqueue_kernel(url: str, results: bool, tasks: int, ready: Callable[[], None]) -> tuple[float, float]:
    """Send so many calls with `send_many`: when it began and when it ended (monotonic)."""
    app = application(url, results, 1000)
    app.sheet("bench.noop")
    ready()
    began = time.monotonic()
    app.send_many("bench.noop", [(number,) for number in range(tasks)])
    ended = time.monotonic()
    app.close()
    return began, ended


def enqueue_bare(url: str, batch: int, tasks: int, ready: Callable[[], None]) -> tuple[float, float]:
    """Send as many messages of the same size with the adapter alone."""
    transport = discovery.transport(url)
    transport.open()
    transport.declare(["default"])
    ready()
    began = time.monotonic()
    for start in range(0, tasks, batch):
        transport.send([bare_message(number) for number in range(start, min(tasks, start + batch))])
    ended = time.monotonic()
    transport.close()
    return began, ended


def bare_message(number: int) -> Outgoing:
    """What a minimal program would send: an id, a name, JSON arguments."""
    body = json.dumps([[number], {}]).encode()
    return Outgoing("default", encode(Envelope(new_id(), "bench.noop", body, "json", 0, 0, time.time())))


# -- executing ---------------------------------------------------------------------------------------------


def execute_kernel(url: str, results: bool, batch: int, ready: Callable[[], None]) -> tuple[int, float, float]:
    """Run tasks until the queue is empty: how many, when it began and when it ended (monotonic)."""
    app = application(url, results, batch)
    worker = Worker(app)
    receive = worker.transport.receive

    def until_empty(queues: Sequence[str], limit: int, timeout: float) -> Any:
        deliveries = receive(queues, limit, 0.0)
        if not deliveries:
            worker.stop()
        return deliveries

    worker.transport.receive = until_empty  # type: ignore[method-assign]
    ready()
    began = time.monotonic()
    worker.run()
    return worker.seat.settled, began, time.monotonic()


def execute_bare(url: str, results: bool, batch: int, ready: Callable[[], None]) -> tuple[int, float, float]:
    """The same port calls in the same order and batches, and nothing of kernel around them."""
    transport = discovery.transport(url)
    transport.open()
    store = discovery.results(url) if results else None
    if store is not None:
        store.open()
    ready()
    began = time.monotonic()
    done = _bare_loop(transport, store, batch)
    ended = time.monotonic()
    transport.close()
    if store is not None:
        store.close()
    return done, began, ended


def _bare_loop(transport: Transport, store: ResultStore | None, batch: int) -> int:
    tasks = {"bench.noop": noop}
    loads, dumps = json.loads, json.dumps
    done = 0
    while deliveries := transport.receive(["default"], batch, 0.0):
        records = []
        for delivery in deliveries:
            call = decode(delivery.payload)
            args, kwargs = loads(call.body)
            value = tasks[call.task](*args, **kwargs)
            if store is not None:
                records.append(Record(call.id, dumps(value).encode(), True, (0, 0, 0)))
        if store is not None:
            store.put(records, TTL)
        transport.ack(deliveries)
        done += len(deliveries)
    return done


# -- the process -------------------------------------------------------------------------------------------


def wait_for_the_others() -> None:
    """Say that this process is ready, and begin when it is told to."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


def main(order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order: side (kernel or bare), what (enqueue or execute), url, results, batch, tasks, here."""
    url, batch, tasks, results = order["url"], order["batch"], order["tasks"], order["results"]
    ready = wait_for_the_others if not order["here"] else _at_once
    if order["what"] == "enqueue":
        if order["side"] == "kernel":
            began, ended = enqueue_kernel(url, results, tasks, ready)
        else:
            began, ended = enqueue_bare(url, batch, tasks, ready)
        return {"done": tasks, "began": began, "ended": ended}
    if order["here"]:  # memory: the tasks have to be sent in this process
        enqueue_kernel(url, results, tasks, ready)
    run = execute_kernel if order["side"] == "kernel" else execute_bare
    done, began, ended = run(url, results, batch, ready)
    return {"done": done, "began": began, "ended": ended}


def _at_once() -> None:
    """Nobody else to wait for."""


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))) + "\n")
