"""Many sends as one: of coroutines on any loop, and of a block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from kernel.errors import PartialSend, Rejected, Unavailable
from kernel.ports import Outgoing
from kernel.sending import batcher as module
from kernel.sending.batcher import Batch, Batcher, open_batch

LONG = 5.0


class Gate:
    """A send that waits until it is let through, and writes down its batches."""

    def __init__(self, closed: bool = True) -> None:
        self.batches: list[list[bytes]] = []
        self.entered = threading.Event()
        self.open = threading.Event()
        self.errors: list[BaseException | None] = []
        if not closed:
            self.open.set()

    def send(self, batch: Sequence[Outgoing]) -> None:
        self.batches.append([out.payload for out in batch])
        self.entered.set()
        assert self.open.wait(LONG)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error

    @property
    def sent(self) -> list[bytes]:
        return [payload for batch in self.batches for payload in batch]


def message(name: object) -> Outgoing:
    return Outgoing("q", str(name).encode())


class Shared(SimpleQueue[Any]):
    """An inbox of which another thread takes the next message just before this one does."""

    def __init__(self) -> None:
        super().__init__()
        self.lost_a_race = False

    def empty(self) -> bool:
        return False

    def get_nowait(self) -> Any:
        self.lost_a_race = True
        raise Empty


def test_two_threads_on_one_inbox_answer_every_call() -> None:
    gate = Gate(closed=False)

    async def main() -> None:
        batcher = Batcher(gate.send, 10)
        inbox = batcher._inbox = Shared()
        await asyncio.wait_for(batcher.asend(message("x")), LONG)
        assert inbox.lost_a_race

    asyncio.run(main())
    assert gate.sent == [b"x"]


async def _pile(batcher: Batcher, gate: Gate, count: int) -> list[BaseException | None]:
    """One call on its way and `count` that pile up behind it; what each of these came to."""
    first = asyncio.create_task(batcher.asend(message("first")))
    await asyncio.to_thread(gate.entered.wait, LONG)
    rest = [asyncio.create_task(batcher.asend(message(index))) for index in range(count)]
    await asyncio.sleep(0)  # each of them has put its message
    gate.open.set()
    await first
    return list(await asyncio.gather(*rest, return_exceptions=True))


def test_a_lone_call_goes_at_once_and_what_piles_up_goes_together() -> None:
    gate = Gate()
    assert asyncio.run(_pile(Batcher(gate.send, 100), gate, 50)) == [None] * 50
    assert [len(batch) for batch in gate.batches] == [1, 50]
    assert gate.sent[1:] == [str(index).encode() for index in range(50)], "in the order of the calls"


def test_a_batch_is_no_larger_than_allowed() -> None:
    gate = Gate()
    asyncio.run(_pile(Batcher(gate.send, 4), gate, 10))
    assert [len(batch) for batch in gate.batches] == [1, 4, 4, 2]


def test_each_caller_hears_of_its_own_message() -> None:
    gate = Gate()
    large, away = Rejected("large"), Unavailable("away")
    gate.errors = [None, PartialSend({0: large, 2: away})]
    assert asyncio.run(_pile(Batcher(gate.send, 10), gate, 4)) == [large, None, away, None]


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("a defect"), MemoryError()])
def test_a_send_that_fails_is_told_to_everybody_and_the_next_one_works(error: BaseException) -> None:
    gate = Gate()
    gate.errors = [None, error]

    async def main() -> None:
        batcher = Batcher(gate.send, 10)
        assert await _pile(batcher, gate, 3) == [error] * 3
        await batcher.asend(message("again"))

    asyncio.run(main())
    assert gate.sent[-1] == b"again"


def test_coroutines_of_several_loops_share_a_send() -> None:
    gate = Gate()
    batcher = Batcher(gate.send, 100)
    ready = threading.Barrier(4, timeout=LONG)
    gate.errors = [None, PartialSend({})]
    outcomes: list[list[None]] = []

    async def several(loop: int) -> list[None]:
        calls = [asyncio.create_task(batcher.asend(message(f"{loop}-{index}"))) for index in range(5)]
        await asyncio.sleep(0)
        ready.wait()
        return await asyncio.wait_for(asyncio.gather(*calls), LONG)

    threads = [threading.Thread(target=lambda n=n: outcomes.append(asyncio.run(several(n)))) for n in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()  # all fifteen are there
    gate.open.set()
    for thread in threads:
        thread.join(LONG)
    assert outcomes == [[None] * 5] * 3
    assert sorted(gate.sent) == sorted(f"{n}-{i}".encode() for n in range(3) for i in range(5))
    assert len(gate.batches) <= 2  # one, when the thread that sends began last


def test_a_caller_that_gave_up_and_a_loop_that_is_closed_disturb_nobody() -> None:
    gate = Gate()
    batcher = Batcher(gate.send, 100)

    async def gives_up() -> None:
        call = asyncio.create_task(batcher.asend(message("given up")))
        await asyncio.to_thread(gate.entered.wait, LONG)
        behind = asyncio.create_task(batcher.asend(message("behind")))
        await asyncio.sleep(0)
        call.cancel()
        behind.cancel()

    asyncio.run(gives_up())

    async def stays() -> None:
        calls = [asyncio.create_task(batcher.asend(message(index))) for index in range(2)]
        await asyncio.sleep(0)
        calls[0].cancel()
        gate.open.set()
        await asyncio.wait_for(calls[1], LONG)

    asyncio.run(stays())
    assert gate.sent == [b"given up", b"behind", b"0", b"1"], "what was handed over is sent"


def test_an_idle_thread_ends_and_the_next_call_has_another(
    monkeypatch: pytest.MonkeyPatch, no_new_threads: None
) -> None:
    monkeypatch.setattr(module, "IDLE", 0.001)
    gate = Gate(closed=False)
    batcher = Batcher(gate.send, 10)
    for index in range(50):
        asyncio.run(asyncio.wait_for(batcher.asend(message(index)), LONG))
    assert gate.sent == [str(index).encode() for index in range(50)]


def test_a_thread_that_the_system_refuses_does_not_look_like_one_that_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(closed=False)
    batcher = Batcher(gate.send, 10)

    class Refused:
        def __init__(self, *_args: Any) -> None: ...

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(module, "Thread", Refused)
            with pytest.raises(RuntimeError, match="new thread"):
                await batcher.asend(message("refused"))
        await asyncio.wait_for(batcher.asend(message("later")), LONG)

    asyncio.run(main())
    assert gate.sent[-1] == b"later"


# -- with app.batch(): -------------------------------------------------------------------------------------


def test_a_block_sends_at_its_end_and_once() -> None:
    sent: list[list[bytes]] = []
    block = Batch(lambda batch: sent.append([out.payload for out in batch]))
    with block:
        current = open_batch.get()
        assert current is block
        block.messages += [message("a"), message("b")]
        assert sent == []
    assert sent == [[b"a", b"b"]]
    assert open_batch.get() is None
    with block:
        pass
    assert len(sent) == 1, "an empty block sends nothing, and an old one nothing twice"


def test_a_block_that_raises_sends_nothing() -> None:
    sent: list[Outgoing] = []
    block = Batch(sent.extend)

    def fail() -> None:
        with block:
            block.messages.append(message("a"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (sent, block.messages, open_batch.get()) == ([], [], None)


def test_an_inner_block_leaves_the_outer_one_open() -> None:
    order: list[str] = []
    outer, inner = Batch(lambda batch: order.append("outer")), Batch(lambda batch: order.append("inner"))
    with outer:
        outer.messages.append(message("a"))
        with inner:
            inner.messages.append(message("b"))
        assert open_batch.get() is outer
    assert order == ["inner", "outer"]


def test_an_error_of_the_sending_is_raised_at_the_end_of_the_block() -> None:
    def refuse(batch: Sequence[Outgoing]) -> None:
        raise PartialSend({1: Rejected("large")})

    with pytest.raises(PartialSend) as caught:
        with Batch(refuse) as block:
            block.messages += [message("a"), message("b")]
    assert list(caught.value.errors) == [1]
    assert open_batch.get() is None
