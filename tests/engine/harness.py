"""A worker and its caller in one test: two applications on the same ports, the worker's on a thread of its own.

The caller has an application of its own, as it would in another process: a worker that stops closes its ports.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from support import eventually

from kernel import AsyncResult, Envelope, Kernel, Task, discovery
from kernel.clock import SYSTEM, Clock
from kernel.dead import DeadLetters, Letter
from kernel.envelope import encode
from kernel.ids import new_id
from kernel.ports import Outgoing, QueueSize
from kernel.worker.worker import Worker

#: Longest wait for anything, in seconds.
PATIENCE = 5.0
#: What makes a worker prompt in a test; nothing here changes what it guarantees.
PROMPT: dict[str, Any] = {"health_interval": 0.05, "retry_jitter": False, "default_retry_delay": 0.01}


class Running:
    """A worker that runs."""

    def __init__(self, worker: Worker, hub: str = "") -> None:
        """`hub`: the green library whose hub this thread will have."""
        self.worker = worker
        self.status: int | None = None
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._hub = hub
        threading.Thread(target=self._run, name="worker", daemon=True).start()

    def _run(self) -> None:
        try:
            self.status = self.worker.run()
        except BaseException as error:
            self.error = error
        finally:
            if self._hub == "gevent":
                importlib.import_module("gevent").get_hub().destroy()
            self.ended.set()

    def stop(self, quit: bool = False) -> int | None:
        """Stop it and wait; returns the exit status and raises what the worker raised."""
        (self.worker.quit if quit else self.worker.stop)()
        return self.join()

    def join(self) -> int | None:
        """Wait for its end."""
        assert self.ended.wait(PATIENCE), "the worker did not stop"
        if self.error is not None:
            raise self.error
        return self.status


class Engine:
    """`app` sends and reads; each `run` is a worker on an application of its own."""

    def __init__(
        self,
        url: str,
        pool: str,
        use: Callable[[Kernel], None] | None = None,
        clock: Clock = SYSTEM,
        **options: Any,
    ) -> None:
        """`use` hands adapters to each application, `clock` is the workers'; `options` are settings of all of them."""
        self.url = url
        self.pool = pool
        slots = {} if pool == "solo" else {"concurrency": 4}
        self.options = {**PROMPT, **slots, **options, "transport": url, "pool": pool}
        self._use = use
        self.clock = clock
        self._declared: list[tuple[Callable[..., Any], dict[str, Any]]] = []
        self.app = self._application("client")
        self._running: list[Running] = []

    def _application(self, name: str, **changes: Any) -> Kernel:
        app = Kernel(name, **{**self.options, **changes})
        if self._use is not None:
            self._use(app)
        return app

    def task(self, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        """Declare a task on the caller's application and on every worker's; returns the caller's."""

        def declare(function: Callable[..., Any]) -> Task[..., Any, Any]:
            options.setdefault("name", function.__name__)
            self._declared.append((function, options))
            return self.app.task(**options)(function)  # type: ignore[no-any-return]

        return declare if function is None else declare(function)

    def host(self, **changes: Any) -> Kernel:
        """A worker's application, with all tasks declared so far."""
        app = self._application("host", clock=self.clock, **changes)
        for function, options in self._declared:
            app.task(**options)(function)
        return app

    def start(self, **changes: Any) -> Running:
        """Start a worker; `changes` are settings of this one."""
        running = Running(Worker(self.host(**changes)), self.pool)
        self._running.append(running)
        return running

    @contextmanager
    def run(self, **changes: Any) -> Iterator[Running]:
        """A worker for the length of a block."""
        running = self.start(**changes)
        yield running
        running.stop()

    def close(self) -> None:
        """Stop what runs and close."""
        for running in self._running:
            running.worker.quit()
        for running in self._running:
            running.join()
        self.app.close()

    # -- looking -------------------------------------------------------------------------------------------

    def get(self, result: AsyncResult[Any], propagate: bool = True) -> Any:
        """The value of a result, soon."""
        return result.get(PATIENCE, propagate)

    def fails(self, result: AsyncResult[Any]) -> Any:
        """The error of a result, soon."""
        error = result.get(PATIENCE, propagate=False)
        assert isinstance(error, Exception), error
        return error

    @property
    def transport(self) -> Any:
        """The caller's transport."""
        return self.app.ports.transport

    def size(self, queue: str = "default") -> QueueSize:
        """How full a queue is."""
        size: QueueSize = self.transport.sizes([queue])[0]
        return size

    def total(self, queue: str = "default") -> int:
        """Messages of a queue in any state."""
        size = self.size(queue)
        return (size.ready or 0) + (size.delayed or 0) + (size.in_flight or 0)

    def empty(self, queue: str = "default") -> None:
        """Wait until everything in a queue is settled."""
        eventually(lambda: self.total(queue) == 0, PATIENCE, f"{queue} is empty")

    def settled(self, queue: str = "default") -> None:
        """Wait until nothing of a queue is ready or in hand; what is delayed stays."""
        eventually(lambda: (self.size(queue).ready, self.size(queue).in_flight) == (0, 0), PATIENCE, "all is settled")

    def letters(self, count: int, queue: str = "default") -> Sequence[Letter]:
        """Wait for so many dead letters and return them."""
        eventually(lambda: self.total(f"{queue}.dead") >= count, PATIENCE, f"{count} dead letters")
        letters = DeadLetters(self.transport, queue).list()
        assert len(letters) == count
        return letters

    def letter(self, queue: str = "default") -> Letter:
        """Wait for the one dead letter."""
        return self.letters(1, queue)[0]

    def post(self, payload: bytes, queue: str = "default") -> None:
        """Put any bytes into a queue."""
        self.transport.send([Outgoing(queue, payload)])

    def frame(self, task: str, body: bytes = b"[[],{}]", **fields: Any) -> bytes:
        """A live frame made by hand."""
        given = {"id": new_id(), "codec": "json", "sent_at": time.time(), **fields}
        return encode(Envelope(task=task, body=body, **given))

    def lose(self, count: int = 1, queue: str = "default") -> None:
        """Have messages taken by somebody who ends without settling them, as a worker does that is killed."""
        other = discovery.transport(self.url)
        other.open()
        taken = 0
        while taken < count:
            taken += len(other.receive([queue], count - taken, PATIENCE))
        other.close()

    # -- inside of tasks -----------------------------------------------------------------------------------

    def wait(self, event: threading.Event, timeout: float = PATIENCE) -> None:
        """Wait for an event in a body, the way that this pool can interrupt: by short sleeps of its own kind."""
        ends = time.monotonic() + timeout
        nap = self.nap
        while not event.is_set() and time.monotonic() < ends:
            nap(0.005)

    def nap(self, seconds: float) -> None:
        """Sleep as an application under this pool would: the green ones let others run."""
        if self.pool in ("gevent", "eventlet"):
            importlib.import_module(self.pool).sleep(seconds)
        else:
            time.sleep(seconds)
