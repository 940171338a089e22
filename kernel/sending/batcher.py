"""Many sends as one: of concurrent coroutines without a timer, and of a `with app.batch()` block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Any

from kernel.errors import PartialSend, PortError, Unavailable
from kernel.native import Empty, SimpleQueue, Thread, allocate_lock
from kernel.ports.transport import Outgoing

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

    _Answers = list[tuple[Future[None], BaseException | None]]

Send = Callable[[Sequence[Outgoing]], None]

#: Seconds after which the sending thread ends when nothing is sent.
IDLE = 5.0
#: Seconds beyond its patience that a coroutine waits, so that the send itself is the first to say what is wrong.
GRACE = 0.1


class Batcher:
    """One thread sends whatever has piled up while the last send was under way.

    No timer: a lone call goes at once, and the busier the program the larger the batches. (A thread hop for each
    call was rejected: a hundred concurrent coroutines then cost a hundred round trips.)
    """

    def __init__(self, send: Send, most: int, patience: float = inf) -> None:
        """`send` gets at most `most` messages in one call. Nobody waits longer than `patience` seconds for it, nor
        for those that are sent before."""
        self._send = send
        self._most = most
        self._patience = patience
        self._inbox: Any = SimpleQueue()
        self._thread: Thread | None = None
        self._hiring = allocate_lock()

    async def asend(self, message: Outgoing) -> None:
        """Send one message; returns when it is durable and raises what sending it raised."""
        from asyncio import get_running_loop  # already imported by whoever awaits; `import kernel` must not load it

        loop = get_running_loop()
        waiter = _Waiter(message, loop, loop.create_future())
        self._inbox.put(waiter)
        if self._thread is None:
            with self._hiring:  # loops of other threads may be here too
                if self._thread is None:
                    thread = Thread(self._serve, "kernel-sender")
                    thread.start()  # first: one that the system refuses must not look like one that serves
                    self._thread = thread
        patience = self._patience
        timer = loop.call_later(patience + GRACE, self._give_up, waiter) if patience < inf else None
        try:
            await waiter.future
        finally:
            if timer is not None:
                timer.cancel()

    def _give_up(self, waiter: _Waiter) -> None:
        """In the loop: time is over."""
        waiter.left = True  # first: who takes it after this line leaves it alone
        if waiter.future.done():
            return
        where = "no answer yet" if waiter.taken else "earlier messages have no answer yet"
        what = "it is unknown whether it was sent" if waiter.taken else "nothing was sent"
        text = f"{what}; given up after {self._patience:g} s: {where}"
        waiter.future.set_exception(Unavailable(text, sent="unknown" if waiter.taken else "no"))

    def _serve(self) -> None:
        inbox = self._inbox
        while True:
            try:
                batch = [inbox.get(timeout=IDLE)]
            except Empty:
                with self._hiring:  # who has started this thread notes it first
                    self._thread = None
                # A message that came between the timeout and this line found a thread: serve it after all.
                if inbox.empty():
                    return
                continue
            with suppress(Empty):  # a thread that is about to end may take from the same inbox
                while len(batch) < self._most and not inbox.empty():
                    batch.append(inbox.get_nowait())
            for waiter in batch:
                waiter.taken = True
            batch = [waiter for waiter in batch if not waiter.left]
            if batch:
                self._tell(batch, self._attempt([waiter.message for waiter in batch]))

    def _attempt(self, messages: list[Outgoing]) -> dict[int, BaseException]:
        try:
            self._send(messages)
        except PartialSend as partial:
            return dict(partial.errors)
        except BaseException as error:
            return dict.fromkeys(range(len(messages)), error)
        return {}

    def _tell(self, batch: list[_Waiter], errors: dict[int, BaseException]) -> None:
        """One call into each loop, however many of its coroutines wait."""
        answers: dict[AbstractEventLoop, _Answers] = defaultdict(list)
        for index, waiter in enumerate(batch):
            answers[waiter.loop].append((waiter.future, errors.get(index)))
        for loop, mine in answers.items():
            try:
                loop.call_soon_threadsafe(_resolve, mine)
            except RuntimeError:
                pass  # the loop has been closed: nobody waits any more


class _Waiter:
    """A coroutine that waits until its message is sent."""

    __slots__ = ("future", "left", "loop", "message", "taken")

    def __init__(self, message: Outgoing, loop: AbstractEventLoop, future: Future[None]) -> None:
        self.message = message
        self.loop = loop
        self.future = future
        #: It is being sent; it does not wait any more.
        self.taken = self.left = False


def _resolve(answers: _Answers) -> None:
    for future, error in answers:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


class Batch:
    """`with app.batch():` what is sent inside goes out in as few port calls as possible when the block ends.

    When the block raises, nothing is sent. Errors of sending are raised at its end: `PartialSend` with indexes in
    the order of the calls, or `Unavailable`.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._token: Any = None
        self.messages: list[Outgoing] = []

    def __enter__(self) -> Batch:
        self._token = open_batch.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        open_batch.reset(self._token)
        messages, self.messages = self.messages, []
        if kind is None and messages:
            self._send(messages)


#: The innermost `with app.batch()` block of this context.
open_batch: ContextVar[Batch | None] = ContextVar("kernel_open_batch", default=None)


def in_chunks(send: Send, most: int) -> Send:
    """`send` for any number of messages: at most `most` in one call, errors with indexes into the whole."""

    def send_chunks(messages: Sequence[Outgoing]) -> None:
        errors: dict[int, PortError] = {}
        for start in range(0, len(messages), most):
            chunk = messages[start : start + most]
            try:
                send(chunk)
            except PartialSend as partial:
                errors.update({start + index: error for index, error in partial.errors.items()})
            except PortError as error:
                if start == 0:
                    raise
                errors.update(dict.fromkeys(range(start, len(messages)), error))
                break
        if errors:
            raise PartialSend(errors)

    return send_chunks
