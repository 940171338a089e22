"""Sends and acknowledgements as one step."""

from __future__ import annotations

import pytest

from kernel.errors import PortError, Unavailable
from kernel.ports import Outgoing
from kernel_conformance.bench import not_proven
from kernel_conformance.clause import claims
from kernel_conformance.transport.abilities import COMMIT, LEASE
from kernel_conformance.transport.bench import OTHER, QUEUE, TransportBench, payloads


@claims(COMMIT)
def test_commit_sends_and_acks(bench: TransportBench) -> None:
    """T-COMMIT-1: `commit` publishes the sends of every delivery and acknowledges it.

    Fix: do both in one transaction of the service.
    """
    bench.send(b"a", b"b", b"c")
    a, b, c = bench.drain(3)
    batch = [(a, [Outgoing(OTHER, b"a1"), Outgoing(OTHER, b"a2")]), (b, []), (c, [Outgoing(OTHER, b"c1")])]
    assert bench.first.commit(batch) == []
    assert bench.first.commit([]) == []
    assert bench.settle(3, queue=OTHER, by=bench.open()) == [b"a1", b"a2", b"c1"]
    if bench.tuning.clock:
        bench.lose([])
    bench.quiet()


@claims(COMMIT)
@claims(LEASE)
def test_lost_deliveries_publish_nothing(bench: TransportBench) -> None:
    """T-COMMIT-2: a delivery whose lease was lost is returned, and of its sends none is published.

    Fix: check the token of each delivery inside of the transaction, before its sends.
    """
    lost, thief, held = bench.stolen()
    bench.send(b"mine")
    mine = bench.one()
    batch = [(lost, [Outgoing(OTHER, b"zombie")]), (mine, [Outgoing(OTHER, b"good")])]
    assert payloads(bench.first.commit(batch)) == [b"contested"], "exactly the lost delivery is returned"
    assert bench.settle(1, queue=OTHER) == [b"good"]
    bench.quiet(queue=OTHER)
    assert thief.ack([held]) == [], "the zombie's commit settled the message"


@claims(COMMIT)
def test_a_commit_of_everything_lost(bench: TransportBench) -> None:
    """T-COMMIT-3: a repeated `commit` publishes nothing again.

    Fix: a delivery that is settled already is as good as lost.
    """
    bench.send(b"x")
    batch = [(bench.one(), [Outgoing(OTHER, b"once")])]
    assert bench.first.commit(batch) == []
    bench.first.commit(batch)
    assert bench.settle(1, queue=OTHER) == [b"once"]
    bench.quiet(queue=OTHER)


@claims(COMMIT)
def test_commit_honours_attributes(bench: TransportBench) -> None:
    """T-COMMIT-4: sends of a `commit` have the attributes of any other send, and its refusals.

    Fix: use the code of `send` inside of the transaction.
    """
    bench.send(b"x")
    held = bench.one()
    later = Outgoing(OTHER, b"later", not_before=bench.now() + (bench.short_delay() or 60.0))
    if not bench.f.delay:
        bench.refused([later], lambda batch: bench.first.commit([(held, batch)]))
        assert bench.first.ack([held]) == []
        return
    assert bench.first.commit([(held, [later, Outgoing(OTHER, b"now")])]) == []
    assert bench.settle(1, queue=OTHER) == [b"now"]
    bench.pass_time(bench.short_delay() + 0.05)
    assert bench.settle(1, queue=OTHER) == [b"later"]


@claims(COMMIT)
def test_a_refused_commit_does_nothing(bench: TransportBench) -> None:
    """T-COMMIT-5: a `commit` that is refused has published nothing and acknowledged nothing.

    Fix: roll the transaction back before raising.
    """
    if bench.f.max_payload:
        bad = Outgoing(OTHER, bytes(bench.f.max_payload + 1))
    elif bench.f.delay < 1e9:
        bad = Outgoing(OTHER, b"too far", not_before=bench.now() + bench.f.delay + 60.0)
    else:
        not_proven("this transport has no limit by which a commit could be refused")
    bench.send(b"a", b"b")
    a, b = bench.drain(2)
    with pytest.raises(PortError) as caught:
        bench.first.commit([(a, [Outgoing(OTHER, b"next")]), (b, [bad])])
    assert caught.value.sent == "no"
    bench.quiet(queue=OTHER)
    assert bench.first.release([a, b]) == []
    assert bench.settle(2) == [b"a", b"b"]


@claims(COMMIT)
def test_a_commit_after_close_does_nothing(bench: TransportBench) -> None:
    """T-COMMIT-6: a `commit` on a closed transport is `Unavailable`, publishes nothing and settles nothing.

    Fix: check for the closed state before the transaction.
    """
    second = bench.open()
    bench.send(b"x")
    held = bench.one()
    bench.first.close()
    with pytest.raises(Unavailable):
        bench.first.commit([(held, [Outgoing(OTHER, b"next")])])
    bench.quiet(queue=OTHER, by=second)
    if bench.tuning.clock:
        bench.pass_time((bench.f.lease or 0.0) + 0.05)
        assert bench.settle(1, queue=QUEUE, by=second) == [b"x"]
