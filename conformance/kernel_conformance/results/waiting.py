"""Being told of a final record: no polling, and an end to the wait from outside."""

from __future__ import annotations

from kernel.errors import Unavailable
from kernel_conformance.bench import error_of
from kernel_conformance.clause import claims
from kernel_conformance.results.bench import WAIT, StoreBench


@claims(WAIT)
def test_wait_returns_with_a_final_record(bench: StoreBench) -> None:
    """R-WAIT-1: `wait` returns soon after a final record of one of its keys was written, by any adapter.

    Fix: subscribe first, look second, then block.
    """
    second = bench.open()
    call = bench.blocked(lambda: second.wait(["a", "b"], 30.0))
    bench.put(b"done", key="b")
    assert call.result(bench.tuning.patience) == [None, b"done"]
    assert call.lasted <= 1.0 + bench.tuning.slack


@claims(WAIT)
def test_wait_is_for_final_records(bench: StoreBench) -> None:
    """R-WAIT-2: a record that is not final does not end `wait`; a final one that is there already does at once.

    Fix: tell readers of final records only, and look before blocking.
    """
    call = bench.blocked(lambda: bench.first.wait(["a"], 30.0))
    bench.put(b"started", key="a", final=False)
    assert not call.ended(0.1)
    bench.put(b"done", key="a")
    assert call.result(bench.tuning.patience) == [b"done"]
    there = bench.call(lambda: bench.first.wait(["x", "a"], 30.0))
    assert there.result(bench.tuning.patience) == [None, b"done"]


@claims(WAIT)
def test_wait_keeps_its_timeout(bench: StoreBench) -> None:
    """R-WAIT-3: after `timeout` seconds `wait` returns what is there, final or not.

    Fix: measure by the monotonic clock; a timeout is no error.
    """
    bench.put(b"started", key="a", final=False)
    call = bench.call(lambda: bench.first.wait(["a", "b"], 0.2))
    assert call.result(bench.tuning.patience) == [b"started", None]
    assert 0.18 <= call.lasted <= 0.3 + bench.tuning.slack


@claims(WAIT)
def test_close_ends_a_blocked_wait(bench: StoreBench) -> None:
    """R-WAIT-4: `close` ends a `wait` that blocks, with `Unavailable`.

    Fix: rouse the wait after the closed state was set, and look at that state when it wakes up.
    """
    second = bench.open()
    call = bench.blocked(lambda: error_of(lambda: second.wait(["k"], 30.0)))
    second.close()
    assert isinstance(call.result(bench.tuning.patience), Unavailable)


@claims(WAIT)
def test_rouse_ends_a_blocked_wait(bench: StoreBench) -> None:
    """R-ROUSE-1: `rouse` from another thread ends a blocked `wait` soon, with what is there.

    Fix: let the blocking read wait on something that `rouse` can signal too.
    """
    bench.put(b"started", key="a", final=False)
    call = bench.blocked(lambda: bench.first.wait(["a", "b"], 30.0))
    bench.first.rouse()
    assert call.result(bench.tuning.patience) == [b"started", None]
    assert call.lasted <= 1.0 + bench.tuning.slack


@claims(WAIT)
def test_rouse_is_remembered_once(bench: StoreBench) -> None:
    """R-ROUSE-2: a `rouse` while nobody waits ends the next `wait`, and only that one; two of them are one.

    Fix: keep a flag that `wait` clears when it returns.
    """
    bench.first.rouse()
    bench.first.rouse()
    call = bench.call(lambda: bench.first.wait(["k"], 30.0))
    assert call.result(bench.tuning.patience) == [None]
    after = bench.call(lambda: bench.first.wait(["k"], 0.15))
    assert after.result(bench.tuning.patience) == [None]
    assert after.lasted >= 0.13, "one rouse ended two waits"


@claims(WAIT)
def test_rouse_reaches_its_own_store_only(bench: StoreBench) -> None:
    """R-ROUSE-3: `rouse` ends the `wait` of its own store and of no other.

    Fix: keep the signal in the object, not on the service.
    """
    second = bench.open()
    call = bench.blocked(lambda: second.wait(["k"], 0.2))
    bench.first.rouse()
    assert call.result(bench.tuning.patience) == [None]
    assert call.lasted >= 0.18


@claims(WAIT)
def test_rouse_never_raises(bench: StoreBench) -> None:
    """R-ROUSE-4: `rouse` on a store that is not open, before or after, does nothing and is no error.

    Fix: signal only what is there.
    """
    second = bench.open()
    second.close()
    second.rouse()
    bench.first.put([], 600.0)
    bench.first.rouse()
    bench.first.rouse()
