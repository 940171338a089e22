"""Which thread makes a send: its caller's where it is known how long it takes, else one that he can leave."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from kernel_memory import MemoryCoordination, MemorySchedules, MemoryTransport

from kernel import Kernel
from kernel.ports import Outgoing, Parked


class Watched(MemoryTransport):
    """Answers at once, has neither delay nor dedup of its own, and notes who sends."""

    def __init__(self) -> None:
        super().__init__(mask={"delay", "dedup"})
        self.senders: list[int] = []

    def send(self, batch: Sequence[Outgoing]) -> None:
        self.senders.append(threading.get_ident())
        super().send(batch)


def test_a_send_that_asks_no_other_service_is_made_by_its_caller() -> None:
    transport = Watched()
    with Kernel("sender") as app:
        app.use(transport=transport, coordination=MemoryCoordination(), schedules=MemorySchedules())
        app.send_task("work")
    assert transport.senders == [threading.get_ident()]


def test_a_delay_that_another_service_keeps_is_asked_for_on_a_thread_that_can_be_left() -> None:
    askers: list[int] = []

    class Schedule(MemorySchedules):
        def add(self, entries: Sequence[Parked]) -> None:
            askers.append(threading.get_ident())
            super().add(entries)

    with Kernel("sender") as app:
        app.use(transport=Watched(), schedules=Schedule())
        app.send_task("work", countdown=60)
    assert len(askers) == 1
    assert askers[0] != threading.get_ident()
