"""The replay window as a table of times: what is stale, and all that must never be."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kernel.clock import FakeClock
from kernel.errors import Unavailable
from kernel.ports import Delivery, Features, Outgoing
from kernel.sealing.sealing import Sealing
from kernel.sealing.transport import Opened, SealedTransport
from kernel.sealing.window import QUIET, Window

from .test_seal_wire import RING

HOUR = 3600.0


def test_a_copy_is_stale_once_its_queue_was_empty_for_longer_than_the_window() -> None:
    window = Window(HOUR)
    assert window.stale("mail", 1000.0, 1000.0) == 0.0
    window.nothing("mail", 1000.0 + HOUR)
    assert window.stale("mail", 1000.0, 1010.0 + HOUR) == 0.0
    window.nothing("mail", 1060.0 + HOUR)
    window.nothing("mail", 1060.0 + HOUR + QUIET)
    assert window.stale("mail", 1000.0, 2e9) == 60.0 + QUIET
    assert window.stale("post", 1000.0, 2e9) == 0.0


def test_a_backlog_is_not_stale_however_old_it_is() -> None:
    window = Window(HOUR)
    for age in (9e6, 8e6, 100.0):
        assert window.stale("mail", 1e9 - age, 1e9) == 0.0


def test_one_look_at_an_idle_queue_proves_nothing() -> None:
    """A broker that has just come back shows empty queues, until it has found what is in them."""
    window = Window(HOUR)
    window.nothing("mail", 1e9)
    window.nothing("mail", 1e9 + QUIET / 2)
    assert window.stale("mail", 1e9 - 2 * HOUR, 1e9 + QUIET) == 0.0
    window.nothing("mail", 1e9 + 2 * QUIET)
    assert window.stale("mail", 1e9 - 2 * HOUR, 1e9 + 3 * QUIET) == 0.0


def test_an_outage_forgets_what_was_known() -> None:
    window = Window(HOUR)
    window.nothing("mail", 1e9)
    window.lost()
    window.nothing("mail", 1e9 + 2 * QUIET)
    assert window.stale("mail", 1e9 - 2 * HOUR, 1e9 + 3 * QUIET) == 0.0


class Scripted:
    """A transport that answers what it is told to, after `lasts` seconds."""

    def __init__(self, clock: FakeClock) -> None:
        self.features = Features(lease=60.0, survives="process")
        self.clock = clock
        self.lasts = 1.0
        self.away = False
        self.found: list[Delivery] = []

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        if self.away:
            raise Unavailable("away")
        self.clock.advance(self.lasts)
        found, self.found = self.found, []
        return found

    def send(self, batch: Sequence[Outgoing]) -> None:
        self.found += [Delivery(out.payload, out.queue, None) for out in batch]


def scripted(window: float = HOUR) -> tuple[Scripted, SealedTransport, FakeClock]:
    clock = FakeClock()
    inner = Scripted(clock)
    return inner, SealedTransport(inner, Sealing(RING, "refuse", clock), window, clock), clock  # type: ignore[arg-type]


def fault(delivery: Delivery) -> str:
    assert isinstance(delivery, Opened)
    return delivery.fault


def kept(inner: Scripted, transport: SealedTransport, eta: float = 0.0) -> Delivery:
    """A message that somebody kept a copy of when it came."""
    transport.send([Outgoing("mail", b"x", not_before=eta)])
    (copy,) = inner.found
    (delivery,) = transport.receive(["mail"], 10, 1.0)
    assert fault(delivery) == ""
    return copy


def idle(transport: SealedTransport, clock: FakeClock, seconds: float) -> None:
    transport.receive(["mail"], 10, 1.0)
    clock.advance(seconds)
    transport.receive(["mail"], 10, 1.0)


def test_a_replay_is_refused_with_its_reason() -> None:
    inner, transport, clock = scripted()
    copy = kept(inner, transport)
    idle(transport, clock, 2 * HOUR)
    inner.found = [copy]
    (again,) = transport.receive(["mail"], 10, 1.0)
    assert fault(again).startswith("too old by 36")
    assert again.payload == b""


def test_without_a_window_nothing_is_too_old() -> None:
    inner, transport, clock = scripted(0.0)
    copy = kept(inner, transport)
    idle(transport, clock, 2 * HOUR)
    inner.found = [copy]
    assert fault(transport.receive(["mail"], 10, 1.0)[0]) == ""


def test_a_redelivery_is_not_stale() -> None:
    inner, transport, clock = scripted()
    copy = kept(inner, transport)
    idle(transport, clock, 2 * HOUR)
    inner.found = [Delivery(copy.payload, "mail", None, 1)]
    assert fault(transport.receive(["mail"], 10, 1.0)[0]) == ""


def test_a_time_next_month_is_not_stale_next_month() -> None:
    inner, transport, clock = scripted()
    transport.send([Outgoing("mail", b"x", not_before=clock.now() + 30 * 24 * HOUR)])
    late, inner.found = inner.found, []
    for _ in range(3):
        idle(transport, clock, 10 * 24 * HOUR)
    inner.found = late
    assert fault(transport.receive(["mail"], 10, 1.0)[0]) == ""


def test_dead_letters_do_not_age() -> None:
    inner, transport, clock = scripted()
    transport.send([Outgoing("mail.dead", b"x")])
    copy, inner.found = inner.found, []
    for _ in range(3):
        transport.receive(["mail.dead"], 10, 1.0)
        clock.advance(2 * HOUR)
    inner.found = copy
    assert fault(transport.receive(["mail.dead"], 10, 1.0)[0]) == ""


@pytest.mark.parametrize("lasts", [0.0, 0.5])
def test_a_receive_that_was_woken_proves_nothing(lasts: float) -> None:
    inner, transport, clock = scripted()
    copy = kept(inner, transport)
    inner.lasts = lasts
    idle(transport, clock, 2 * HOUR)
    inner.found = [copy]
    assert fault(transport.receive(["mail"], 10, 1.0)[0]) == ""


def test_after_an_outage_a_queue_that_seems_empty_is_not_believed() -> None:
    inner, transport, clock = scripted()
    copy = kept(inner, transport)
    clock.advance(2 * HOUR)
    inner.away = True
    with pytest.raises(Unavailable):
        transport.receive(["mail"], 10, 1.0)
    inner.away = False
    transport.receive(["mail"], 10, 1.0)
    inner.found = [copy]
    assert fault(transport.receive(["mail"], 10, 1.0)[0]) == ""
