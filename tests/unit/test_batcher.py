from __future__ import annotations

import asyncio
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

from kernel.batcher import Batcher
from kernel.ports import Outgoing


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
    sent: list[Outgoing] = []

    def send(batch: Sequence[Outgoing]) -> None:
        sent.extend(batch)

    async def main() -> None:
        batcher = Batcher(send, 10)
        inbox = batcher._inbox = Shared()
        await asyncio.wait_for(batcher.asend(Outgoing("q", b"x")), 5.0)
        assert inbox.lost_a_race

    asyncio.run(main())
    assert [out.payload for out in sent] == [b"x"]
