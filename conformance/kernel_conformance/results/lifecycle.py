"""Opening, closing, limits and the service."""

from __future__ import annotations

from typing import get_args

import pytest

from kernel.errors import PartialPut, Rejected, Unavailable
from kernel.ports import Record, StoreFeatures, Survives
from kernel_conformance.bench import error_of
from kernel_conformance.clause import claims
from kernel_conformance.results.bench import MAX_VALUE, StoreBench


def test_open_is_idempotent(bench: StoreBench) -> None:
    """R-OPEN-1: a second `open` changes nothing; `features` are valid and final.

    Fix: build one frozen `StoreFeatures` and return it for ever.
    """
    bench.put(b"x")
    bench.first.open()
    assert bench.get() == b"x"
    assert isinstance(bench.f, StoreFeatures)
    assert bench.f.survives in get_args(Survives)
    assert bench.f.max_batch >= 1
    assert bench.f.max_value >= 0
    assert bench.first.features == bench.f == bench.open().features


def test_a_closed_store_is_unavailable(bench: StoreBench) -> None:
    """R-CLOSE-1: after `close` every method raises `Unavailable`; closing twice is no error.

    Fix: check for the closed state first.
    """
    bench.first.close()
    bench.first.close()
    with pytest.raises(Unavailable):
        bench.put(b"x")
    with pytest.raises(Unavailable):
        bench.get()
    with pytest.raises(Unavailable):
        bench.first.delete(["k"])


def test_records_outlive_the_connection(bench: StoreBench) -> None:
    """R-CLOSE-2: a record is there for other adapters, also for those opened after the writer closed.

    Fix: store on the service before `put` returns.
    """
    second = bench.open()
    bench.put(b"x")
    assert second.get(["k"]) == [b"x"]
    bench.first.close()
    assert bench.open().get(["k"]) == [b"x"]


def test_a_batch_of_max_batch(bench: StoreBench) -> None:
    """R-BATCH-1: `max_batch` records and keys are served in one call; an empty batch is nothing.

    Fix: claim the limit of one call of the service, or split inside of the adapter.
    """
    count = min(bench.f.max_batch, 10_000)
    keys = [f"k{number}" for number in range(count)]
    assert bench.first.put([Record(key, key.encode(), True, (0, 0, 0)) for key in keys], 600.0) == [None] * count
    assert bench.first.get(keys) == [key.encode() for key in keys]
    bench.first.delete(keys)
    assert bench.first.get(keys) == [None] * count
    assert bench.first.put([], 600.0) == []
    assert bench.first.get([]) == []
    bench.first.delete([])


@claims(MAX_VALUE)
def test_a_value_of_max_value(bench: StoreBench) -> None:
    """R-VALUE-1: a value of `max_value` bytes is kept.

    Fix: claim the limit of the value itself.
    """
    largest = bytes(bench.f.max_value)
    assert bench.put(largest) is None
    assert bench.get() == largest


@claims(MAX_VALUE)
def test_a_value_above_max_value(bench: StoreBench) -> None:
    """R-VALUE-2: one byte above is named by `PartialPut` as `Rejected`; the other records of the batch are stored.

    Fix: collect the errors by index and store the rest; give `standing` for every other index.
    """
    bench.put(b"stands", key="c")
    too_large = bytes(bench.f.max_value + 1)
    batch = [Record("a", b"a", True, (0, 0, 0)), Record("b", too_large, True, (0, 0, 0))]
    error = error_of(lambda: bench.first.put([*batch, Record("c", b"late", True, (0, 0, 0))], 600.0))
    assert isinstance(error, PartialPut)
    assert list(error.errors) == [1]
    assert isinstance(error.errors[1], Rejected)
    assert (error.standing[0], error.standing[2]) == (None, b"stands")
    assert bench.first.get(["a", "b", "c"]) == [b"a", None, b"stands"]


def test_any_bytes_and_any_key(bench: StoreBench) -> None:
    """R-VALUE-3: any bytes under any text key come back unchanged and are told apart; empty values too.

    Fix: store bytes; do not take an empty value for none, and escape keys one to one.
    """
    values = {
        "empty": b"",
        "a": b"\x00\xff",
        "A": bytes(range(256)),
        "größe 列": b"\r\n",
        "a/b:c*%": b"x",
        "k" * 200: b"y",
    }
    assert bench.first.put([Record(key, value, True, (0, 0, 0)) for key, value in values.items()], 600.0) == [
        None
    ] * len(values)
    assert bench.first.get(list(values)) == list(values.values())


def test_a_stopped_service_is_unavailable(bench: StoreBench) -> None:
    """R-SERVICE-1: while the service is away calls raise `Unavailable`; the same adapter works again afterwards.

    Fix: translate connection errors; connect lazily at the next call.
    """
    bench.service.stop()
    try:
        with pytest.raises(Unavailable):
            bench.call(bench.get).result(bench.tuning.patience)
    finally:
        bench.service.start()
    assert error_of(bench.get) is None or bench.get() is None


def test_a_kill_keeps_records(bench: StoreBench) -> None:
    """R-SERVICE-2: with `survives` "service" or "power", a kill of the service loses no record that `put` stored.

    Fix: ask the service to flush before it confirms, or claim "process".
    """
    bench.put(b"x")
    bench.service.kill()
    bench.service.start()
    if bench.f.survives == "process":
        bench.declined = "survives"
        return
    assert bench.open().get(["k"]) == [b"x"]
