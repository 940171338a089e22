"""What plugins are told by a worker."""

from __future__ import annotations

from typing import Any

from kernel_memory import MemoryResults, MemoryTransport

from kernel import Kernel
from kernel.envelope import Dead
from kernel.hooks import hookimpl
from kernel.worker.worker import Worker


class Listener:
    """Notes everything that it hears; its second dead letter makes it fail."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    @hookimpl
    def kernel_dead(self, letter: Dead, queue: str) -> None:
        self.heard.append(("dead", (letter.kind, letter.reason, queue)))
        if len([name for name, _ in self.heard if name == "dead"]) > 1:
            raise RuntimeError("a listener that fails")

    @hookimpl
    def kernel_received(self, batch: Any) -> None:
        self.heard.append(("received", len(batch)))

    @hookimpl
    def kernel_settled(self, batch: Any) -> None:
        self.heard.append(("settled", [(one.envelope.task, one.state) for one in batch]))

    @hookimpl
    def kernel_wrap_call(self, task: Any, call: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.heard.append(("call", task.name))
            return call(*args, **kwargs)

        return wrapped


def test_plugins_hear_of_batches_calls_and_dead_letters_and_cannot_stop_the_worker() -> None:
    listener = Listener()
    app = Kernel("told", plugins=[listener])
    app.use(transport=MemoryTransport(), results=MemoryResults())
    workers: list[Worker] = []

    @app.task(name="ok")
    def ok() -> int:
        return 1

    @app.task(name="bad", dead_letter=True)
    def bad() -> None:
        raise ValueError("no")

    @app.task(name="end")
    def end() -> None:
        workers[0].stop()

    for task in (ok, bad, bad, end):
        task.delay()
    workers.append(Worker(app))
    workers[0].run()
    heard = listener.heard
    assert [value for name, value in heard if name == "call"] == ["ok", "bad", "bad", "end"]
    assert [value for name, value in heard if name == "dead"] == [("failed", "the task failed", "default.dead")] * 2
    settled = [one for name, value in heard if name == "settled" for one in value]
    assert settled == [("ok", "SUCCESS"), ("bad", "FAILURE"), ("bad", "FAILURE"), ("end", "SUCCESS")]
    # What was given back because a new task buffers only one is received again.
    assert sum(value for name, value in heard if name == "received") >= 4
