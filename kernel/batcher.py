"""Many sends as one: of concurrent coroutines without a timer, and of a `with app.batch()` block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from kernel.errors import PartialSend, PortError
from kernel.native import Empty, SimpleQueue, Thread
from kernel.ports.transport import Outgoing

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

Send = Callable[[Sequence[Outgoing]], None]

#: Seconds after which the sending thread ends when nothing is sent.
IDLE = 5.0


class Batcher:
    """One thread sends whatever has piled up while the last send was under way.

    No timer: a lone call goes at once, and the busier the program the larger the batches. (A thread hop for each
    call was rejected: a hundred concurrent coroutines then cost a hundred round trips.)
    """

    def __init__(self, send: Send, most: int) -> None:
        """`send` gets at most `most` messages in one call."""
        self._send = send
        self._most = most
        self._inbox: Any = SimpleQueue()
        self._thread: Thread | None = None

    async def asend(self, message: Outgoing) -> None:
        """Send one message; returns when it is durable and raises what sending it raised."""
        from asyncio import get_running_loop  # already imported by whoever awaits; `import kernel` must not load it

        loop = get_running_loop()
        future: Future[None] = loop.create_future()
        self._inbox.put((message, loop, future))
        if self._thread is None:
            thread = Thread(self._serve, "kernel-sender")
            thread.start()  # first: one that the system refuses must not look like one that serves
            self._thread = thread
        await future

    def _serve(self) -> None:
        inbox = self._inbox
        while True:
            try:
                batch = [inbox.get(timeout=IDLE)]
            except Empty:
                self._thread = None
                # A message that came between the timeout and this line found a thread: serve it after all.
                if inbox.empty():
                    return
                continue
            with suppress(Empty):  # a thread that is about to end may take from the same inbox
                while len(batch) < self._most and not inbox.empty():
                    batch.append(inbox.get_nowait())
            self._tell(batch, self._attempt([message for message, _, _ in batch]))

    def _attempt(self, messages: list[Outgoing]) -> dict[int, BaseException]:
        try:
            self._send(messages)
        except PartialSend as partial:
            return dict(partial.errors)
        except BaseException as error:
            return dict.fromkeys(range(len(messages)), error)
        return {}

    def _tell(
        self, batch: list[tuple[Outgoing, AbstractEventLoop, Future[None]]], errors: dict[int, BaseException]
    ) -> None:
        """One call into each loop, however many of its coroutines wait."""
        answers: dict[AbstractEventLoop, list[tuple[Future[None], BaseException | None]]] = defaultdict(list)
        for index, (_, loop, future) in enumerate(batch):
            answers[loop].append((future, errors.get(index)))
        for loop, mine in answers.items():
            try:
                loop.call_soon_threadsafe(_resolve, mine)
            except RuntimeError:
                pass  # the loop has been closed: nobody waits any more


def _resolve(answers: list[tuple[Future[None], BaseException | None]]) -> None:
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
