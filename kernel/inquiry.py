"""Reading results from a store: at once, waiting, and for many coroutines through one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty
from typing import TYPE_CHECKING, Any

from kernel.clock import SYSTEM, Clock
from kernel.errors import DecodeError
from kernel.native import SimpleQueue, Thread, sleep
from kernel.outcome import FINAL, Entry, decode_entry
from kernel.ports import ResultStore, Serializer, Waits
from kernel.steady import persist

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

#: Seconds between two looks at a store that cannot tell by itself: from the first to the last.
FIRST_LOOK, LAST_LOOK = 0.002, 0.25
#: Longest single wait in a store, in seconds, so that an outage is noticed.
LONGEST_WAIT = 10.0
#: While other results are awaited, the waiting thread looks for new requests this often, in seconds.
TURN = 0.02


class StoredResults:
    """The `Results` of an application that has a store."""

    def __init__(
        self,
        store: ResultStore,
        serializer: Callable[[str], Serializer],
        accept: Sequence[str],
        patience: float,
        clock: Clock = SYSTEM,
    ) -> None:
        """`patience`: seconds for which an unavailable store is tried again before the caller hears of it."""
        self._store = store
        self._serializer = serializer
        self._accept = frozenset(accept)
        self._patience = patience
        self._clock = clock
        self._desk = _Desk(self.await_any, clock.monotonic)

    def entries(self, ids: list[str]) -> list[Entry | None]:
        """What stands now."""
        values = persist(lambda: self._batches(ids), self._patience)
        return [None if value is None else decode_entry(value) for value in values]

    def _batches(self, ids: list[str]) -> list[bytes | None]:
        size = self._store.features.max_batch
        values: list[bytes | None] = []
        for start in range(0, len(ids), size):
            values += self._store.get(ids[start : start + size])
        return values

    def await_any(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        """Wait until at least one of them is final, or time is over."""
        monotonic = self._clock.monotonic
        deadline = None if timeout is None else monotonic() + timeout
        pause = FIRST_LOOK
        while True:
            left = LONGEST_WAIT if deadline is None else max(0.0, deadline - monotonic())
            entries = self._look(ids, min(left, LONGEST_WAIT))
            if any(entry is not None and entry.state in FINAL for entry in entries):
                return entries
            if deadline is not None and monotonic() >= deadline:
                return entries
            if not self._waits(ids):
                sleep(min(pause, left))
                pause = min(LAST_LOOK, pause * 1.5)

    def _look(self, ids: list[str], timeout: float) -> list[Entry | None]:
        store = self._store
        if not self._waits(ids) or not isinstance(store, Waits):
            return self.entries(ids)
        values = persist(lambda: store.wait(ids, timeout), self._patience)
        return [None if value is None else decode_entry(value) for value in values]

    def _waits(self, ids: list[str]) -> bool:
        """Whether the store tells by itself when one of these is final; for more than a batch of them it is asked."""
        return self._store.features.wait and len(ids) <= self._store.features.max_batch

    async def aawait_any(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        """The same for a coroutine."""
        return await self._desk.ask(ids, timeout)

    def forget(self, ids: list[str]) -> None:
        """Delete."""
        size = self._store.features.max_batch
        for start in range(0, len(ids), size):
            part = ids[start : start + size]
            persist(partial(self._store.delete, part), self._patience)

    def load(self, entry: Entry) -> Any:
        """Decode a value; refused when its codec is one that this application does not accept."""
        serializer = self._serializer(entry.codec)
        if not serializer.safe and entry.codec not in self._accept:
            raise DecodeError(
                f"the result is {entry.codec!r}, which can run code when it is read: "
                f"add it to `accept` if you trust who wrote it"
            )
        return serializer.loads(entry.body)


class _Question:
    """What one coroutine waits for."""

    __slots__ = ("deadline", "future", "ids", "loop")

    def __init__(self, ids: list[str], deadline: float | None, loop: AbstractEventLoop) -> None:
        self.ids = ids
        self.deadline = deadline
        self.loop = loop
        self.future: Future[list[Entry | None]] = loop.create_future()

    def answer(self, entries: list[Entry | None] | None, error: BaseException | None = None) -> None:
        """Tell the coroutine, on its own loop."""
        try:
            self.loop.call_soon_threadsafe(self._tell, entries, error)
        except RuntimeError:
            pass  # its loop has been closed: nobody waits any more

    def _tell(self, entries: list[Entry | None] | None, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(entries or [])


class _Desk:
    """One thread that waits in the store on behalf of all coroutines, and ends when none waits.

    A thread per waiting coroutine was rejected: a thousand of them are a thousand threads and round trips, while
    one `get` of a thousand keys is one.
    """

    def __init__(
        self, await_any: Callable[[list[str], float | None], list[Entry | None]], monotonic: Callable[[], float]
    ) -> None:
        self._await_any = await_any
        self._monotonic = monotonic
        self._inbox: Any = SimpleQueue()
        self._thread: Thread | None = None

    async def ask(self, ids: list[str], timeout: float | None) -> list[Entry | None]:
        """Wait for the first final one of `ids`."""
        from asyncio import get_running_loop  # already imported by whoever awaits; `import kernel` must not load it

        deadline = None if timeout is None else self._monotonic() + timeout
        question = _Question(ids, deadline, get_running_loop())
        self._inbox.put(question)
        if self._thread is None:
            thread = Thread(self._serve, "kernel-results")
            thread.start()  # first: one that the system refuses must not look like one that serves
            self._thread = thread
        return await question.future

    def _serve(self) -> None:
        questions: list[_Question] = []
        while True:
            try:
                questions.append(self._inbox.get(timeout=5.0 if not questions else 0.0001))
                while not self._inbox.empty():
                    questions.append(self._inbox.get_nowait())
            except Empty:
                if not questions:
                    self._thread = None
                    # A question that came between the timeout and this line would find no thread: look once more.
                    if self._inbox.empty() or self._thread is not None:
                        return
                    continue
            questions = self._round(questions)

    def _round(self, questions: list[_Question], turn: float = TURN) -> list[_Question]:
        """One look for everybody, of up to `turn` seconds; returns who has to go on waiting."""
        ids = list({id for question in questions for id in question.ids})
        now = self._monotonic()
        wait = min([turn, *(max(0.0, q.deadline - now) for q in questions if q.deadline is not None)])
        try:
            entries = dict(zip(ids, self._await_any(ids, wait), strict=True))
        except BaseException as error:
            if isinstance(error, DecodeError) and len(questions) > 1:  # the trouble of who asked for that record
                return [left for question in questions for left in self._round([question], 0.0)]
            for question in questions:
                question.answer(None, error)
            return []
        now = self._monotonic()
        left = []
        for question in questions:
            mine = [entries[id] for id in question.ids]
            final = any(entry is not None and entry.state in FINAL for entry in mine)
            if final or (question.deadline is not None and now >= question.deadline):
                question.answer(mine)
            elif not (question.future.done() or question.loop.is_closed()):
                left.append(question)
        return left
