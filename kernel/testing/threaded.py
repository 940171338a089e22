"""A worker in a thread of this process."""

from __future__ import annotations

import threading

from kernel.app import Kernel
from kernel.configuration.settings import Worker as Settings
from kernel.hooks import hookimpl
from kernel.native import Signal
from kernel.worker.worker import Worker

#: Seconds that a worker has to boot, and to end after its tasks have had their grace.
PATIENCE = 10.0


class WorkerThread:
    """`start` returns when the worker takes in work, `stop` when it has ended."""

    def __init__(self, app: Kernel, settings: Settings) -> None:
        self.worker = Worker(app, guest=True, settings=settings)
        self._ready = Signal()
        self._error: BaseException | None = None
        # A daemon, so that a task that never ends does not keep the test run from ending.
        self._thread = threading.Thread(target=self._run, name="kernel-worker", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it works."""
        return self._thread.is_alive()

    @hookimpl
    def kernel_worker_start(self, worker: Worker) -> None:
        """Told by the worker; a hook."""
        if worker is self.worker:
            self._ready.set()

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    def start(self) -> None:
        """Begin. Raises what keeps the worker from it."""
        self._thread.start()
        if not self._ready.wait(PATIENCE):
            raise TimeoutError(f"the worker is not ready after {PATIENCE:g} s")
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Let what runs end within its grace. Raises what the worker raised; RuntimeError, with their names, where
        tasks do not end."""
        self.worker.stop()
        self._thread.join(self.worker.settings.grace + PATIENCE)
        if self._error is not None:
            raise self._error
        left = self.worker.abandoned or (self.worker.hand.jobs() if self._thread.is_alive() else [])
        if left or self._thread.is_alive():
            names = ", ".join(sorted({job.envelope.task for job in left})) or "its pool"
            raise RuntimeError(f"the worker was stopped, but {names} did not end: its thread is still there")
