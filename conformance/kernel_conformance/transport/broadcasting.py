"""Copies for every listener."""

from __future__ import annotations

import time

from kernel.ports import Inbox
from kernel_conformance.clause import claims
from kernel_conformance.transport.abilities import BROADCAST
from kernel_conformance.transport.bench import TransportBench


def _hear(inbox: Inbox, count: int, patience: float) -> list[bytes]:
    found: list[bytes] = []
    until = time.monotonic() + patience
    while len(found) < count and time.monotonic() < until:
        found += inbox.get(0.2)
    return found


@claims(BROADCAST)
def test_every_inbox_gets_a_copy(bench: TransportBench) -> None:
    """T-CAST-1: what is published reaches every inbox of the channel that is open, once, of any adapter.

    Fix: return from `listen` only when the service has confirmed the subscription.
    """
    second = bench.open()
    inboxes = [bench.first.listen("news"), second.listen("news"), second.listen("news")]
    bench.first.publish("news", b"\x00binary\xff")
    second.publish("news", b"")
    for inbox in inboxes:
        assert sorted(_hear(inbox, 2, bench.tuning.patience)) == [b"", b"\x00binary\xff"]
    for inbox in inboxes:
        assert inbox.get(bench.tuning.quiet_for) == [], "an inbox got more than one copy"


@claims(BROADCAST)
def test_an_inbox_hears_what_comes_after_it(bench: TransportBench) -> None:
    """T-CAST-2: an inbox has what was published after `listen` returned, and nothing from before.

    Fix: start a subscription at the end of the channel.
    """
    bench.first.publish("news", b"before")
    inbox = bench.first.listen("news")
    bench.first.publish("news", b"after")
    assert _hear(inbox, 1, bench.tuning.patience) == [b"after"]


@claims(BROADCAST)
def test_channels_are_separate(bench: TransportBench) -> None:
    """T-CAST-3: an inbox has the payloads of its own channel only; no queue has any of them.

    Fix: name the channel on the service exactly, not by a prefix or a pattern.
    """
    inbox = bench.first.listen("news")
    bench.first.publish("newspaper", b"other")
    bench.first.publish("new", b"other")
    bench.first.publish("news", b"own")
    assert _hear(inbox, 1, bench.tuning.patience) == [b"own"]
    assert inbox.get(bench.tuning.quiet_for) == []
    bench.quiet(queue="news")


@claims(BROADCAST)
def test_an_inbox_can_be_closed(bench: TransportBench) -> None:
    """T-CAST-4: a closed inbox takes nothing more and harms no other; closing twice is no error.

    Fix: end the subscription in `close`, and make publishing without listeners no error.
    """
    closed, open_ = bench.first.listen("news"), bench.first.listen("news")
    closed.close()
    closed.close()
    bench.first.publish("news", b"x")
    assert _hear(open_, 1, bench.tuning.patience) == [b"x"]
    open_.close()
    bench.first.publish("news", b"nobody")


@claims(BROADCAST)
def test_get_keeps_its_timeout(bench: TransportBench) -> None:
    """T-CAST-5: `get` returns [] after its timeout, and at once when a payload is there or comes.

    Fix: block on the subscription for what is left of the timeout.
    """
    inbox = bench.first.listen("news")
    call = bench.call(lambda: inbox.get(0.2))
    assert call.result(bench.tuning.patience) == []
    assert 0.18 <= call.lasted <= 0.3 + bench.tuning.slack
    blocked = bench.blocked(lambda: inbox.get(30.0))
    bench.first.publish("news", b"x")
    assert blocked.result(bench.tuning.patience) == [b"x"]
