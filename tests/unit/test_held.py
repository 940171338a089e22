"""What a tool takes out of a queue."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from kernel_memory import MemoryTransport
from kernel_memory.space import Space

from kernel.held import EMPTY_MOST, Held
from kernel.ports import Delivery, Outgoing, QueueSize


class Late(MemoryTransport):
    """A busy service: so many answers are empty although there is something."""

    late = 0
    asked = 0

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        self.asked += 1
        if self.late:
            self.late -= 1
            return []
        return super().receive(queues, limit, 0.0)


@pytest.mark.parametrize(
    ("mask", "late", "found"),
    [((), 0, 3), ((), EMPTY_MOST - 1, 3), ((), EMPTY_MOST, 0), (("inspect",), 1, 0)],
)
def test_an_empty_answer_is_not_believed_where_the_queue_is_counted(
    mask: tuple[str, ...], late: int, found: int
) -> None:
    transport = Late(Space(), mask=mask)  # type: ignore[arg-type]
    transport.open()
    transport.send([Outgoing("q", b"x")] * 3)
    transport.late = late
    assert sum(map(len, Held(transport).received("q"))) == found


def test_a_queue_that_is_empty_is_asked_once() -> None:
    transport = Late(Space())
    transport.open()
    assert list(Held(transport).received("q")) == []
    assert transport.asked == 1


class Pushing(Late):
    """A broker that has begun to deliver what it has, once it was asked for it: to the client, on its way."""

    def sizes(self, queues: Sequence[str]) -> list[QueueSize]:
        return [QueueSize(queue, 0) for queue in queues] if self.asked else super().sizes(queues)


def test_what_is_on_its_way_is_waited_for() -> None:
    transport = Pushing(Space())
    transport.open()
    transport.send([Outgoing("q", b"x")] * 3)
    transport.late = 2
    assert sum(map(len, Held(transport).received("q"))) == 3
