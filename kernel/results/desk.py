"""Waiting for results on behalf of many: one thread at a time waits in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from kernel.errors import DecodeError
from kernel.native import Empty, GreenSignal, Signal, SimpleQueue, Thread, allocate_lock, is_green
from kernel.outcome import FINAL, Entry

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

#: Seconds between two looks at a store that cannot tell by itself: from the first to the last.
FIRST_LOOK, LAST_LOOK = 0.002, 0.25
#: Longest single wait in a store, in seconds, so that an outage is noticed.
LONGEST_WAIT = 10.0
#: A thread that nobody has asked anything for so long ends; seconds.
IDLE_FOR = 5.0

Entries = list[Entry | None]


def any_final(entries: Entries) -> bool:
    """Whether one of them has ended."""
    return any(entry is not None and entry.state in FINAL for entry in entries)


class Source(Protocol):
    """Where the answers are: the result store, as the application reads it."""

    def entries(self, ids: list[str]) -> Entries:
        """What stands now."""

    def tells(self, ids: list[str]) -> bool:
        """Whether the store tells by itself when one of these is final; for more than a batch of them it is asked."""

    def told(self, ids: list[str], timeout: float) -> Entries:
        """What stands when there is news of one of these, when it is roused or when `timeout` seconds are over."""

    def rouse(self) -> None:
        """End the wait of who is being told, or the next one."""


class Question(Protocol):
    """What somebody waits for."""

    ids: list[str]
    deadline: float | None

    def answer(self, entries: Entries, error: BaseException | None = None) -> None:
        """Tell who asked. Never blocks, never fails."""

    def gone(self) -> bool:
        """Whether nobody waits for the answer any more."""


class OfCoroutine:
    """What one coroutine waits for."""

    __slots__ = ("deadline", "future", "ids", "loop")

    def __init__(self, ids: list[str], deadline: float | None, loop: AbstractEventLoop) -> None:
        self.ids = ids
        self.deadline = deadline
        self.loop = loop
        self.future: Future[Entries] = loop.create_future()

    def answer(self, entries: Entries, error: BaseException | None = None) -> None:
        """Tell the coroutine, on its own loop."""
        try:
            self.loop.call_soon_threadsafe(self._tell, entries, error)
        except RuntimeError:
            pass  # its loop has been closed: nobody waits any more

    def _tell(self, entries: Entries, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(entries)

    def gone(self) -> bool:
        """Whether it has given up, or its loop has."""
        return self.future.done() or self.loop.is_closed()


class OfThread:
    """What one thread waits for, while another one waits in the store."""

    __slots__ = ("_answered", "_entries", "_error", "_left", "deadline", "ids")

    def __init__(self, ids: list[str], deadline: float | None) -> None:
        self.ids = ids
        self.deadline = deadline
        # Under a green library, whoever waits in the store may be a greenlet of this very thread.
        self._answered = GreenSignal() if is_green() else Signal()
        self._entries: Entries = []
        self._error: BaseException | None = None
        self._left = False

    def answer(self, entries: Entries, error: BaseException | None = None) -> None:
        """Wake the thread."""
        self._entries, self._error = entries, error
        self._answered.set()

    def wait(self) -> Entries:
        """Block until there is an answer; raises an error that is the answer."""
        try:
            while not self._answered.wait(LONGEST_WAIT):
                pass
        finally:
            self._left = True  # also when an interrupt ends the wait
            if isinstance(self._answered, GreenSignal):
                self._answered.close()
        if self._error is not None:
            raise self._error
        return self._entries

    def gone(self) -> bool:
        """Whether an interrupt has ended the wait."""
        return self._left


class _Seat:
    """Whoever has it waits in the store. A value and not a lock, because an interrupt between taking a lock and the
    `try` behind it would leave it taken for ever."""

    __slots__ = ("_free", "_holder", "_lock")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._holder: object = None
        self._free = Signal()

    def take(self, who: object) -> bool:
        with self._lock:
            if self._holder is None:
                self._holder = who
            return self._holder is who

    def take_when_free(self, who: object) -> None:
        while not self.take(who):
            self._free.wait(LONGEST_WAIT)
            self._free.clear()

    def leave(self, who: object) -> None:
        if self._holder is who:
            self._holder = None
            self._free.set()


class Desk:
    """One thread at a time waits in the store, on behalf of all, for as long as there is no news.

    A caller's own thread does it while it is the only one who waits: no change of threads for a plain `get`. As soon
    as somebody else asks too it is roused, and a thread of the desk takes over, which ends when nobody waits.

    A thread and a wait for each of them was rejected: a thousand coroutines are a thousand round trips, while one
    `wait` for a thousand keys is one. Waiting in turns, a few milliseconds for each set of questions, was rejected
    because it is polling: a thousand idle waiters would cost fifty thousand keys a second.
    """

    def __init__(self, results: Source, monotonic: Callable[[], float]) -> None:
        self._results = results
        self._monotonic = monotonic
        self._inbox: Any = SimpleQueue()
        self._asked = Signal()
        self._seat = _Seat()
        self._staff = allocate_lock()
        self._thread: Thread | None = None
        #: Somebody waits in the store or is about to, and whether somebody ends that wait already.
        self._listening = self._roused = False
        self._pause = FIRST_LOOK

    # -- asking --------------------------------------------------------------------------------------------

    async def ask(self, ids: list[str], deadline: float | None) -> Entries:
        """Wait for the first final one of `ids`; for coroutines."""
        from asyncio import get_running_loop  # already imported by whoever awaits; `import kernel` must not load it

        question = OfCoroutine(ids, deadline, get_running_loop())
        self._put(question)
        return await question.future

    def wait(self, ids: list[str], deadline: float | None) -> Entries:
        """The same for threads, in a store that tells."""
        me = object()
        try:
            entries = self._alone(ids, deadline) if self._seat.take(me) else None
        finally:
            self._seat.leave(me)
        if entries is not None:
            return entries
        question = OfThread(ids, deadline)
        self._put(question)
        return question.wait()

    def _put(self, question: Question) -> None:
        self._inbox.put(question)
        self._asked.set()
        if self._listening and not self._roused:
            self._roused = True
            self._results.rouse()
        with self._staff:
            if self._thread is None:
                thread = Thread(self._serve, "kernel-results")
                thread.start()  # first: one that the system refuses must not look like one that serves
                self._thread = thread

    # -- waiting in the store, in the seat -----------------------------------------------------------------

    def _alone(self, ids: list[str], deadline: float | None) -> Entries | None:
        """Wait for this one question; None when others have asked."""
        while True:
            entries = self._listen(ids, self._longest([deadline]))
            if any_final(entries) or (deadline is not None and self._monotonic() >= deadline):
                return entries
            if not self._inbox.empty():
                return None

    def _listen(self, ids: list[str], timeout: float) -> Entries:
        # First said, then looked: who asks after this look sees that it has to rouse.
        self._listening = True
        try:
            return self._results.told(ids, timeout if self._inbox.empty() else 0.0)
        finally:
            self._listening = self._roused = False

    def _longest(self, deadlines: Sequence[float | None]) -> float:
        now = self._monotonic()
        return min([LONGEST_WAIT, *(max(0.0, at - now) for at in deadlines if at is not None)])

    # -- the thread of the desk ----------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            if not self._asked.wait(IDLE_FOR):
                with self._staff:
                    if not self._asked.is_set():
                        self._thread = None
                        return
            self._asked.clear()
            self._seat.take_when_free(self)
            try:
                self._work()
            finally:
                self._seat.leave(self)

    def _work(self) -> None:
        questions: list[Question] = []
        while True:
            questions += self._new()
            if not questions:
                return
            questions = self._round(questions)

    def _new(self) -> list[Question]:
        questions: list[Question] = []
        try:
            while True:
                questions.append(self._inbox.get_nowait())
                self._pause = FIRST_LOOK
        except Empty:
            return questions

    def _round(self, questions: list[Question]) -> list[Question]:
        """Wait for news, or look; returns who has to go on waiting."""
        ids = list({id for question in questions for id in question.ids})
        longest = self._longest([question.deadline for question in questions])
        if self._results.tells(ids):
            return self._answered(questions, lambda: self._listen(ids, longest), ids)
        left = self._answered(questions, lambda: self._results.entries(ids), ids)
        if left:
            self._asked.clear()
            if self._inbox.empty():
                self._asked.wait(min(self._pause, longest))
            self._pause = min(LAST_LOOK, self._pause * 1.5)
        return left

    def _answered(self, questions: list[Question], look: Callable[[], Entries], ids: list[str]) -> list[Question]:
        try:
            entries = dict(zip(ids, look(), strict=True))
        except BaseException as error:
            if isinstance(error, DecodeError) and len(questions) > 1:  # the trouble of who asked for that record
                return [left for question in questions for left in self._apart(question)]
            for question in questions:
                question.answer([], error)
            return []
        now = self._monotonic()
        left = []
        for question in questions:
            mine = [entries[id] for id in question.ids]
            if any_final(mine) or (question.deadline is not None and now >= question.deadline):
                question.answer(mine)
            elif not question.gone():
                left.append(question)
        return left

    def _apart(self, question: Question) -> list[Question]:
        ids = list(dict.fromkeys(question.ids))
        return self._answered([question], lambda: self._results.entries(ids), ids)
