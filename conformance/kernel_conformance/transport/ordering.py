"""Priorities, and keys whose messages keep their order."""

from __future__ import annotations

from kernel.ports import Outgoing
from kernel_conformance.clause import claims
from kernel_conformance.transport.abilities import LEASE, ORDERED, PRIORITIES
from kernel_conformance.transport.bench import OTHER, QUEUE, TransportBench, payloads


@claims(PRIORITIES)
def test_higher_priorities_come_first(bench: TransportBench) -> None:
    """T-PRIO-1: of the claimed number of levels, each is delivered before all lower ones.

    Fix: claim the number of levels that the service tells apart, 0 the least urgent.
    """
    levels = range(bench.f.priorities)
    for level in [*levels[::2], *levels[1::2]]:
        bench.send(b"%d" % level, priority=level)
    assert bench.settle(len(levels)) == [b"%d" % level for level in reversed(levels)]


@claims(PRIORITIES)
def test_priorities_within_one_receive(bench: TransportBench) -> None:
    """T-PRIO-2: one batch of `receive` is in the order of priority, and first in, first out within a level.

    Fix: order by level, then by the sequence of sending.
    """
    top = bench.f.priorities - 1
    for number in range(3):
        bench.send(b"low %d" % number)
        bench.send(b"top %d" % number, priority=top)
    expected = [b"top 0", b"top 1", b"top 2", b"low 0", b"low 1", b"low 2"]
    assert payloads(bench.drain(6)) == expected


@claims(PRIORITIES)
def test_a_priority_beyond_the_levels(bench: TransportBench) -> None:
    """T-PRIO-3: a priority above the highest level counts as the highest.

    Fix: cut it to the highest level.
    """
    bench.send(b"low")
    bench.send(b"highest", priority=bench.f.priorities - 1)
    bench.send(b"beyond", priority=9)
    assert bench.settle(3) == [b"highest", b"beyond", b"low"]


@claims(PRIORITIES)
def test_release_keeps_the_priority(bench: TransportBench) -> None:
    """T-PRIO-4: a released message goes to the front of its own priority: behind higher ones, before its equals.

    Fix: give the message back with the priority that it was sent with.
    """
    top = bench.f.priorities - 1
    bench.send(b"low 1", b"low 2")
    held = [bench.one()]
    bench.send(b"top", priority=top)
    assert bench.first.release(held) == []
    assert bench.settle(3) == [b"top", b"low 1", b"low 2"]


@claims(PRIORITIES)
def test_queues_go_before_priorities(bench: TransportBench) -> None:
    """T-PRIO-5: the order of queues goes before priority, which orders within one queue only.

    Fix: empty the earlier queue, all its levels, before the next one.
    """
    bench.send(b"low")
    bench.send(b"top", queue=OTHER, priority=bench.f.priorities - 1)
    found = [d for _ in range(2) for d in bench.first.receive([QUEUE, OTHER], 1, bench.tuning.patience)]
    assert payloads(found) == [b"low", b"top"]


@claims(ORDERED)
def test_one_at_a_time_per_key(bench: TransportBench) -> None:
    """T-ORD-1: while a message of a key is under lease, no other message of that key is delivered.

    Fix: hide the whole key while one of its messages is out.
    """
    second = bench.open()
    bench.send(b"1", b"2", order_key="k")
    held = bench.drain(1)
    bench.quiet()
    bench.quiet(by=second)
    assert bench.first.ack(held) == []
    assert bench.settle(1, by=second) == [b"2"]


@claims(ORDERED)
def test_keys_do_not_hold_up_others(bench: TransportBench) -> None:
    """T-ORD-2: a key that is held back does not hold up other keys, or messages without one.

    Fix: look beyond the messages of a busy key.
    """
    bench.send(b"1", b"2", b"3", order_key="k")
    bench.one()
    bench.send(b"other", order_key="j")
    bench.send(b"none")
    assert sorted(bench.settle(2)) == [b"none", b"other"]
    bench.quiet()


@claims(ORDERED)
def test_a_released_message_stays_first_of_its_key(bench: TransportBench) -> None:
    """T-ORD-3: after a release the same message comes again before the next of its key.

    Fix: put it back to the head of its key.
    """
    bench.send(b"1", b"2", b"3", order_key="k")
    assert bench.first.release([bench.one()]) == []
    assert bench.settle(3) == [b"1", b"2", b"3"]


@claims(ORDERED)
@claims(LEASE)
def test_a_lost_message_stays_first_of_its_key(bench: TransportBench) -> None:
    """T-ORD-4: after the loss of a lease the same message comes again before the next of its key.

    Fix: treat the end of a lease as a release.
    """
    second = bench.open()
    bench.send(b"1", b"2", order_key="k")
    bench.lose([bench.one()])
    assert bench.settle(2, by=second) == [b"1", b"2"]


@claims(ORDERED)
def test_keys_keep_the_order_of_sending(bench: TransportBench) -> None:
    """T-ORD-5: the messages of one key come in the order of sending, whoever receives them.

    Fix: order a key by the sequence of storing.
    """
    workers = [bench.first, bench.open(), bench.open()]
    bench.first.send([Outgoing(QUEUE, b"%d" % number, order_key="k") for number in range(9)])
    assert [bench.settle(1, by=workers[number % 3])[0] for number in range(9)] == [b"%d" % n for n in range(9)]
