"""What a transport may claim, and what must be seen when it does not.

Some abilities are refused by an error before anything is sent. Others (priority, expiry, deduplication, order,
exchanges) are attributes that an adapter without the ability ignores: then the message must come as if the attribute
were unset, because the kernel emulates or refuses them and a half-done native way would work against it.
"""

from __future__ import annotations

from math import isfinite

from kernel.ports import Outgoing
from kernel_conformance.clause import Ability
from kernel_conformance.transport.bench import OTHER, QUEUE, TransportBench, absent, payloads


def _delay_refused(bench: TransportBench) -> None:
    bench.refused([Outgoing(QUEUE, b"later", not_before=bench.now() + 60.0)])
    bench.send(b"next")
    assert bench.settle(1) == [b"next"], "a refused message was stored"
    bench.quiet()


def _unlimited(bench: TransportBench) -> None:
    bench.send(b"far", not_before=bench.now() + bench.delay_limit())
    bench.quiet()


def _no_delay_refused(bench: TransportBench) -> None:
    # An adapter without any delay is attacked by every clause of DELAY; one with an unlimited delay has no edge.
    (_unlimited if bench.f.delay else _delay_refused)(bench)


def _priority_ignored(bench: TransportBench) -> None:
    for level in (0, 9, 5):
        bench.send(str(level).encode(), priority=level)
    assert bench.settle(3) == [b"0", b"9", b"5"], "without priorities the attribute is ignored: first in, first out"


def _expiry_ignored(bench: TransportBench) -> None:
    bench.send(b"expired", expires_at=bench.now() - 10.0)
    assert bench.settle(1) == [b"expired"], "an adapter that does not claim expiry must deliver expired messages"


def _dedup_ignored(bench: TransportBench) -> None:
    bench.send(b"a", b"b", dedup_key="same")
    assert sorted(bench.settle(2)) == [b"a", b"b"], "an adapter that does not claim dedup must not drop messages"


def _order_ignored(bench: TransportBench) -> None:
    bench.send(b"a", b"b", order_key="key")
    assert sorted(payloads(bench.drain(2))) == [b"a", b"b"], "without ordered, a key must not hold messages back"


def _exchange_ignored(bench: TransportBench) -> None:
    bench.send(b"a", b"b", exchange="nowhere", routing_key="nothing")
    assert bench.settle(2) == [b"a", b"b"], "without exchanges the attribute is ignored: the message is for its queue"


def _extend_absent(bench: TransportBench) -> None:
    bench.send(b"held")
    held = [bench.one()]
    absent(bench.first, "extend", lambda: bench.first.extend(held, 1.0))
    second = bench.open()
    bench.first.close()
    assert bench.settle(1, by=second) == [b"held"], "a lease of None ends with the connection that holds it"


def _commit_absent(bench: TransportBench) -> None:
    bench.send(b"held")
    held = bench.one()
    absent(bench.first, "commit", lambda: bench.first.commit([(held, [Outgoing(OTHER, b"next")])]))
    bench.quiet(queue=OTHER)
    assert bench.first.ack([held]) == []


def _broadcast_absent(bench: TransportBench) -> None:
    absent(bench.first, "listen", lambda: bench.first.listen("news"))
    absent(bench.first, "publish", lambda: bench.first.publish("news", b"x"))


def _inspect_absent(bench: TransportBench) -> None:
    bench.send(b"kept")
    absent(bench.first, "sizes", lambda: bench.first.sizes([QUEUE]))
    absent(bench.first, "purge", lambda: bench.first.purge(QUEUE))
    assert bench.settle(1) == [b"kept"]


def _peek_absent(bench: TransportBench) -> None:
    bench.send(b"kept")
    absent(bench.first, "peek", lambda: bench.first.peek(QUEUE, 1))
    assert bench.settle(1) == [b"kept"]


def _lists_absent(bench: TransportBench) -> None:
    absent(bench.first, "queues", lambda: bench.first.queues())


def _wake_absent(bench: TransportBench) -> None:
    absent(bench.first, "wake", lambda: bench.first.wake())


def _counts_are_hints(bench: TransportBench) -> None:
    bench.send(b"hint")
    delivery = bench.one()
    assert delivery.redelivered in (0, -1), "a first delivery is 0, or -1 where that cannot be told"
    second = bench.open()
    wait_for = bench.shorten([delivery])
    bench.first.close()
    if bench.f.lease is not None:
        bench.pass_time(wait_for + 0.05)
    assert bench.one(by=second).redelivered in (1, -1), "a later delivery is 1, or -1: without counts it is a flag"


def _unlimited_payload(bench: TransportBench) -> None:
    large = bytes(range(256)) * 4096
    bench.send(large)
    assert bench.settle(1) == [large], "an adapter without a limit of its own must carry a payload of 1 MiB"


DELAY: Ability[TransportBench] = Ability("delay", lambda f: f.delay > 0, _delay_refused)
DELAY_LIMIT: Ability[TransportBench] = Ability("delay", lambda f: f.delay > 0 and isfinite(f.delay), _no_delay_refused)
PRIORITIES: Ability[TransportBench] = Ability("priorities", lambda f: f.priorities > 1, _priority_ignored)
EXPIRY: Ability[TransportBench] = Ability("expiry", lambda f: f.expiry, _expiry_ignored)
DEDUP: Ability[TransportBench] = Ability("dedup", lambda f: f.dedup > 0, _dedup_ignored)
ORDERED: Ability[TransportBench] = Ability("ordered", lambda f: f.ordered, _order_ignored)
EXCHANGES: Ability[TransportBench] = Ability("exchanges", lambda f: f.exchanges, _exchange_ignored)
LEASE: Ability[TransportBench] = Ability("lease", lambda f: f.lease is not None, _extend_absent)
COMMIT: Ability[TransportBench] = Ability("commit", lambda f: f.commit, _commit_absent)
BROADCAST: Ability[TransportBench] = Ability("broadcast", lambda f: f.broadcast, _broadcast_absent)
INSPECT: Ability[TransportBench] = Ability("inspect", lambda f: f.inspect, _inspect_absent)
PEEK: Ability[TransportBench] = Ability("peek", lambda f: f.peek, _peek_absent)
LISTS: Ability[TransportBench] = Ability("lists", lambda f: f.lists, _lists_absent)
WAKE: Ability[TransportBench] = Ability("wake", lambda f: f.wake, _wake_absent)
COUNTS: Ability[TransportBench] = Ability("counts", lambda f: f.counts, _counts_are_hints)
MAX_PAYLOAD: Ability[TransportBench] = Ability("max_payload", lambda f: f.max_payload > 0, _unlimited_payload)
